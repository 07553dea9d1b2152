"""Owns the proof of IB's date-times and durations, with literal dates and the real sessions of AAPL, EUR.USD and ES.

Must not start a simulator.
"""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from ibkr_actor.sim.history.times import (
    Duration,
    bar_date,
    nominal_start_s,
    parse_duration,
    parse_moment,
    start_s,
    utc_text,
)
from ibkr_actor.sim.market.bars import BarSize
from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.catalogue import default_catalogue

NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
APPLE = Calendar(default_catalogue().find("AAPL"), "exchange")
EURO = Calendar(default_catalogue().find("EUR.USD"), "exchange")
# Tuesday 2023-11-14 22:13:20 UTC.
NOW_S = 1_700_000_000.0
CENTRAL_EUROPE_S = 3600


def _at(text: str) -> int:
    return int(datetime.datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK).timestamp())


def _text(time_s: float) -> str:
    return f"{datetime.datetime.fromtimestamp(time_s, NEW_YORK):%Y-%m-%d %H:%M}"


MOMENTS = [
    ("20231114-22:13:20", 1_700_000_000, False),
    ("20231114-22:13:20Z", 1_700_000_000, False),
    ("20231114 17:13:20 US/Eastern", 1_700_000_000, False),
    ("20231114  17:13:20  US/Eastern", 1_700_000_000, False),
    ("20231114 22:13:20 UTC", 1_700_000_000, False),
    ("20231114 23:13:20 MET", 1_700_000_000, False),
    ("20230714 18:13:20 America/New_York", 1_689_372_800, False),
    ("20231114 23:13:20", 1_700_000_000, True),
    ("17:13:20 US/Eastern", 1_700_000_000, False),
    ("23:13:20", 1_700_000_000, True),
]


@pytest.mark.parametrize(("text", "time_s", "implied"), MOMENTS)
def test_a_date_time_is_read_in_the_zone_it_names_or_the_hosts(text: str, time_s: int, implied: bool) -> None:
    assert parse_moment(text, NOW_S, CENTRAL_EUROPE_S) == (time_s, implied)


@pytest.mark.parametrize(
    "text",
    [
        "20231114", "2023-11-14 22:13:20", "20231114-22:13:20 UTC", "20231114 22:13", "20231114 25:00:00 UTC",
        "20231314-22:13:20", "20231114 22:13:20 Mars/Olympus", "tomorrow", "1700000000",
        "00010101-00:00:00", "99991231-00:00:00",
    ],
)  # fmt: skip
def test_a_date_time_no_gateway_reads_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_moment(text, NOW_S, CENTRAL_EUROPE_S)


def test_no_date_time_is_none() -> None:
    assert parse_moment("  ", NOW_S, CENTRAL_EUROPE_S) is None


def test_durations_are_read_in_either_case_and_without_a_unit_as_seconds() -> None:
    assert [parse_duration(text) for text in ("1 D", "2 w", "60", "3 M", "1 y")] == [
        Duration(1, "D"), Duration(2, "W"), Duration(60, "S"), Duration(3, "M"), Duration(1, "Y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "duration not specified"),
        ("1D", "integer{SPACE}unit"),
        ("D 1", "integer{SPACE}unit"),
        ("1 day", "integer{SPACE}unit"),
        ("-1 D", "integer{SPACE}unit"),
        ("0 D", "duration is invalid"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_cause(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        parse_duration(text)


# end, duration, regular hours only, bars of a day or more -> start. 2023-11-10 is a Friday, 2023-11-23 Thanksgiving.
STARTS = [
    ("2023-11-14 12:00", "1 D", True, False, "2023-11-14 09:30"),
    ("2023-11-14 12:00", "1 D", False, False, "2023-11-14 04:00"),
    ("2023-11-14 12:00", "2 D", True, False, "2023-11-13 09:30"),
    ("2023-11-14 12:00", "3 D", True, False, "2023-11-10 09:30"),
    ("2023-11-12 12:00", "1 D", True, False, "2023-11-10 09:30"),
    ("2023-11-13 06:00", "1 D", True, False, "2023-11-10 09:30"),
    ("2023-11-13 06:00", "1 D", False, False, "2023-11-13 04:00"),
    ("2023-11-24 11:00", "2 D", True, False, "2023-11-22 09:30"),
    ("2023-11-14 12:00", "3600 S", True, False, "2023-11-14 11:00"),
    ("2023-11-14 10:00", "3600 S", True, False, "2023-11-13 15:30"),
    ("2023-11-13 10:00", "3600 S", True, False, "2023-11-10 15:30"),
    ("2023-11-14 04:30", "3600 S", False, False, "2023-11-13 19:30"),
    ("2023-11-13 10:00", "3600 S", True, True, "2023-11-10 09:30"),
    ("2023-11-14 12:00", "1 W", True, False, "2023-11-08 09:30"),
    ("2023-11-14 12:00", "1 M", True, True, "2023-10-16 09:30"),
    ("2023-11-14 12:00", "1 Y", True, True, "2022-11-15 09:30"),
    ("2024-03-31 12:00", "1 M", True, True, "2024-02-29 09:30"),
]


@pytest.mark.parametrize(("end", "duration", "regular", "whole", "start"), STARTS)
def test_a_duration_goes_back_by_sessions(end: str, duration: str, regular: bool, whole: bool, start: str) -> None:
    found = start_s(APPLE, _at(end), parse_duration(duration), regular_only=regular, whole_days=whole)
    assert _text(found) == start


def test_a_day_of_forex_begins_the_evening_before() -> None:
    found = start_s(EURO, _at("2023-11-14 12:00"), Duration(1, "D"), regular_only=False, whole_days=False)
    assert _text(found) == "2023-11-13 17:15"
    monday = start_s(EURO, _at("2023-11-13 12:00"), Duration(1, "D"), regular_only=False, whole_days=False)
    assert _text(monday) == "2023-11-12 17:15"


def test_the_end_says_the_start_by_the_calendar() -> None:
    end_s = _at("2023-03-31 12:00")
    assert _text(nominal_start_s(end_s, Duration(1, "M"), NEW_YORK)) == "2023-02-28 12:00"
    assert _text(nominal_start_s(end_s, Duration(30, "D"), NEW_YORK)) == "2023-03-01 12:00"
    assert nominal_start_s(end_s, Duration(90, "S"), NEW_YORK) == end_s - 90


def test_dates_look_as_format_date_says() -> None:
    day = datetime.date(2023, 11, 14)
    looks = [bar_date(NOW_S, day, BarSize.parse("1 min"), form, NEW_YORK, "US/Eastern") for form in (1, 2, 3)]
    assert looks == ["20231114 17:13:20 US/Eastern", "1700000000", "1114 17:13:20 US/Eastern"]
    for size in ("1 day", "1 week", "1 month"):
        for form in (1, 2, 3):
            assert bar_date(NOW_S, day, BarSize.parse(size), form, NEW_YORK, "US/Eastern") == "20231114"
    assert [utc_text(NOW_S, version) for version in (213, 214)] == ["20231114-22:13:20", "20231114-22:13:20Z"]
