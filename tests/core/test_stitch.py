from __future__ import annotations

from datetime import date, datetime

import pytest

from ibkr_actor.core.calendar.sessions import from_schedule
from ibkr_actor.core.history.durations import Duration
from ibkr_actor.core.history.events import HistoricalBar
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.history.plan import Plan, Window, plan
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.history.stitch import Stitch, joined
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Hole
from tests.core.markets import NS, answer, schedule

STOCK = Contract(265598, "AAPL", "STK", "SMART", "USD")


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * NS


def week(bar: str = "1h", name: str = "us-rth", first: str = "2026-02-09", last: str = "2026-02-13") -> Plan:
    now_ns = ns("2026-03-02T12:00Z")
    return plan(
        asked(first, last, now_ns),
        resolution(bar),
        from_schedule(schedule(name)),
        contract=STOCK,
        what_to_show="TRADES",
        use_rth=True,
        now_ns=now_ns,
    )


def whole(found: Plan, bar: str = "1h", name: str = "us-rth") -> list[HistoricalBar]:
    (window,) = found.windows
    return answer(name, resolution(bar), window.end, window.duration.text)


def bar_at(text: str, price: float | None = 1.0) -> HistoricalBar:
    date = text if len(text) == 8 else str(ns(text) // NS)
    return HistoricalBar(date, price, price, price, price, "1", "1", 1)


def test_a_bar_has_its_begin_its_end_cut_at_the_sessions_and_its_trade_date() -> None:
    found = week()
    stitch = Stitch(found.planner, found.windows[0])
    assert stitch.take(whole(found)) is None
    rows = stitch.filled.rows
    assert len(rows) == 35
    assert rows[0][:2] == (ns("2026-02-09T14:30Z"), ns("2026-02-09T15:00Z"))
    assert rows[1][:2] == (ns("2026-02-09T15:00Z"), ns("2026-02-09T16:00Z"))
    assert {row[9] for row in rows} == {"20260209", "20260210", "20260211", "20260212", "20260213"}


def test_prices_that_are_missing_stay_missing() -> None:
    found = week()
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([HistoricalBar(str(ns("2026-02-09T14:30Z") // NS), None, 2.5, -1.0, 0.0, None, None, None)])
    assert stitch.filled.rows[0][2:9] == (None, 2.5, -1.0, 0.0, None, None, None)


@pytest.mark.parametrize(
    "text",
    [
        "20260210 10:00:00 US/Eastern",
        "20260210  10:00:00",
        "20260210 09:00:00 US/Central",
        "20260210-15:00:00",
    ],
)
def test_a_gateway_that_does_not_heed_the_format_names_a_bar_by_the_clock(text: str) -> None:
    found = week()
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([HistoricalBar(text, 1.0, 1.0, 1.0, 1.0, "1", "1", 1)])
    assert stitch.filled.rows[0][:2] == (ns("2026-02-10T15:00Z"), ns("2026-02-10T16:00Z"))


def test_bars_outside_doubled_unaligned_or_unreadable_are_left_out_and_counted() -> None:
    found = week()
    bars = whole(found)
    odd = [
        bar_at("2026-02-06T15:00+00:00"),
        bar_at("2026-02-16T15:00+00:00"),
        bars[3],
        bar_at("2026-02-10T15:07:11+00:00"),
        HistoricalBar("20260210 25:00:00 US/Eastern", 1.0, 1.0, 1.0, 1.0, "1", "1", 1),
        HistoricalBar("", 1.0, 1.0, 1.0, 1.0, "1", "1", 1),
    ]
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([*odd, *reversed(bars)])
    filled = stitch.filled
    assert [row[0] for row in filled.rows] == [int(bar.date) * NS for bar in bars]
    assert (filled.outside, filled.doubled, filled.unaligned, filled.unreadable) == (2, 1, 1, 2)
    assert filled.holes == ()


def test_an_empty_answer_is_a_hole() -> None:
    found = week()
    stitch = Stitch(found.planner, found.windows[0])
    assert stitch.take([]) is None
    window = found.windows[0]
    assert stitch.filled.rows == ()
    assert stitch.filled.holes == (Hole(window.from_ns, window.to_ns, "no_data"),)


def test_an_empty_answer_for_a_window_without_trading_is_none() -> None:
    found = week()
    weekend = Window(ns("2026-02-14T00:00Z"), ns("2026-02-15T00:00Z"), "x", Duration(1, "D"), "1 hour", "TRADES", True)
    stitch = Stitch(found.planner, weekend)
    assert stitch.take([]) is None
    assert stitch.filled.holes == ()


def test_an_answer_that_begins_late_is_followed_by_a_request_for_the_dates_it_lacks() -> None:
    found = week()
    bars = whole(found)
    stitch = Stitch(found.planner, found.windows[0])
    more = stitch.take(bars[14:])
    assert more is not None
    assert (more.from_ns, more.to_ns) == (ns("2026-02-09T14:30Z"), ns("2026-02-10T21:00Z"))
    assert (more.end, more.duration.text) == ("20260210-21:00:00", "2 D")
    assert stitch.take(answer("us-rth", resolution("1h"), more.end, more.duration.text)) is None
    assert [row[0] for row in stitch.filled.rows] == [int(bar.date) * NS for bar in bars]
    assert stitch.filled.holes == ()


def test_one_date_at_a_time_still_comes_to_the_end() -> None:
    found = week()
    stitch, turn, requests = Stitch(found.planner, found.windows[0]), found.windows[0], 0
    more: Window | None = turn
    while more is not None:
        requests += 1
        more = stitch.take(answer("us-rth", resolution("1h"), more.end, "1 D"))
    assert requests == 5
    assert len(stitch.filled.rows) == 35
    assert stitch.filled.holes == ()


def test_no_progress_is_a_hole_and_not_asked_again() -> None:
    found = week()
    bars = whole(found)
    for silence in ([], bars[14:]):
        stitch = Stitch(found.planner, found.windows[0])
        assert stitch.take(bars[14:]) is not None
        assert stitch.take(silence) is None
        filled = stitch.filled
        assert len(filled.rows) == 21
        assert filled.holes == (Hole(ns("2026-02-09T14:30Z"), ns("2026-02-10T21:00Z"), "no_data"),)


def test_dates_without_a_bar_in_the_middle_and_at_the_end_are_named() -> None:
    found = week()
    bars = whole(found)
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([*bars[:7], *bars[14:21]])
    assert [(hole.from_ns, hole.to_ns, hole.reason) for hole in stitch.filled.holes] == [
        (ns("2026-02-10T14:30Z"), ns("2026-02-10T21:00Z"), "no_data"),
        (ns("2026-02-12T14:30Z"), ns("2026-02-13T21:00Z"), "no_data"),
    ]


def test_a_refusal_is_a_hole_with_its_reason_and_keeps_what_came_before_it() -> None:
    found = week()
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take(whole(found)[14:])
    assert stitch.refuse("no_permission", "No market data permissions", 162) is None
    filled = stitch.filled
    assert len(filled.rows) == 21
    assert filled.holes == (
        Hole(ns("2026-02-09T14:30Z"), ns("2026-02-10T21:00Z"), "no_permission", "No market data permissions", 162),
    )


@pytest.mark.parametrize(
    ("bar", "label", "begin", "end"),
    [
        ("1d", "20260212", "2026-02-12T14:30Z", "2026-02-12T21:00Z"),
        # Weeks and months bear their last trade date; any other of theirs means the same.
        ("1w", "20260213", "2026-02-09T14:30Z", "2026-02-13T21:00Z"),
        ("1w", "20260209", "2026-02-09T14:30Z", "2026-02-13T21:00Z"),
        ("1M", "20260130", "2026-01-02T14:30Z", "2026-01-30T21:00Z"),
        ("1M", "20260101", "2026-01-02T14:30Z", "2026-01-30T21:00Z"),
    ],
)
def test_long_bars_begin_and_end_with_their_sessions(bar: str, label: str, begin: str, end: str) -> None:
    found = week(bar, first="2026-01-01", last="2026-02-27")
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([bar_at("20251230"), bar_at(label)])
    ((start_ns, end_ns, *_, session_date),) = stitch.filled.rows
    assert (start_ns, end_ns, session_date) == (ns(begin), ns(end), label)


def test_a_daily_bar_of_a_date_no_schedule_knows_is_kept_from_midnight_to_midnight() -> None:
    found = week("1d", name="forex", first="2026-02-02", last="2026-02-13")
    stitch = Stitch(found.planner, found.windows[0])
    stitch.take([*whole(found, "1d", "forex"), bar_at("20260207")])
    rows = {row[9]: row[:2] for row in stitch.filled.rows}
    assert rows["20260207"] == (ns("2026-02-07T05:00Z"), ns("2026-02-08T05:00Z"))
    assert len(rows) == 11


def test_days_before_the_first_that_came_are_asked_for_once_more() -> None:
    found = week("1d", first="2025-02-03", last="2026-02-13")
    bars = whole(found, "1d")
    stitch = Stitch(found.planner, found.windows[0])
    late = [bar for bar in bars if bar.date >= "20250303"]
    more = stitch.take(late)
    assert more is not None
    assert (more.from_ns, more.to_ns, more.duration.text) == (
        ns("2025-02-03T14:30Z"),
        ns("2025-02-28T21:00Z"),
        "1 Y",
    )
    assert stitch.take([]) is None
    assert [hole.reason for hole in stitch.filled.holes] == ["no_data"]
    assert len(stitch.filled.rows) == len(late)


def test_when_the_clock_is_changed_the_next_bar_shows_where_one_ends() -> None:
    found = week("2h", name="crypto", first="2025-03-09", last="2025-03-09")
    stitch = Stitch(found.planner, found.windows[0])
    starts = ["2025-03-09T05:00+00:00", "2025-03-09T06:00+00:00", "2025-03-09T08:00+00:00"]
    stitch.take([bar_at(start) for start in starts])
    assert [(row[0], row[1]) for row in stitch.filled.rows] == [
        (ns("2025-03-09T05:00Z"), ns("2025-03-09T06:00Z")),
        (ns("2025-03-09T06:00Z"), ns("2025-03-09T08:00Z")),
        (ns("2025-03-09T08:00Z"), ns("2025-03-09T10:00Z")),
    ]


def test_holes_of_one_reason_are_joined_over_closed_time_only() -> None:
    sessions = from_schedule(schedule("us-rth", date(2026, 2, 9), date(2026, 2, 13)))
    first, second, _, fourth, fifth = [Hole(day.start_ns, day.end_ns, "no_data") for day in sessions]
    other = Hole(fifth.from_ns, fifth.to_ns, "too_old")
    assert joined([fourth, second, first], sessions.any_in) == (
        Hole(first.from_ns, second.to_ns, "no_data"),
        fourth,
    )
    assert joined([other, fourth], sessions.any_in) == (fourth, other)
