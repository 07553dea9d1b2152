from __future__ import annotations

import math

import msgspec
import pytest
from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, CloseStream, Publish, Tell, WriteHolders
from ibkr_actor.core.events import (
    MarketDataType,
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickGeneric,
    TickOptionComputation,
    TickPrice,
    TickReqParams,
    TickSize,
    TickSnapshotEnd,
    TickString,
)
from ibkr_actor.core.kinds import ROWS, known_kinds, why_not
from ibkr_actor.core.messages import (
    CommandsReadable,
    RequestEnded,
    RestoreHolders,
    Start,
    StatusQuery,
    Stop,
    Withdraw,
)
from ibkr_actor.core.requests import ReqMktData, ReqRealTimeBars, ReqTickByTick
from ibkr_actor.schema.commands import List, Renew, Resolve, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import KINDS, Stream
from ibkr_actor.schema.records import FLAG_BUILT, FLAG_SNAPSHOT, Bar, End, Quote, Tick, Trade
from tests.core.desk import Desk
from tests.core.kit import (
    answer,
    asked,
    at,
    forex,
    notes,
    ns,
    one,
    only,
    published,
    ref,
    said,
    states,
    stock,
    told,
)

QUOTE = Stream("quote", "AAPL.STK.SMART.USD")


# ---- subscribe


def test_the_first_holder_takes_the_line_and_is_accepted_with_keys_and_a_stored_holder() -> None:
    desk = Desk()
    effects = desk.subscribe("tick", "quote", lease_s=60.0)
    done = answer(effects)
    assert done.reply.status == "accepted"
    assert done.reply.streams == ["ibkr:{g1}:quote:AAPL.STK.SMART.USD", "ibkr:{g1}:tick:AAPL.STK.SMART.USD"]
    assert [write.field for write in done.holders] == ["quote:AAPL.STK.SMART.USD:c", "tick:AAPL.STK.SMART.USD:c"]
    value = msgspec.json.decode(done.holders[0].value or b"")
    assert (value["lease_s"], value["command_id"], value["contract"]["con_id"]) == (60.0, "1", 265598)
    assert asked(effects) == [ReqMktData(12, stock())]
    assert states(effects) == [("quote", "pending", ""), ("tick", "pending", "")]


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        ("trade", ReqTickByTick(12, stock(), "Last")),
        ("alltrade", ReqTickByTick(12, stock(), "AllLast")),
        ("bidask", ReqTickByTick(12, stock(), "BidAsk")),
        ("midpoint", ReqTickByTick(12, stock(), "MidPoint")),
        ("bar.5s", ReqRealTimeBars(12, stock(), "TRADES", False)),
        ("bar.5s.bid", ReqRealTimeBars(12, stock(), "BID", False)),
        ("bar.5s.ask", ReqRealTimeBars(12, stock(), "ASK", False)),
        ("bar.5s.midpoint", ReqRealTimeBars(12, stock(), "MIDPOINT", False)),
        ("bar.5s.rth", ReqRealTimeBars(12, stock(), "TRADES", True)),
        ("bar.5s.bid.rth", ReqRealTimeBars(12, stock(), "BID", True)),
    ],
)
def test_each_kind_is_asked_in_its_own_way(kind: str, request_: object) -> None:
    assert asked(Desk().subscribe(kind)) == [request_]


def test_every_kind_of_the_contract_is_served() -> None:
    assert list(ROWS) == list(KINDS)


@pytest.mark.parametrize(("sec_type", "shown"), [("CASH", "MIDPOINT"), ("CMDTY", "MIDPOINT"), ("CRYPTO", "AGGTRADES")])
def test_bars_of_what_has_no_trades_are_made_of_what_it_has_and_say_so(sec_type: str, shown: str) -> None:
    contract = Contract(5, "X", sec_type, "E", "USD", instrument=f"X.{sec_type}.E.USD")
    desk = Desk()
    assert asked(desk.subscribe("bar.5s", contract=contract)) == [ReqRealTimeBars(12, contract, shown, False)]
    effects = desk.data(RealTimeBar(12, ns(1), ns(0), 1.0, 1.0, 1.0, 1.0, None, None, None), s=1)
    ((stream, record),) = published(effects)
    assert stream.kind == "bar.5s"
    assert isinstance(record, Bar)
    assert record.what_to_show == shown


