"""Owns where bars begin and end: sessions of a calendar cut by the exchange's clock, dates in weeks and months.

Must not know prices.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import NamedTuple

from ibkr_actor.sim.market.bars import BarSize
from ibkr_actor.sim.market.calendar import Calendar

_DAY = datetime.timedelta(days=1)
# A trade date's trading begins, and a month of them, at most this many days before the date.
_EARLIEST_DAYS = 13


class Session(NamedTuple):
    """Trading without a pause, of one trade date."""

    start_s: int
    end_s: int
    trade_date: datetime.date


class Grid:
    """The sessions and bar borders of one instrument between its first and last trade date."""

    def __init__(self, calendar: Calendar, first: datetime.date, last: datetime.date) -> None:
        self.calendar = calendar
        self.first, self.last = first, last

    def of_date(self, day: datetime.date, *, regular_only: bool) -> list[Session]:
        """The sessions of a trade date; none outside the instrument's life."""
        if not self.first <= day <= self.last:
            return []
        sessions: list[Session] = []
        for each in self.calendar.day(day):
            if regular_only and not each.regular:
                continue
            if sessions and sessions[-1].end_s == each.start_s:
                sessions[-1] = Session(sessions[-1].start_s, each.end_s, day)
            else:
                sessions.append(Session(each.start_s, each.end_s, day))
        return sessions

    def between(self, start_s: float, end_s: float, *, regular_only: bool) -> Iterator[Session]:
        """Whole sessions that overlap [start_s, end_s), in order."""
        for day in self.dates(start_s, end_s):
            for session in self.of_date(day, regular_only=regular_only):
                if session.end_s > start_s and session.start_s < end_s:
                    yield session

    def dates(self, start_s: float, end_s: float) -> list[datetime.date]:
        """Trade dates that may have trading in [start_s, end_s)."""
        first = max(self.first, self._local(start_s).date() - _DAY)
        last = min(self.last, self._local(end_s).date() + _EARLIEST_DAYS * _DAY)
        days = []
        for day in self.calendar.trade_dates(first, last) if first <= last else ():
            segments = self.calendar.day(day)
            if segments and segments[0].start_s >= end_s:
                break
            days.append(day)
        return days

    def group(self, day: datetime.date, size: BarSize) -> list[datetime.date]:
        """All trade dates in the week or month of a day, or the day itself."""
        match size.unit:
            case "week":
                first = day - day.weekday() * _DAY
                last = first + 6 * _DAY
            case "month":
                first = day.replace(day=1)
                last = (first + 31 * _DAY).replace(day=1) - _DAY
            case _:
                first = last = day
        return self.calendar.trade_dates(max(first, self.first), min(last, self.last)) if first <= self.last else []

    def cuts(self, session: Session, seconds: int) -> list[int]:
        """The borders of bars in a session, start and end included: full hours and so on of the exchange's clock."""
        start_s, end_s, _ = session
        if seconds < 3_600:
            return [start_s, *range((start_s // seconds + 1) * seconds, end_s, seconds), end_s]
        borders = [start_s]
        while (border := self._next_cut(borders[-1], seconds)) < end_s:
            borders.append(border)
        borders.append(end_s)
        return borders

    def _next_cut(self, time_s: int, seconds: int) -> int:
        local = self._local(time_s)
        into = local.hour * 3_600 + local.minute * 60 + local.second
        border_s = time_s + seconds - into % seconds
        if seconds > 3_600:
            # A night in which the clock is put forward or back makes one bar an hour shorter or longer.
            later = self._local(border_s).utcoffset() or datetime.timedelta()
            border_s -= int((later - (local.utcoffset() or datetime.timedelta())).total_seconds())
        return border_s if border_s > time_s else time_s + seconds

    def _local(self, time_s: float) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(min(max(time_s, 0.0), 4e10), self.calendar.zone)
