"""Owns the running of scripts: what sets each step off, when it is due, and whether all is done.

Must not know what an action does, nor read files.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.faults.action import Action, Scene, message_ids
from ibkr_actor.sim.faults.script import Script, ScriptError, Step, When
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire.request_base import Request

logger = logging.getLogger(__name__)

# The request that opens each kind of line: a cancel's id is the kind's value, and its request's is listed here.
_OPENED_BY = {Kind.MARKET_DATA: 1, Kind.DEPTH: 10, Kind.REAL_TIME_BARS: 50, Kind.TICK_BY_TICK: 97}


class _Chain:
    """A step with `at` or `when` and those that follow it. `left` counts how often it is still to be set off."""

    def __init__(self, head: Step, started: bool) -> None:
        self.head = head
        self.steps = [head]
        self.left: float = float("inf") if head.times == 0 else head.times
        self.skip = head.when.skip if head.when is not None else 0
        self.started = started
        self.under_way = 0
        self.runs = 0

    @property
    def done(self) -> bool:
        """Whether nothing of it is to come; what is without end counts as done once it was done once."""
        return not self.under_way and (self.left <= 0 or (self.left == float("inf") and self.runs > 0))


class Director:
    """Does actions, at once or as scripts say. `done` counts them by name."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._chains: list[_Chain] = []
        self._waiting: list[_Chain] = []  # for the first client
        self.done: Counter[str] = Counter()

    @property
    def finished(self) -> bool:
        """Whether every step was done as often as it is to be, and whatever was to last for a while has ended."""
        lasting = any(each.end for each in self._scene.effects)
        return not lasting and not self._scene.busy and all(chain.done for chain in self._chains)

    def act(self, action: Action, due_s: float | None = None) -> None:
        """Do one action now. Raises: KeyError for an instrument that is not known."""
        logger.info("fault action=%s", action)
        with self._scene.moment(due_s):
            action.do(self._scene)
        self.done[action.called()] += 1
        self._scene.world.changed()

    def play(self, script: Script) -> None:
        """Begin a script; clients that are there already count as connecting now.

        Raises: ScriptError for an instrument that is not known.
        """
        self._check_instruments(script)
        waits = script.begins == "first_client" and not self._scene.world.sessions
        chains: list[_Chain] = []
        for step in script.steps:
            if step.follows and chains:
                chains[-1].steps.append(step)
            else:
                chains.append(_Chain(step, started=False))
        logger.info("script_begins script=%s steps=%d waits_for_client=%s", script.name, len(script.steps), waits)
        self._chains += chains
        if waits:
            self._waiting += chains
        else:
            self._start(chains)
            for session in list(self._scene.world.sessions.values()):
                self._event("connected", session, None, _always, among=chains)

    # What clients do

    def connected(self, session: Session) -> None:
        waiting, self._waiting = self._waiting, []
        self._start(waiting)
        self._event("connected", session, None, _always)

    def requested(self, session: Session, request: Request) -> None:
        def concerns(con_ids: frozenset[int]) -> bool:
            return self._scene.world.faults.concerns(request, con_ids)

        self._event("requested", session, request.message_id, concerns)

    def lines_opened(self) -> None:
        """Tell new lines what a silence has to say, and set off the steps that wait for them."""
        for line in self._scene.world.lines.take_added():
            for code, text in self._scene.world.faults.errors_for(line):
                self._scene.line_error(line, code, text)
            self._subscribed(line)

    def _subscribed(self, line: Line) -> None:
        message_id = _OPENED_BY.get(line.kind, line.kind.value)
        self._event("subscribed", line.session, message_id, lambda con_ids: line.instrument.con_id in con_ids)

    # Chains

    def _start(self, chains: list[_Chain]) -> None:
        now_s = self._scene.world.clock.now_s()
        for chain in chains:
            chain.started = True
            if chain.head.when is None:
                self._at(chain, now_s + (chain.head.at_s if chain.head.at_s is not None else chain.head.after_s))

    def _at(self, chain: _Chain, due_s: float) -> None:
        """Set the chain off then, and again at its interval."""

        def due(_: float) -> None:
            if chain.head.every_s is not None and chain.left > 1:
                self._at(chain, due_s + chain.head.every_s)
            self._set_off(chain, due_s)

        self._now_or_at(due_s, due)

    def _now_or_at(self, due_s: float, do: Callable[[float], None]) -> None:
        """What is due is done at once, so that a standing clock need not move for it."""
        if due_s <= self._scene.world.clock.now_s():
            do(due_s)
        else:
            self._scene.world.control.at(due_s, do)

    def _event(
        self,
        event: str,
        session: Session,
        message_id: int | None,
        concerns: Callable[[frozenset[int]], bool],
        *,
        among: list[_Chain] | None = None,
    ) -> None:
        for chain in list(self._chains if among is None else among):
            when = chain.head.when
            if when is None or not chain.started or when.event != event or chain.left <= 0:
                continue
            if self._passes(when, session, message_id, concerns):
                if chain.skip > 0:
                    chain.skip -= 1
                    continue
                self._set_off(chain, self._scene.world.clock.now_s() + chain.head.after_s)

    def _passes(
        self, when: When, session: Session, message_id: int | None, concerns: Callable[[frozenset[int]], bool]
    ) -> bool:
        ids = message_ids(when.message)
        if when.client not in (None, session.client_id) or (ids is not None and message_id not in ids):
            return False
        con_ids = self._scene.con_ids(when.instrument)
        return con_ids is None or concerns(con_ids)

    def _set_off(self, chain: _Chain, due_s: float) -> None:
        chain.left -= 1
        chain.under_way += 1
        self._go_on(chain, 0, due_s)

    def _go_on(self, chain: _Chain, index: int, due_s: float) -> None:
        """Do the step at `index` when it is due, and those behind it after their waits."""

        def do(_: float) -> None:
            self.act(chain.steps[index].action, due_s)
            if index + 1 < len(chain.steps):
                self._go_on(chain, index + 1, due_s + chain.steps[index + 1].after_s)
                return
            chain.under_way -= 1
            chain.runs += 1
            self._scene.world.changed()

        self._now_or_at(due_s, do)

    def _check_instruments(self, script: Script) -> None:
        for number, step in enumerate(script.steps, 1):
            for holder in (step.action, step.when):
                name = getattr(holder, "instrument", None)
                if name is None:
                    continue
                try:
                    self._scene.con_ids(name)
                except KeyError:
                    cause = f"step {number} ({step.action.called()}): instrument: there is no {name!r}"
                    raise ScriptError(f"{script.name}: {cause}") from None


def _always(_: frozenset[int]) -> bool:
    return True


def with_seconds(arguments: dict[str, object]) -> dict[str, object]:
    """Arguments as Python spells them (`for_s`), as scripts do (`for`)."""
    return {"for" if key == "for_s" else key: value for key, value in arguments.items()}