def test_bars_are_asked_for_as_ib_expects_them_and_refused_when_that_is_not_it_either() -> None:
    contract = Contract(5, "X", "CRYPTO", "E", "USD", instrument="X.CRYPTO.E.USD")
    desk = Desk()
    desk.subscribe("bar.5s", contract=contract)
    words = "Expected what to show is TRADES, please use that instead of AGGTRADES."
    assert asked(desk.error(12, 10299, s=1, text=words)) == [ReqRealTimeBars(22, contract, "TRADES", False)]
    effects = desk.error(22, 10299, s=2, text=words)
    assert asked(effects) == []
    assert notes(effects) == [("c", "1", "rejected", ["bar.5s"])]


def test_a_second_holder_shares_the_line() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a")
    effects = desk.subscribe("quote", client="b", s=1)
    assert answer(effects).reply.status == "accepted"
    assert asked(effects) == []


def test_the_same_subscribe_again_renews_and_is_accepted_again() -> None:
    desk = Desk()
    desk.subscribe("quote", lease_s=10.0)
    effects = desk.subscribe("quote", s=8, id="2", lease_s=10.0)
    assert answer(effects).reply.status == "accepted"
    assert asked(effects) == []
    assert desk.core.next_wakeup_s() == 18.0
    assert desk.core.status()["holders"] == 1


@pytest.mark.parametrize(
    ("contract", "kind", "word"),
    [
        (forex(), "trade", "bidask or midpoint"),
        (forex(), "alltrade", "bidask or midpoint"),
        (Contract(5, "A", "OPT", "SMART", "USD", instrument="X"), "bidask", "quote and tick"),
    ],
)
def test_what_ib_does_not_have_is_unsupported_and_says_what_it_has(contract: Contract, kind: str, word: str) -> None:
    effects = Desk().subscribe("quote", kind, contract=contract)
    found = answer(effects).reply.error
    assert found is not None
    assert found.code == "unsupported"
    assert word in found.message
    assert len(effects) == 1


def test_combinations_have_neither_books_nor_tick_by_tick_nor_live_bars() -> None:
    refused = {kind for kind in KINDS if why_not(kind, "BAG", "SMART")}
    assert {"depth", "depth.smart", "trade", "bidask", "bar.1m", "bar.5s", "bar.5s.midpoint", "bar.1m.built"} <= refused
    assert not refused & {"quote", "tick"}


def test_forex_has_quotes_bars_and_tick_by_tick_bid_and_ask() -> None:
    refused = [kind for kind in KINDS if why_not(kind, "CASH", "IDEALPRO")]
    assert refused == ["greeks", "trade", "alltrade", "depth.smart"]


@pytest.mark.parametrize(
    ("kinds", "lease_s", "ticks", "word"),
    [
        ([], 0.0, [], "kinds is empty"),
        (["quotes"], 0.0, [], "'quotes' is no kind (did you mean quote?); known: quote, tick, greeks"),
        (["bulletin"], 0.0, [], "'bulletin' is held with a command of its own: bulletins"),
        (["quote"], -1.0, [], "lease_s"),
        (["quote"], math.nan, [], "lease_s"),
        (["quote"], math.inf, [], "lease_s"),
        (["trade"], 0.0, [233], "quote, tick, greeks and news only"),
        (["quote"], 0.0, [0], "IB's numbers"),
        (["quote"], 0.0, list(range(1, 60)), "at most 50"),
    ],
)
def test_what_cannot_be_meant_is_a_validation_error(
    kinds: list[str], lease_s: float, ticks: list[int], word: str
) -> None:
    effects = Desk().subscribe(*kinds, lease_s=lease_s, ticks=ticks)
    found = answer(effects).reply.error
    assert found is not None
    assert found.code == "validation_error"
    assert word in found.message


