from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.calendar.sessions import from_schedule
from ibkr_actor.core.history.events import HistoricalTick
from ibkr_actor.core.history.tick_pages import Page, Seam, Turned, first_seam, page_of, row_of, skip, turn
from ibkr_actor.schema.records import Hole
from tests.core.markets import NS, days_of, schedule

SESSIONS = from_schedule(schedule("us-rth", date(2026, 2, 2), date(2026, 2, 27)))
DAYS = [day for day in days_of("us-rth") if date(2026, 2, 2) <= day.trade_date <= date(2026, 2, 27)]
OPEN = DAYS[0].start_s


def tick(at_s: int, number: int = 0) -> HistoricalTick:
    return HistoricalTick(at_s, price=100.0 + number, size="1", exchange="ARCA")


def ask(tape: list[HistoricalTick], page: Page, *, whole_second: bool, one_date: bool) -> list[HistoricalTick]:
    """A page as IB answers: with the rest of the last second or cut at the count; over all dates or one."""
    start_s = int(datetime.strptime(page.start, "%Y%m%d-%H:%M:%S").replace(tzinfo=UTC).timestamp())
    index = bisect_left(tape, start_s, key=lambda each: each.time_s)
    stop = min(len(tape), index + page.count)
    if whole_second and stop > index:
        while stop < len(tape) and tape[stop].time_s == tape[stop - 1].time_s:
            stop += 1
    found = tape[index:stop]
    if one_date:
        day = next((day for day in DAYS if day.end_s > start_s), None)
        found = [each for each in found if day is not None and each.time_s <= day.end_s]
    return found


def run(
    tape: list[HistoricalTick], from_s: int, to_s: int, count: int, *, whole_second: bool = True, one_date: bool = False
) -> tuple[list[HistoricalTick], list[Hole], int]:
    seam = first_seam(from_s * NS, to_s * NS, SESSIONS)
    delivered: list[HistoricalTick] = []
    holes: list[Hole] = []
    pages = 0
    while seam is not None:
        pages += 1
        assert pages < 3 * len(tape) + 100
        page = ask(tape, page_of(seam, count), whole_second=whole_second, one_date=one_date)
        turned = turn(seam, page, to_s * NS, SESSIONS, count)
        delivered += turned.ticks
        holes += turned.holes
        seam = turned.seam
    return delivered, holes, pages


@st.composite
def tapes(draw: st.DrawFn, per_second: int) -> list[HistoricalTick]:
    """Ticks in a few seconds of several dates, many of them equal to each other."""
    day_ticks = draw(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(0, 40), st.lists(st.integers(0, 2), max_size=per_second)),
            max_size=12,
            unique_by=lambda each: each[:2],
        )
    )
    return [
        tick(DAYS[day].start_s + second, number) for day, second, numbers in sorted(day_ticks) for number in numbers
    ]


@pytest.mark.parametrize("one_date", [False, True])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_tick_comes_once_and_in_order_when_pages_hold_whole_seconds(one_date: bool, data: st.DataObject) -> None:
    tape = data.draw(tapes(6), label="tape")
    count = data.draw(st.integers(1, 8), label="count")
    from_s = OPEN + data.draw(st.integers(-100, 30), label="from")
    to_s = data.draw(st.sampled_from([OPEN + 20, DAYS[2].start_s + 7, DAYS[4].end_s]), label="to")
    delivered, holes, _ = run(tape, from_s, to_s, count, one_date=one_date)
    assert delivered == [each for each in tape if from_s <= each.time_s <= to_s]
    assert all(hole.reason in {"no_data", "page_limit"} for hole in holes)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_pages_cut_within_a_second_lose_nothing_as_long_as_a_page_holds_one(data: st.DataObject) -> None:
    tape = data.draw(tapes(5), label="tape")
    count = data.draw(st.integers(6, 9), label="count")
    delivered, holes, _ = run(tape, OPEN, DAYS[4].end_s, count, whole_second=False)
    assert Counter(delivered) == Counter(tape)
    assert [each.time_s for each in delivered] == [each.time_s for each in tape]
    assert not [hole for hole in holes if hole.reason == "page_limit"]


