"""Five markets written out literally, and a gateway that answers requests for their bars as IB does.

Shares no code with the planner: sessions are texts, bars are cut from them by the wall clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ibkr_actor.core.history.events import HistoricalBar, HistoricalSchedule, ScheduleSession
from ibkr_actor.core.history.resolutions import Resolution

NS = 1_000_000_000
DAY = timedelta(days=1)
FIRST, LAST = date(2024, 11, 1), date(2026, 4, 30)
US_HOLIDAYS = {
    "20241128", "20241225", "20250101", "20250109", "20250120", "20250217", "20250418", "20250526", "20250619",
    "20250704", "20250901", "20251127", "20251225", "20260101", "20260119", "20260216", "20260403",
}  # fmt: skip
US_SHORT = {"20241129", "20241224", "20250703", "20251128", "20251224"}
TOKYO_HOLIDAYS = {"20241231", "20250101", "20250102", "20250103", "20250113", "20251231", "20260101", "20260102"}


class Market(NamedTuple):
    """`parts` are HH:MM pairs; one that ends before it begins began the evening before its trade date."""

    name: str
    zone: str
    parts: tuple[tuple[str, str], ...]
    weekend: bool = False
    holidays: frozenset[str] = frozenset()
    short: frozenset[str] = frozenset()
    short_end: str = "13:00"


MARKETS = {
    market.name: market
    for market in (
        Market("us-rth", "America/New_York", (("09:30", "16:00"),), False, frozenset(US_HOLIDAYS), frozenset(US_SHORT)),
        Market(
            "us-all",
            "America/New_York",
            (("04:00", "20:00"),),
            False,
            frozenset(US_HOLIDAYS),
            frozenset(US_SHORT),
            "17:00",
        ),
        Market("forex", "America/New_York", (("17:15", "17:00"),), False, frozenset({"20241225", "20251225"})),
        Market("crypto", "America/New_York", (("00:00", "24:00"),), True),
        Market("tokyo", "Asia/Tokyo", (("09:00", "11:30"), ("12:30", "15:00")), False, frozenset(TOKYO_HOLIDAYS)),
        Market("futures", "America/New_York", (("18:00", "17:00"),), False, frozenset({"20250418", "20251225"})),
    )
}


class Day(NamedTuple):
    trade_date: date
    segments: tuple[tuple[int, int], ...]

    @property
    def start_s(self) -> int:
        return self.segments[0][0]

    @property
    def end_s(self) -> int:
        return self.segments[-1][1]


class Bar(NamedTuple):
    start_s: int
    end_s: int
    label: date


def wall(day: date, text: str, zone: str) -> int:
    """A wall-clock time in seconds since 1970; 24:00 is the next midnight."""
    hour, minute = int(text[:2]), int(text[3:])
    if hour == 24:
        day, hour = day + DAY, 0
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp())


@cache
def days_of(name: str) -> tuple[Day, ...]:
    market = MARKETS[name]
    days = []
    for n in range((LAST - FIRST).days + 1):
        day = FIRST + n * DAY
        text = day.strftime("%Y%m%d")
        if (day.weekday() >= 5 and not market.weekend) or text in market.holidays:
            continue
        segments = []
        for begin, end in market.parts:
            start_s = wall(day - DAY if begin > end else day, begin, market.zone)
            segments.append((start_s, wall(day, market.short_end if text in market.short else end, market.zone)))
        days.append(Day(day, tuple(segments)))
    return tuple(days)


def schedule(name: str, first: date = FIRST, last: date = LAST) -> HistoricalSchedule:
    """What IB would list of a market's sessions, each stretch in a row of its own."""
    zone = ZoneInfo(MARKETS[name].zone)

    def text(at_s: int) -> str:
        return datetime.fromtimestamp(at_s, zone).strftime("%Y%m%d-%H:%M:%S")

    rows = [
        ScheduleSession(text(start_s), text(end_s), day.trade_date.strftime("%Y%m%d"))
        for day in days_of(name)
        if first <= day.trade_date <= last
        for start_s, end_s in day.segments
    ]
    return HistoricalSchedule(1, 1, MARKETS[name].zone, tuple(rows))


def hours_text(name: str, first: date, days: int = 7) -> str:
    """What IB would write of a market's hours in contract details, beginning with a day."""
    zone = ZoneInfo(MARKETS[name].zone)

    def text(at_s: int) -> str:
        return datetime.fromtimestamp(at_s, zone).strftime("%Y%m%d:%H%M")

    by_date = {day.trade_date: day for day in days_of(name)}
    parts = []
    for n in range(days):
        day = by_date.get(first + n * DAY)
        if day is None:
            parts.append(f"{first + n * DAY:%Y%m%d}:CLOSED")
        else:
            parts.append(",".join(f"{text(start_s)}-{text(end_s)}" for start_s, end_s in day.segments))
    return ";".join(parts)


