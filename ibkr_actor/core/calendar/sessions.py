"""Owns when an instrument trades: its trade dates with their stretches of trading, in UTC nanoseconds.

Must not know bars or requests; reads IB's texts and answers what is open when.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

from ibkr_actor.core.calendar.hours import trading_ranges, zone_named
from ibkr_actor.core.history.events import HistoricalSchedule

NS: Final = 1_000_000_000
_DAY: Final = timedelta(days=1)
_SATURDAY: Final = 5
_WEEKEND: Final = frozenset({5, 6})
_ROUND_THE_CLOCK: Final = (((0, 0), (1, 0)),)

Segment = tuple[int, int]
# Begin and end of each stretch: days from the trade date, and seconds of that day by the wall clock.
Shape = tuple[tuple[tuple[int, int], tuple[int, int]], ...]


class Session(Struct, frozen=True):
    """One trade date: stretches of trading [from_ns, to_ns) in order, without overlap (two with a lunch break)."""

    trade_date: date
    segments: tuple[Segment, ...]

    @property
    def start_ns(self) -> int:
        return self.segments[0][0]

    @property
    def end_ns(self) -> int:
        return self.segments[-1][1]


class Sessions:
    """An instrument's trade dates in order.

    `exact` says that they are IB's own list (holidays and short days are right), not the week's pattern repeated.
    `known` are the first and last trade date that were given; what `extended` adds is pattern in either case.
    `unlisted` are the weekdays that are taken to be closed though nothing was said of them.
    """

    def __init__(
        self,
        zone: ZoneInfo,
        days: Iterable[Session],
        *,
        exact: bool,
        pattern: Mapping[int, Shape],
        unlisted: frozenset[int] = frozenset(),
    ) -> None:
        self.zone = zone
        self.unlisted = unlisted
        self.exact = exact
        self._pattern = dict(pattern)
        self._days = _in_order(days)
        self.known = (self._days[0].trade_date, self._days[-1].trade_date) if self._days else None
        self._index()

    def _index(self) -> None:
        self._dates = [day.trade_date for day in self._days]
        self._starts = [day.start_ns for day in self._days]
        self._ends = [day.end_ns for day in self._days]

    def __len__(self) -> int:
        return len(self._days)

    def __iter__(self) -> Iterator[Session]:
        return iter(self._days)

    def __getitem__(self, index: int) -> Session:
        return self._days[index]

    @property
    def week(self) -> int:
        """How many trade dates a week has."""
        return len(self._pattern)

    def extended(self, first: date, last: date) -> Sessions:
        """The same with the week's pattern before and after what is known, so that it reaches from `first` to `last`.

        Days between known ones that are missing stay closed: those are holidays.
        """
        known = self.known
        wanted = [first + n * _DAY for n in range((last - first).days + 1)]
        added = [day for day in wanted if known is None or not known[0] <= day <= known[1]]
        made = [self._made(day) for day in added if day.weekday() in self._pattern]
        if not made:
            return self
        days = [*self._days, *made]
        wider = Sessions(self.zone, days, exact=self.exact, pattern=self._pattern, unlisted=self.unlisted)
        wider.known = known
        return wider

    def _made(self, day: date) -> Session:
        shape = self._pattern[day.weekday()]
        segments = [(_moment(day, begin, self.zone), _moment(day, end, self.zone)) for begin, end in shape]
        # A clock that is put forward can swallow a short stretch.
        return Session(day, tuple(each for each in segments if each[0] < each[1]))

    def first_from(self, ns: int) -> int:
        """Index of the first trade date that ends after `ns`."""
        return bisect_right(self._ends, ns)

    def last_before(self, ns: int) -> int:
        """Index of the last trade date that starts before `ns`, -1 when there is none."""
        return bisect_left(self._starts, ns) - 1

    def on(self, day: date) -> Session | None:
        """The session of a trade date."""
        index = bisect_left(self._dates, day)
        return self._days[index] if index < len(self._days) and self._dates[index] == day else None

    def first_on(self, day: date) -> int:
        """Index of the first trade date at or after `day`."""
        return bisect_left(self._dates, day)

    def last_on(self, day: date) -> int:
        """Index of the last trade date at or before `day`, -1 when there is none."""
        return bisect_right(self._dates, day) - 1

    def segment_at(self, ns: int) -> Segment | None:
        """The stretch of trading in which `ns` is."""
        index = self.first_from(ns)
        if index < len(self._days):
            for segment in self._days[index].segments:
                if segment[0] <= ns < segment[1]:
                    return segment
        return None

    def open_from(self, ns: int) -> Segment | None:
        """The stretch of trading in which `ns` is, or the next one."""
        index = self.first_from(ns)
        if index >= len(self._days):
            return None
        return next(each for each in self._days[index].segments if each[1] > ns)

    def open_before(self, ns: int) -> Segment | None:
        """The last stretch of trading that begins before `ns`."""
        index = self.last_before(ns)
        if index < 0:
            return None
        return next(each for each in reversed(self._days[index].segments) if each[0] < ns)

    def date_at(self, ns: int) -> date | None:
        """The trade date `ns` belongs to; None in closed time."""
        index = self.first_from(ns)
        return self._dates[index] if index < len(self._days) and self.segment_at(ns) is not None else None

    def any_in(self, from_ns: int, to_ns: int) -> bool:
        """Whether there is trading in [from_ns, to_ns)."""
        segment = self.open_from(from_ns)
        return segment is not None and segment[0] < to_ns


def from_schedule(schedule: HistoricalSchedule, zone_name: str = "") -> Sessions:
    """Sessions as IB listed them; stretches with one trade date belong together.

    `zone_name` (a contract's) is used when the schedule names no zone that can be read. Rows that cannot be read are
    left out. Raises: ValueError when no zone is known.
    """
    zone = zone_named(schedule.time_zone) or zone_named(zone_name)
    if zone is None:
        raise ValueError(f"the schedule's time zone {schedule.time_zone!r} is not known")
    by_date: dict[date, list[Segment]] = {}
    for row in schedule.sessions:
        try:
            day = date_of(row.ref_date)
            segment = (_parsed(row.start, zone), _parsed(row.end, zone))
        except ValueError:
            continue
        if segment[0] < segment[1]:
            by_date.setdefault(day, []).append(segment)
    days = [Session(day, _joined(segments)) for day, segments in sorted(by_date.items())]
    return Sessions(zone, days, exact=True, pattern=weekly(days, zone))


def from_hours(hours: str, zone_name: str) -> Sessions:
    """Sessions by the text of about a week in contract details, for a gateway that has no schedule.

    The trade date of a stretch is the day it ends on. Raises: ValueError when zone or text cannot be read.
    """
    zone = zone_named(zone_name)
    if zone is None:
        raise ValueError(f"the contract's time zone {zone_name!r} is not known")
    by_date: dict[date, list[Segment]] = {}
    for start, end in trading_ranges(hours, zone):
        if start < end:
            # Midnight still belongs to the day before.
            day = (end - timedelta(seconds=1)).date()
            by_date.setdefault(day, []).append((_ns(start), _ns(end)))
    days = [Session(day, _joined(segments)) for day, segments in sorted(by_date.items())]
    if not days:
        raise ValueError(f"no trading hours can be read from {hours!r}")
    pattern = weekly(days, zone)
    # About a week is listed, so one day of it may not be: what trades on one day of the weekend does on the other.
    listed = {datetime.strptime(text, "%Y%m%d").replace(tzinfo=zone).weekday() for text in _listed(hours)}
    for weekday in _WEEKEND - listed - pattern.keys():
        shape = pattern.get(2 * _SATURDAY + 1 - weekday)
        if shape is not None:
            pattern[weekday] = shape
    if not any(weekday < _SATURDAY for weekday in pattern):
        # Nothing tells when it trades on a working day; what IB is asked for in vain is better than what is missed.
        pattern |= dict.fromkeys(range(_SATURDAY), _ROUND_THE_CLOCK)
    unlisted = _WEEKEND - listed - pattern.keys()
    return Sessions(zone, days, exact=False, pattern=pattern, unlisted=unlisted)


def _listed(hours: str) -> list[str]:
    return [text for text in re.findall(r"(?:^|;)([0-9]{8}):", hours) if _is_day(text)]


def _is_day(text: str) -> bool:
    return 1 <= int(text[4:6]) <= 12 and 1 <= int(text[6:]) <= monthrange(int(text[:4]) or 1, int(text[4:6]))[1]


def weekly(days: Iterable[Session], zone: ZoneInfo) -> dict[int, Shape]:
    """Weekday -> what is usual on it: its own most frequent shape, so that holidays and short days do not count.

    A day from Monday to Friday that is nowhere seen open takes the shape most frequent on the others.
    """
    seen: dict[int, Counter[Shape]] = {}
    for day in days:
        seen.setdefault(day.trade_date.weekday(), Counter())[_shape(day, zone)] += 1
    working = sum((counts for weekday, counts in seen.items() if weekday < _SATURDAY), Counter[Shape]())
    pattern = {weekday: counts.most_common(1)[0][0] for weekday, counts in seen.items()}
    if working:
        usual = working.most_common(1)[0][0]
        for weekday in range(_SATURDAY):
            counts = seen.get(weekday)
            # One listing alone may be a short day; the week's majority is the better guess.
            if counts is None or (counts.total() == 1 and working[usual] > 1):
                pattern[weekday] = usual
    return pattern


def _shape(day: Session, zone: ZoneInfo) -> Shape:
    return tuple(
        (_offset(start, day.trade_date, zone), _offset(end, day.trade_date, zone)) for start, end in day.segments
    )


def _offset(ns: int, day: date, zone: ZoneInfo) -> tuple[int, int]:
    local = datetime.fromtimestamp(ns // NS, zone)
    return (local.date() - day).days, local.hour * 3600 + local.minute * 60 + local.second


def _moment(day: date, offset: tuple[int, int], zone: ZoneInfo) -> int:
    days, seconds = offset
    # Within one zone the sum goes by the wall clock.
    return _ns(datetime.combine(day, time(tzinfo=zone)) + timedelta(days=days, seconds=seconds))


def _parsed(text: str, zone: ZoneInfo) -> int:
    """`yyyyMMdd-HH:mm:ss`; some gateways write a blank instead of the dash. Raises: ValueError for anything else."""
    if len(text) != 17 or text[8] not in "- ":
        raise ValueError(f"{text!r} is no time")
    return _ns(datetime.combine(date_of(text[:8]), time.fromisoformat(text[9:]), zone))


def clock_ns(text: str, zone: tzinfo) -> int:
    """`yyyyMMdd HH:mm:ss [zone]`, in `zone` when the text names none, or `yyyyMMdd-HH:mm:ss` in UTC.

    IB's other ways of writing when a bar begins, for a gateway that does not heed `formatDate` 2. Raises: ValueError.
    """
    clock, _, name = text[9:].strip().partition(" ")
    named: tzinfo | None = UTC if text[8:9] == "-" else zone_named(name) if name else zone
    if named is None:
        raise ValueError(f"the time zone of {text[:50]!r} is not known")
    return _ns(datetime.combine(date_of(text[:8]), time.fromisoformat(clock), named))


def date_of(text: str) -> date:
    """`yyyyMMdd`. A year of bars has hundreds of these, and `strptime` takes ten times as long.

    Raises: ValueError for what is no date.
    """
    if len(text) != 8 or not text.isdecimal():
        raise ValueError(f"{text!r} is no date")
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * NS


def _joined(segments: list[Segment]) -> tuple[Segment, ...]:
    """In order, what touches or overlaps made one."""
    joined: list[Segment] = []
    for start, end in sorted(segments):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _in_order(days: Iterable[Session]) -> list[Session]:
    """By trade date; a stretch that begins before the last one ended is cut, so that no time is in two of them."""
    found: list[Session] = []
    for day in sorted((day for day in days if day.segments), key=lambda day: day.trade_date):
        floor_ns = found[-1].end_ns if found else day.start_ns
        kept = tuple((max(start, floor_ns), end) for start, end in day.segments if end > floor_ns)
        if kept:
            found.append(day if kept == day.segments else Session(day.trade_date, kept))
    return found
