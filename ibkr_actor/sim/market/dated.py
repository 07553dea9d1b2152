"""Owns the bars of days, weeks and months: which trade dates belong to one, and several dates made one bar.

Must not know prices; a bar of one trade date comes from whoever made this.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

from ibkr_actor.sim.market.bars import Bar, BarSize
from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.grid import Grid

_NOTHING = Decimal(0)
# left, right, trade date, spans, what_to_show -> the bar of these spans.
MakeBar = Callable[[int, int, datetime.date, Iterable[tuple[int, int]], str], Bar]


class Dated:
    """Bars by trade date of one instrument."""

    def __init__(self, grid: Grid, calendar: Calendar, bar: MakeBar) -> None:
        self._grid = grid
        self._calendar = calendar
        self._bar = bar

    def bars(self, start_s: float, end_s: float, size: BarSize, show: str, regular_only: bool) -> Iterator[Bar]:
        """Bars that begin in [start_s, end_s)."""
        done: datetime.date | None = None
        for near in self._grid.dates(start_s, end_s):
            if done is not None and near <= done:
                continue
            group = self._grid.group(near, size)
            done = group[-1]
            begins_s = self._begin(group, regular_only)
            if begins_s is not None and start_s <= begins_s < end_s:
                made = self._joined([self._day(day, show, regular_only, None) for day in group])
                if made is not None:
                    yield made

    def so_far(self, upto_s: int, size: BarSize, show: str, regular_only: bool) -> Bar | None:
        """The bar of the trade date at `upto_s`, up to then; None before its first trading."""
        group = self._grid.group(self._calendar.trade_date_at(upto_s), size)
        return self._joined([self._day(day, show, regular_only, upto_s) for day in group], group, regular_only)

    def _begin(self, group: Sequence[datetime.date], regular_only: bool) -> int | None:
        for day in group:
            for session in self._grid.of_date(day, regular_only=regular_only):
                return session.start_s
        return None

    def _day(self, day: datetime.date, show: str, regular_only: bool, upto_s: int | None) -> Bar | None:
        sessions = self._grid.of_date(day, regular_only=regular_only)
        spans = [(each.start_s, each.end_s if upto_s is None else min(each.end_s, upto_s)) for each in sessions]
        spans = [span for span in spans if span[0] < span[1]]
        if not spans:
            return None
        return self._bar(sessions[0].start_s, sessions[-1].end_s, day, spans, show)

    def _joined(
        self, days: Sequence[Bar | None], group: Sequence[datetime.date] = (), regular_only: bool = False
    ) -> Bar | None:
        """Days as one bar; `group` has all dates of a bar that is not over yet, whose end it keeps."""
        bars = [each for each in days if each is not None]
        if len(bars) <= 1 and len(group) <= 1:
            return bars[0] if bars else None
        if not bars:
            return None
        volume = sum((each.volume for each in bars), _NOTHING)
        high, low = max(each.high for each in bars), min(each.low for each in bars)
        wap = bars[-1].close
        if volume:
            wap = min(high, max(low, sum(each.wap * float(each.volume) for each in bars) / float(volume)))
        last, end_s = bars[-1].trade_date, bars[-1].end_s
        if group:
            last = group[-1]
            end_s = self._grid.of_date(last, regular_only=regular_only)[-1].end_s
        count = sum(each.count for each in bars)
        return Bar(bars[0].start_s, end_s, last, bars[0].open, high, low, bars[-1].close, volume, wap, count)
