"""Owns the tests of trading hours, trade dates, holidays and IB's texts of them.

Must not look at prices.
"""

from __future__ import annotations

import datetime
import itertools
import zoneinfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.calendar.hours import market_at
from ibkr_actor.sim.market.calendar import HOURS, Calendar, MarketHours, Segment
from ibkr_actor.sim.market.holidays import GROUPS, easter, holidays
from ibkr_actor.sim.market.instruments import Instrument

UTC = datetime.UTC


def instrument(hours: str = "us-stock", zone: str | None = None, **more: str) -> Instrument:
    zone = zone or (HOURS[hours].zone if hours in HOURS else "UTC")
    made = Instrument(
        con_id=1, symbol="X", sec_type="STK", exchange="SMART", currency="USD", hours=hours, time_zone_id=zone
    )
    return msgspec.structs.replace(made, **more)


def at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def local(segments: list[Segment], zone: str) -> list[tuple[str, str, bool]]:
    def clock(time_s: int) -> str:
        return datetime.datetime.fromtimestamp(time_s, zoneinfo.ZoneInfo(zone)).strftime("%d %H:%M")

    return [(clock(each.start_s), clock(each.end_s), each.regular) for each in segments]


TIMES = st.integers(int(at("1999-01-01T00:00Z")), int(at("2037-12-31T00:00Z")))


@pytest.mark.parametrize("hours", list(HOURS))
@pytest.mark.parametrize("market_hours", ["always", "exchange"])
@settings(max_examples=15, deadline=None)
@given(start=TIMES, length=st.integers(1, 40 * 86_400))
def test_segments_are_in_order_and_never_overlap(
    hours: str, market_hours: MarketHours, start: int, length: int
) -> None:
    calendar = Calendar(instrument(hours), market_hours)
    segments = calendar.segments(start, start + length)
    for left, right in itertools.pairwise(segments):
        assert left.end_s <= right.start_s
        assert left.trade_date <= right.trade_date
        if market_hours == "always":
            assert left.end_s == right.start_s
    for each in segments:
        assert start < each.end_s
        assert each.start_s < min(each.end_s, start + length)
        assert each in calendar.day(each.trade_date)
        assert calendar.at(each.start_s) == each == calendar.at(each.end_s - 1)
    first = calendar.after(start)
    assert first.end_s > start
    assert calendar.at(start) in (None, first)
    assert calendar.before(first.start_s).end_s <= first.start_s


@settings(max_examples=60, deadline=None)
@given(start=TIMES, hours=st.sampled_from(sorted(HOURS)))
def test_regular_hours_are_the_same_whether_the_market_ever_closes_or_not(start: int, hours: str) -> None:
    spans = []
    for market_hours in ("always", "exchange"):
        calendar = Calendar(instrument(hours), "always" if market_hours == "always" else "exchange")
        spans.append([each for each in calendar.segments(start, start + 10 * 86_400) if each.regular])
        assert calendar.liquid_hours_text(start) == Calendar(instrument(hours), "exchange").liquid_hours_text(start)
    assert spans[0] == spans[1]


def test_a_day_of_a_us_stock() -> None:
    calendar = Calendar(instrument())
    assert local(calendar.day(datetime.date(2024, 3, 11)), "America/New_York") == [
        ("11 04:00", "11 09:30", False),
        ("11 09:30", "11 16:00", True),
        ("11 16:00", "11 20:00", False),
    ]
    assert calendar.at(at("2024-03-11T08:00Z")) == calendar.day(datetime.date(2024, 3, 11))[0]
    assert calendar.at(at("2024-03-11T07:59:59Z")) is None


def test_regular_hours_follow_the_clock_of_the_exchange() -> None:
    calendar = Calendar(instrument("us-index"))
    winter, summer = (calendar.day(datetime.date(2024, 3, day))[0].start_s for day in (8, 11))
    assert (winter, summer) == (at("2024-03-08T14:30Z"), at("2024-03-11T13:30Z"))


def test_a_day_that_begins_the_evening_before() -> None:
    calendar = Calendar(instrument("cme"))
    assert local(calendar.day(datetime.date(2024, 6, 3)), "America/Chicago") == [
        ("02 17:00", "03 08:30", False),
        ("03 08:30", "03 16:00", True),
    ]
    assert calendar.trade_date_at(at("2024-06-02T23:00Z")) == datetime.date(2024, 6, 3)
    assert calendar.trade_date_at(at("2024-06-01T12:00Z")) == datetime.date(2024, 6, 3)


def test_a_day_with_a_break_at_noon() -> None:
    calendar = Calendar(instrument("sehk"))
    assert local(calendar.day(datetime.date(2024, 6, 3)), "Asia/Hong_Kong") == [
        ("03 09:30", "03 12:00", True),
        ("03 13:00", "03 16:00", True),
    ]


def test_short_days_end_early() -> None:
    calendar = Calendar(instrument())
    assert local(calendar.day(datetime.date(2023, 11, 24)), "America/New_York") == [
        ("24 04:00", "24 09:30", False),
        ("24 09:30", "24 13:00", True),
        ("24 13:00", "24 17:00", False),
    ]
    assert calendar.day(datetime.date(2023, 11, 23)) == []


