"""Owns the making of delivered bars out of IB's answers: times, filtering, order, and what is still missing.

Sends nothing: it says which window to ask for next and which holes are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.bar_grid import Stretch, bar_end, is_aligned, period_bounds, stretch_at
from ibkr_actor.core.calendar.sessions import NS, clock_ns, date_of
from ibkr_actor.core.history.events import HistoricalBar
from ibkr_actor.core.history.plan import Planner, Window
from ibkr_actor.schema.records import Hole

# [start_ns, end_ns, open, high, low, close, volume, wap, count, session_date], as in a `bars` record.
Row = tuple[
    int, int, float | None, float | None, float | None, float | None, str | None, str | None, int | None, str | None
]
_DAY: Final = timedelta(days=1)
# Eight digits are a date; seconds since 1970 have had nine since 1973.
_EPOCH_DIGITS_MIN: Final = 9
_HOUR_S: Final = 3_600


class Filled(Struct, frozen=True):
    """A window that is done: its bars in order, its holes, and what was left out of IB's answers."""

    rows: tuple[Row, ...]
    holes: tuple[Hole, ...]
    outside: int
    unaligned: int
    unreadable: int
    doubled: int


class _Placed(Struct, frozen=True, gc=False):
    """A bar with the times its date text means; `shifted` where the clock is changed in its stretch of trading."""

    start_ns: int
    end_ns: int
    trade_date: date | None
    bar: HistoricalBar
    aligned: bool = True
    shifted: bool = False


