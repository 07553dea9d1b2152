"""Owns the path of a combination of instruments: the sum of its legs, which may be less than nothing.

Must not know what the legs are; they are paths and what their ticks are worth.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import NamedTuple

from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.path import LEVELS, TOP_S, Cell, Path
from ibkr_actor.sim.market.quoting import Quoting

_CACHED_DATES = 256
_HALF_HOUR_S = LEVELS[1]


class Part(NamedTuple):
    """A leg: its path, what the ticks are worth, and how many of it the combination has (less than 0 is sold)."""

    path: Path
    quoting: Quoting
    ratio: int


class Combination(Path):
    """The sum of the legs at the borders of every cell.

    The range of a cell of four hours is that of its half hours and somewhat more. Where the legs' sum leaves the range
    of a cell in between, the combination stops at its edge, a tick or so from the sum.
    """

    def __init__(self, name: str, parts: Sequence[Part], tick: float, calendar: Calendar, *, dense: bool) -> None:
        super().__init__(name, self._at_top, 8.0, dense=dense, lowest=None)
        self._parts = parts
        self._tick = tick
        self._calendar = calendar
        self._dates: dict[int, datetime.date] = {}

    def _make_top(self, index: int) -> Cell:
        start_s = index * TOP_S
        sums = [self._sum(start_s + offset) for offset in range(0, TOP_S + 1, _HALF_HOUR_S)]
        high, low = max(sums), min(sums)
        noise = self._noise(1, index)
        room = max(4.0, (high - low) / 2)
        up, down = (round(room * (1.0 + byte / 255.0) / 2) for byte in noise[:2])
        return Cell(sums[0], high + up, low - down, sums[-1])

    def between(self, whole: Cell, start_s: int, level: int, count: int, noise: bytes) -> list[int]:
        _, high, low, _ = whole
        inner = [self._sum(start_s + level * each) for each in range(1, count)]
        return [whole.open, *(min(high, max(low, price)) for price in inner), whole.close]

    def _at_top(self, index: int) -> int:
        return self._sum(index * TOP_S)

    def _sum(self, time_s: int) -> int:
        day = self._date(time_s)
        worth = sum(part.ratio * part.quoting.price(part.path.value(time_s), day) for part in self._parts)
        return round(worth / self._tick)

    def _date(self, time_s: int) -> datetime.date:
        """One trade date for each half hour, so that a cell's borders are worth the same from both sides."""
        half_hour = time_s // _HALF_HOUR_S
        found = self._dates.get(half_hour)
        if found is None:
            if len(self._dates) >= _CACHED_DATES:
                self._dates.clear()
            found = self._dates[half_hour] = self._calendar.trade_date_at(half_hour * _HALF_HOUR_S)
        return found
