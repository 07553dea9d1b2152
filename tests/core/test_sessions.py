from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ibkr_actor.core.calendar.sessions import Sessions, from_hours, from_schedule
from ibkr_actor.core.history.events import HistoricalSchedule, ScheduleSession
from tests.core.markets import DAY, MARKETS, NS, days_of, hours_text, schedule

WINTER, SUMMER = date(2025, 3, 7), date(2025, 3, 10)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * NS


def plain(sessions: Sessions) -> list[tuple[date, list[tuple[int, int]]]]:
    return [(day.trade_date, [(a // NS, b // NS) for a, b in day.segments]) for day in sessions]


def literal(name: str, first: date, last: date) -> list[tuple[date, list[tuple[int, int]]]]:
    return [(day.trade_date, list(day.segments)) for day in days_of(name) if first <= day.trade_date <= last]


@pytest.mark.parametrize("name", MARKETS)
def test_a_schedule_of_a_year_is_read_to_the_second_across_clock_changes(name: str) -> None:
    first, last = date(2025, 1, 1), date(2025, 12, 31)
    assert plain(from_schedule(schedule(name, first, last))) == literal(name, first, last)


def test_the_clock_change_moves_the_open_in_utc() -> None:
    sessions = from_schedule(schedule("us-rth", WINTER, SUMMER))
    assert [day.start_ns for day in sessions] == [ns("2025-03-07T14:30Z"), ns("2025-03-10T13:30Z")]


def test_stretches_of_one_trade_date_are_one_session_with_a_break() -> None:
    sessions = from_schedule(schedule("tokyo", date(2025, 3, 7), date(2025, 3, 7)))
    (day,) = sessions
    assert len(day.segments) == 2
    assert sessions.segment_at(ns("2025-03-07T12:00+09:00")) is None
    assert sessions.open_from(ns("2025-03-07T12:00+09:00")) == day.segments[1]
    assert sessions.date_at(ns("2025-03-07T14:00+09:00")) == date(2025, 3, 7)


def test_an_evening_belongs_to_the_next_trade_date() -> None:
    sessions = from_schedule(schedule("futures", date(2025, 3, 10), date(2025, 3, 11)))
    assert sessions.date_at(ns("2025-03-09T18:00-04:00")) == date(2025, 3, 10)
    assert sessions.date_at(ns("2025-03-10T17:30-04:00")) is None
    assert sessions.date_at(ns("2025-03-10T18:00-04:00")) == date(2025, 3, 11)


def test_rows_that_cannot_be_read_are_left_out() -> None:
    rows = (
        ScheduleSession("20250307-09:30:00", "20250307-16:00:00", "20250307"),
        ScheduleSession("2025", "", "20250308"),
        ScheduleSession("20250309-09:30:00", "20250309-16:00:00", "20259999"),
        ScheduleSession("20250311-16:00:00", "20250311-09:30:00", "20250311"),
        ScheduleSession("20250312 09:30:00", "20250312 16:00:00", "20250312"),
    )
    sessions = from_schedule(HistoricalSchedule(1, 1, "US/Eastern", rows))
    assert [day.trade_date.day for day in sessions] == [7, 12]


def test_a_schedule_without_a_zone_takes_the_contracts_and_fails_clearly_without_one() -> None:
    nameless = HistoricalSchedule(1, 1, "", (ScheduleSession("20250307-09:30:00", "20250307-16:00:00", "20250307"),))
    assert from_schedule(nameless, "US/Eastern")[0].start_ns == ns("2025-03-07T14:30Z")
    with pytest.raises(ValueError, match="time zone"):
        from_schedule(nameless, "Nowhere/Land")


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("monday", [date(2025, 2, 3), date(2025, 3, 3), date(2025, 6, 2)])
@pytest.mark.parametrize("days", [6, 7])
def test_one_week_of_hours_gives_the_sessions_of_any_plain_week(name: str, monday: date, days: int) -> None:
    for shift in range(7):
        listed = monday + shift * DAY
        if any(listed <= day < listed + 7 * DAY for day in holidays_of(name)):
            continue
        sessions = from_hours(hours_text(name, listed, days), MARKETS[name].zone)
        assert not sessions.exact
        first, last = date(2025, 9, 8), date(2025, 9, 14)
        wide = sessions.extended(first, last)
        assert [row for row in plain(wide) if first <= row[0] <= last] == literal(name, first, last)


def holidays_of(name: str) -> list[date]:
    texts = {*MARKETS[name].holidays, *MARKETS[name].short}
    return [datetime.strptime(text, "%Y%m%d").replace(tzinfo=ZoneInfo("UTC")).date() for text in texts]


def test_a_holiday_and_a_short_day_in_the_listed_week_do_not_become_the_pattern() -> None:
    sessions = from_hours(hours_text("us-rth", date(2025, 11, 24)), "America/New_York")
    assert [day.trade_date.day for day in sessions] == [24, 25, 26, 28]
    wide = sessions.extended(date(2025, 12, 1), date(2025, 12, 5))
    later = [row for row in plain(wide) if row[0] >= date(2025, 12, 1)]
    assert later == literal("us-rth", date(2025, 12, 1), date(2025, 12, 5))


def test_a_schedule_is_continued_by_its_own_week_but_never_inside_itself() -> None:
    sessions = from_schedule(schedule("us-rth", date(2025, 6, 2), date(2025, 7, 31)))
    wide = sessions.extended(date(2025, 5, 29), date(2025, 8, 5))
    assert [day.trade_date.isoformat() for day in wide][:2] == ["2025-05-29", "2025-05-30"]
    assert wide.on(date(2025, 7, 4)) is None
    assert wide[len(wide) - 1].trade_date == date(2025, 8, 5)
    assert wide.known == (date(2025, 6, 2), date(2025, 7, 31))
    assert wide.exact


def test_no_time_is_in_two_sessions_even_if_ib_lists_it_twice() -> None:
    rows = (
        ScheduleSession("20250306-18:00:00", "20250307-17:00:00", "20250307"),
        ScheduleSession("20250307-16:00:00", "20250308-17:00:00", "20250308"),
    )
    first, second = from_schedule(HistoricalSchedule(1, 1, "US/Eastern", rows))
    assert first.end_ns == second.start_ns


@pytest.mark.parametrize(
    ("hours", "zone"), [("", "US/Eastern"), ("20250307:CLOSED", "US/Eastern"), ("20250307:0930-20250307:1600", "")]
)
def test_hours_or_a_zone_that_cannot_be_read_are_a_clear_error(hours: str, zone: str) -> None:
    with pytest.raises(ValueError, match=r"trading hours|time zone"):
        from_hours(hours, zone)


def test_the_older_form_of_hours_is_read_too() -> None:
    sessions = from_hours("20250310:0900-1130,1230-1500;20250311:CLOSED", "JST")
    assert sessions[0].segments == (
        (ns("2025-03-10T09:00+09:00"), ns("2025-03-10T11:30+09:00")),
        (ns("2025-03-10T12:30+09:00"), ns("2025-03-10T15:00+09:00")),
    )


def test_nothing_is_open_where_nothing_is_known() -> None:
    sessions = from_schedule(schedule("us-rth", WINTER, SUMMER))
    late = ns("2025-03-10T20:00Z") + int(timedelta(days=3).total_seconds()) * NS
    assert sessions.open_from(late) is None
    assert not sessions.any_in(late, late + NS)
    assert sessions.open_before(ns("2025-03-07T14:30Z")) is None