def test_with_use_rth_bars_are_of_regular_hours_and_are_named_so() -> None:
    desk = Desk(SubscriptionsConfig(use_rth=True))
    effects = desk.subscribe("bar.5s")
    assert answer(effects).reply.streams == ["ibkr:{g1}:bar.5s.rth:AAPL.STK.SMART.USD"]
    assert asked(effects) == [ReqRealTimeBars(12, stock(), "TRADES", True)]
    assert answer(desk.unsubscribe("bar.5s", s=1)).reply.streams == ["ibkr:{g1}:bar.5s.rth:AAPL.STK.SMART.USD"]
    assert known_kinds(["quote", "bar.5s.bid"], use_rth=True) == ["quote", "bar.5s.bid.rth"]


def test_without_a_connection_it_is_accepted_and_asked_when_there_is_one() -> None:
    desk = Desk(up=False)
    effects = desk.subscribe("quote")
    assert answer(effects).reply.status == "accepted"
    assert "no connection" in (answer(effects).reply.note or "")
    assert states(effects) == [("quote", "starved", "disconnect")]
    effects = desk.up(5)
    assert asked(effects) == [ReqMktData(12, stock())]
    assert states(effects) == [("quote", "pending", "")]


def test_accepted_says_when_the_market_is_closed() -> None:
    hours = "20260101:CLOSED;20260102:0930-20260102:1600"
    contract = structs.replace(stock(), trading_hours=hours, time_zone="US/Eastern")
    reply = answer(Desk().subscribe("quote", contract=contract, s=6 * 3600)).reply
    assert reply.status == "accepted"
    assert reply.note == "the market is closed until 2026-01-02T09:30:00-05:00"
    opened = answer(Desk().subscribe("quote", contract=contract, s=40 * 3600)).reply
    assert opened.note is None


# ---- active


def test_active_is_said_once_when_every_line_of_the_command_has_data() -> None:
    desk = Desk()
    effects = desk.subscribe("quote", "tick", "trade")
    level1, trades = (request.req_id for request in asked(effects))
    effects = desk.price(level1, 1)
    assert notes(effects) == []
    assert states(effects) == [("quote", "live", ""), ("tick", "live", "")]
    effects = desk.trade(trades, 2)
    assert notes(effects) == [("c", "1", "active", ["quote", "tick", "trade"])]
    assert isinstance(effects[0], Publish)
    assert notes(desk.trade(trades, 3)) == []


def test_what_only_accompanies_data_does_not_make_a_line_active() -> None:
    desk = Desk()
    desk.subscribe("quote")
    assert desk.data(TickReqParams(12, ns(1), 0.01, "x", 3), MarketDataType(12, ns(1), 3), s=1) == []
    assert notes(desk.price(12, 2)) == [("c", "1", "active", ["quote"])]


def test_a_holder_who_joins_a_line_that_is_up_is_active_at_once_and_gets_what_is_known() -> None:
    desk = Desk()
    desk.subscribe("tick", client="a")
    desk.price(12, 1, 1.5)
    effects = desk.subscribe("quote", client="b", id="2", s=5)
    assert asked(effects) == []
    assert published(effects) == [
        (QUOTE, Quote(0, 0, 265598, ns(1), None, 1, FLAG_BUILT, 1.5, None, None, "10", None, None, None, 1))
    ]
    assert states(effects) == [("quote", "live", "")]
    assert notes(effects) == [("b", "2", "active", ["quote"])]


def test_two_who_wait_for_the_same_data_are_both_told() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", id="1")
    desk.subscribe("quote", client="b", id="2")
    assert [note[:3] for note in notes(desk.price(12, 1))] == [("a", "1", "active"), ("b", "2", "active")]


def test_who_left_before_the_data_came_is_not_told() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", id="1")
    desk.subscribe("quote", "trade", client="b", id="2")
    desk.unsubscribe(client="b", s=1)
    assert [note[:3] for note in notes(desk.price(12, 1))] == [("a", "1", "active")]
    assert desk.core.status()["commands_waiting"] == 0


# ---- data


