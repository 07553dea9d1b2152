"""Owns the state of each of IB's data farms, as its notices tell it, and when a restless one is worth a word.

Decides nothing: a farm that flaps never ends the connection.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.core.codes.meaning import CodeRow
from ibkr_actor.core.effects import ActorName, Tell
from ibkr_actor.core.messages import DataLost, FarmChanged, UpstreamDown, UpstreamUp

# The farm stands after the last colon of the text, which may be IB's in another language (with a full-width colon).
_COLON: Final = re.compile(r"[:\uff1a]")
# Or, in 2107 and 2108, right behind the full stop: "... should be available upon demand.usfarm.nj".
_BEHIND_STOP: Final = re.compile(r"[.\u3002]([A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+)*)\s*$")
_NAME_MAX: Final = 64
_FARMS_MAX: Final = 200
_STATE: Final = {"farm_up": "up", "farm_down": "down", "farm_idle": "idle", "farm_connecting": "connecting"}


Family = Literal["market", "history", "definitions"]
_FAMILY: Final[dict[int, Family]] = {
    2103: "market",
    2104: "market",
    2108: "market",
    2119: "market",
    2105: "history",
    2106: "history",
    2107: "history",
    2157: "definitions",
    2158: "definitions",
}
# Whom a farm of each family serves.
_USERS: Final[dict[Family, tuple[ActorName, ...]]] = {
    "market": ("subscriptions",),
    "history": ("history", "subscriptions"),
    "definitions": ("contracts", "reference"),
}
# More changes than this in so long, and a farm is said to be restless: what it is now is told once it has settled.
_RESTLESS_CHANGES: Final = 4
_RESTLESS_S: Final = 60.0
_SETTLED_S: Final = 5.0


class FarmChange(Struct, frozen=True):
    """What a notice changed: `state` is up, down, idle or connecting. `told` says whether it goes into `system` now."""

    name: str
    state: str
    sentence: str
    family: Family
    told: bool = True

    def words(self, at_ns: int) -> list[Tell]:
        """The same for those who ask the farm. Usable is also what is idle: it wakes up when it is asked."""
        word = FarmChanged(self.name, self.family, self.state in ("up", "idle"), at_ns)
        return [Tell(user, word) for user in _USERS[self.family]]


class _Farm(Struct):
    state: str
    row: CodeRow
    changed_s: deque[float]
    said: str = ""


class Farms:
    """Farm name -> what is known of it; empty at the start of each connection."""

    def __init__(self) -> None:
        self._farms: dict[str, _Farm] = {}

    def note(self, row: CodeRow, message: str, now_s: float) -> FarmChange | None:
        """Takes in a farm notice; None when it changes nothing."""
        name = farm_name(message)
        state = _STATE[row.effect]
        farm = self._farms.get(name)
        if farm is None:
            if len(self._farms) >= _FARMS_MAX:
                return None
            farm = self._farms[name] = _Farm("", row, deque(maxlen=_RESTLESS_CHANGES + 1))
        elif farm.state == state:
            return None
        farm.state, farm.row = state, row
        farm.changed_s.append(now_s)
        restless = len(farm.changed_s) > _RESTLESS_CHANGES and now_s - farm.changed_s[0] < _RESTLESS_S
        if not restless:
            farm.said = state
        sentence = f"Data farm {name}: {row.meaning}."
        return FarmChange(name, state, sentence, _FAMILY.get(row.code, "market"), told=not restless)

    def next_s(self) -> float | None:
        """When a restless farm may have settled."""
        times = (farm.changed_s[-1] + _SETTLED_S for farm in self._farms.values() if farm.said != farm.state)
        return min(times, default=None)

    def settled(self, now_s: float) -> list[FarmChange]:
        """What restless farms are now, of those that have settled."""
        changes = []
        for name, farm in self._farms.items():
            if farm.said != farm.state and now_s >= farm.changed_s[-1] + _SETTLED_S:
                farm.said = farm.state
                sentence = f"Data farm {name}: {farm.row.meaning}, after it came and went several times."
                changes.append(FarmChange(name, farm.state, sentence, _FAMILY.get(farm.row.code, "market")))
        return changes

    def words(self, at_ns: int) -> list[Tell]:
        """All that is known, for who may begin to ask."""
        return [
            word
            for name, farm in self._farms.items()
            for word in FarmChange(name, farm.state, "", _FAMILY.get(farm.row.code, "market")).words(at_ns)
        ]

    def states(self) -> dict[str, str]:
        """Each farm's state, by name."""
        return {name: farm.state for name, farm in sorted(self._farms.items())}


def farm_name(message: str) -> str:
    """The name in a notice such as `Market data farm connection is OK:usfarm`."""
    head, *rest = _COLON.split(message)
    behind_stop = _BEHIND_STOP.search(head) if not rest else None
    name = behind_stop[1] if behind_stop else (rest or [head])[-1].strip()
    return name[:_NAME_MAX] or "unknown"


def upstream_words(word: UpstreamDown | UpstreamUp | DataLost) -> list[Tell]:
    """What became of all farms at once, for those who have requests open."""
    return [Tell("subscriptions", word), Tell("history", word)]
