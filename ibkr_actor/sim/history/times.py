"""Owns the times of history requests: IB's date-times and durations, the stretch they mean, and how a bar's date looks.

Must not know a message or a price.
"""

from __future__ import annotations

import calendar as months
import datetime
import re
from typing import NamedTuple

from ibkr_actor.sim.market.bars import BarSize
from ibkr_actor.sim.market.calendar import Calendar, Segment, zone_of

# From here on UTC date-times end in Z. Source: ibapi MIN_SERVER_VER_ADD_Z_SUFFIX_TO_UTC_DATE_TIME; taken from its name.
Z_SUFFIX_FROM = 214
# The years a gateway takes; within them no date of a request can leave the calendar.
_FIRST_YEAR, _LAST_YEAR = 1978, 3000
_UTC_NAMES = frozenset({"UTC", "GMT", "Z", "ETC/UTC", "UCT", "ZULU", "UNIVERSAL"})
# With a dash it is UTC, whatever follows but a Z is wrong. Source: the text of error 10314.
_UTC_FORM = re.compile(r"(\d{8})-(\d{1,2}):(\d{2}):(\d{2})Z?")
_LOCAL_FORM = re.compile(r"(?:(\d{8}) +)?(\d{1,2}):(\d{2}):(\d{2})(?: +(\S.*))?")


class Moment(NamedTuple):
    """A time a client wrote, in seconds since 1970; `implied` when it named no zone and the host's was taken."""

    time_s: int
    implied: bool


def parse_moment(text: str, now_s: float, host_offset_s: int) -> Moment | None:
    """What a client means by an end or start; None for empty text, which is no time.

    Raises: ValueError for a text or a zone no gateway reads.
    """
    text = text.strip()
    if not text:
        return None
    if utc := _UTC_FORM.fullmatch(text):
        return Moment(_seconds(_date(utc[1]), utc.groups()[1:], datetime.UTC), implied=False)
    local = _LOCAL_FORM.fullmatch(text)
    if local is None:
        raise ValueError(text)
    day, hour, minute, second, name = local.groups()
    zone = datetime.timezone(datetime.timedelta(seconds=host_offset_s)) if name is None else _zone(name)
    date = datetime.datetime.fromtimestamp(now_s, zone).date() if day is None else _date(day)
    return Moment(_seconds(date, (hour, minute, second), zone), implied=name is None)


def _zone(name: str) -> datetime.tzinfo:
    """Raises: ValueError for a zone nobody knows."""
    if name.upper() in _UTC_NAMES:
        return datetime.UTC
    zone = zone_of(name)
    if zone.key == "UTC":
        raise ValueError(name)
    return zone


def _date(text: str) -> datetime.date:
    """Raises: ValueError for a day that is none, or one a gateway does not believe."""
    date = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:]))
    if not _FIRST_YEAR <= date.year <= _LAST_YEAR:
        raise ValueError(text)
    return date


def _seconds(date: datetime.date, clock: tuple[str, ...], zone: datetime.tzinfo) -> int:
    hour, minute, second = (int(part) for part in clock)
    return int(datetime.datetime.combine(date, datetime.time(hour, minute, second), zone).timestamp())


class Duration(NamedTuple):
    """`unit` is one of S, D, W, M, Y."""

    number: int
    unit: str


def parse_duration(text: str) -> Duration:
    """`2 D`; a number alone is seconds. Units are read in either case.

    Raises: ValueError with the cause a gateway gives. Source of the texts: error 321 as gateways send it.
    """
    if not text:
        raise ValueError("Historical data request duration not specified.")
    count, _, unit = (f"{text} S" if text.isascii() and text.isdigit() else text).partition(" ")
    unit = unit.upper()
    if not (count.isascii() and count.isdigit()) or unit not in ("S", "D", "W", "M", "Y"):
        raise ValueError(
            "When specifying a unit, historical data request duration format is integer{SPACE}unit (S|D|W|M|Y)."
        )
    if not 0 < int(count) < 1 << 31:
        raise ValueError("Historical data requested duration is invalid.")
    return Duration(int(count), unit)


