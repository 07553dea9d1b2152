"""Owns the scenarios shipped with the simulator: one script for each bad day, found by name.

Must not run them.
"""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from ibkr_actor.sim.faults.script import Script, ScriptError, load_script, parse_script

_SUFFIX = ".toml"


def scenario_names() -> list[str]:
    """Names of all shipped scenarios, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(each.name.removesuffix(_SUFFIX) for each in files if each.name.endswith(_SUFFIX))


def scenario_titles() -> dict[str, str]:
    """Name -> its one line."""
    return {name: load_scenario(name).title for name in scenario_names()}


def load_scenario(what: str | Path) -> Script:
    """A shipped scenario by its name, or a script by its path (whatever ends in `.toml`).

    Raises: ScriptError.
    """
    if isinstance(what, Path) or what.endswith(_SUFFIX):
        return load_script(what)
    names = scenario_names()
    if what not in names:
        close = difflib.get_close_matches(what, names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
        raise ScriptError(f"no scenario is called {what!r}{hint}")
    text = (resources.files(__name__) / f"{what}{_SUFFIX}").read_text(encoding="utf-8")
    return parse_script(text, name=what)
