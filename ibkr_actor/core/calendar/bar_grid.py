"""Owns where one bar ends and the next begins: the clock's grid in the exchange's zone, cut by sessions.

Must not know requests; weeks and months are made of the trade dates in them.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS, Sessions
from ibkr_actor.core.history.resolutions import Resolution

_HOUR_S: Final = 3_600
_DAY: Final = timedelta(days=1)


class Stretch(Struct, frozen=True):
    """A stretch of trading in which the clock stays as it is: here the grid is plain arithmetic.

    A bar costs a tenth of what `bar_end` and `is_aligned` take, and an answer has 20,000 of them.
    """

    start_ns: int
    end_ns: int
    offset_ns: int
    trade_date: date | None

    def end_of(self, start_ns: int, size_ns: int) -> int:
        """As `bar_end`: every size divides the day."""
        return min(self.end_ns, start_ns + size_ns - (start_ns + self.offset_ns) % size_ns)

    def aligned(self, start_ns: int, size_ns: int) -> bool:
        """As `is_aligned`."""
        return (start_ns + self.offset_ns) % size_ns == 0 or start_ns == self.start_ns


def stretch_at(ns: int, sessions: Sessions) -> Stretch | None:
    """The stretch in which `ns` is; None in closed time and where the clock is changed within it."""
    segment = sessions.segment_at(ns)
    if segment is None:
        return None
    offsets = [datetime.fromtimestamp(at // NS, sessions.zone).utcoffset() for at in segment]
    if offsets[0] is None or offsets[0] != offsets[1]:
        return None
    return Stretch(*segment, int(offsets[0].total_seconds()) * NS, sessions.date_at(ns))


def cell_end(ns: int, resolution: Resolution, sessions: Sessions) -> int:
    """The next point of the grid after `ns`: whole multiples of the bar's size by the clock, counted from midnight."""
    size = resolution.seconds
    at_s = ns // NS
    local = datetime.fromtimestamp(at_s, sessions.zone)
    since_midnight = local.hour * 3600 + local.minute * 60 + local.second
    left_s = size - since_midnight % size
    if size > _HOUR_S:
        # A clock that is changed within the cell makes it shorter or longer.
        midnight = datetime.combine(local.date(), time(tzinfo=sessions.zone))
        end_s = int((midnight + timedelta(seconds=since_midnight + left_s)).timestamp())
        return (end_s if end_s > at_s else at_s + left_s) * NS
    return (at_s + left_s) * NS


def bar_end(start_ns: int, resolution: Resolution, sessions: Sessions) -> int:
    """Where the intraday bar that starts at `start_ns` ends: at the grid, or before it with its stretch of trading."""
    end_ns = cell_end(start_ns, resolution, sessions)
    segment = sessions.segment_at(start_ns)
    return end_ns if segment is None else min(end_ns, segment[1])


def is_aligned(start_ns: int, resolution: Resolution, sessions: Sessions) -> bool:
    """Whether an intraday bar may start there: at the grid or at the begin of a stretch of trading.

    Beyond an hour only whole hours are asked for, because a changed clock shifts the grid of the day it is changed on.
    """
    local = datetime.fromtimestamp(start_ns // NS, sessions.zone)
    size = min(resolution.seconds, _HOUR_S)
    if start_ns % NS == 0 and (local.minute * 60 + local.second) % size == 0:
        return True
    segment = sessions.segment_at(start_ns)
    return segment is not None and segment[0] == start_ns


def first_start(ns: int, resolution: Resolution, sessions: Sessions) -> int | None:
    """The earliest time at or after `ns` at which an intraday bar starts; None after the last session."""
    segment = sessions.open_from(ns)
    while segment is not None:
        if segment[0] >= ns:
            return segment[0]
        start_ns = _next_at_or_after(ns, segment[0], resolution, sessions)
        if start_ns < segment[1]:
            return start_ns
        segment = sessions.open_from(segment[1])
    return None


def last_end(ns: int, resolution: Resolution, sessions: Sessions) -> int | None:
    """The latest time at or before `ns` at which an intraday bar ends; None before the first session."""
    segment = sessions.open_before(ns)
    while segment is not None:
        if segment[1] <= ns:
            return segment[1]
        end_ns = _last_at_or_before(ns, segment[0], resolution, sessions)
        if end_ns is not None:
            return end_ns
        segment = sessions.open_before(segment[0])
    return None


def _next_at_or_after(ns: int, floor_ns: int, resolution: Resolution, sessions: Sessions) -> int:
    """The first point of the grid at or after `ns`, which is after `floor_ns`."""
    return cell_end(max(floor_ns, -(-ns // NS) * NS - NS), resolution, sessions)


def _last_at_or_before(ns: int, floor_ns: int, resolution: Resolution, sessions: Sessions) -> int | None:
    """The last point of the grid in (floor_ns, ns]."""
    at_ns = max(floor_ns, (ns // NS - 2 * resolution.seconds) * NS)
    found = None
    while (at_ns := cell_end(at_ns, resolution, sessions)) <= ns:
        found = at_ns
    return found if found is not None and found > floor_ns else None


def period_of(day: date, resolution: Resolution) -> tuple[date, date]:
    """First and last calendar day of the day, week (from Monday) or month that `day` is in."""
    if resolution.kind == "week":
        first = day - day.weekday() * _DAY
        return first, first + 6 * _DAY
    if resolution.kind == "month":
        first = day.replace(day=1)
        return first, (first + 31 * _DAY).replace(day=1) - _DAY
    return day, day


def period_bounds(day: date, resolution: Resolution, sessions: Sessions) -> tuple[int, int] | None:
    """Begin of the first and end of the last session in the period of `day`; None when it has none."""
    first, last = period_of(day, resolution)
    low, high = sessions.first_on(first), sessions.last_on(last)
    return (sessions[low].start_ns, sessions[high].end_ns) if low <= high else None
