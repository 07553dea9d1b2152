"""Jobs of ticks, page by page, and jobs of bars that reach behind where data begins."""

from __future__ import annotations

from datetime import date

import pytest
from msgspec import structs

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.history.events import HistoricalTick, HistoricalTicks, ScheduleSession
from ibkr_actor.core.requests import ReqHistoricalData, ReqHistoricalTicks
from ibkr_actor.schema.commands import Cancel, History, HistoryTicks, Pause, Resume
from ibkr_actor.schema.records import Ticks
from tests.core.kit import at, stock
from tests.core.markets import NS, schedule
from tests.core.past_desk import PastDesk, december

# Tuesday 2025-12-30, 10:00 in New York.
TEN_S = 1_767_106_800
TICKS = HistoryTicks(instrument="AAPL", start="2025-12-30T15:00:00", end="2025-12-30T15:20:00", use_rth=True)


def prints(first: int, count: int, each_s: int = 1) -> tuple[HistoricalTick, ...]:
    """`count` trades, `each_s` of them in a second, numbered in their price from `first` on."""
    return tuple(HistoricalTick(TEN_S + n // each_s, float(n), "1", "NYSE") for n in range(first, first + count))


def page(desk: PastDesk, ticks: tuple[HistoricalTick, ...]) -> list[Effect]:
    ((req_id, request),) = desk.open.items()
    assert isinstance(request, ReqHistoricalTicks)
    return desk.page(HistoricalTicks(req_id, 1, "TRADES", ticks, True))


def served(desk: PastDesk, tape: tuple[HistoricalTick, ...]) -> list[Effect]:
    """Answers the open page as IB does: a thousand from its start on, and what else the last second holds."""
    (request,) = desk.pages
    start_s = TEN_S + 60 * (int(request.start[12:14])) + int(request.start[15:17])
    later_ones = [tick for tick in tape if tick.time_s >= start_s]
    cut_s = later_ones[request.count - 1].time_s if len(later_ones) >= request.count else 2**40
    return page(desk, tuple(tick for tick in later_ones if tick.time_s <= cut_s))


def prices(desk: PastDesk, job: str = "c.1") -> list[float | int | str | bool | None]:
    entries = [entry for write in desk.writes if write.job == job for entry in write.entries]
    return [row[1] for entry in entries if isinstance(entry, Ticks) for row in entry.rows]


def test_pages_follow_each_other_and_a_second_that_two_share_is_delivered_once() -> None:
    tape = prints(0, 3_500, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS)
    (first,) = desk.pages
    assert (first.start, first.end, first.count) == ("20251230-15:00:00", "", 1000)
    while desk.open:
        served(desk, tape)
    assert prices(desk) == [tick.price for tick in tape]
    done = desk.done("c.1")
    assert (done.outcome, done.rows, done.requests, done.holes) == ("complete", 3_500, 4, [])
    assert [entry.seq for write in desk.writes for entry in write.entries] == list(range(1, done.entries + 1))


def test_equal_ticks_of_one_second_count_as_often_as_they_came() -> None:
    same = tuple(HistoricalTick(TEN_S + 10, 5.0, "1", "NYSE") for _ in range(4))
    tape = (*prints(0, 998, each_s=100), *same, HistoricalTick(TEN_S + 11, 6.0, "1", "NYSE"))
    desk = PastDesk()
    desk.begun(TICKS)
    while desk.open:
        served(desk, tape)
    assert prices(desk) == [tick.price for tick in tape]


def test_ticks_behind_the_end_are_not_delivered() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(TICKS, end="2025-12-30T15:00:05"))
    page(desk, prints(0, 20))
    assert prices(desk) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert desk.done("c.1").outcome == "complete"


def test_a_second_with_more_ticks_than_a_page_holds_is_a_hole() -> None:
    desk = PastDesk()
    desk.begun(TICKS)
    page(desk, prints(0, 1_000, each_s=1_000))
    page(desk, (HistoricalTick(TEN_S + 1, 1.0, "1", "NYSE"),))
    done = desk.done("c.1")
    assert (done.outcome, [hole.reason for hole in done.holes]) == ("incomplete", ["page_limit"])
    assert (done.holes[0].from_ns, done.holes[0].to_ns) == (TEN_S * NS, (TEN_S + 1) * NS)


def test_a_page_in_several_messages_is_one() -> None:
    tape = prints(0, 1_700, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS)
    (request,) = desk.pages
    for at_s, part in ((1, tape[:300]), (2, tape[300:600])):
        desk.page(HistoricalTicks(request.req_id, 1, "TRADES", part, False), at_s)
    assert prices(desk) == []
    desk.page(HistoricalTicks(request.req_id, 1, "TRADES", tape[600:1_000], True), 3)
    served(desk, tape)
    assert prices(desk) == [tick.price for tick in tape]
    assert (desk.done("c.1").outcome, desk.done("c.1").requests) == ("complete", 2)


def test_a_page_that_is_full_is_taken_though_ib_says_for_ever_that_it_is_not_done() -> None:
    tape = prints(0, 1_700, each_s=7)
    desk = PastDesk(HistoryConfig(use_rth=True, answer_timeout_s=60.0))
    desk.begun(TICKS)
    (request,) = desk.pages
    desk.page(HistoricalTicks(request.req_id, 1, "TRADES", tape[:1_000], False))
    (request,) = desk.pages
    desk.sent(request.req_id, 10)
    rest = tuple(tick for tick in tape if tick.time_s >= tape[999].time_s)
    desk.page(HistoricalTicks(request.req_id, 1, "TRADES", rest, False), 11)
    assert desk.pages == [request]
    # The rest of the page never comes: what did is delivered, and what follows is asked for.
    desk.wake(71)
    assert request.req_id in desk.withdrawn
    assert prices(desk) == [tick.price for tick in tape]
    served(desk, tape)
    assert (desk.done("c.1").outcome, prices(desk)) == ("complete", [tick.price for tick in tape])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_job_of_ticks_goes_on_after_a_restart_at_any_page(turns: int) -> None:
    tape = prints(0, 3_500, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS)
    for _ in range(turns):
        served(desk, tape)
    second = PastDesk()
    second.restore(desk.states)
    for req_id in second.asked:
        if req_id not in [request.req_id for request in second.pages]:
            second.answer(req_id)
    while second.open:
        served(second, tape)
    assert prices(desk) + prices(second) == [tick.price for tick in tape]
    assert second.done("c.1").rows == 3_500


def test_pause_reconnect_and_resume_lose_and_double_no_tick() -> None:
    tape = prints(0, 3_500, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS)
    served(desk, tape)
    desk.send(Pause(job="c.1"), id="2")
    assert not desk.open
    desk.send(Resume(job="c.1"), id="3")
    served(desk, tape)
    desk.down(5)
    desk.up(6)
    while desk.open:
        served(desk, tape)
    assert prices(desk) == [tick.price for tick in tape]


def test_a_job_of_ticks_goes_on_when_the_sessions_of_other_days_take_the_place_of_its_own() -> None:
    tape = prints(0, 1_500, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS, id="1")
    desk.send(History(instrument="AAPL", start="2025-11-03", end="2025-11-05", bar="1h", use_rth=True), id="2")
    for req_id in [req_id for req_id, request in desk.open.items() if isinstance(request, ReqHistoricalData)]:
        desk.answer(req_id)
    for req_id in [window.req_id for window in desk.windows]:
        desk.answer(req_id)
    while desk.open:
        served(desk, tape)
    assert prices(desk) == [tick.price for tick in tape]
    assert desk.done("c.1").outcome == "complete"


def test_a_session_listed_while_it_went_on_is_not_taken_for_whole_later() -> None:
    # Friday 2026-01-02: asked a quarter of an hour after New York opens at 14:30 UTC, and at 16:00.
    early_s, late_s = 86_400 + 14.75 * 3_600, 86_400 + 16 * 3_600
    late = History(instrument="AAPL", start="2026-01-02", end="2026-01-02T16:00:00", bar="15m", use_rth=True)
    desk = PastDesk()
    desk.send(structs.replace(late, end="2026-01-02T14:45:00"), early_s)
    (req_id,) = desk.asked
    listed = schedule("us-rth", last=date(2026, 1, 1))
    today = ScheduleSession("20260102-09:30:00", "20260102-10:00:00", "20260102")
    desk.note(desk.core.handle(structs.replace(listed, req_id=req_id, sessions=(*listed.sessions, today)), at(early_s)))
    desk.finish(early_s)
    assert desk.rows("c.1") == [1_767_364_200 * NS]
    desk.send(late, late_s, id="2")
    desk.finish(late_s)
    assert desk.rows("c.2") == [(1_767_364_200 + 900 * n) * NS for n in range(6)]
    # What was listed at 16:00 is good for what ends before.
    desk.send(structs.replace(late, end="2026-01-02T15:00:00"), late_s + 60, id="3")
    assert len(desk.windows) == len(desk.open) == 1


def test_two_jobs_of_the_same_ticks_share_their_pages() -> None:
    tape = prints(0, 1_500, each_s=7)
    desk = PastDesk()
    desk.begun(TICKS, id="1")
    desk.begun(TICKS, id="2")
    assert len(desk.open) == 1
    while desk.open:
        served(desk, tape)
    assert prices(desk, "c.1") == prices(desk, "c.2") == [tick.price for tick in tape]


def test_a_cancelled_job_of_ticks_takes_its_page_back() -> None:
    desk = PastDesk()
    desk.begun(TICKS)
    (req_id,) = desk.asked
    desk.send(Cancel(job="c.1"), id="2")
    assert desk.withdrawn == [req_id]
    assert desk.done("c.1").outcome == "cancelled"


def test_no_page_is_asked_for_while_too_much_is_unwritten() -> None:
    tape = prints(0, 3_500, each_s=7)
    desk = PastDesk(HistoryConfig(unwritten_max=2))
    desk.begun(TICKS)
    served(desk, tape)
    assert not desk.open
    desk.written("c.1", desk.read_state("c.1").entries)
    assert len(desk.pages) == 1


# ---- where data begins


def empties(desk: PastDesk, count: int) -> None:
    for _ in range(count):
        desk.error(desk.asked[0], 162, "Historical Market Data Service error message:HMDS query returned no data: X")


MONTHS = History(instrument="AAPL", start="2025-06-02", end="2025-12-31", bar="1h", use_rth=True)


def test_where_data_begins_is_asked_for_only_after_two_windows_without_any() -> None:
    desk = PastDesk()
    desk.begun(MONTHS)
    empties(desk, 1)
    assert not desk.heads
    empties(desk, 1)
    assert len(desk.heads) == 1
    assert not desk.windows  # more of nothing is not asked for meanwhile


def test_nothing_before_the_head_is_asked_for_and_the_hole_says_why() -> None:
    desk = PastDesk()
    desk.begun(MONTHS)
    empties(desk, 2)
    desk.head(desk.asked[0], "1764599400")  # 2025-12-01, 09:30 in New York
    assert len(desk.windows) == 5
    desk.finish()
    assert desk.rows("c.1") == december()
    done = desk.done("c.1")
    assert done.outcome == "incomplete"
    assert [hole.reason for hole in done.holes] == ["before_head"]
    assert max(hole.to_ns for hole in done.holes) == december()[0]


def test_a_head_that_is_known_is_not_asked_for_again() -> None:
    desk = PastDesk()
    desk.begun(MONTHS)
    empties(desk, 2)
    desk.head(desk.asked[0], "1764599400")
    desk.finish()
    desk.begun(structs.replace(MONTHS, start="2025-06-03"), id="2")
    assert len(desk.windows) == 5
    assert not desk.heads


@pytest.mark.parametrize("answer", ["error", "no time"])
def test_without_a_head_the_windows_are_asked_one_after_the_other(answer: str) -> None:
    desk = PastDesk()
    desk.begun(MONTHS)
    empties(desk, 2)
    if answer == "error":
        desk.error(desk.asked[0], 162, "Historical Market Data Service error message:No head time stamp")
    else:
        desk.head(desk.asked[0], "none")
    assert desk.windows
    desk.finish()
    assert desk.rows("c.1")[-1] == december()[-1]
    assert desk.is_done("c.1")


def test_small_bars_older_than_six_months_are_a_hole_and_not_asked_for() -> None:
    desk = PastDesk()
    desk.begun(History(instrument="AAPL", start="2025-03-03", end="2025-03-04", bar="5s", use_rth=True))
    assert not desk.open
    done = desk.done("c.1")
    assert (done.outcome, done.requests, [hole.reason for hole in done.holes]) == ("incomplete", 0, ["too_old"])


def test_a_job_that_found_nothing_at_all_is_no_success() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(MONTHS, start="2025-12-29"))
    while desk.open:
        empties(desk, 1)
    done = desk.done("c.1")
    assert (done.outcome, done.rows, [hole.reason for hole in done.holes]) == ("incomplete", 0, ["no_data"])
    assert done.holes[0].ib_code == 162


