"""Owns the state of each of IB's data farms, as its notices tell it.

Decides nothing: a farm that flaps never ends the connection.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from ibkr_actor.core.ib_codes import CodeRow

# The farm stands after the last colon of the text, which may be IB's in another language (with a full-width colon).
_COLON: Final = re.compile(r"[:\uff1a]")
# Or, in 2107 and 2108, right behind the full stop: "... should be available upon demand.usfarm.nj".
_BEHIND_STOP: Final = re.compile(r"[.\u3002]([A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+)*)\s*$")
_NAME_MAX: Final = 64
_FARMS_MAX: Final = 200
_STATE: Final = {"farm_up": "up", "farm_down": "down", "farm_idle": "idle", "farm_connecting": "connecting"}


class FarmChange(Struct, frozen=True):
    """What a notice changed: `state` is up, down, idle or connecting."""

    name: str
    state: str
    sentence: str


class Farms:
    """Farm name -> state and since when; empty at the start of each connection."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[str, int]] = {}

    def note(self, row: CodeRow, message: str, at_ns: int) -> FarmChange | None:
        """Takes in a farm notice; None when it changes nothing."""
        name = farm_name(message)
        state = _STATE[row.effect]
        known = self._states.get(name)
        if (known is not None and known[0] == state) or (known is None and len(self._states) >= _FARMS_MAX):
            return None
        self._states[name] = (state, at_ns)
        return FarmChange(name, state, f"Data farm {name}: {row.meaning}.")

    def states(self) -> dict[str, str]:
        """Each farm's state, by name."""
        return {name: state for name, (state, _) in sorted(self._states.items())}


def farm_name(message: str) -> str:
    """The name in a notice such as `Market data farm connection is OK:usfarm`."""
    head, *rest = _COLON.split(message)
    behind_stop = _BEHIND_STOP.search(head) if not rest else None
    name = behind_stop[1] if behind_stop else (rest or [head])[-1].strip()
    return name[:_NAME_MAX] or "unknown"