def test_a_burst_becomes_one_publish_in_the_order_it_came() -> None:
    desk = Desk(SubscriptionsConfig(lines=1000))
    desk.subscribe("quote", "tick", "trade", "bidask", "midpoint", "bar.5s")
    effects = desk.data(
        TickPrice(12, ns(1), 1, 1.5, "10", 0),
        TickSize(12, ns(1), 8, "1000"),
        TickString(12, ns(1), 45, "1767225600"),
        TickGeneric(12, ns(1), 49, 0.0),
        TickPrice(12, ns(1), 6, 9.0, "0", 0),
        TickSize(12, ns(1), 21, "5"),
        TickByTickLast(22, ns(1), False, ns(0), 1.5, "1", False, False, "X", ""),
        TickByTickBidAsk(32, ns(1), ns(0), 1.0, 2.0, "1", "1", False, False),
        TickByTickMidPoint(42, ns(1), ns(0), 1.5),
        RealTimeBar(52, ns(1), ns(0), 1.0, 1.0, 1.0, 1.0, "1", "1", 1),
        s=1,
    )
    assert len(only(Publish, effects)) == 1
    assert [(stream.kind, type(record).__name__) for stream, record in published(effects)] == [
        ("quote", "Quote"), ("quote", "Quote"), ("tick", "Tick"), ("tick", "Tick"), ("tick", "Tick"), ("tick", "Tick"),
        ("trade", "Trade"), ("bidask", "BidAsk"), ("midpoint", "MidPoint"), ("bar.5s", "Bar"),
    ]  # fmt: skip
    assert {record.con_id for _, record in published(effects)} == {265598}
    assert {record.received_ns for _, record in published(effects)} == {ns(1)}


def test_every_price_and_size_is_a_quote_changed_or_not() -> None:
    desk = Desk()
    desk.subscribe("quote")
    events = [TickPrice(12, ns(1), 1, 1.5, "10", 0)] * 3 + [TickSize(12, ns(1), 0, "10")] * 2
    assert len(published(desk.data(*events, s=1))) == 5


def test_the_feed_is_the_one_ib_last_named_and_never_live_for_delayed_ticks() -> None:
    desk = Desk()
    desk.subscribe("quote", "tick")
    effects = desk.data(MarketDataType(12, ns(1), 2), TickPrice(12, ns(1), 1, 1.5, "1", 0), s=1)
    assert [record.feed for _, record in published(effects)] == [2]
    effects = desk.data(MarketDataType(12, ns(1), 4), TickPrice(12, ns(1), 66, 1.5, "1", 0), s=1)
    assert [record.feed for _, record in published(effects)] == [4]
    effects = desk.data(MarketDataType(12, ns(1), 1), TickSize(12, ns(1), 69, "5"), s=1)
    assert [record.feed for _, record in published(effects)] == [3]


def test_tick_by_tick_and_bars_are_live_whatever_level_1_is() -> None:
    desk = Desk(SubscriptionsConfig(market_data_type=3))
    desk.subscribe("quote", "trade")
    feeds = {stream.kind: record.feed for stream, record in published(desk.price(12, 1)) + published(desk.trade(22, 1))}
    assert feeds == {"quote": 3, "trade": 1}


def test_data_that_nobody_holds_and_events_of_other_requests_are_counted() -> None:
    desk = Desk()
    desk.subscribe("quote")
    desk.subscribe("trade")
    desk.unsubscribe("trade", s=1)
    unknown = TickOptionComputation(12, ns(1), 99, None, *[None] * 8)
    assert desk.data(TickString(12, ns(1), 45, "1"), unknown, s=1)
    desk.trade(22, 2)
    desk.price(99992, 2)
    desk.price(7, 2)
    status = desk.core.status()
    assert (status["unheld_events"], status["ignored_events"]) == (1, 1)
    assert (status["late_events"], status["foreign_events"]) == (1, 2)


# ---- unsubscribe, renew, leases