# ---- hours that are not known


SUNDAY = "20260104:1800-20260104:2300"


def by_hours(hours: str, command: History | HistoryTicks) -> PastDesk:
    """A job of a contract of which IB lists no sessions."""
    desk = PastDesk()
    contract = structs.replace(stock(), trading_hours=hours, liquid_hours=hours, time_zone="US/Eastern")
    desk.send(command, contract=contract)
    desk.error(desk.asked[0], 162, "Historical Market Data Service error message:HMDS query returned no data")
    return desk


def test_hours_of_one_sunday_do_not_close_the_week() -> None:
    desk = by_hours(SUNDAY, History(instrument="AAPL", start="2025-12-30", end="2025-12-30", bar="1h", use_rth=True))
    assert desk.windows, "nothing says that it is closed on a Tuesday"
    desk.finish()
    assert desk.rows("c.1") == december()[-14:-7]
    assert desk.done("c.1").outcome == "complete"


@pytest.mark.parametrize("bar", ["1h", "1d", ""])
def test_a_day_of_which_nothing_is_known_is_no_success_without_data(bar: str) -> None:
    day = "2025-12-27"
    bars, ticks = History(instrument="AAPL", start=day, end=day, bar=bar), structs.replace(TICKS, start=day, end=day)
    command = bars if bar else ticks
    working_days = ";".join(f"202601{day:02d}:0930-202601{day:02d}:1600" for day in (5, 6, 7, 8, 9))
    done = by_hours(working_days, command).done("c.1")
    assert (done.outcome, done.rows, [hole.reason for hole in done.holes]) == ("incomplete", 0, ["unknown_hours"])
    # A Saturday that IB says is closed is another matter.
    done = by_hours(f"{working_days};20260110:CLOSED;20260111:CLOSED", command).done("c.1")
    assert (done.outcome, done.rows, done.holes) == ("complete", 0, [])
