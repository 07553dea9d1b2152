"""Owns the format of fault scripts: TOML read into steps, each checked, and every mistake told in one line.

Must not run anything; that is the director's.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ibkr_actor.sim.faults.action import Action, MessageRef, message_ids
from ibkr_actor.sim.faults.actions import ACTIONS, ActionError, keys_of, make_action
from ibkr_actor.sim.faults.explain import explained, unknown_key

EVENTS: Final = ("connected", "requested", "subscribed")
_TIMING: Final = ("at", "after", "every", "times", "when")
_DURATIONS: Final = ("at", "after", "every", "for")
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class ScriptError(ValueError):
    """A script that cannot be used. The message is one line that names the file, the step and the key."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What clients do that sets a step off. Without a filter every such event counts; the first `skip` do not.

    `connected`: a client was welcomed. `requested`: a request came, and is not answered yet. `subscribed`: a line is
    open and its first values are sent. `message` is a request's id or its name in ibapi.message.OUT, or a list.
    """

    event: Literal["connected", "requested", "subscribed"]
    instrument: str | int | None = None
    message: MessageRef | list[MessageRef] | None = None
    client: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        message_ids(self.message)
        if self.event == "connected" and (self.instrument is not None or self.message is not None):
            raise ValueError("'connected' is filtered by client and skip only")
        if self.skip < 0:
            raise ValueError("skip must be 0 or more")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One action and what sets it off. Times are seconds of the simulator's clock.

    With `at_s` it begins so long after the script does, and with `every_s` again at that interval, `times` in all
    (0: without end). With `when` it is set off by the first `times` such events (0: by all). With neither it follows
    the step before it, each time that was done. `after_s` is how long it then waits.
    """

    action: Action
    at_s: float | None = None
    every_s: float | None = None
    times: int = 1
    when: When | None = None
    after_s: float = 0.0

    @property
    def follows(self) -> bool:
        return self.at_s is None and self.when is None


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """Steps, and from when their times count: the first client's welcome, or the moment the script is played."""

    steps: tuple[Step, ...]
    title: str = ""
    name: str = "script"
    begins: Literal["first_client", "start"] = "first_client"


def load_script(path: str | Path) -> Script:
    """The script in a file.

    Raises: ScriptError, also when the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ScriptError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{path}: is not UTF-8 text") from None
    return parse_script(text, name=str(path))


def parse_script(text: str, *, name: str = "script") -> Script:
    """The script in a text of TOML; `name` begins every complaint.

    Raises: ScriptError.
    """
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"{name}: {error}") from None
    try:
        return _script(whole, name)
    except ValueError as error:
        raise ScriptError(f"{name}: {error}") from None


def _script(whole: Mapping[str, Any], name: str) -> Script:
    for key in whole:
        if key not in ("title", "from", "step"):
            raise ValueError(unknown_key("key", key, ("title", "from", "step")))
    raw_steps = whole.get("step", [])
    if not isinstance(raw_steps, list) or not raw_steps:
        raise ValueError("step: needs at least one table [[step]]")
    begins = whole.get("from", "first_client")
    if begins not in ("first_client", "start"):
        raise ValueError(f"from: must be 'first_client' or 'start', is {begins!r}")
    title = whole.get("title", "")
    if not isinstance(title, str):
        raise ValueError("title: must be text in quotes")
    steps = []
    for number, raw in enumerate(raw_steps, 1):
        label = f"step {number}"
        if isinstance(raw, dict) and isinstance(raw.get("do"), str):
            label += f" ({raw['do']})"
        try:
            steps.append(_step(raw, first=number == 1))
        except (ActionError, ValueError) as error:
            raise ValueError(f"{label}: {error}") from None
    return Script(steps=tuple(steps), title=title, name=name, begins=begins)


def _step(raw: Any, *, first: bool) -> Step:
    if not isinstance(raw, dict):
        raise ValueError("must be a table [[step]]")
    do = raw.get("do")
    if not isinstance(do, str):
        raise ValueError("do: is missing; it names the action")
    if do not in ACTIONS:
        raise ValueError(f"do: {unknown_key('action', do, ACTIONS)}")
    known = [*_TIMING, *keys_of(ACTIONS[do])]
    for key in raw:
        if key not in (*known, "do"):
            raise ValueError(unknown_key("key", key, known))
    values = {key: seconds(value, key) if key in _DURATIONS else value for key, value in raw.items()}
    timing = {key: values.pop(key) for key in _TIMING if key in values}
    del values["do"]
    return _timed(make_action(do, values), timing, first=first)


def _timed(action: Action, timing: dict[str, Any], *, first: bool) -> Step:
    if "at" in timing and "when" in timing:
        raise ValueError("when: a step has either at or when")
    if "at" in timing and "after" in timing:
        raise ValueError("after: a step has either at or after")
    if "every" in timing and "at" not in timing:
        raise ValueError("every: needs at, the time of the first")
    if timing.get("every") == 0:
        raise ValueError("every: must be above 0")
    heads = "at" in timing or "when" in timing
    if "times" in timing and not ("every" in timing or "when" in timing):
        raise ValueError("times: needs every or when")
    times = timing.get("times", 0 if "every" in timing else 1)
    if not isinstance(times, int) or isinstance(times, bool) or times < 0:
        raise ValueError("times: must be a whole number, 0 for without end")
    return Step(
        action=action,
        at_s=timing.get("at", 0.0 if first and not heads and "after" not in timing else None),
        every_s=timing.get("every"),
        times=times,
        when=_when(timing["when"]) if "when" in timing else None,
        after_s=timing.get("after", 0.0),
    )


def _when(value: Any) -> When:
    table = {"event": value} if isinstance(value, str) else value
    if isinstance(table, dict):
        for key in table:
            if key not in When.__struct_fields__:
                raise ValueError(f"when: {unknown_key('key', key, When.__struct_fields__)}")
        if table.get("event") not in EVENTS:
            raise ValueError(f"when: the event must be one of {', '.join(EVENTS)}, is {table.get('event')!r}")
    try:
        return msgspec.convert(table, When)
    except msgspec.ValidationError as error:
        raise ValueError(f"when: {explained(str(error))}") from None


def seconds(value: Any, key: str) -> float:
    """A duration: a number of seconds, or `"250ms"`, `"30s"`, `"5m"`, `"1.5h"`.

    Raises: ValueError that begins with `key`.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return float(value)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{key}: must be a duration such as "30s", "250ms", "5m" or "1h", is {value!r}')
    return float(match[1]) * _SECONDS[match[2]]
