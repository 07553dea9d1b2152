"""Owns when an instrument trades: segments of trading, trade dates, and IB's texts of both.

Must not know prices; an instrument is read for its hours and nothing else.
"""

from __future__ import annotations

import bisect
import datetime
import itertools
import zoneinfo
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ibkr_actor.sim.market.holidays import holidays
from ibkr_actor.sim.market.instruments import Instrument

MarketHours = Literal["always", "exchange"]
_DAY = datetime.timedelta(days=1)
_CACHED_DAYS = 4096
# No exchange of the table is closed longer than this.
_LONGEST_PAUSE_DAYS = 12
# IB's own names of zones that are elsewhere a fixed offset or nothing. Source: ContractDetails.timeZoneId as observed.
_ZONES = {
    "EST": "America/New_York", "EST5EDT": "America/New_York", "CST": "America/Chicago", "MET": "Europe/Berlin",
    "CET": "Europe/Berlin", "GMT": "Europe/London", "BST": "Europe/London", "GB-Eire": "Europe/London",
    "JST": "Asia/Tokyo", "HKT": "Asia/Hong_Kong", "US/Eastern": "America/New_York",
    "US/Central": "America/Chicago", "US/Pacific": "America/Los_Angeles", "Hongkong": "Asia/Hong_Kong",
}  # fmt: skip


class Segment(NamedTuple):
    """A stretch of trading in seconds since 1970; `regular` is inside liquid hours."""

    start_s: int
    end_s: int
    regular: bool
    trade_date: datetime.date


class Hours(NamedTuple):
    """A row of the table: `HHMM-HHMM` parts joined by commas in `zone`; a part that ends before it starts began the
    evening before. `early` is the minute the regular part of a short day ends at, and `early_all` the whole day.
    """

    zone: str
    trading: str
    liquid: str
    group: str
    weekend: bool = False
    early: str = "1300"
    early_all: str = "1700"


# Source: the exchanges' own pages, and trading hours in contract details of a live gateway.
HOURS: dict[str, Hours] = {
    "us-stock": Hours("US/Eastern", "0400-2000", "0930-1600", "us"),
    "us-option": Hours("US/Eastern", "0930-1600", "0930-1600", "us", early_all="1300"),
    "us-index": Hours("US/Eastern", "0930-1600", "0930-1600", "us", early_all="1300"),
    "us-index-option": Hours("US/Eastern", "0930-1615", "0930-1615", "us", early="1315", early_all="1315"),
    "us-bond": Hours("US/Eastern", "0800-1700", "0800-1700", "us", early="1400", early_all="1400"),
    "us-fund": Hours("US/Eastern", "0930-1600", "0930-1600", "us", early_all="1300"),
    "cme": Hours("US/Central", "1700-1600", "0830-1600", "us-futures", early="1215", early_all="1215"),
    "nymex": Hours("US/Eastern", "1800-1700", "0900-1700", "us-futures", early="1330", early_all="1330"),
    "cboe-futures": Hours("US/Central", "1700-1600", "0830-1500", "us-futures", early="1130", early_all="1130"),
    "forex": Hours("US/Eastern", "1715-1700", "1715-1700", "forex"),
    "metals": Hours("US/Eastern", "1800-1700", "1800-1700", "forex"),
    "crypto": Hours("US/Eastern", "0000-2400", "0000-2400", "none", weekend=True),
    "always": Hours("UTC", "0000-2400", "0000-2400", "none", weekend=True),
    "tsx": Hours("US/Eastern", "0930-1600", "0930-1600", "ca", early_all="1300"),
    "lse": Hours("Europe/London", "0800-1630", "0800-1630", "uk", early="1230", early_all="1230"),
    "xetra": Hours("Europe/Berlin", "0900-1730", "0900-1730", "de"),
    "sehk": Hours("Asia/Hong_Kong", "0930-1200,1300-1600", "0930-1200,1300-1600", "hk", early="1200", early_all="1200"),
}
_GROUP_OF_ZONE = {
    "America/New_York": "us", "America/Chicago": "us", "Europe/Berlin": "de", "Europe/London": "uk",
    "Asia/Hong_Kong": "hk",
}  # fmt: skip


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """The zone IB means by a name; UTC for one nobody knows."""
    try:
        return zoneinfo.ZoneInfo(_ZONES.get(name, name))
    except (OSError, ValueError, KeyError):
        return zoneinfo.ZoneInfo("UTC")