def test_the_last_holder_gives_the_line_back_and_the_stream_ends() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a")
    desk.subscribe("quote", client="b")
    effects = desk.unsubscribe(client="a", s=1)
    assert answer(effects).reply.streams == ["ibkr:{g1}:quote:AAPL.STK.SMART.USD"]
    assert [(write.field, write.value) for write in answer(effects).holders] == [("quote:AAPL.STK.SMART.USD:a", None)]
    assert len(effects) == 1
    effects = desk.unsubscribe(client="b", s=2)
    assert published(effects) == [(QUOTE, End(0, 0, 265598, ns(2), None, 1, 0, "no_holders"))]
    assert states(effects) == [("quote", "ended", "no_holders")]
    assert only(CloseStream, effects) == [CloseStream(QUOTE)]
    assert told(effects, Withdraw) == [Withdraw(12)]


def test_kinds_that_share_a_line_leave_it_one_by_one() -> None:
    desk = Desk()
    desk.subscribe("quote", "tick")
    effects = desk.unsubscribe("quote", s=1)
    assert [stream.kind for stream, _ in published(effects)] == ["quote"]
    assert told(effects, Withdraw) == []
    assert [stream.kind for stream, _ in published(desk.text(12, 2))] == ["tick"]
    assert told(desk.unsubscribe("tick", s=3), Withdraw) == [Withdraw(12)]


def test_an_unsubscribe_without_an_instrument_gives_back_everything_of_the_client() -> None:
    desk = Desk()
    desk.subscribe("quote", "trade", client="a")
    desk.subscribe("quote", client="a", contract=forex())
    desk.subscribe("quote", client="b", contract=forex())
    effects = desk.send(Unsubscribe(), 1, client="a")
    assert len(answer(effects).holders) == 3
    assert {stream.kind for stream, _ in published(effects)} == {"quote", "trade"}
    assert desk.core.status()["holders"] == 1


def test_who_has_left_has_no_lease_that_could_run_out() -> None:
    desk = Desk()
    desk.subscribe("quote", lease_s=10.0)
    desk.unsubscribe(s=1)
    assert desk.core.next_wakeup_s() is None
    assert desk.wake(10) == []


def test_an_unsubscribe_of_what_is_not_held_is_accepted_and_says_so() -> None:
    effects = Desk().unsubscribe("quote", s=1)
    assert answer(effects).reply.status == "accepted"
    assert answer(effects).reply.note == "nothing of it was held"


def test_an_unsubscribe_of_an_unknown_kind_is_a_validation_error() -> None:
    found = answer(Desk().unsubscribe("qoute", s=1)).reply.error
    assert found is not None
    assert found.code == "validation_error"


def test_a_lease_that_runs_out_ends_the_stream_and_its_client_is_told() -> None:
    desk = Desk()
    desk.subscribe("quote", "tick", lease_s=10.0)
    assert desk.core.next_wakeup_s() == 10.0
    effects = desk.wake(10)
    assert [(stream.kind, record) for stream, record in published(effects)] == [
        ("quote", End(0, 0, 265598, ns(10), None, 1, 0, "expired")),
        ("tick", End(0, 0, 265598, ns(10), None, 1, 0, "expired")),
    ]
    assert notes(effects) == [("c", "1", "expired", ["quote", "tick"])]
    assert told(effects, Withdraw) == [Withdraw(12)]
    assert [write.value for write in one(WriteHolders, effects).holders] == [None, None]
    assert desk.core.next_wakeup_s() is None


def test_a_lease_that_runs_out_leaves_the_other_holders_alone() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", lease_s=10.0)
    desk.subscribe("quote", client="b")
    effects = desk.wake(10)
    assert published(effects) == []
    assert [note[0] for note in notes(effects)] == ["a"]


def test_renew_starts_every_lease_of_a_client_anew() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", lease_s=10.0)
    desk.subscribe("quote", client="b", lease_s=10.0)
    effects = desk.send(Renew(), 5, client="a")
    assert answer(effects).reply.note == "1 leases renewed"
    assert [note[0] for note in notes(desk.wake(10))] == ["b"]
    assert desk.core.next_wakeup_s() == 15.0
    assert answer(desk.send(Renew(), 6, client="x")).reply.note == "nothing is held"