def nominal_start_s(end_s: float, duration: Duration, zone: datetime.tzinfo) -> int:
    """The end moved back on the calendar, as historicalDataEnd says it; trading hours do not matter here."""
    if duration.unit == "S":
        return int(end_s) - duration.number
    end = datetime.datetime.fromtimestamp(end_s, zone)
    return int(datetime.datetime.combine(_back(end.date(), duration), end.time(), zone).timestamp())


def _back(date: datetime.date, duration: Duration) -> datetime.date:
    """The date so many days, weeks, months or years before, on the last day of a shorter month."""
    if duration.unit in ("D", "W"):
        return date - datetime.timedelta(days=duration.number * (7 if duration.unit == "W" else 1))
    month = date.year * 12 + date.month - 1 - duration.number * (12 if duration.unit == "Y" else 1)
    year, month = max(month // 12, 1900), month % 12 + 1
    return datetime.date(year, month, min(date.day, months.monthrange(year, month)[1]))


def start_s(calendar: Calendar, end_s: float, duration: Duration, *, regular_only: bool, whole_days: bool) -> float:
    """Where the bars of a request begin.

    S is that much trading time before the end. D is whole trade dates, the one that had begun by the end included; W,
    M and Y are the trade dates after the date that much earlier. `whole_days` (bars of a day or more) moves the start
    of S to that of its trade date.
    """
    last = _last_segment(calendar, end_s, regular_only)
    if duration.unit == "S":
        found_s, date = _seconds_back(calendar, last, end_s, duration.number, regular_only)
        return _day_start_s(calendar, date, regular_only) if whole_days else found_s
    if duration.unit == "D":
        date = last.trade_date
        for _ in range(duration.number - 1):
            date = calendar.previous(date)
        return _day_start_s(calendar, date, regular_only)
    after = _back(last.trade_date, duration)
    return _day_start_s(calendar, calendar.next(after), regular_only)


def _last_segment(calendar: Calendar, time_s: float, regular_only: bool) -> Segment:
    """The last one that counts and began before `time_s`."""
    segment = calendar.before(time_s)
    while regular_only and not segment.regular:
        segment = calendar.before(segment.start_s)
    return segment


def _seconds_back(
    calendar: Calendar, last: Segment, end_s: float, seconds: int, regular_only: bool
) -> tuple[float, datetime.date]:
    segment, upper_s, left_s = last, min(end_s, last.end_s), float(seconds)
    while upper_s - segment.start_s < left_s:
        left_s -= upper_s - segment.start_s
        segment = _last_segment(calendar, segment.start_s, regular_only)
        upper_s = segment.end_s
    return upper_s - left_s, segment.trade_date


def _day_start_s(calendar: Calendar, date: datetime.date, regular_only: bool) -> float:
    segments = calendar.day(date)
    counted = [each for each in segments if each.regular or not regular_only]
    return (counted or segments)[0].start_s


def zoned_text(time_s: float, zone: datetime.tzinfo, name: str) -> str:
    """`20231114 17:13:20 US/Eastern`."""
    return f"{datetime.datetime.fromtimestamp(time_s, zone):%Y%m%d %H:%M:%S} {name}"


def utc_text(time_s: float, server_version: int) -> str:
    """`20231114-22:13:20`, with a Z from 214 on."""
    text = f"{datetime.datetime.fromtimestamp(time_s, datetime.UTC):%Y%m%d-%H:%M:%S}"
    return f"{text}Z" if server_version >= Z_SUFFIX_FROM else text


def bar_date(
    start_s: float, trade_date: datetime.date, size: BarSize, format_date: int, zone: datetime.tzinfo, name: str
) -> str:
    """A bar's date by formatDate: 1 in the instrument's zone, 2 seconds since 1970, 3 as 1 without the year; bars of a
    day or more have their trade date always.
    """
    if not size.intraday:
        return f"{trade_date:%Y%m%d}"
    if format_date == 2:
        return str(int(start_s))
    text = zoned_text(start_s, zone, name)
    return text[4:] if format_date == 3 else text
