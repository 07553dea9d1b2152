"""History through pacing: open requests, priorities, cooldowns, and what is told of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.messages import (
    ClearCooldowns,
    Forecasted,
    ForecastQuery,
    PacingViolated,
    RequestEnded,
    SessionDown,
    SessionUp,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.requests import AnyRequest, CancelHeadTimestamp, CancelHistoricalData
from ibkr_actor.schema.commands import Rejection
from tests.core.ib_at_work import IB, bars, big, head, histogram, level1, small, ticks
from tests.core.kit import SECOND_S, answer, at, ns, ref, said, told

SLOW = 10_000.0


def status(ib: IB) -> dict[str, Any]:
    return ib.pacing.status(at(ib.now_s))


def say(ib: IB, message: PacingViolated | ClearCooldowns) -> list[Effect]:
    return ib.tell(message)


# ---- windows


def test_real_time_bars_and_small_bars_share_60_in_ten_minutes() -> None:
    ib = IB(PacingConfig())
    for n in range(40):
        ib.ask(0.0, bars(n))
        ib.ask(0.0, small(100 + n, con_id=n))
    ib.run(1000.0)
    assert Counter(s > 600 for s, _ in ib.left) == {False: 60, True: 20}


def test_head_timestamps_and_ticks_count_as_small_bars_and_bars_of_a_minute_do_not() -> None:
    ib = IB(PacingConfig(small_bars_count=2, open_max=100))
    asked: list[AnyRequest] = [head(1, 1), ticks(2, 2), small(3, 3), big(4, 4), histogram(5)]
    for n, request in enumerate(asked):
        ib.ask(n * 0.01, request)
    ib.run(100.0)
    assert [n for _, n in ib.left] == [1, 2, 4, 5]


def test_an_identical_request_waits_15_seconds_and_another_window_of_time_does_not() -> None:
    ib = IB(PacingConfig())
    ib.ask(0.0, small(1, end="same"))
    ib.ask(0.0, small(2, end="same"))
    ib.ask(0.0, small(3, end="other"))
    ib.run()
    assert ib.left == [(0.0, 1), (0.0, 3), (15.5, 2)]


def test_five_of_one_contract_and_type_leave_in_two_seconds_and_a_sixth_waits() -> None:
    ib = IB(PacingConfig())
    for n in range(6):
        ib.ask(0.0, small(n))
    ib.ask(0.0, small(7, what="MIDPOINT"))
    ib.ask(0.0, small(8, con_id=2))
    ib.run()
    assert [n for s, n in ib.left if s == 0.0] == [0, 1, 2, 3, 4, 7, 8]
    assert ib.left[-1] == (2.5, 5)


def test_bid_ask_counts_twice_for_a_contract_too() -> None:
    ib = IB(PacingConfig())
    for n in range(3):
        ib.ask(0.0, small(n, what="BID_ASK"))
    ib.run()
    assert ib.left == [(0.0, 0), (0.0, 1), (2.5, 2)]


# ---- open requests


def test_50_may_be_open_and_the_next_goes_when_one_ends() -> None:
    ib = IB(PacingConfig(lines=1000, big_bars_open_max=100, big_bars_per_s=1000), SLOW)
    for n in range(52):
        ib.ask(0.0, big(n, con_id=n))
    ib.run(1.0)
    assert (len(ib.left), ib.most_open) == (50, 50)
    assert ib.pacing.next_wakeup_s() is None
    ib.at(5.0, RequestEnded(33))
    ib.run(5.0)
    assert ib.left[-1] == (5.0, 50)


def test_bars_of_a_minute_leave_room_for_small_ones() -> None:
    ib = IB(PacingConfig(), SLOW)
    for n in range(60):
        ib.ask(0.0, big(n, con_id=n))
    ib.ask(3.0, small(100))
    ib.run(3.0)
    assert len(ib.left) == 41
    assert ib.left[-1] == (3.0, 100)


def test_a_withdrawn_request_is_open_until_its_cancel_has_left() -> None:
    ib = IB(PacingConfig(open_max=1, lines=4), SLOW)
    for n in (1, 2):
        ib.ask(0.0, small(n))
    ib.ask(0.0, level1(3))
    ib.at(0.5, Withdraw(13))
    ib.run(60.0)
    assert [(s, type(request).__name__) for s, request in ib.log] == [
        (0.0, "ReqHistoricalData"),
        (0.0, "ReqMktData"),
        (SECOND_S, "CancelHistoricalData"),
        (SECOND_S, "ReqHistoricalData"),
    ]


def test_a_head_timestamp_is_open_until_it_is_cancelled_though_it_was_answered() -> None:
    ib = IB(PacingConfig(open_max=1))
    ib.ask(0.0, head(1))
    ib.ask(0.0, head(2, con_id=2))
    ib.run()
    assert [(s, request) for s, request in ib.log if not isinstance(request, type(head(1)))] == [
        (1.0, CancelHeadTimestamp(13)),
        (2.0, CancelHeadTimestamp(23)),
    ]
    assert [s for s, _ in ib.left] == [0.0, 1.0]


def test_what_ended_while_its_cancel_waited_is_not_cancelled() -> None:
    ib = IB(PacingConfig(lines=2), SLOW)
    ib.ask(0.0, small(1))
    ib.at(0.1, Withdraw(13))
    ib.at(0.2, RequestEnded(13))
    ib.run()
    assert CancelHistoricalData(13) not in [request for _, request in ib.log]


def test_withdrawn_ticks_cannot_be_cancelled_and_are_open_until_they_end_or_a_while_has_passed() -> None:
    ib = IB(PacingConfig(open_max=1, abandon_s=60.0), SLOW)
    ib.ask(0.0, ticks(1))
    ib.ask(0.0, ticks(2))
    ib.at(1.0, Withdraw(13))
    ib.run(60.9)
    assert ib.left == [(0.0, 1)]
    ib.open.clear()
    ib.run(100.0)
    assert ib.left == [(0.0, 1), (61.0, 2)]
    ib.at(101.0, Withdraw(23))
    ib.at(102.0, RequestEnded(23))
    ib.run(102.0)
    assert status(ib)["open"] == 0


def test_a_lost_session_closes_what_was_open() -> None:
    ib = IB(PacingConfig(open_max=1), SLOW)
    ib.ask(0.0, big(1))
    ib.at(1.0, SessionDown(1, ns(1), "disconnect", "x"))
    ib.at(2.0, SessionUp(2, 200))
    ib.ask(3.0, big(2))
    ib.run(3.0)
    assert ib.left == [(0.0, 1), (3.0, 2)]


# ---- priorities and clients


def test_interactive_goes_before_backfill_that_waited_longer() -> None:
    ib = IB(PacingConfig(small_bars_count=1))
    for n in range(3):
        ib.ask(0.0, small(n, con_id=n), priority=2, client="backfill")
    ib.ask(1.0, small(10, con_id=10), priority=1, client="someone")
    ib.run()
    assert [n for _, n in ib.left] == [0, 10, 1, 2]


def test_backfill_gets_a_turn_in_twenty_however_much_is_interactive() -> None:
    ib = IB(PacingConfig(small_bars_count=1))
    for n in range(100):
        ib.ask(n * 300.0, small(n, con_id=n), priority=1)
    ib.ask(1.0, small(500, con_id=500), priority=2)
    ib.run()
    assert 15 <= [n for _, n in ib.left].index(500) <= 20


def test_backfill_of_one_sort_gets_a_turn_while_another_sort_is_interactive() -> None:
    ib = IB(PacingConfig(open_max=1, big_bars_open_max=1))
    for n in range(100):
        ib.ask(0.0, big(n, con_id=n), priority=1)
    ib.ask(0.0, small(500), priority=2)
    ib.run()
    assert 15 <= [n for _, n in ib.left].index(500) <= 21


def test_clients_share_one_contracts_lane_fairly_too() -> None:
    ib = IB(PacingConfig())
    for n in range(40):
        ib.ask(0.0, small(n), client="greedy")
    ib.ask(0.1, small(100), client="modest")
    ib.run(2.5)
    assert 100 in [n for _, n in ib.left]


# ---- cooldowns


def test_a_pacing_violation_rests_all_small_bars_for_ten_minutes_and_nothing_else() -> None:
    ib = IB(PacingConfig())
    ib.ask(0.0, small(1))
    ib.run(0.5)
    effects = say(ib, PacingViolated(13))
    assert said(effects) == ["cooldown_started"]
    asked: list[AnyRequest] = [small(2), bars(3), head(4), big(5), level1(6)]
    for n, request in enumerate(asked):
        ib.ask(1.0 + n / 100, request)
    ib.run(2.0)
    assert [n for _, n in ib.left] == [1, 5, 6]
    assert status(ib)["cooldowns"] == [{"scope": "small_bars", "remains_s": 599.0, "violations": 1}]
    ib.run()
    assert {s for s, n in ib.left if n in (2, 3, 4)} == {601.0}
    assert status(ib)["cooldowns"] == []


def test_the_end_of_a_cooldown_is_said_though_nothing_waits() -> None:
    ib = IB(PacingConfig())
    say(ib, PacingViolated(13))
    ib.run(599.0)
    assert said(ib.pacing.handle(WakeUp(), at(600.5))) == ["cooldown_ended"]


def test_a_violation_of_long_bars_rests_only_these() -> None:
    ib = IB(PacingConfig())
    ib.ask(0.0, big(1))
    ib.run(0.0)
    say(ib, PacingViolated(13))
    ib.ask(1.0, small(2))
    ib.ask(1.0, big(3))
    ib.run(500.0)
    assert [n for _, n in ib.left] == [1, 2]
    assert status(ib)["cooldowns"][0]["scope"] == "big_bars"


def test_violations_of_what_was_under_way_do_not_make_the_cooldown_longer_and_later_ones_do() -> None:
    ib = IB(PacingConfig(cooldown_max_s=1500.0), SLOW)
    for n in range(1, 4):
        ib.ask(0.0, small(n))
    ib.run(1.0)
    assert say(ib, PacingViolated(13))
    until_s = 601.5
    ib.run(2.0)
    assert said(say(ib, PacingViolated(23))) == []
    assert status(ib)["cooldowns"][0]["remains_s"] == round(until_s - 2.0, 2)
    lasts = []
    for n in (10, 11):
        ib.run(until_s)
        ib.ask(until_s, small(n))
        ib.run(until_s)
        say(ib, PacingViolated(n * 10 + 3))
        lasts.append(status(ib)["cooldowns"][0]["remains_s"])
        until_s += lasts[-1]
    assert lasts == [1200.5, 1500.5]
    ib.run(until_s + 700.0)
    ib.now_s = until_s + 700.0
    say(ib, PacingViolated(33))
    assert status(ib)["cooldowns"][0]["remains_s"] == 600.5


def test_a_violation_frees_the_open_request() -> None:
    ib = IB(PacingConfig(open_max=1), SLOW)
    ib.ask(0.0, big(1))
    ib.ask(0.0, small(2))
    ib.run(0.0)
    say(ib, PacingViolated(13))
    assert [n for _, n in ib.left] == [1, 2]


@pytest.mark.parametrize(("scope", "cleared"), [("", 2), ("small_bars", 1), ("big_bars", 1)])
def test_a_cooldown_is_cleared_by_a_command_that_says_how_many(scope: str, cleared: int) -> None:
    ib = IB(PacingConfig(), SLOW)
    ib.ask(0.0, big(1))
    ib.run(0.0)
    say(ib, PacingViolated(13))
    say(ib, PacingViolated(99_993))
    ib.ask(1.0, small(2))
    ib.ask(1.0, big(3))
    ib.run(1.0)
    reply = answer(say(ib, ClearCooldowns(ref(op="clear_cooldown"), scope))).reply
    assert (reply.status, reply.op) == ("result", "clear_cooldown")
    assert isinstance(reply.result, dict)
    assert reply.result["cleared"] == cleared
    assert len(status(ib)["cooldowns"]) == 2 - cleared
    assert len(ib.left) == 1 + cleared
    assert answer(say(ib, ClearCooldowns(ref(op="clear_cooldown"), scope))).reply.result == {"cleared": 0, "scopes": []}


def test_a_scope_that_is_none_is_refused_with_those_there_are() -> None:
    ib = IB(PacingConfig(), SLOW)
    say(ib, PacingViolated(13))
    error = answer(say(ib, ClearCooldowns(ref(op="clear_cooldown"), "hist_AAPL"))).reply.error
    assert error == Rejection(
        "validation_error", "no cooldown has the scope 'hist_AAPL'; there are small_bars, big_bars"
    )
    assert len(status(ib)["cooldowns"]) == 1


# ---- what is told


def etas(ib: IB) -> dict[int, float]:
    return {row.waiting.request.req_id // 10: round(row.at_s, 6) for row in ib.pacing.forecast(ib.now_s)}


def test_the_time_of_each_request_is_foretold_through_all_its_limits() -> None:
    ib = IB(PacingConfig(small_bars_count=6))
    for n in range(4):
        ib.ask(0.0, small(n, con_id=n))
    for n in range(4, 12):
        ib.ask(1.0, small(n, con_id=n, what="BID_ASK"), client=f"c{n % 2}")
    ib.ask(1.0, level1(20))
    ib.run(1.0)
    foretold = etas(ib)
    assert len(foretold) == 7
    ib.run()
    assert foretold == {n: s for s, n in ib.left if n in foretold}


def test_the_time_is_foretold_under_a_cooldown_and_a_contracts_limit() -> None:
    ib = IB(PacingConfig())
    say(ib, PacingViolated(13))
    for n in range(12):
        ib.ask(1.0, small(n))
    ib.run(1.0)
    foretold = etas(ib)
    assert Counter(foretold.values()) == {600.5: 5, 603.0: 5, 605.5: 2}
    assert ib.pacing.eta_s(3, 1.0) == 599.5
    ib.run()
    assert foretold == {n: s for s, n in ib.left}


def test_the_history_actor_may_ask_when_its_requests_go() -> None:
    ib = IB(PacingConfig(small_bars_count=1))
    for n in range(3):
        ib.ask(0.0, small(n, con_id=n))
    ib.run(0.0)
    assert told(ib.tell(ForecastQuery()), Forecasted) == [Forecasted(600.5)]


def test_the_time_behind_open_requests_is_estimated_from_answers_seen() -> None:
    ib = IB(PacingConfig(open_max=2, answer_s=4.0), SLOW)
    for n in range(6):
        ib.ask(0.0, small(n, con_id=n))
    ib.run(0.0)
    assert etas(ib) == {2: 2.0, 3: 4.0, 4: 6.0, 5: 8.0}
    assert {row["limit"] for row in status(ib)["next"]} == {"open_history"}


def test_the_status_shows_every_window_what_waits_for_it_and_when_it_frees() -> None:
    ib = IB(PacingConfig(small_bars_count=6), SLOW)
    for n in range(6):
        ib.ask(0.0, small(n))
    ib.ask(0.0, big(10))
    for n, priority in ((20, 2), (21, 3)):
        ib.ask(3.0, small(n, con_id=2), client="b", priority=priority)
    ib.run(3.0)
    shown = status(ib)
    assert shown["windows"]["small_bars"] == {"used": 6, "count": 6, "window_s": 600.0, "frees_in_s": 597.5}
    assert shown["windows"]["big_bars"] == {"used": 0, "count": 30, "window_s": 1.0, "frees_in_s": 0.0}
    assert shown["windows"]["messages"]["count"] == 50
    assert shown["open_limits"]["open_history"] == {"open": 7, "count": 50, "answer_s": 2.0}
    assert shown["waiting_for"] == {"small_bars": 2}
    assert shown["drained_in_s"] == 597.5
    alike = {"request": "ReqHistoricalData", "client": "b", "limit": "small_bars", "eta_s": 597.5}
    assert shown["next"] == [alike | {"priority": "interactive"}, alike | {"priority": "backfill"}]
    assert Counter(row["limit"] for row in shown["lanes"]) == {"identical": 6}


def test_a_lane_that_is_waited_for_is_shown() -> None:
    ib = IB(PacingConfig())
    for n in range(7):
        ib.ask(0.0, small(n))
    ib.run(1.0)
    (row,) = [row for row in status(ib)["lanes"] if row["limit"] == "same_contract"]
    assert row == {
        "limit": "same_contract",
        "scope": "1@SMART:TRADES",
        "used": 5,
        "count": 5,
        "waiting": 2,
        "frees_in_s": 1.5,
    }