def test_a_lease_that_is_not_said_has_the_default_and_none_is_longer_than_allowed() -> None:
    desk = Desk(SubscriptionsConfig(lease_s=300.0, lease_max_s=1000.0))
    desk.send(Subscribe(instrument="AAPL", kinds=["quote"]), 0, contract=stock())
    assert desk.core.next_wakeup_s() == 300.0
    desk.subscribe("quote", id="2", lease_s=5000.0)
    desk.wake(300)
    assert desk.core.next_wakeup_s() == 1000.0


def test_zero_is_until_unsubscribed() -> None:
    desk = Desk()
    desk.subscribe("quote", lease_s=0.0)
    assert desk.core.next_wakeup_s() is None


def test_time_in_which_commands_could_not_be_read_does_not_age_leases() -> None:
    desk = Desk()
    desk.subscribe("quote", lease_s=10.0)
    desk.core.handle(CommandsReadable(), at(9))
    assert desk.wake(10) == []
    assert desk.core.next_wakeup_s() == 19.0


# ---- the budget


def test_lines_are_never_more_than_the_login_has() -> None:
    desk = Desk(SubscriptionsConfig(lines=2))
    desk.subscribe("quote", client="a", contract=stock("A", 1))
    desk.subscribe("bar.5s", client="b", contract=stock("B", 2))
    effects = desk.subscribe("quote", contract=stock("C", 3))
    found = answer(effects).reply.error
    assert found is not None
    assert (found.code, found.retryable) == ("line_limit", True)
    assert "2 of 2 market data lines are taken (a 1, b 1)" in found.message
    assert len(effects) == 1
    assert answer(desk.subscribe("tick", contract=stock("A", 1))).reply.status == "accepted"
    desk.unsubscribe(client="a", contract=stock("A", 1), s=1)
    desk.unsubscribe(client="c", contract=stock("A", 1), s=1)
    assert answer(desk.subscribe("quote", contract=stock("C", 3))).reply.status == "accepted"


def test_a_command_is_refused_as_a_whole() -> None:
    desk = Desk(SubscriptionsConfig(lines=2))
    found = answer(desk.subscribe("quote", "bar.5s", "bar.5s.bid")).reply.error
    assert found is not None
    assert found.code == "line_limit"
    assert desk.core.status()["holders"] == 0


def test_tick_by_tick_streams_are_five_percent_of_the_lines_and_at_least_one() -> None:
    for lines, allowed in ((100, 5), (10, 1), (200, 10)):
        desk = Desk(SubscriptionsConfig(lines=lines))
        statuses = [
            answer(desk.subscribe("trade", contract=stock(f"S{n}", n), id=str(n))).reply.status for n in range(1, 13)
        ]
        assert statuses.count("accepted") == allowed


def test_holders_and_waiting_commands_are_bounded() -> None:
    desk = Desk(SubscriptionsConfig(holders_max=2, waiting_max=3))
    desk.subscribe("quote", "tick")
    found = answer(desk.subscribe("trade")).reply.error
    assert found is not None
    assert (found.code, found.retryable) == ("busy", True)
    desk.subscribe("quote", id="2")
    desk.subscribe("quote", id="3")
    found = answer(desk.subscribe("quote", id="4")).reply.error
    assert found is not None
    assert found.code == "busy"


# ---- generic ticks


def test_more_generic_ticks_are_asked_under_a_second_id_that_takes_over_with_its_first_data() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", ticks=[233])
    desk.price(12, 1)
    effects = desk.subscribe("quote", client="b", s=2, ticks=[100])
    assert asked(effects) == [ReqMktData(22, stock(), (100, 233))]
    assert told(effects, Withdraw) == []
    assert len(published(desk.price(12, 3))) == 1
    effects = desk.price(22, 4)
    assert told(effects, Withdraw) == [Withdraw(12)]
    assert len(published(effects)) == 1
    assert desk.price(12, 5) == []
    assert len(published(desk.price(22, 6))) == 1
    assert desk.core.status()["lines"] == {"taken": 1, "of": 100}


def test_generic_ticks_that_are_asked_already_need_no_second_request() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", ticks=[100, 233])
    assert asked(desk.subscribe("tick", client="b", ticks=[233])) == []