class Stitch:
    """One window on its way: give it every answer until it asks for no more, then take `filled`.

    An answer that begins after the window's first trade dates is followed by a request for those; what comes to
    nothing is a hole. Delivering waits for that, because bars go out in order.
    """

    def __init__(self, planner: Planner, window: Window) -> None:
        self.window = window
        self._planner = planner
        # start_ns -> row: the window's bars so far.
        self._rows: dict[int, Row] = {}
        self._holes: list[Hole] = []
        # What is asked now, and what is to be asked after it, the earliest first.
        self._asked = window
        self._pending: list[Window] = []
        # The stretch of trading and the trade date of the last bar: the next is mostly in the same.
        self._stretch: Stretch | None = None
        self._dated: tuple[date | None, str | None] = (None, None)
        self._outside = self._unaligned = self._unreadable = self._doubled = 0

    def take(self, bars: Sequence[HistoricalBar]) -> Window | None:
        """Takes the whole answer to the window asked last; the window to ask next, None when this one is done."""
        asked = self._asked
        placed = [each for bar in bars if (each := self._place(bar)) is not None]
        placed.sort(key=lambda each: each.start_ns)
        for index, each in enumerate(placed):
            following_ns = placed[index + 1].start_ns if index + 1 < len(placed) else each.end_ns
            self._keep(each, following_ns, asked)
        # Bars before the window prove that the answer reaches over all of it.
        reached_ns = placed[0].start_ns if placed else asked.to_ns
        missing_ns = self._first_date_end(reached_ns, asked)
        if missing_ns is None:
            return self._next()
        if not placed or missing_ns >= asked.to_ns:
            self._hole(asked.from_ns, asked.to_ns, "no_data")
            return self._next()
        if not asked.end:
            # Asking again for now brings the same.
            self._hole(asked.from_ns, missing_ns, "no_data")
            return self._next()
        windows, holes = self._planner.cover(asked.from_ns, missing_ns)
        self._holes += holes
        # Each ends before the one asked now begins to have bars, so this comes to an end.
        self._pending += windows
        return self._next()

    def restore(self, rows: Sequence[Row]) -> None:
        """The whole window, as it was before."""
        self._rows = {row[0]: row for row in rows}
        self._holes, self._pending = [], []

    def refuse(self, reason: str, message: str = "", ib_code: int | None = None) -> Window | None:
        """IB did not answer the window asked last: what it should have brought is a hole. Returns as `take` does."""
        if self._planner.sessions.any_in(self._asked.from_ns, self._asked.to_ns):
            self._hole(self._asked.from_ns, self._asked.to_ns, reason, message, ib_code)
        return self._next()

    def _next(self) -> Window | None:
        if not self._pending:
            return None
        self._asked = self._pending.pop()
        return self._asked

    @property
    def filled(self) -> Filled:
        """What the window came to."""
        rows = tuple(self._rows[start_ns] for start_ns in sorted(self._rows))
        holes = joined([*self._holes, *self._silent_dates(rows)], self._planner.sessions.any_in)
        return Filled(rows, holes, self._outside, self._unaligned, self._unreadable, self._doubled)

    def _keep(self, placed: _Placed, following_ns: int, asked: Window) -> None:
        start_ns = placed.start_ns
        end_ns = placed.end_ns
        size_ns = self._planner.resolution.seconds * NS
        if placed.shifted and start_ns < following_ns <= start_ns + size_ns + _HOUR_S * NS:
            # Nobody says how IB's grid goes on when the clock is changed, but the next bar shows it.
            end_ns = following_ns
        if start_ns < asked.from_ns or end_ns > asked.to_ns:
            self._outside += 1
        elif self._planner.sessions.exact and not placed.aligned:
            self._unaligned += 1
        elif start_ns in self._rows:
            self._doubled += 1
        else:
            bar, day = placed.bar, placed.trade_date
            if day != self._dated[0]:
                self._dated = day, None if day is None else day.strftime("%Y%m%d")
            text = self._dated[1]
            prices = (bar.open, bar.high, bar.low, bar.close)
            self._rows[start_ns] = (start_ns, end_ns, *prices, bar.volume, bar.wap, bar.count, text)

    def _place(self, bar: HistoricalBar) -> _Placed | None:
        try:
            found = self._place_intraday(bar) if self._planner.resolution.intraday else self._place_daily(bar)
        except (ValueError, OverflowError, OSError):
            found = None
        self._unreadable += found is None
        return found

    def _place_intraday(self, bar: HistoricalBar) -> _Placed:
        resolution, sessions = self._planner.resolution, self._planner.sessions
        is_epoch = bar.date.isdecimal() and len(bar.date) >= _EPOCH_DIGITS_MIN
        start_ns = int(bar.date) * NS if is_epoch else clock_ns(bar.date, sessions.zone)
        stretch = self._stretch
        if stretch is None or not stretch.start_ns <= start_ns < stretch.end_ns:
            stretch = self._stretch = stretch_at(start_ns, sessions)
        if stretch is not None:
            size_ns = resolution.seconds * NS
            aligned = stretch.aligned(start_ns, size_ns)
            return _Placed(start_ns, stretch.end_of(start_ns, size_ns), stretch.trade_date, bar, aligned)
        aligned = is_aligned(start_ns, resolution, sessions)
        end_ns, day = bar_end(start_ns, resolution, sessions), sessions.date_at(start_ns)
        return _Placed(start_ns, end_ns, day, bar, aligned, day is not None and resolution.seconds > _HOUR_S)

    def _place_daily(self, bar: HistoricalBar) -> _Placed:
        """By trade date; that of a week or month is the last one in it so far (stoqey/ibkr#149)."""
        sessions = self._planner.sessions
        dated = len(bar.date) == 8
        day = date_of(bar.date) if dated else datetime.fromtimestamp(int(bar.date), sessions.zone).date()
        bounds = period_bounds(day, self._planner.resolution, sessions)
        if bounds is None:
            midnight = datetime.combine(day, time(tzinfo=sessions.zone))
            bounds = int(midnight.timestamp()) * NS, int((midnight + _DAY).timestamp()) * NS
        return _Placed(*bounds, day, bar)

    def _first_date_end(self, reached_ns: int, asked: Window) -> int | None:
        """Where the missing trade dates at the window's begin end; None when its first one was reached."""
        sessions = self._planner.sessions
        if not sessions.any_in(asked.from_ns, asked.to_ns):
            return None
        if reached_ns >= asked.to_ns:
            return asked.to_ns
        first, reached = sessions.first_from(asked.from_ns), sessions.first_from(reached_ns)
        if not self._planner.resolution.intraday:
            # Weeks and months: the period that was reached, not its first trade date.
            return None if reached_ns <= asked.from_ns else sessions[reached - 1].end_ns
        return None if reached <= first else sessions[reached - 1].end_ns

    def _silent_dates(self, rows: Sequence[Row]) -> list[Hole]:
        """Trade dates without a bar behind the first that has some; only where it is sure that they are no holidays."""
        sessions, resolution = self._planner.sessions, self._planner.resolution
        if not rows or not sessions.exact or sessions.known is None:
            return []
        known = sessions.known
        first, last = sessions.first_from(rows[0][0]), sessions.last_before(self.window.to_ns)
        spoken = {sessions.first_from(row[0]) for row in rows}
        if resolution.kind in {"week", "month"}:
            return []
        silent = [
            sessions[index]
            for index in range(first, last + 1)
            if index not in spoken and known[0] <= sessions[index].trade_date <= known[1]
        ]
        bounded = ((max(day.start_ns, self.window.from_ns), min(day.end_ns, self.window.to_ns)) for day in silent)
        return [Hole(from_ns, to_ns, "no_data", "no bar of these trade dates") for from_ns, to_ns in bounded]

    def _hole(self, from_ns: int, to_ns: int, reason: str, message: str = "", ib_code: int | None = None) -> None:
        self._holes.append(Hole(from_ns, to_ns, reason, message, ib_code))


def joined(holes: Sequence[Hole], is_open: Callable[[int, int], bool] | None = None) -> tuple[Hole, ...]:
    """Holes in order of time; neighbours of one reason are one when they touch or no trading lies between them."""
    found: list[Hole] = []
    for hole in sorted(holes, key=lambda each: (each.from_ns, each.to_ns)):
        before = found[-1] if found else None
        if before is None or (before.reason, before.ib_code) != (hole.reason, hole.ib_code):
            found.append(hole)
        elif before.to_ns >= hole.from_ns or (is_open is not None and not is_open(before.to_ns, hole.from_ns)):
            to_ns = max(before.to_ns, hole.to_ns)
            found[-1] = Hole(before.from_ns, to_ns, hole.reason, before.message or hole.message, hole.ib_code)
        else:
            found.append(hole)
    return tuple(found)