def test_a_market_that_never_closes_gives_the_weekend_to_the_next_trade_date() -> None:
    calendar = Calendar(instrument(), "always")
    assert local(calendar.day(datetime.date(2024, 6, 3)), "America/New_York") == [
        ("31 20:00", "03 09:30", False),
        ("03 09:30", "03 16:00", True),
        ("03 16:00", "03 20:00", False),
    ]
    assert calendar.trade_dates(datetime.date(2024, 5, 31), datetime.date(2024, 6, 3)) == [
        datetime.date(2024, 5, 31),
        datetime.date(2024, 6, 3),
    ]


def test_the_texts_of_hours_are_ibs() -> None:
    friday = at("2023-11-17T15:00-05:00")
    apple, euro = Calendar(instrument()), Calendar(instrument("forex"))
    assert apple.liquid_hours_text(friday, days=4) == (
        "20231117:0930-20231117:1600;20231118:CLOSED;20231119:CLOSED;20231120:0930-20231120:1600"
    )
    assert apple.trading_hours_text(friday, days=2) == "20231117:0400-20231117:2000;20231118:CLOSED"
    assert euro.trading_hours_text(friday, days=4) == (
        "20231116:1715-20231117:1700;20231118:CLOSED;20231119:CLOSED;20231119:1715-20231120:1700"
    )
    always = Calendar(instrument(), "always")
    assert always.trading_hours_text(friday, days=2) == "20231117:0000-20231118:0000;20231118:0000-20231119:0000"
    assert always.liquid_hours_text(friday, days=2) == "20231117:0930-20231117:1600;20231118:CLOSED"
    lunch = Calendar(instrument("sehk"))
    assert lunch.trading_hours_text(friday, days=1) == "20231118:CLOSED"
    assert lunch.trading_hours_text(at("2023-11-17T02:00Z"), days=1) == (
        "20231117:0930-20231117:1200,20231117:1300-20231117:1600"
    )


@settings(max_examples=60, deadline=None)
@given(now=TIMES, hours=st.sampled_from(sorted(HOURS)), market_hours=st.sampled_from(["always", "exchange"]))
def test_the_sidecar_reads_from_the_text_what_the_calendar_says(
    now: int, hours: str, market_hours: MarketHours
) -> None:
    it = instrument(hours)
    calendar = Calendar(it, market_hours)
    read = market_at(calendar.trading_hours_text(now), it.time_zone_id, now * 1_000_000_000)
    assert read is not None
    assert read.is_open == (calendar.at(now) is not None)
    liquid = market_at(calendar.liquid_hours_text(now), it.time_zone_id, now * 1_000_000_000)
    here = calendar.at(now)
    assert liquid is not None
    assert liquid.is_open == (here is not None and here.regular)


def test_an_instrument_with_sessions_of_its_own_needs_no_row() -> None:
    berlin = Calendar(
        instrument("us-stock", "MET", trading_session="0900-1730", liquid_session="0900-1730"), "exchange"
    )
    assert local(berlin.day(datetime.date(2024, 6, 3)), "Europe/Berlin") == [("03 09:00", "03 17:30", True)]
    assert berlin.day(datetime.date(2024, 5, 1)) == []
    with pytest.raises(ValueError, match="moon"):
        Calendar(instrument("moon"))


# Source: NYSE's holidays and early closings 2021 to 2026.
NYSE = {
    2021: "0101 0118 0215 0402 0531 0705 0906 1125 1224",
    2022: "0117 0221 0415 0530 0620 0704 0905 1124 1226",
    2023: "0102 0116 0220 0407 0529 0619 0704 0904 1123 1225",
    2024: "0101 0115 0219 0329 0527 0619 0704 0902 1128 1225",
    2025: "0101 0120 0217 0418 0526 0619 0704 0901 1127 1225",
    2026: "0101 0119 0216 0403 0525 0619 0703 0907 1126 1225",
}
NYSE_EARLY = {2021: "1126", 2022: "1125", 2023: "0703 1124", 2024: "0703 1129 1224", 2025: "0703 1128 1224"}


@pytest.mark.parametrize("year", NYSE)
def test_the_holidays_of_new_york(year: int) -> None:
    found = holidays("us", year)
    assert " ".join(day.strftime("%m%d") for day in sorted(found.closed)) == NYSE[year]
    if year in NYSE_EARLY:
        assert " ".join(day.strftime("%m%d") for day in sorted(found.early)) == NYSE_EARLY[year]


def test_easter() -> None:
    assert [easter(year).isoformat()[5:] for year in (2000, 2008, 2011, 2024, 2025, 2038)] == [
        "04-23", "03-23", "04-24", "03-31", "04-20", "04-25",
    ]  # fmt: skip


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_year_has_its_holidays_and_no_exchange_is_closed_for_long(group: str) -> None:
    for year in range(1990, 2060):
        found = holidays(group, year)
        assert not found.closed & found.early
        assert len(found.closed) < 20