def test_generic_ticks_that_ib_refuses_cost_only_who_asked_for_them() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a")
    desk.price(12, 1)
    desk.subscribe("quote", "tick", client="b", id="2", s=2, ticks=[999])
    effects = desk.error(22, 321, 3)
    assert told(effects, RequestEnded) == [RequestEnded(22)]
    assert notes(effects) == [("b", "2", "rejected", ["quote", "tick"])]
    assert [stream.kind for stream, _ in published(effects)] == ["tick"]
    assert {write.field for write in one(WriteHolders, effects).holders} == {
        "quote:AAPL.STK.SMART.USD:b",
        "tick:AAPL.STK.SMART.USD:b",
    }
    assert len(published(desk.price(12, 4))) == 1


def test_a_holder_whose_further_generic_ticks_ib_refuses_is_told_and_keeps_what_it_had() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", ticks=[233])
    desk.price(12, 1)
    desk.subscribe("quote", client="a", id="2", s=2, ticks=[233, 999])
    effects = desk.error(22, 321, 3)
    assert notes(effects) == [("a", "2", "rejected", ["quote"])]
    assert published(effects) == []
    assert len(published(desk.price(12, 4))) == 1


def test_with_no_line_to_spare_the_first_request_is_given_back_before_the_second() -> None:
    desk = Desk(SubscriptionsConfig(lines=1))
    desk.subscribe("quote", client="a")
    desk.price(12, 1)
    effects = desk.subscribe("quote", client="b", s=2, ticks=[233])
    assert [type(tell.message).__name__ for tell in only(Tell, effects)] == ["Withdraw", "Enqueue"]
    effects = desk.price(22, 3)
    assert [type(record).__name__ for _, record in published(effects)] == ["Gap", "Quote"]


def test_with_no_line_to_spare_a_refused_second_request_brings_the_first_back() -> None:
    desk = Desk(SubscriptionsConfig(lines=1))
    desk.subscribe("quote", client="a")
    desk.price(12, 1)
    desk.subscribe("quote", client="b", s=2, ticks=[999])
    assert asked(desk.error(22, 321, 3)) == [ReqMktData(32, stock())]


# ---- snapshots


def test_in_snapshot_mode_a_line_is_one_answer_and_an_end() -> None:
    desk = Desk(SubscriptionsConfig(snapshot_mode=True))
    effects = desk.subscribe("quote")
    assert asked(effects) == [ReqMktData(12, stock(), (), snapshot=True)]
    effects = desk.data(TickPrice(12, ns(1), 1, 1.5, "1", 0), TickSnapshotEnd(12, ns(1)), s=1)
    assert [type(record).__name__ for _, record in published(effects)] == ["Quote", "End"]
    assert {record.flags for _, record in published(effects)} == {FLAG_SNAPSHOT}
    assert notes(effects) == [("c", "1", "active", ["quote"])]
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert told(effects, Withdraw) == []
    assert desk.core.status()["holders"] == 0


def test_a_snapshot_without_data_is_done_with_a_note() -> None:
    desk = Desk(SubscriptionsConfig(snapshot_mode=True))
    desk.subscribe("quote")
    assert [note[2] for note in notes(desk.data(TickSnapshotEnd(12, ns(1)), s=1))] == ["done"]


def test_snapshots_take_no_generic_ticks() -> None:
    found = answer(Desk(SubscriptionsConfig(snapshot_mode=True)).subscribe("quote", ticks=[233])).reply.error
    assert found is not None
    assert found.code == "validation_error"


# ---- restart, stop, status


def test_a_restart_takes_up_what_was_held_in_the_old_order_and_tells_nobody() -> None:
    desk = Desk()
    writes = [
        *answer(desk.subscribe("quote", client="a:b", contract=stock("B", 2), s=1, lease_s=10.0)).holders,
        *answer(desk.subscribe("quote", "tick", contract=stock("A", 1), s=2, ticks=[233])).holders,
    ]
    again = Desk(up=False)
    effects = again.core.handle(RestoreHolders(tuple(reversed(writes))), at(100))
    assert only(Answer, effects) == []
    assert again.core.next_wakeup_s() == 110.0
    effects = again.up(101)
    assert asked(effects) == [ReqMktData(12, stock("B", 2)), ReqMktData(22, stock("A", 1), (233,))]
    assert notes(again.price(12, 102)) == []
    assert again.core.status()["holders"] == 3