def test_a_second_with_more_ticks_than_a_page_is_named_and_passed() -> None:
    tape = [tick(OPEN, n) for n in range(25)] + [tick(OPEN + 1)]
    delivered, holes, pages = run(tape, OPEN, OPEN + 60, 10, whole_second=False)
    assert delivered == [*tape[:10], tape[-1]]
    assert [(hole.reason, hole.from_ns, hole.to_ns) for hole in holes] == [("page_limit", OPEN * NS, (OPEN + 1) * NS)]
    assert pages == 2


def test_such_a_second_is_whole_when_ib_sends_all_of_it() -> None:
    tape = [tick(OPEN, n) for n in range(25)] + [tick(OPEN + 1)]
    assert run(tape, OPEN, OPEN + 60, 10) == (tape, [], 2)


def test_a_seam_takes_off_exactly_what_was_delivered_of_its_second() -> None:
    seam = Seam(OPEN, (tick(OPEN, 1), tick(OPEN, 1), tick(OPEN, 2)))
    page = [tick(OPEN, 1), tick(OPEN, 1), tick(OPEN, 1), tick(OPEN, 2), tick(OPEN + 1, 1)]
    assert turn(seam, page, DAYS[0].end_s * NS, SESSIONS).ticks == (tick(OPEN, 1), tick(OPEN + 1, 1))


def test_the_last_second_is_included_and_a_tick_after_it_ends_the_paging() -> None:
    tape = [tick(OPEN), tick(OPEN + 5), tick(OPEN + 6)]
    assert run(tape, OPEN, OPEN + 5, 1_000) == (tape[:2], [], 1)


def test_prints_of_the_second_in_which_the_session_ends_are_delivered() -> None:
    tape = [tick(DAYS[0].end_s - 1), tick(DAYS[0].end_s), tick(DAYS[0].end_s, 1)]
    assert run(tape, OPEN, DAYS[0].end_s, 2)[0] == tape


def test_closed_time_is_not_asked_for() -> None:
    friday = DAYS[4].end_s
    seam = first_seam((friday + 60) * NS, DAYS[9].end_s * NS, SESSIONS)
    assert seam == Seam(DAYS[5].start_s)
    assert page_of(Seam(DAYS[5].start_s)) == Page("20260209-14:30:00", 1_000)
    assert first_seam((friday + 60) * NS, (friday + 3_600) * NS, SESSIONS) is None


def test_a_short_page_within_a_date_is_followed_by_the_next_date() -> None:
    turned = turn(Seam(OPEN), [tick(OPEN + 3)], DAYS[1].end_s * NS, SESSIONS)
    assert turned == Turned((tick(OPEN + 3),), (), Seam(DAYS[1].start_s))


def test_a_short_page_over_two_dates_shows_that_there_is_no_more() -> None:
    turned = turn(Seam(OPEN), [tick(OPEN + 3), tick(DAYS[2].start_s)], DAYS[9].end_s * NS, SESSIONS)
    assert turned.seam is None


def test_a_date_without_ticks_is_a_hole() -> None:
    _, holes, _ = run([tick(OPEN), tick(DAYS[2].start_s)], OPEN, DAYS[2].end_s, 10, one_date=True)
    assert holes == [Hole(DAYS[1].start_s * NS, DAYS[1].end_s * NS, "no_data")]


def test_a_refused_page_is_a_hole_to_the_end() -> None:
    assert skip(Seam(OPEN), (OPEN + 9) * NS, SESSIONS, "no_permission", "no", 10187) == Turned(
        (), (Hole(OPEN * NS, (OPEN + 9) * NS, "no_permission", "no", 10187),), None
    )


def test_a_page_refused_when_there_is_no_more_trading_is_none() -> None:
    closed = Seam(DAYS[0].end_s + 60)
    assert skip(closed, (DAYS[0].end_s + 90) * NS, SESSIONS, "no_permission") == Turned((), (), None)


def test_rows_have_the_fields_of_their_kind() -> None:
    last = HistoricalTick(5, price=1.5, size="2", exchange="Q", conditions="T", past_limit=True)
    quote = HistoricalTick(5, bid=1.0, ask=2.0, bid_size="3", ask_size="4", ask_past_high=True)
    assert row_of("TRADES", last) == [5 * NS, 1.5, "2", "Q", "T", True, False]
    assert row_of("MIDPOINT", HistoricalTick(5, price=1.5)) == [5 * NS, 1.5]
    assert row_of("BID_ASK", quote) == [5 * NS, 1.0, 2.0, "3", "4", False, True]