def hours_of(instrument: Instrument) -> Hours:
    """The instrument's row of the table, or one made of its own sessions where they are not those of the default row.

    Raises: ValueError for a row that is not there.
    """
    plain = (instrument.time_zone_id, instrument.trading_session, instrument.liquid_session)
    if instrument.hours == "us-stock" and plain != ("US/Eastern", "0400-2000", "0930-1600"):
        group = _GROUP_OF_ZONE.get(zone_of(instrument.time_zone_id).key, "forex")
        overnight = instrument.trading_session[:4] > instrument.trading_session[-4:]
        return Hours(*plain, "forex" if overnight else group)
    found = HOURS.get(instrument.hours)
    if found is None:
        raise ValueError(f"hours {instrument.hours!r} of {instrument.key} are not one of {', '.join(HOURS)}")
    return found


class Calendar:
    """When one instrument trades. All times are whole seconds since 1970, all dates are trade dates.

    With `market_hours` `always` the regular segments are those of the exchange, and all other time, nights, weekends
    and holidays included, is trading too: it belongs to the trade date it leads up to, and after the regular part of a
    day until its exchange closes to that day.
    """

    def __init__(self, instrument: Instrument, market_hours: MarketHours = "exchange") -> None:
        self._hours = hours_of(instrument)
        self.zone = zone_of(instrument.time_zone_id)
        self._local = zone_of(self._hours.zone)
        self._always = market_hours == "always"
        self._days: dict[datetime.date, list[Segment]] = {}

    def is_trade_date(self, day: datetime.date) -> bool:
        if day.weekday() >= 5 and not self._hours.weekend:
            return False
        return day not in holidays(self._hours.group, day.year).closed

    def trade_dates(self, first: datetime.date, last: datetime.date) -> list[datetime.date]:
        """The trade dates from `first` to `last`, both included."""
        return [day for day in _dates(first, last) if self.is_trade_date(day)]

    def previous(self, day: datetime.date) -> datetime.date:
        """The trade date before `day`."""
        return next(d for d in _dates(day - _DAY, day - _LONGEST_PAUSE_DAYS * _DAY) if self.is_trade_date(d))

    def next(self, day: datetime.date) -> datetime.date:
        """The trade date after `day`."""
        return next(d for d in _dates(day + _DAY, day + _LONGEST_PAUSE_DAYS * _DAY) if self.is_trade_date(d))

    def day(self, trade_date: datetime.date) -> list[Segment]:
        """The segments of a trade date in order; none on a day without trading."""
        found = self._days.get(trade_date)
        if found is None:
            if len(self._days) >= _CACHED_DAYS:
                self._days.clear()
            found = self._days[trade_date] = self._make_day(trade_date)
        return found

    def segments(self, start_s: float, end_s: float) -> list[Segment]:
        """Whole segments that overlap [start_s, end_s), in order."""
        found: list[Segment] = []
        for day in self._dates_from(start_s):
            segments = self.day(day)
            if segments and segments[0].start_s >= end_s:
                break
            found += [each for each in segments if each.end_s > start_s and each.start_s < end_s]
        return found

    def at(self, time_s: float) -> Segment | None:
        """The segment in which `time_s` is."""
        found = self.segments(time_s, time_s + 1e-6)
        return found[0] if found else None

    def after(self, time_s: float) -> Segment:
        """The segment in which `time_s` is, or the next one."""
        for day in self._dates_from(time_s):
            for each in self.day(day):
                if each.end_s > time_s:
                    return each
        raise AssertionError("the days never end")

    def before(self, time_s: float) -> Segment:
        """The last segment that began before `time_s`."""
        day = self._date(time_s) + 2 * _LONGEST_PAUSE_DAYS * _DAY
        first = day - 4 * _LONGEST_PAUSE_DAYS * _DAY
        while day > first:
            for each in reversed(self.day(day)):
                if each.start_s < time_s:
                    return each
            day -= _DAY
        raise AssertionError("no exchange is closed for so long")

    def trade_date_at(self, time_s: float) -> datetime.date:
        """The trade date of the segment in which `time_s` is, or of the next one."""
        return self.after(time_s).trade_date

    def trading_hours_text(self, now_s: float, days: int = 6) -> str:
        """IB's text of the coming days: `20220107:0400-20220107:2000;20220108:CLOSED;...`."""
        if not self._always:
            return self._text(now_s, days, regular_only=False)
        first = datetime.datetime.fromtimestamp(now_s, self.zone).date()
        return ";".join(
            f"{_stamp(day)}:0000-{_stamp(day + _DAY)}:0000" for day in _dates(first, first + (days - 1) * _DAY)
        )

    def liquid_hours_text(self, now_s: float, days: int = 6) -> str:
        """IB's text of the regular hours of the coming days."""
        return self._text(now_s, days, regular_only=True)

    def _text(self, now_s: float, days: int, *, regular_only: bool) -> str:
        first = datetime.datetime.fromtimestamp(now_s, self.zone).date()
        return ";".join(self._day_text(day, regular_only) for day in _dates(first, first + (days - 1) * _DAY))

    def _day_text(self, day: datetime.date, regular_only: bool) -> str:
        spans = self._spans(self._hours.liquid if regular_only else self._hours.trading, day, regular_only)
        if not spans:
            return f"{_stamp(day)}:CLOSED"
        return ",".join(f"{self._moment(start_s)}-{self._moment(end_s)}" for start_s, end_s in spans)

    def _moment(self, time_s: int) -> str:
        return datetime.datetime.fromtimestamp(time_s, self.zone).strftime("%Y%m%d:%H%M")

    def _date(self, time_s: float) -> datetime.date:
        return datetime.datetime.fromtimestamp(time_s, self._local).date()

    def _dates_from(self, time_s: float) -> Iterator[datetime.date]:
        """Days without end, beginning with one that is over by `time_s`."""
        day = self._date(time_s) - _DAY
        while True:
            yield day
            day += _DAY

    def _spans(self, text: str, day: datetime.date, regular: bool) -> list[tuple[int, int]]:
        """The parts of `text` on a trade date, cut short on a short day; none on a closed one."""
        if not self.is_trade_date(day):
            return []
        spans = []
        cut_s = None
        if day in holidays(self._hours.group, day.year).early:
            cut_s = self._time(day, self._hours.early if regular else self._hours.early_all)
        for part in text.split(","):
            opens, _, closes = part.partition("-")
            start_s = self._time(day - _DAY if opens > closes else day, opens)
            end_s = self._time(day, closes)
            end_s = end_s if cut_s is None else min(end_s, cut_s)
            if start_s < end_s:
                spans.append((start_s, end_s))
        return spans

    def _time(self, day: datetime.date, text: str) -> int:
        """`HHMM` of a day; 2400 is the next midnight."""
        hour, minute = int(text[:2]), int(text[2:])
        if hour == 24:
            day, hour = day + _DAY, 0
        return int(datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=self._local).timestamp())

    def _make_day(self, day: datetime.date) -> list[Segment]:
        regular = self._spans(self._hours.liquid, day, True)
        trading = self._spans(self._hours.trading, day, False)
        if not trading:
            return []
        if self._always:
            before = self._spans(self._hours.trading, self.previous(day), False)
            trading = [(before[-1][1], trading[-1][1])]
        edges = sorted({edge for span in (*trading, *regular) for edge in span})
        pieces = []
        for start_s, end_s in itertools.pairwise(edges):
            if _inside(start_s, trading):
                pieces.append(Segment(start_s, end_s, _inside(start_s, regular), day))
        return pieces


def _inside(time_s: int, spans: list[tuple[int, int]]) -> bool:
    position = bisect.bisect_right(spans, (time_s, 1 << 62)) - 1
    return position >= 0 and time_s < spans[position][1]


def _dates(first: datetime.date, last: datetime.date) -> Iterator[datetime.date]:
    """From first to last, both included, backwards when last is earlier."""
    step = 1 if last >= first else -1
    for offset in range(0, (last - first).days + step, step):
        yield first + offset * _DAY


def _stamp(day: datetime.date) -> str:
    return day.strftime("%Y%m%d")