def test_holders_that_cannot_be_read_are_said_and_the_others_restored() -> None:
    writes = answer(Desk().subscribe("quote")).holders
    bad = [
        msgspec.structs.replace(writes[0], field="quote"),
        msgspec.structs.replace(writes[0], value=b"{"),
        msgspec.structs.replace(writes[0], value=None),
        msgspec.structs.replace(writes[0], field="qoute:X:c"),
    ]
    desk = Desk()
    effects = desk.core.handle(RestoreHolders((*bad, *writes)), at(1))
    assert said(effects) == ["holders_unreadable"]
    assert desk.core.status()["holders"] == 1


def test_more_lines_than_there_are_wait_for_one_after_a_restart() -> None:
    old = Desk()
    writes = [
        write for n in range(1, 4) for write in answer(old.subscribe("quote", contract=stock(f"S{n}", n), s=n)).holders
    ]
    desk = Desk(SubscriptionsConfig(lines=2))
    effects = desk.core.handle(RestoreHolders(tuple(writes)), at(10))
    assert len(asked(effects)) == 2
    assert ("quote", "starved", "line_limit") in states(effects)
    effects = desk.unsubscribe(contract=stock("S1", 1), s=11)
    assert asked(effects) == [ReqMktData(32, stock("S3", 3))]


def test_a_stop_gives_the_lines_back_keeps_the_holders_and_stops_pacing_last() -> None:
    desk = Desk()
    desk.core.handle(Start(), at(0))
    desk.subscribe("quote", "trade")
    effects = desk.core.handle(Stop(), at(1))
    assert told(effects, Withdraw) == [Withdraw(12), Withdraw(22)]
    assert effects[-1] == Tell("pacing", Stop())
    assert only(WriteHolders, effects) == []
    assert published(effects) == []
    assert {state[1:] for state in states(effects)} == {("starved", "stopped")}


def test_list_shows_streams_with_their_holders() -> None:
    desk = Desk()
    desk.subscribe("quote", client="a", lease_s=10.0)
    desk.subscribe("trade", client="b")
    reply = answer(desk.send(List(), 4)).reply
    assert reply.status == "result"
    assert isinstance(reply.result, dict)
    rows = reply.result["subscriptions"]
    assert [(row["kind"], row["state"], [holder["client"] for holder in row["holders"]]) for row in rows] == [
        ("quote", "pending", ["a"]),
        ("trade", "pending", ["b"]),
    ]
    assert rows[0]["holders"][0]["left_s"] == 6.0
    assert rows[1]["holders"][0]["left_s"] is None
    reply = answer(desk.send(List(of_client="b"), 4)).reply
    assert isinstance(reply.result, dict)
    assert [row["kind"] for row in reply.result["subscriptions"]] == ["trade"]


def test_a_status_query_takes_this_part_along() -> None:
    desk = Desk()
    desk.subscribe("quote", "trade")
    tell = one(Tell, desk.core.handle(StatusQuery(ref(), {"contracts": {}}), at(1)))
    assert tell.to == "history"
    assert isinstance(tell.message, StatusQuery)
    assert list(tell.message.parts) == ["contracts", "subscriptions"]
    part = tell.message.parts["subscriptions"]
    assert isinstance(part, dict)
    assert part["lines"] == {"taken": 1, "of": 100}
    assert part["tick_by_tick"] == {"taken": 1, "of": 5}


def test_a_command_that_is_not_for_this_core_is_answered() -> None:
    found = answer(Desk().send(Resolve(instrument="A"), 0)).reply.error
    assert found is not None
    assert found.code == "unsupported"


def test_records_carry_no_epoch_and_seq_yet() -> None:
    desk = Desk()
    desk.subscribe("quote", "tick", "trade")
    for effects in (desk.price(12, 1), desk.text(12, 1), desk.trade(22, 1)):
        for _, record in published(effects):
            assert isinstance(record, Quote | Tick | Trade)
            assert (record.epoch, record.seq) == (0, 0)