def edges(day: Day, resolution: Resolution, zone: str) -> Iterator[tuple[int, int]]:
    """The bars of one trade date: its stretches cut at multiples of the size by the wall clock."""
    size = resolution.seconds
    for start_s, end_s in day.segments:
        if size <= 3600:
            cuts = list(range(start_s // size * size + size, end_s, size))
        else:
            local = datetime.fromtimestamp(start_s, ZoneInfo(zone)).date()
            wall_times = [
                datetime(d.year, d.month, d.day, hour, tzinfo=ZoneInfo(zone))
                for d in (local, local + DAY)
                for hour in range(0, 24, size // 3600)
            ]
            points = sorted({int(at.timestamp()) for at in wall_times})
            cuts = [at for at in points if start_s < at < end_s]
        yield from pairwise([start_s, *cuts, end_s])


def period_key(day: date, resolution: Resolution) -> object:
    if resolution.name == "1w":
        return day.isocalendar()[:2]
    return (day.year, day.month) if resolution.name == "1M" else day


@cache
def long_bars(name: str, resolution: Resolution) -> tuple[Bar, ...]:
    """Bars of a day and longer, labelled with the last trade date in them."""
    grouped: dict[object, list[Day]] = {}
    for day in days_of(name):
        grouped.setdefault(period_key(day.trade_date, resolution), []).append(day)
    return tuple(Bar(days[0].start_s, days[-1].end_s, days[-1].trade_date) for days in grouped.values())


def bars_between(name: str, resolution: Resolution, from_s: int, to_s: int) -> list[Bar]:
    """All bars that lie wholly inside [from_s, to_s]."""
    if resolution.seconds >= 86_400:
        return [bar for bar in long_bars(name, resolution) if from_s <= bar.start_s and bar.end_s <= to_s]
    days = days_of(name)
    found = []
    for day in days[max(0, bisect_left(days, from_s, key=lambda d: d.end_s)) :]:
        if day.start_s >= to_s:
            break
        for start_s, end_s in edges(day, resolution, MARKETS[name].zone):
            if from_s <= start_s and end_s <= to_s:
                found.append(Bar(start_s, end_s, day.trade_date))
    return found


def months_back(day: date, months: int) -> date:
    year, month = day.year - months // 12, day.month - months % 12
    if month < 1:
        year, month = year - 1, month + 12
    for last in (day.day, 30, 29, 28):
        try:
            return date(year, month, min(day.day, last))
        except ValueError:
            continue
    raise AssertionError


def reach_back(name: str, end_s: int, count: int, unit: str) -> int:
    """From where on a request brings bars: seconds of trading, trade dates that touch, or the calendar."""
    days = days_of(name)
    last = bisect_left(days, end_s, key=lambda d: d.start_s) - 1
    if unit == "D":
        return days[max(0, last - count + 1)].start_s
    if unit == "S":
        left = count
        for day in reversed(days[: last + 1]):
            for start_s, stop_s in reversed(day.segments):
                held = min(stop_s, end_s) - start_s
                if held >= left:
                    return min(stop_s, end_s) - left
                left -= max(0, held)
        return days[0].start_s
    end_day = days[last].trade_date
    since = end_day - 7 * count * DAY if unit == "W" else months_back(end_day, count * (12 if unit == "Y" else 1))
    return days[min(len(days) - 1, bisect_right(days, since, key=lambda d: d.trade_date))].start_s


def answer(name: str, resolution: Resolution, end: str, duration: str) -> list[HistoricalBar]:
    """What the gateway answers, oldest first."""
    end_s = int(datetime.strptime(end, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC).timestamp())
    count, _, unit = duration.partition(" ")
    from_s = reach_back(name, end_s, int(count), unit)
    return [wire(bar, resolution) for bar in bars_between(name, resolution, from_s, end_s)]


def wire(bar: Bar, resolution: Resolution) -> HistoricalBar:
    """A bar whose prices tell where it begins."""
    text = bar.label.strftime("%Y%m%d") if resolution.seconds >= 86_400 else str(bar.start_s)
    price = float(bar.start_s % 100_000)
    return HistoricalBar(text, price, price + 1, None, price, "100", "1.5", 3)
