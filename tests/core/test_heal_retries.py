"""Gaps whose history fails at first: tried again, later and later, for a bounded time; built bars; restarts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer
from ibkr_actor.core.messages import FetchPast, PastDone, RestoreHolders, Stop
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, Bar, Gap, Hole, Trade
from tests.core.kit import START_NS, at, ns, one, stock, told
from tests.core.past_desk import PastDesk as HistoryDesk
from tests.core.test_backfills import PastDesk
from tests.core.test_heals import HEAL, Healed, broken_bars

LATE = FLAG_REFILLED | FLAG_LATE
COMPETING = Rejection("competing_session", "another login", 162, True, 60.0)
FORBIDDEN = Rejection("permissions_missing", "no permission", 162)


def times_of(desk: PastDesk) -> list[str]:
    return [fetch.start[-8 - 6 : -6] for fetch in desk.fetched]


# ---- tries


def test_history_that_another_login_holds_is_asked_for_again_later_and_later() -> None:
    desk = broken_bars()
    asked_s = [37.0]
    desk.wake(37)
    for _ in range(6):
        desk.done(asked_s[-1], "failed", error=COMPETING)
        due_s = desk.core.next_wakeup_s()
        assert due_s is not None
        asked_s.append(due_s)
        desk.wake(due_s)
    assert [after - before for before, after in pairwise(asked_s)] == [60, 60, 120, 240, 480, 600]
    assert len(desk.fetched) == 7
    desk.past(10, 15, 20, 25, s=asked_s[-1])
    desk.done(asked_s[-1])
    assert desk.bars[-4:] == [(10, LATE), (15, LATE), (20, LATE), (25, LATE)]
    assert [gap.refilled for gap in desk.records if isinstance(gap, Gap)] == [False, True]


def test_tries_end_after_a_bounded_time_with_a_record_that_says_so() -> None:
    desk = broken_bars()
    desk.wake(37)
    now_s = 37.0
    while desk.counted("open"):
        desk.done(now_s, "failed", error=COMPETING)
        now_s = desk.core.next_wakeup_s() or 0.0
        desk.wake(now_s)
    assert now_s == 37 + 3600
    assert desk.gaps[1:] == [("no_history", 12.0, 35.0)]
    assert desk.records[-1].flags == FLAG_LATE
    assert desk.core.next_wakeup_s() is None


def test_history_that_ib_will_not_give_is_not_asked_for_again() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.done(38, "failed", error=FORBIDDEN)
    assert desk.gaps[1:] == [("no_history", 12.0, 35.0)]
    assert (desk.counted("open"), desk.counted("failed")) == (0, 1)


def test_history_without_any_answer_is_asked_for_again_too() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.done(38, "incomplete", [Hole(ns(10), ns(30), "no_answer", "", None)])
    assert len(desk.gaps) == 1
    desk.wake(68)
    assert len(desk.fetched) == 2


def test_parts_without_an_answer_are_asked_for_again_when_others_came() -> None:
    desk = Healed("bar.5s")
    desk.live(5, s=10)
    desk.lost(12, 58)
    desk.live(60, s=65)
    desk.wake(67)
    desk.past(10, 25, 40, 55, s=68)
    parts = [(15, 25), (45, 55)]
    desk.done(69, "incomplete", [*(Hole(ns(a), ns(b), "no_answer") for a, b in parts), Hole(ns(30), ns(40), "no_data")])
    assert len(desk.gaps) == 1
    desk.wake(99)
    desk.past(15, 20, 25, s=100)
    desk.done(101)
    # The second part follows at once; what it is asked for in vain again waits for twice as long.
    desk.done(102, "incomplete", [Hole(ns(45), ns(55), "no_answer")])
    desk.wake(162)
    assert [(fetch.start[-8:-6], fetch.end_ns - ns(0)) for fetch in desk.fetched] == [
        ("10", 60 * 10**9), ("15", 25 * 10**9), ("45", 55 * 10**9), ("45", 55 * 10**9)
    ]  # fmt: skip
    desk.past(40, 45, 50, 55, s=163)
    desk.done(164)
    assert [begun for begun, flags in desk.bars if flags] == [10, 25, 40, 55, 15, 20, 45, 50]
    assert desk.gaps == [("disconnect", 12.0, 65.0), ("no_history", 30.0, 40.0), ("disconnect", 12.0, 65.0)]
    assert (desk.counted("open"), desk.counted("refilled")) == (0, 1)


def test_ticks_whose_last_part_had_no_answer_go_on_from_where_they_broke_off() -> None:
    desk = Healed("trade")
    desk.trades(10, "1", s=10)
    desk.lost(10.5, 12)
    desk.trades(15, "9", s=15)
    desk.wake(17)
    desk.past_trades((10, "1"), (11, "2"), s=18)
    desk.done(19, "incomplete", [Hole(ns(12), ns(15), "no_answer")])
    desk.wake(49)
    desk.past_trades((11, "2"), (13, "3"), (15, "8"), (15, "9"), s=50)
    desk.done(51)
    assert [(at_s, size) for at_s, size, flags in desk.ticks if flags == LATE] == [(11, "2"), (13, "3"), (15, "8")]


def test_a_try_that_broke_off_goes_on_where_it_was() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.past(10, 15, s=38)
    desk.done(39, "failed", error=COMPETING)
    desk.wake(99)
    assert times_of(desk) == ["00:00:10", "00:00:20"]
    desk.past(20, 25, s=100)
    desk.done(101)
    assert [begun for begun, flags in desk.bars if flags] == [10, 15, 20, 25]


@pytest.mark.parametrize("broke_off", [0, 1, 2, 3, 4, 5, 6, 7])
def test_ticks_of_a_try_that_broke_off_come_once(broke_off: int) -> None:
    desk = Healed("trade")
    desk.trades(10, "1", "2", s=10)
    desk.lost(10.5, 12)
    desk.trades(13, "9", s=13)
    desk.wake(16)
    market: list[tuple[float, str]] = [(10, "1"), (10, "2"), (10, "2"), (11, "5"), (11, "5"), (12, "6"), (13, "7")]
    market.append((13, "9"))
    if broke_off:
        desk.past_trades(*market[:broke_off], s=17)
    desk.done(17, "failed", error=COMPETING)
    desk.wake(80)
    from_s = float(desk.fetched[-1].start[-8:-6])
    desk.past_trades(*(tick for tick in market if tick[0] >= from_s), s=81)
    desk.done(82)
    healed = [(at_s, size) for at_s, size, flags in desk.ticks if flags == LATE]
    assert healed == [(10, "2"), (11, "5"), (11, "5"), (12, "6"), (13, "7")]


def test_one_that_waits_for_its_next_try_leaves_its_place_to_others() -> None:
    desk = Healed("bar.5s", SubscriptionsConfig(heal=True, heals_open_max=1))
    desk.live(0, s=5)
    for n in (1, 2):
        desk.lost(100 * n, 100 * n + 10)
        desk.live(100 * n + 20, s=100 * n + 25)
    desk.wake(400)
    desk.done(401, "failed", error=COMPETING)
    assert times_of(desk) == ["00:00:05", "00:02:05"]
    desk.done(402)
    desk.wake(461)
    assert times_of(desk)[2:] == ["00:00:05"]


def test_the_history_core_says_why_it_failed() -> None:
    history = HistoryDesk()
    fetch = FetchPast(-1, "", stock(), "5s", "TRADES", False, "2025-12-31T15:00:00+00:00", ns(0), "backfill")
    history.note(history.core.handle(fetch, at(0)))
    history.answer(next(iter(history.open)))
    text = "Historical Market Data Service error message:Trading TWS session is connected from a different IP address"
    done = told(history.error(next(iter(history.open)), 162, text, s=1), PastDone)
    assert [(each.done.outcome, each.error and (each.error.code, each.error.retryable)) for each in done] == [
        ("failed", ("competing_session", True))
    ]


def test_a_stop_says_which_gaps_were_not_refilled() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.note(desk.core.handle(Stop(), at(38)))
    assert desk.gaps[1:] == [("no_history", 12.0, 35.0)]
    assert desk.forgotten == 1


# ---- bars that are built here


def built_desk() -> Healed:
    """Bars of 10 s from 0 on; lost within the second of them, and back within the fourth."""
    desk = Healed("bar.10s.built")
    desk.live(0, 5, s=10)
    desk.live(10, s=15)
    desk.lost(16, 33)
    desk.live(35, s=40)
    desk.live(40, s=45)
    return desk


def shown(desk: PastDesk) -> list[tuple[float, bool, int, int]]:
    bars = [record for record in desk.records if isinstance(record, Bar)]
    return [((bar.start_ns - START_NS) / 1e9, bar.final, bar.revision, bar.flags & LATE) for bar in bars]


def test_bars_that_are_built_here_are_replaced_by_those_of_history_when_they_are_over() -> None:
    desk = built_desk()
    live = [(0, False, 0, 0), (0, True, 1, 0), (10, False, 0, 0), (30, False, 0, 0), (40, False, 0, 0)]
    assert shown(desk) == live
    desk.wake(47)
    (fetch,) = desk.fetched
    assert (fetch.bar, fetch.start[-14:-6], fetch.end_ns) == ("10s", "00:00:10", ns(40))
    desk.past(0, 10, 20, 30, 40, s=48, size="10s", length_s=10)
    desk.done(48)
    assert shown(desk)[5:] == [(10, True, 1, LATE), (20, True, 0, LATE), (30, True, 1, LATE)]
    assert desk.gaps == [("disconnect", 16.0, 40.0), ("disconnect", 16.0, 40.0)]


def test_history_of_the_bar_that_goes_on_is_waited_for() -> None:
    desk = Healed("bar.1m.built")
    desk.live(0, s=5)
    desk.lost(6, 20)
    desk.live(20, s=25)
    desk.wake(61)
    assert desk.fetched == []
    desk.wake(62)
    (fetch,) = desk.fetched
    assert (fetch.bar, fetch.start[-14:-6], fetch.end_ns) == ("1m", "00:00:00", ns(60))


def test_a_bar_that_is_seen_whole_behind_the_gap_is_left_alone() -> None:
    desk = Healed("bar.10s.built")
    desk.live(0, 5, s=10)
    desk.lost(11, 25)
    desk.live(30, s=35)
    desk.wake(37)
    assert (desk.fetched[0].start[-14:-6], desk.fetched[0].end_ns) == ("00:00:10", ns(30))


def test_a_bar_with_two_gaps_is_refilled_once() -> None:
    desk = Healed("bar.1m.built")
    desk.live(0, s=5)
    for n in (10, 30):
        desk.lost(n, n + 5)
        desk.live(n + 10, s=n + 15)
    desk.wake(62)
    for fetch in list(desk.fetched):
        desk.fetched.append(fetch)
        desk.past(0, s=63, size="1m", length_s=60)
        desk.done(63)
    assert [bar for bar in shown(desk) if bar[1]] == [(0, True, 3, LATE)]


# ---- restarts


def restarted(kind: str, tail: list[Bar] | list[Trade]) -> Healed:
    """A process that begins anew at 100 with a stream that ended with `tail`."""
    before = PastDesk(kind, "", HEAL)
    desk = Healed("quote")
    holders = one(Answer, before.accepted).holders
    stream = Stream(kind, "AAPL.STK.SMART.USD")
    desk.note(desk.core.handle(RestoreHolders(holders, {stream.name: tuple(tail)}), at(100)))
    desk.req_id = desk.last_req_id
    desk.sent(desk.req_id, 100)
    return desk


def bar(start: float, end: float, *, final: bool = True, revision: int = 0) -> Bar:
    return Bar(
        1, 7, 265598, ns(end), None, 1, 0, ns(start), ns(end), 1, 2, 1, 2, "1", "1", 1, final, revision, "TRADES"
    )


def trade(at_s: float, size: str) -> Trade:
    return Trade(1, 7, 265598, ns(at_s + 0.1), ns(at_s), 1, 0, 1.5, size, "X", "", False, False)


def test_what_was_missed_over_a_restart_is_a_gap_that_is_refilled() -> None:
    desk = restarted("bar.5s", [bar(50, 55)])
    desk.live(110, s=115)
    desk.wake(117)
    assert (desk.fetched[0].start[-14:-6], desk.fetched[0].end_ns) == ("00:00:55", ns(110))
    desk.past(50, 55, 60, 105, 110, s=118)
    desk.done(118)
    assert desk.gaps == [("restart", 55.0, 115.0), ("restart", 55.0, 115.0)]
    assert [begun for begun, flags in desk.bars if flags == LATE] == [55, 60, 105]


def test_ticks_of_the_last_second_before_a_restart_are_matched() -> None:
    desk = restarted("trade", [trade(50, "1"), trade(50, "2")])
    desk.trades(110, "9", s=110)
    desk.wake(112)
    assert desk.fetched[0].start[-14:-6] == "00:00:50"
    desk.past_trades((50, "1"), (50, "2"), (50, "3"), (70, "4"), (110, "8"), (110, "9"), s=113)
    desk.done(113)
    assert [(at_s, size) for at_s, size, flags in desk.ticks if flags == LATE] == [(50, "3"), (70, "4"), (110, "8")]


def test_a_built_bar_that_went_on_at_a_restart_is_replaced() -> None:
    desk = restarted("bar.1m.built", [bar(60, 120, final=False, revision=3)])
    desk.live(130, s=135)
    desk.wake(182)
    assert (desk.fetched[0].start[-14:-6], desk.fetched[0].end_ns) == ("00:01:00", ns(180))
    desk.past(60, 120, s=183, size="1m", length_s=60)
    desk.done(183)
    assert shown(desk)[-2:] == [(60, True, 4, LATE), (120, True, 1, LATE)]


def test_who_does_not_want_gaps_refilled_has_the_reset_alone() -> None:
    before = PastDesk("bar.5s", "", SubscriptionsConfig())
    desk = Healed("quote")
    stream = Stream("bar.5s", "AAPL.STK.SMART.USD")
    holders = one(Answer, before.accepted).holders
    desk.note(desk.core.handle(RestoreHolders(holders, {stream.name: (bar(50, 55),)}), at(100)))
    desk.req_id = desk.last_req_id
    desk.live(110, s=115)
    assert desk.gaps == []
