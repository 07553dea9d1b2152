"""What a loss of any sort does to the lines: who is told, what is asked again, and which gap is published."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Notify, Tell, WriteHolders
from ibkr_actor.core.events import RealTimeBar
from ibkr_actor.core.messages import (
    DataLost,
    ForgetContract,
    RateExceeded,
    RequestEnded,
    RequestRefused,
    RestoreHolders,
    UpstreamDown,
    UpstreamUp,
    Withdraw,
)
from ibkr_actor.core.requests import ReqMktData, ReqTickByTick
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import End, Gap
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, forex, notes, ns, one, only, published, said, states, stock, told

QUOTE = Stream("quote", "AAPL.STK.SMART.USD")


def gap(cause: str, from_s: float, to_s: float) -> tuple[Stream, Gap]:
    return QUOTE, Gap(0, 0, 265598, ns(to_s), None, 1, 0, cause, ns(from_s), ns(to_s))


def live(config: SubscriptionsConfig | None = None) -> Desk:
    """A desk with one quote that has had data; its request is 12."""
    desk = Desk(config)
    desk.subscribe("quote")
    desk.sent(12, 0)
    desk.price(12, 1)
    return desk


# ---- the connection


def test_a_lost_connection_is_a_gap_before_the_first_data_of_the_next_once() -> None:
    desk = live()
    effects = desk.down(10)
    assert states(effects) == [("quote", "starved", "disconnect")]
    assert only(Tell, effects) == []
    effects = desk.up(20)
    assert asked(effects) == [ReqMktData(22, stock())]
    assert states(effects) == [("quote", "pending", "")]
    effects = desk.price(22, 30)
    assert published(effects)[0] == gap("disconnect", 10, 30)
    assert len(published(effects)) == 2
    assert states(effects) == [("quote", "live", "")]
    assert len(published(desk.price(22, 31))) == 1


def test_each_stream_of_a_line_has_its_own_gap() -> None:
    desk = Desk()
    desk.subscribe("quote", "tick")
    desk.price(12, 1)
    desk.down(10)
    desk.up(20)
    quotes = published(desk.price(22, 30))
    ticks = published(desk.text(22, 40))
    assert [(stream.kind, type(record).__name__) for stream, record in quotes + ticks] == [
        ("quote", "Gap"), ("quote", "Quote"), ("tick", "Gap"), ("tick", "Tick"),
    ]  # fmt: skip


def test_what_never_had_data_has_no_gap() -> None:
    desk = Desk()
    desk.subscribe("quote")
    desk.down(10)
    desk.up(20)
    effects = desk.price(22, 30)
    assert len(published(effects)) == 1
    assert notes(effects) == [("c", "1", "active", ["quote"])]


def test_two_losses_without_data_between_them_are_one_gap_from_the_first() -> None:
    desk = live()
    desk.down(10)
    desk.up(20)
    desk.down(30)
    desk.up(40)
    assert published(desk.price(32, 50))[0] == gap("disconnect", 10, 50)


def test_values_from_before_an_outage_are_not_carried_into_records_after_it() -> None:
    desk = Desk()
    desk.subscribe("quote")
    desk.price(12, 1, 1.5, tick_type=1)
    desk.down(10)
    desk.up(20)
    _, (_, record) = published(desk.price(22, 30, 1.6, tick_type=2))
    assert (getattr(record, "bid", 0), getattr(record, "ask", 0)) == (None, 1.6)


def test_data_of_the_earlier_connection_is_not_published() -> None:
    desk = live()
    desk.down(10)
    desk.up(20)
    assert desk.price(12, 21) == []
    assert desk.core.status()["late_events"] == 1


def test_lines_are_asked_again_in_the_order_of_their_first_subscription() -> None:
    desk = Desk()
    for n in (3, 1, 2):
        desk.subscribe("quote", contract=stock(f"S{n}", n), s=n)
    desk.down(10)
    assert [request.contract.con_id for request in asked(desk.up(20)) if isinstance(request, ReqMktData)] == [3, 1, 2]


def test_who_leaves_during_an_outage_is_not_asked_for_again() -> None:
    desk = live()
    desk.down(10)
    effects = desk.unsubscribe(s=11)
    assert [type(record) for _, record in published(effects)] == [End]
    assert only(Tell, effects) == []
    assert asked(desk.up(20)) == []


# ---- TWS and IB


def test_data_lost_asks_again_at_once_without_cancelling_what_ib_forgot() -> None:
    desk = live()
    effects = desk.note(desk.core.handle(DataLost(ns(10), 1101), at(10)))
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert told(effects, Withdraw) == []
    assert asked(effects) == [ReqMktData(22, stock())]
    assert published(desk.price(22, 11))[0] == gap("disconnect", 10, 11)


def test_data_lost_withdraws_what_may_not_have_been_sent() -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.note(desk.core.handle(DataLost(ns(10), 1101), at(10)))
    assert told(effects, Withdraw) == [Withdraw(12)]
    assert asked(effects) == [ReqMktData(22, stock())]


def test_tws_without_ib_starves_what_was_live_and_the_next_data_tells_the_gap() -> None:
    desk = live()
    desk.subscribe("trade")
    effects = desk.core.handle(UpstreamDown(ns(10), 1100), at(10))
    assert states(effects) == [("quote", "starved", "upstream")]
    assert asked(effects) == []
    effects = desk.core.handle(UpstreamUp(ns(20), 1102), at(20))
    assert states(effects) == [("quote", "pending", "upstream_restored")]
    effects = desk.price(12, 21)
    assert published(effects)[0] == gap("disconnect", 10, 21)
    assert states(effects) == [("quote", "live", "")]


def test_a_night_of_1100_then_a_disconnect_is_one_gap() -> None:
    desk = live()
    desk.core.handle(UpstreamDown(ns(10), 1100), at(10))
    desk.down(20)
    desk.up(30)
    desk.core.handle(DataLost(ns(31), 1101), at(31))
    gaps = [record for _, record in published(desk.price(32, 40)) if isinstance(record, Gap)]
    assert [(record.from_ns, record.to_ns) for record in gaps] == [(ns(10), ns(40))]


# ---- codes


def test_a_competing_session_starves_the_line_which_is_probed_until_it_speaks() -> None:
    desk = live(SubscriptionsConfig(probe_s=60.0))
    effects = desk.error(12, 10197, 10)
    assert states(effects) == [("quote", "starved", "competing_session")]
    assert told(effects, Withdraw) == []
    assert one(Announce, effects).record.code == 10197
    assert desk.core.next_wakeup_s() == 70.0
    effects = desk.wake(70)
    assert [type(tell.message).__name__ for tell in only(Tell, effects)] == ["Withdraw", "Enqueue"]
    desk.error(22, 10197, 71)
    assert desk.core.next_wakeup_s() == 131.0
    effects = desk.price(22, 90)
    assert published(effects)[0] == gap("competing_session", 10, 90)
    assert desk.core.next_wakeup_s() is None


def test_a_bust_is_asked_again_at_once_with_a_gap_of_its_own() -> None:
    desk = live()
    effects = desk.error(12, 10225, 10)
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert asked(effects) == [ReqMktData(22, stock())]
    assert published(desk.price(22, 11))[0] == gap("bust", 10, 11)


@pytest.mark.parametrize("code", [10167, 10090, 317, 2152])
def test_advice_is_said_and_ends_nothing(code: int) -> None:
    desk = live()
    effects = desk.error(12, code, 10)
    assert len(said(effects)) == 1
    assert only(Tell, effects) == []
    assert len(published(desk.price(12, 11))) == 1


@pytest.mark.parametrize("code", [300, 310, 366, 2104, 2150])
def test_notes_change_nothing_at_all(code: int) -> None:
    desk = live()
    effects = desk.error(12, code, 10)
    assert (only(Tell, effects), states(effects), notes(effects)) == ([], [], [])
    assert len(published(desk.price(12, 11))) == 1


@pytest.mark.parametrize("code", [10089, 10091, 98765])
def test_a_permission_warning_or_an_unknown_code_is_a_failure_only_if_no_data_comes(code: int) -> None:
    desk = Desk(SubscriptionsConfig(prove_s=15.0))
    desk.subscribe("quote")
    desk.error(12, code, 10)
    assert desk.core.next_wakeup_s() == 25.0
    desk.price(12, 24)
    assert desk.core.next_wakeup_s() is None
    desk.error(12, code, 30)
    assert desk.core.next_wakeup_s() is None
    silent = Desk(SubscriptionsConfig(prove_s=15.0))
    silent.subscribe("quote")
    silent.error(12, code, 10)
    effects = silent.wake(25)
    assert notes(effects) == [("c", "1", "rejected", ["quote"])]
    assert [type(record) for _, record in published(effects)] == [End]
    # IB has not ended it, so the line is given back.
    assert told(effects, Withdraw) == [Withdraw(12)]


@pytest.mark.parametrize(
    ("code", "rejection"),
    [
        (101, "line_limit"),
        (354, "permissions_missing"),
        (10168, "permissions_missing"),
        (10186, "permissions_missing"),
        (321, "validation_error"),
    ],
)
def test_a_refused_line_is_rejected_to_all_who_wait_and_its_streams_end(code: int, rejection: str) -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", id="1")
    desk.subscribe("quote", "tick", client="b", id="2")
    effects = desk.error(12, code, 5)
    assert [note[:3] for note in notes(effects)] == [("a", "1", "rejected"), ("b", "2", "rejected")]
    error = only(Notify, effects)[0].reply.error
    assert error is not None
    assert (error.code, error.ib_code) == (rejection, code)
    assert "what IB says" in error.message
    assert [record for _, record in published(effects)] == [End(0, 0, 265598, ns(5), None, 1, 0, "failed")] * 2
    assert len(one(WriteHolders, effects).holders) == 3
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert told(effects, Withdraw) == []
    assert desk.core.status()["lines"] == {"taken": 0, "of": 100}
    assert desk.core.status()["commands_waiting"] == 0


@pytest.mark.parametrize("code", [10189, 10190, 98765])
def test_a_refused_kind_leaves_the_other_kinds_of_its_command_alone(code: int) -> None:
    desk = Desk()
    desk.subscribe("quote", "trade")
    effects = desk.error(22, code, 5)
    assert notes(effects) == [("c", "1", "rejected", ["trade"])]
    assert notes(desk.price(12, 6)) == [("c", "1", "active", ["quote"])]


def test_a_contract_that_ib_does_not_know_after_all_is_forgotten() -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.error(12, 200, 5)
    assert told(effects, ForgetContract) == [ForgetContract(265598, "SMART")]
    assert notes(effects) == [("c", "1", "rejected", ["quote"])]


def test_a_holder_whose_line_fails_later_is_told_under_its_command() -> None:
    desk = live()
    effects = desk.error(12, 354, 10)
    assert notes(effects) == [("c", "1", "rejected", ["quote"])]
    assert [type(record) for _, record in published(effects)] == [End]


def test_a_line_that_was_up_and_may_come_back_is_kept_and_asked_again_later() -> None:
    desk = live()
    effects = desk.error(12, 101, 10)
    assert states(effects) == [("quote", "starved", "line_limit")]
    assert notes(effects) == []
    assert asked(desk.wake(69.9)) == []
    assert asked(desk.wake(70)) == [ReqMktData(22, stock())]
    assert published(desk.price(22, 71))[0] == gap("disconnect", 10, 71)


def test_who_subscribes_to_a_line_that_waits_for_its_time_does_not_hurry_it() -> None:
    desk = live()
    desk.error(12, 101, 10)
    effects = desk.subscribe("tick", client="b", s=20)
    assert asked(effects) == []
    assert asked(desk.wake(70))


def test_an_id_in_use_is_asked_under_another_but_not_for_ever() -> None:
    desk = Desk(SubscriptionsConfig(max_asks=3))
    desk.subscribe("quote")
    assert asked(desk.error(12, 102, 1)) == [ReqMktData(22, stock())]
    assert asked(desk.error(22, 322, 2)) == [ReqMktData(32, stock())]
    effects = desk.error(32, 322, 3)
    assert asked(effects) == []
    assert notes(effects) == [("c", "1", "rejected", ["quote"])]


def test_outages_do_not_count_as_refusals() -> None:
    desk = Desk(SubscriptionsConfig(max_asks=3))
    desk.subscribe("quote")
    for s in range(10, 50, 10):
        desk.down(s)
        desk.up(s + 5)
    assert desk.last_req_id == 52
    assert asked(desk.error(52, 102, 50)) == [ReqMktData(62, stock())]


def test_a_restored_line_that_ib_has_no_room_for_is_kept_and_asked_again() -> None:
    writes = answer(Desk().subscribe("quote")).holders
    desk = Desk()
    desk.note(desk.core.handle(RestoreHolders(writes), at(1)))
    effects = desk.error(12, 101, 2)
    assert states(effects) == [("quote", "starved", "line_limit")]
    assert asked(desk.wake(62)) == [ReqMktData(22, stock())]


def test_error_100_slows_pacing_down_and_the_request_is_asked_again() -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.error(12, 100, 1)
    assert told(effects, RateExceeded) == [RateExceeded(100)]
    assert asked(effects) == [ReqMktData(22, stock())]


@pytest.mark.parametrize("code", [504, 510, 529, 576])
def test_a_request_that_could_not_be_sent_is_asked_again_soon(code: int) -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.error(12, code, 1)
    assert notes(effects) == []
    assert desk.core.next_wakeup_s() == 6.0
    assert asked(desk.wake(6)) == [ReqMktData(22, stock())]


def test_a_request_that_pacing_refuses_is_busy() -> None:
    desk = Desk()
    desk.subscribe("quote")
    effects = desk.core.handle(RequestRefused(12, "full", 3.0), at(1))
    assert notes(effects) == [("c", "1", "rejected", ["quote"])]


def test_a_line_that_pacing_refuses_after_an_outage_is_asked_again() -> None:
    desk = live()
    desk.down(10)
    desk.up(20)
    effects = desk.core.handle(RequestRefused(22, "full", 3.0), at(20))
    assert notes(effects) == []
    assert asked(desk.wake(23)) == [ReqMktData(32, stock())]


def test_errors_of_requests_that_are_over_are_counted() -> None:
    desk = live()
    desk.unsubscribe(s=2)
    assert desk.error(12, 300, 3) == []
    assert desk.error(12, 354, 3) == []
    assert desk.core.status()["late_events"] == 2


def test_timers_of_a_line_that_is_gone_do_nothing() -> None:
    desk = Desk(SubscriptionsConfig(prove_s=15.0, probe_s=15.0))
    desk.subscribe("quote", lease_s=25.0)
    desk.error(12, 10089, 10)
    desk.error(12, 10197, 10)
    assert published(desk.wake(25))
    assert desk.wake(30) == []


def test_a_competing_session_explains_the_silence_that_a_warning_would_have_made_a_failure() -> None:
    desk = Desk(SubscriptionsConfig(prove_s=15.0, probe_s=60.0))
    desk.subscribe("quote")
    desk.error(12, 10089, 10)
    desk.error(12, 10197, 11)
    assert desk.core.next_wakeup_s() == 71.0
    assert notes(desk.wake(71)) == []


def test_a_disconnect_while_more_generic_ticks_are_asked_asks_for_all_of_them() -> None:
    desk = live()
    desk.subscribe("quote", client="b", s=2, ticks=[233])
    desk.down(3)
    assert asked(desk.up(4)) == [ReqMktData(32, stock(), (233,))]
    assert desk.core.status()["lines"] == {"taken": 1, "of": 100}


def test_forex_and_stocks_are_asked_and_lost_alike() -> None:
    desk = Desk()
    desk.subscribe("bidask", contract=forex())
    desk.down(1)
    assert asked(desk.up(2)) == [ReqTickByTick(22, forex(), "BidAsk")]


def test_a_tick_by_tick_stream_that_another_login_took_is_asked_for_again() -> None:
    """10189 is said for a missing permission and for a login elsewhere: a stream that was up had the permission."""
    desk = Desk()
    desk.subscribe("trade")
    desk.trade(desk.last_req_id, 1)
    assert states(desk.error(desk.last_req_id, 10189, 10)) == [("trade", "starved", "permissions_missing")]
    assert len(asked(desk.wake(70))) == 1
    fresh = Desk()
    fresh.subscribe("trade")
    assert states(fresh.error(fresh.last_req_id, 10189, 1)) == [("trade", "ended", "failed")]


@pytest.mark.parametrize(("kind", "code"), [("trade", 10189), ("bar.5s", 420)])
def test_a_stream_that_ib_says_another_login_took_is_asked_for_again_after_a_minute(kind: str, code: int) -> None:
    """420 also means too many requests, which takes ten minutes to pass."""
    text = "Invalid Real-time Query:Trading TWS session is connected from a different IP address"
    desk = Desk()
    desk.subscribe(kind)
    if kind == "trade":
        desk.trade(desk.last_req_id, 1)
    else:
        desk.data(RealTimeBar(desk.last_req_id, ns(5), ns(0), 1, 2, 1, 2, "10", "1", 3), s=5)
    assert states(desk.error(desk.last_req_id, code, 10, text)) == [(kind, "starved", "competing_session")]
    assert not asked(desk.wake(69))
    assert len(asked(desk.wake(70))) == 1
    fresh = Desk()
    fresh.subscribe(kind)
    (reply,) = only(Notify, fresh.error(fresh.last_req_id, code, 1, text))
    assert reply.reply.error is not None
    assert (reply.reply.error.code, reply.reply.error.retry_after_s) == ("competing_session", 60.0)
