"""Owns how much of an instrument is traded when: units and trades of every stretch of time, adding up exactly.

Must not know prices; times outside trading have figures too, which nobody asks for.
"""

from __future__ import annotations

from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.path import LEAF_S, LEVELS, TOP_S, noise_of, shares

_CACHED = 1_024
_HALF_HOURS = TOP_S // 1_800
# What share of the regular volume is traded outside liquid hours.
_QUIET = 0.08


class Volumes:
    """Units and numbers of trades. `trades` is how many there are in 5 s on average, `unit_mean` the units of one.

    Every trade has at least one unit, so the units of a cell are never fewer than its trades.
    """

    def __init__(self, name: str, calendar: Calendar, trades: int, unit_mean: float) -> None:
        self._noise = noise_of(f"{name}:volume")
        self._calendar = calendar
        self._trades = trades
        self._unit_mean = unit_mean
        uneven = trades // 4 if trades - trades // 4 >= 4 else 0
        self._uneven = [trades + uneven * sign for sign in (0, 1, -1, 0, -1, 1, 1, 0, -1, 0, -1, 1)]
        self._blocks: dict[int, dict[int, list[int]]] = {level: {} for level in LEVELS[:-1]}

    def cell(self, level: int, start_s: int) -> int:
        """The units of a cell of a level of the path."""
        if level == TOP_S:
            return sum(self.block(TOP_S, start_s))
        parent = LEVELS[LEVELS.index(level) - 1]
        return self.block(parent, start_s - start_s % parent)[start_s % parent // level]

    def block(self, parent: int, start_s: int) -> list[int]:
        """The units of the cells of the next smaller level."""
        cache = self._blocks[parent]
        found = cache.get(start_s)
        if found is None:
            if len(cache) >= _CACHED:
                cache.clear()
            found = cache[start_s] = self._half_hours(start_s) if parent == TOP_S else self._divide(parent, start_s)
        return found

    def trades(self, level: int, start_s: int) -> int:
        """How many trades there are in a cell."""
        return self.leaf_trades(start_s - start_s % 60)[start_s % 60 // 5] if level == LEAF_S else self.whole(level)

    def whole(self, seconds: int) -> int:
        """How many trades there are in so many whole minutes."""
        return self._trades * (seconds // LEAF_S)

    def leaf_trades(self, minute_s: int) -> list[int]:
        """How many trades there are in each 5 s of a minute."""
        turn = (minute_s // 60) % 12
        return self._uneven[turn:] + self._uneven[:turn]

    def _half_hours(self, start_s: int) -> list[int]:
        noise = self._noise(0, start_s)
        liquid = [each for each in self._calendar.segments(start_s, start_s + TOP_S) if each.regular]
        count = self.whole(1_800)
        units = []
        for position in range(_HALF_HOURS):
            middle_s = start_s + 1_800 * position + 900
            busy = 1.0 if any(each.start_s <= middle_s < each.end_s for each in liquid) else _QUIET
            more = count * (self._unit_mean - 1) * busy * (0.4 + 1.2 * noise[position] / 255)
            units.append(count + max(0, int(more)))
        return units

    def _divide(self, parent: int, start_s: int) -> list[int]:
        level = LEVELS[LEVELS.index(parent) + 1]
        count = parent // level
        noise = self._noise(parent, start_s)
        trades = self.leaf_trades(start_s) if level == LEAF_S else [self.whole(level)] * count
        spare = self.cell(parent, start_s) - sum(trades)
        more = shares(spare, [32 + byte for byte in noise[:count]])
        return [number + units for number, units in zip(trades, more, strict=True)]
