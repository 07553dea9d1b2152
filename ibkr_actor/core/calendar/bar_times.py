"""Owns which bar a moment lies in: its begin, its end and its trade date, by the contract's own trading hours.

Holds no prices; the grid itself is `core.calendar.bar_grid`'s.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.bar_grid import cell_end, period_bounds, period_of, stretch_at
from ibkr_actor.core.calendar.sessions import NS, Segment, Sessions, clock_ns, date_of, from_hours
from ibkr_actor.core.history.resolutions import Resolution
from ibkr_actor.schema.instruments import Contract

_DAY: Final = timedelta(days=1)
# The hours that IB lists are about a week's; their pattern is taken to hold so far around a moment.
_AROUND: Final = timedelta(days=45)
_HOUR_S: Final = 3_600
# Eight digits are a date; seconds since 1970 have had nine since 1973.
_DATE_DIGITS: Final = 8


class Span(Struct, frozen=True):
    """One bar's interval [start_ns, end_ns). `session_date` (YYYYMMDD) is set for bars of a day and more."""

    start_ns: int
    end_ns: int
    session_date: str | None = None


class BarTimes:
    """The bars of one size of one contract. Without hours that can be read days are UTC's, and nothing is cut."""

    def __init__(self, resolution: Resolution, contract: Contract, *, rth: bool) -> None:
        self.resolution = resolution
        self._rth = rth
        self.new_hours(contract)

    def new_hours(self, contract: Contract) -> None:
        """The hours as IB lists them now; bars that were found before keep theirs."""
        self._sessions = _sessions_of(contract, rth=self._rth)
        self._zone: tzinfo = UTC if self._sessions is None else self._sessions.zone
        # The days that the pattern was laid over so far.
        self._reach: tuple[date, date] | None = None
        self._span: Span | None = None

    def around(self, ns: int) -> Span:
        """The bar that `ns` lies in."""
        span = self._span
        if span is None or not span.start_ns <= ns < span.end_ns:
            span = self._span = self._found(ns)
        return span

    def named(self, text: str) -> Span:
        """The bar that IB names by its start, in epoch seconds or by the clock, or by its (last) trade date.

        Raises: ValueError for a text that is neither.
        """
        if len(text) == _DATE_DIGITS:
            return self._dated(date_of(text))
        is_epoch = text.isdecimal() and len(text) > _DATE_DIGITS
        start_ns = int(text) * NS if is_epoch else clock_ns(text, self._zone)
        if not self.resolution.intraday:
            return self._dated(self._local(start_ns).date())
        return Span(start_ns, self._end(start_ns, self._around(start_ns)))

    # ---- intraday

    def _found(self, ns: int) -> Span:
        sessions = self._around(ns)
        if not self.resolution.intraday:
            day = None if sessions is None else sessions.date_at(ns)
            return self._dated(self._local(ns).date() if day is None else day)
        start_ns, segment = self._start(ns), self._segment(ns, sessions)
        if segment is not None:
            start_ns = max(start_ns, segment[0])
        return Span(start_ns, max(self._end(start_ns, sessions), ns + 1))

    def _start(self, ns: int) -> int:
        """The last point of the grid at or before `ns`: whole multiples of the size by the clock, from midnight."""
        local = self._local(ns)
        since_s = local.hour * 3_600 + local.minute * 60 + local.second
        into_s = since_s % self.resolution.seconds
        at_s = ns // NS
        if self.resolution.seconds <= _HOUR_S:
            return (at_s - into_s) * NS
        # A clock that is changed within the bar makes it shorter or longer.
        midnight = datetime.combine(local.date(), time(tzinfo=self._zone))
        start_s = int((midnight + timedelta(seconds=since_s - into_s)).timestamp())
        return (start_s if start_s <= at_s else at_s - into_s) * NS

    def _end(self, start_ns: int, sessions: Sessions | None) -> int:
        size_ns = self.resolution.seconds * NS
        if sessions is None:
            return start_ns + size_ns - start_ns % size_ns
        stretch = stretch_at(start_ns, sessions)
        if stretch is not None:
            return stretch.end_of(start_ns, size_ns)
        end_ns, segment = cell_end(start_ns, self.resolution, sessions), self._segment(start_ns, sessions)
        return end_ns if segment is None else min(end_ns, segment[1])

    @staticmethod
    def _segment(ns: int, sessions: Sessions | None) -> Segment | None:
        return None if sessions is None else sessions.segment_at(ns)

    # ---- days and more

    def _dated(self, day: date) -> Span:
        first, last = period_of(day, self.resolution)
        sessions = self._laid_over(first, last)
        bounds = None if sessions is None else period_bounds(day, self.resolution, sessions)
        if bounds is None:
            begin, end = (datetime.combine(each, time(tzinfo=self._zone)) for each in (first, last + _DAY))
            bounds = int(begin.timestamp()) * NS, int(end.timestamp()) * NS
        return Span(*bounds, day.strftime("%Y%m%d"))

    def _local(self, ns: int) -> datetime:
        return datetime.fromtimestamp(ns // NS, self._zone)

    def _around(self, ns: int) -> Sessions | None:
        day = self._local(ns).date()
        return self._laid_over(day - _DAY, day + _DAY)

    def _laid_over(self, first: date, last: date) -> Sessions | None:
        """The sessions, known to reach over these days."""
        if self._sessions is None:
            return None
        if self._reach is None or first < self._reach[0] or last > self._reach[1]:
            self._reach = first - _AROUND, last + _AROUND
            self._sessions = self._sessions.extended(*self._reach)
        return self._sessions


def _sessions_of(contract: Contract, *, rth: bool) -> Sessions | None:
    """The trading hours that IB lists; the regular ones where they are asked for and listed."""
    hours = contract.liquid_hours if rth and contract.liquid_hours else contract.trading_hours
    try:
        return from_hours(hours, contract.time_zone)
    except ValueError:
        return None
