from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ibkr_actor.core.calendar.sessions import Sessions, from_hours, from_schedule
from ibkr_actor.core.history.durations import Duration, legacy_caps, new_caps
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.history.plan import Plan, Window, plan, schedule_request
from ibkr_actor.core.history.resolutions import RESOLUTIONS, Resolution, resolution
from ibkr_actor.core.history.stitch import Row, Stitch
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Hole
from tests.core.markets import (
    DAY,
    MARKETS,
    NS,
    answer,
    bars_between,
    days_of,
    hours_text,
    reach_back,
    schedule,
)

STOCK = Contract(265598, "AAPL", "STK", "SMART", "USD")
YEAR = (date(2025, 1, 1), date(2025, 12, 31))
SESSIONS = {name: from_schedule(schedule(name)) for name in MARKETS}
LATER = "2026-03-02T12:00:00+00:00"


def ns(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * NS


def planned(
    name: str,
    bar: str,
    start: str,
    end: str,
    *,
    now: str = LATER,
    contract: Contract = STOCK,
    sessions: Sessions | None = None,
    head: str = "",
    bars_max: int = 20_000,
    refused: tuple[Duration, ...] = (),
    resume_ns: int = 0,
) -> Plan:
    return plan(
        asked(start, end, ns(now)),
        resolution(bar),
        SESSIONS[name] if sessions is None else sessions,
        contract=contract,
        what_to_show="TRADES",
        use_rth=True,
        now_ns=ns(now),
        head_ns=ns(head) if head else None,
        bars_max=bars_max,
        refused=refused,
        resume_ns=resume_ns,
    )


def delivered(name: str, found: Plan, bar: str) -> tuple[list[Row], list[Hole], list[Window]]:
    """Every window answered by the model gateway: rows, holes, and all that was asked."""
    rows: list[Row] = []
    holes: list[Hole] = []
    asked_for: list[Window] = []
    for window in found.windows:
        stitch = Stitch(found.planner, window)
        turn: Window | None = window
        while turn is not None:
            asked_for.append(turn)
            turn = stitch.take(answer(name, resolution(bar), turn.end, turn.duration.text))
        rows += stitch.filled.rows
        holes += stitch.filled.holes
    return rows, holes, asked_for


def expected(name: str, bar: str, from_s: float, to_s: float) -> list[tuple[int, int]]:
    bars = bars_between(name, resolution(bar), int(-(-from_s // 1)), int(to_s // 1))
    return [(each.start_s * NS, each.end_s * NS) for each in bars]


def times(rows: list[Row]) -> list[tuple[int, int]]:
    return [(row[0], row[1]) for row in rows]


# ---- exactly the bars inside

# Bars of a plain day of 24 hours, so that an example stays small.
SPAN_DAYS = {row.name: min(300.0, 3_000 * row.seconds / 86_400) for row in RESOLUTIONS.values()}


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("bar", RESOLUTIONS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_interval_yields_exactly_its_bars(name: str, bar: str, data: st.DataObject) -> None:
    begin_s = data.draw(st.integers(ns("2025-01-02T00:00") // NS, ns("2026-01-10T00:00") // NS), label="begin")
    length_s = data.draw(st.integers(0, int(SPAN_DAYS[bar] * 86_400)), label="length")
    bars_max = data.draw(st.sampled_from([600, 1_500, 20_000]), label="bars_max")
    end_s = min(begin_s + length_s, ns("2026-02-01T00:00") // NS)
    now = max(end_s, begin_s) + data.draw(st.integers(0, 5_000_000), label="age")
    start, end = (datetime.fromtimestamp(at, UTC).isoformat() for at in (begin_s, max(begin_s, end_s)))
    found = planned(
        name, bar, start, end, now=datetime.fromtimestamp(min(now, ns(LATER) // NS), UTC).isoformat(), bars_max=bars_max
    )
    rows, holes, asked_for = delivered(name, found, bar)
    assert times(rows) == expected(name, bar, begin_s, max(begin_s, end_s))
    assert not holes
    assert not found.holes
    assert len(asked_for) == len(found.windows)
    check_windows(name, bar, found)


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("bar", RESOLUTIONS)
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_dates_yield_whole_trade_dates_both_included(name: str, bar: str, data: st.DataObject) -> None:
    first = data.draw(st.dates(date(2025, 9, 5), date(2026, 1, 2)), label="first")
    last = first + data.draw(st.integers(0, int(SPAN_DAYS[bar] / 3)), label="days") * DAY
    last = min(last, date(2026, 1, 30))
    if bar == "1s" and name != "tokyo":
        # A day of it is the same as of 5 s, only longer.
        bar = "5s"
    found = planned(name, bar, first.isoformat(), last.isoformat(), now="2026-02-20T00:00")
    days = [day for day in days_of(name) if first <= day.trade_date <= last]
    rows, holes, _ = delivered(name, found, bar)
    assert times(rows) == (expected(name, bar, days[0].start_s, days[-1].end_s) if days else [])
    assert not holes
    check_windows(name, bar, found)


def check_windows(name: str, bar: str, found: Plan) -> None:
    """Forward in time, no overlap, each legal by the new tables and full of trading."""
    row, caps = resolution(bar), new_caps(resolution(bar))
    for window in found.windows:
        assert (
            window.from_ns
            < window.to_ns
            == ns(datetime.strptime(window.end + "+0000", "%Y%m%d-%H:%M:%S%z").isoformat())
        )
        assert window.duration.count <= caps[window.duration.unit]
        assert window.bar_size == row.bar_size
        assert SESSIONS[name].segment_at(window.from_ns) is not None
        assert SESSIONS[name].segment_at(window.to_ns - NS) is not None
    for before, after in pairwise(found.windows):
        assert before.to_ns <= after.from_ns


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("bar", ["5m", "1h", "2h", "8h", "1d", "1w", "1M"])
def test_a_year_with_clock_changes_and_holidays_comes_whole(name: str, bar: str) -> None:
    found = planned(name, bar, "2025-01-01", "2025-12-31")
    rows, holes, asked_for = delivered(name, found, bar)
    days = [day for day in days_of(name) if YEAR[0] <= day.trade_date <= YEAR[1]]
    assert times(rows) == expected(name, bar, days[0].start_s, days[-1].end_s)
    assert len(rows) > 10
    assert not holes
    assert len(asked_for) == len(found.windows)


@pytest.mark.parametrize("name", ["us-rth", "forex", "tokyo", "futures", "crypto"])
@pytest.mark.parametrize("bar", RESOLUTIONS)
def test_what_ib_refused_is_asked_in_smaller_pieces_until_the_legacy_table(name: str, bar: str) -> None:
    first, last = ("2025-11-20", "2025-11-20") if resolution(bar).seconds < 3600 else ("2025-09-01", "2025-12-31")
    refused: list[Duration] = []
    legacy = legacy_caps(resolution(bar))
    while True:
        found = planned(name, bar, first, last, now="2026-01-05T00:00", refused=tuple(refused))
        refusable = [w.duration for w in found.windows if w.duration.count > legacy.get(w.duration.unit, 0)]
        if not refusable:
            break
        refused.append(refusable[0])
    rows, holes, _ = delivered(name, found, bar)
    days = [day for day in days_of(name) if first <= day.trade_date.isoformat() <= last]
    assert times(rows) == expected(name, bar, days[0].start_s, days[-1].end_s)
    assert rows
    assert not holes


def test_when_every_duration_was_refused_the_rest_is_a_hole() -> None:
    refused = (Duration(2_000, "S"), Duration(1_800, "S"), Duration(60, "S"))
    found = planned("us-rth", "1s", "2026-02-20", "2026-02-20", refused=refused)
    assert not found.windows
    assert [(hole.reason, hole.from_ns) for hole in found.holes] == [("refused", ns("2026-02-20T14:30Z"))]


# ---- as few as possible


def fewest(name: str, row: Resolution, first: date, last: date, bars_max: int) -> int:
    """By trying every legal duration at every session's end, from the front."""
    days = [day for day in days_of(name) if first <= day.trade_date <= last]
    index = count = 0
    while index < len(days):
        best = index
        for stop in range(index, len(days)):
            for unit, cap in new_caps(row).items():
                if unit == "S":
                    continue
                if any(
                    fits(name, row, days[index].start_s, days[stop].end_s, n, unit, bars_max)
                    for n in tries(unit, cap, stop - index + 1)
                ):
                    best = stop + 1
        if best == index:
            raise AssertionError("not even one trade date fits")
        index, count = best, count + 1
    return count


def tries(unit: str, cap: int, dates: int) -> list[int]:
    per_unit = {"D": 1, "W": 4, "M": 15, "Y": 200}[unit]
    return (
        [n for n in range(max(1, dates // per_unit // 2), dates // per_unit + 3) if n <= cap]
        if unit != "D"
        else [n for n in [dates] if n <= cap]
    )


def fits(name: str, row: Resolution, from_s: int, end_s: int, count: int, unit: str, bars_max: int) -> bool:
    reached_s = reach_back(name, end_s, count, unit)
    if reached_s > from_s:
        return False
    if row.seconds >= 86_400:
        return len(bars_between(name, row, reached_s, end_s)) <= bars_max
    open_s = sum(
        -(-(b - a) // row.seconds)
        for day in days_of(name)
        if reached_s <= day.start_s and day.end_s <= end_s
        for a, b in day.segments
    )
    return open_s <= bars_max


@pytest.mark.parametrize(
    ("name", "bar", "first", "last", "bars_max"),
    [
        ("us-rth", "1m", "2025-01-02", "2025-12-31", 20_000),
        ("us-rth", "5m", "2025-01-02", "2025-06-30", 3_000),
        ("forex", "1m", "2025-03-03", "2025-05-30", 20_000),
        ("crypto", "1h", "2025-01-01", "2025-03-31", 600),
        ("tokyo", "3m", "2025-01-06", "2025-06-30", 2_000),
        ("futures", "4h", "2025-01-02", "2025-06-30", 200),
        ("us-rth", "1d", "2025-01-02", "2025-12-31", 20_000),
        ("us-rth", "10s", "2025-11-03", "2025-11-28", 20_000),
    ],
)
def test_no_way_through_the_tables_needs_fewer_requests(
    name: str, bar: str, first: str, last: str, bars_max: int
) -> None:
    now = "2026-01-05T00:00" if resolution(bar).small else LATER
    found = planned(name, bar, first, last, bars_max=bars_max, now=now)
    lower = fewest(name, resolution(bar), date.fromisoformat(first), date.fromisoformat(last), bars_max)
    assert len(found.windows) == lower


@pytest.mark.parametrize(
    ("name", "bar", "first", "last", "requests"),
    [
        # 23,400 s of trading by 2,000 s.
        ("us-rth", "1s", "2026-02-20", "2026-02-20", 12),
        # Two seconds-windows of a day would be one by the day: 4,680 bars each, four fit.
        ("us-rth", "5s", "2026-02-02", "2026-02-13", 3),
        ("us-rth", "1d", "2025-01-01", "2025-12-31", 1),
        ("us-rth", "1w", "2025-01-01", "2025-12-31", 1),
        # 390 a day, 51 dates each.
        ("us-rth", "1m", "2025-01-01", "2025-12-31", 5),
        # Lunch is shorter than a window: 2,000 s of the clock may lie across it but gain nothing.
        ("tokyo", "1s", "2026-02-20", "2026-02-20", 10),
        ("crypto", "1s", "2026-02-20", "2026-02-20", 44),
        # The quarter of an hour between two dates costs nothing.
        ("forex", "1s", "2026-02-19T21:00", "2026-02-19T23:00", 4),
    ],
)
def test_the_number_of_requests(name: str, bar: str, first: str, last: str, requests: int) -> None:
    assert len(planned(name, bar, first, last).windows) == requests


def test_the_windows_of_a_short_interval_read_as_a_person_would_write_them() -> None:
    found = planned("us-rth", "5s", "2025-11-26", "2025-12-01", now="2025-12-02T00:00")
    assert [(w.end, w.duration.text, w.bar_size, w.what_to_show, w.use_rth) for w in found.windows] == [
        ("20251201-21:00:00", "3 D", "5 secs", "TRADES", True)
    ]
    inside = planned("us-rth", "1m", "2025-12-01T15:00:30Z", "2025-12-01T16:00:59Z")
    assert [(w.end, w.duration.text) for w in inside.windows] == [("20251201-16:00:00", "3540 S")]


@pytest.mark.parametrize(
    ("name", "bar", "bars_max"),
    [("crypto", "1h", 8_800), ("us-rth", "1d", 260), ("us-rth", "4h", 100), ("tokyo", "8h", 25)],
)
def test_each_unit_is_used_to_its_very_end_and_no_further(name: str, bar: str, bars_max: int) -> None:
    found = planned(name, bar, "2025-01-06", "2026-02-20", bars_max=bars_max)
    rows, holes, asked_for = delivered(name, found, bar)
    days = [day for day in days_of(name) if "2025-01-06" <= day.trade_date.isoformat() <= "2026-02-20"]
    assert times(rows) == expected(name, bar, days[0].start_s, days[-1].end_s)
    assert not holes
    # One date too far, and the answer begins late: that would be a second request.
    assert len(asked_for) == len(found.windows) > 1
    check_windows(name, bar, found)


def test_a_plan_resumed_after_any_window_goes_on_with_the_same_windows() -> None:
    for bar in ("1s", "5s", "4h", "1d"):
        whole = planned("tokyo", bar, "2026-02-02", "2026-02-13", bars_max=900).windows
        for index, window in enumerate(whole):
            rest = planned("tokyo", bar, "2026-02-02", "2026-02-13", bars_max=900, resume_ns=window.to_ns)
            assert rest.windows == whole[index + 1 :]


# ---- what start and end mean


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2025-02-02", "2025-01-31", "before start"),
        ("2025-02-02T10:00", "2025-02-02T09:59", "before start"),
        ("yesterday", "", "ISO 8601"),
        ("2025-13-01", "", "ISO 8601"),
        ("", "", "ISO 8601"),
        ("2025-01-01", "2025-01-01T25:00", "ISO 8601"),
        ("2027-01-01", "", "in the future"),
        ("2026-03-02T12:00:01", "", "in the future"),
        ("1815-06-18T12:00:00", "", "between"),
    ],
)
def test_an_interval_that_makes_no_sense_is_a_clear_error(start: str, end: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        asked(start, end, ns(LATER))
    assert "\n" not in str(error.value)


def test_a_time_without_an_offset_is_utc_and_one_with_an_offset_is_kept() -> None:
    assert asked("2025-01-02T09:30:00", "", ns(LATER)) == asked("2025-01-02T04:30:00-05:00", "", ns(LATER))


def test_an_end_in_the_future_is_cut_to_the_last_whole_bar() -> None:
    for end in ("", "2030-01-01", "2026-02-27T23:00"):
        found = planned("us-rth", "1m", "2026-02-27", end, now="2026-02-27T15:00:30Z")
        assert found.span.to_ns == ns("2026-02-27T15:00Z")
        assert found.windows[-1].end == "20260227-15:00:00"


def test_the_day_week_and_month_that_are_not_over_yield_no_bar() -> None:
    for bar, last in (("1d", "2026-02-26"), ("1w", "2026-02-20"), ("1M", "2026-01-30")):
        found = planned("us-rth", bar, "2025-11-03", "", now="2026-02-27T15:00:30Z")
        rows, _, _ = delivered("us-rth", found, bar)
        assert rows[-1][9] == last.replace("-", "")


def test_after_the_close_on_friday_the_week_is_over() -> None:
    known = from_schedule(schedule("us-rth", date(2025, 1, 2), date(2026, 2, 27)))
    found = planned("us-rth", "1w", "2026-02-02", "", now="2026-02-27T21:00:00Z", sessions=known)
    assert found.span.to_ns == ns("2026-02-27T21:00Z")


def test_an_interval_without_trading_asks_for_nothing_and_has_no_hole() -> None:
    for bar in RESOLUTIONS:
        found = planned("us-rth", bar, "2026-02-21", "2026-02-22")
        assert (found.windows, found.holes) == ((), ())


# ---- what there cannot be


def test_small_bars_older_than_six_months_are_a_named_hole_and_are_not_asked_for() -> None:
    found = planned("us-rth", "30s", "2025-06-02", "2026-02-27", now="2026-02-28T15:00Z")
    assert [(hole.reason, hole.from_ns, hole.to_ns) for hole in found.holes] == [
        ("too_old", ns("2025-06-02T13:30Z"), ns("2025-09-02T13:30Z"))
    ]
    assert found.windows[0].from_ns == ns("2025-09-02T13:30Z")
    assert planned("us-rth", "1m", "2025-06-02", "2026-02-27").holes == ()


def test_what_is_before_the_head_timestamp_is_a_named_hole() -> None:
    found = planned("us-rth", "1h", "2025-03-03", "2025-03-07", head="2025-03-05T18:00Z")
    assert [(hole.reason, hole.to_ns) for hole in found.holes] == [("before_head", ns("2025-03-05T14:30Z"))]
    assert found.windows[0].from_ns == ns("2025-03-05T14:30Z")
    # Data of the week in which it begins is there.
    weekly = planned("us-rth", "1w", "2025-02-03", "2025-03-28", head="2025-03-05T18:00Z")
    assert weekly.windows[0].from_ns == ns("2025-03-03T14:30Z")
    assert planned("us-rth", "1d", "2025-03-03", "2025-03-07", head="2020-01-01T00:00").holes == ()


def test_a_future_ends_with_its_expiry_and_is_gone_two_years_after() -> None:
    contract = Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20250321")
    found = planned("futures", "1h", "2025-03-17", "2025-03-28", contract=contract)
    assert found.windows[-1].to_ns == ns("2025-03-21T21:00Z")
    assert [hole.reason for hole in found.holes] == ["expired"]
    gone = planned("futures", "1h", "2025-03-17", "2025-03-28", contract=contract, now="2027-04-01T00:00")
    assert (gone.windows, [hole.reason for hole in gone.holes]) == ((), ["expired"])


def test_an_expired_option_has_no_history_and_a_living_one_has() -> None:
    option = Contract(1, "AAPL", "OPT", "SMART", "USD", last_trade_date="20250321", strike=200.0, right="C")
    gone = planned("us-rth", "1h", "2025-03-17", "2025-03-20", contract=option)
    assert (gone.windows, [hole.reason for hole in gone.holes]) == ((), ["expired"])
    living = planned("us-rth", "1h", "2025-03-17", "2025-03-20", contract=option, now="2025-03-20T22:00Z")
    assert len(living.windows) == 1


def test_a_continuous_future_is_asked_once_and_until_now() -> None:
    contract = Contract(1, "ES", "CONTFUT", "CME", "USD")
    found = planned("futures", "1h", "2026-02-02", "2026-02-06", contract=contract, now="2026-02-27T15:00Z")
    assert [(w.end, w.duration.text) for w in found.windows] == [("", "20 D")]
    assert (found.windows[0].from_ns, found.windows[0].to_ns) == (ns("2026-02-01T23:00Z"), ns("2026-02-06T22:00Z"))
    far = planned("futures", "5s", "2025-12-01", "2026-02-26", contract=contract, now="2026-02-27T15:00Z")
    assert [hole.reason for hole in far.holes] == ["no_end_date"]
    assert far.holes[0].to_ns == far.windows[0].from_ns
    assert far.windows[0].end == ""


# ---- without a schedule


@pytest.mark.parametrize("name", ["us-rth", "forex", "tokyo", "futures", "crypto"])
@pytest.mark.parametrize("bar", ["30s", "1m", "1h", "1d", "1w"])
def test_without_a_schedule_the_weeks_hours_find_the_same_bars(name: str, bar: str) -> None:
    sessions = from_hours(hours_text(name, date(2026, 2, 23)), MARKETS[name].zone)
    first, last = ("2026-01-16", "2026-01-20") if bar in ("1s", "30s") else ("2025-11-03", "2026-01-30")
    found = planned(name, bar, first, last, sessions=sessions, now="2026-02-20T00:00")
    rows, _, _ = delivered(name, found, bar)
    days = [day for day in days_of(name) if first <= day.trade_date.isoformat() <= last]
    bars = bars_between(name, resolution(bar), days[0].start_s, days[-1].end_s)
    if bar == "1w":
        # A holiday on Monday is not known here, so only the label is sure.
        assert [row[9] for row in rows] == [each.label.strftime("%Y%m%d") for each in bars]
    else:
        assert [row[0] for row in rows] == [each.start_s * NS for each in bars]


def test_the_request_for_a_schedule_reaches_over_the_interval_and_its_weeks() -> None:
    assert schedule_request(asked("2026-01-05", "2026-01-30", ns(LATER)), ns(LATER)) == ("20260302-12:00:00", "1 Y")
    assert schedule_request(asked("2015-01-05", "2020-01-30", ns(LATER)), ns(LATER)) == ("20200311-00:00:00", "6 Y")


def test_far_too_many_bars_for_one_answer_are_still_asked_for_date_by_date() -> None:
    found = planned("crypto", "5m", "2026-02-02", "2026-02-04", bars_max=100)
    assert [w.duration.text for w in found.windows] == ["1 D", "1 D", "1 D"]


def test_closed_time_is_never_asked_for() -> None:
    found = planned("us-rth", "1s", "2026-02-13", "2026-02-17", bars_max=500)
    for window in found.windows:
        local = datetime.fromtimestamp(window.from_ns // NS, UTC) - timedelta(hours=5)
        assert local.weekday() < 5
        assert local.day != 16
        assert (window.to_ns - window.from_ns) // NS <= 500
