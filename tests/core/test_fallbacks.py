"""Level 1 standing in for tick by tick: asked for, said, marked, and given up when a stream is free."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.events import TickByTickLast, TickPrice, TickSize, TickString
from ibkr_actor.core.messages import RestoreHolders
from ibkr_actor.core.requests import ReqMktData, ReqTickByTick
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FLAG_FALLBACK, BidAsk, Gap, MidPoint, Trade
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, forex, notes, ns, published, said, states, stock

# One tick-by-tick stream of twenty lines.
TIGHT = SubscriptionsConfig(lines=20)
OPTION = Contract(5, "AAPL", "OPT", "SMART", "USD", instrument="AAPL.OPT.SMART.USD.20261218.C.230.AAPL")


def full() -> Desk:
    """A desk whose one tick-by-tick stream is taken."""
    desk = Desk(TIGHT)
    desk.subscribe("trade", client="first", contract=stock("MSFT", 272093))
    return desk


def ask(desk: Desk, *kinds: str, s: float = 1, contract: Contract | None = None, fallback: bool = True) -> list[Effect]:
    contract = contract or stock()
    command = Subscribe(instrument=contract.instrument, kinds=list(kinds), lease_s=0.0, fallback=fallback)
    return desk.send(command, s, "2", "second", contract)


def told(req_id: int, s: float, text: str, tick_type: int = 77) -> TickString:
    return TickString(req_id, ns(s), tick_type, text)


def test_without_asking_for_it_a_full_pool_is_a_refusal() -> None:
    refused = answer(ask(full(), "trade", fallback=False)).reply.error
    assert refused is not None
    assert refused.code == "line_limit"


def test_level_1_stands_in_when_no_stream_is_free_and_the_reply_and_the_state_say_so() -> None:
    effects = ask(full(), "trade", "bidask")
    reply = answer(effects).reply
    assert reply.status == "accepted"
    assert reply.note == (
        "level 1 stands in for trade, bidask: 1 of 1 tick-by-tick streams are taken, or IB has none of it"
    )
    (request,) = asked(effects)
    assert isinstance(request, ReqMktData)
    assert request.generic_ticks == (375,)
    assert states(effects) == [("trade", "pending", "fallback"), ("bidask", "pending", "fallback")]


def test_its_trades_are_those_that_level_1_tells_one_by_one_with_ibs_time() -> None:
    desk = full()
    ask(desk, "trade")
    req_id = desk.last_req_id
    items = published(desk.data(told(req_id, 2, "-37.63;10.50;1767225601500;1000;1.2;false"), s=2))
    ((stream, trade),) = items
    assert stream.kind == "trade"
    assert isinstance(trade, Trade)
    assert (trade.price, trade.size, trade.source_ns, trade.flags) == (-37.63, "10.5", ns(1.5), FLAG_FALLBACK)
    assert published(desk.data(told(req_id, 3, ";0;1767225602000;1001;1.2;false"), s=3)) == []
    assert published(desk.data(told(req_id, 3, "1.5;1;1767225602000;1001;1.2;false", 48), s=3)) == []
    assert desk.core.status()["ignored_events"] == 1


def test_all_trades_are_those_of_the_other_generic_tick() -> None:
    desk = full()
    (request,) = asked(ask(desk, "alltrade"))
    assert isinstance(request, ReqMktData)
    assert request.generic_ticks == (233,)
    ((stream, _),) = published(desk.data(told(desk.last_req_id, 2, "1.5;1;1767225602000;5;1.5;true", 48), s=2))
    assert stream.kind == "alltrade"


def test_top_of_book_and_midpoint_are_told_where_they_change() -> None:
    desk = full()
    ask(desk, "bidask", "midpoint", contract=forex())
    req = desk.last_req_id
    desk.data(TickPrice(req, ns(2), 1, -1.5, "10", 0), s=2)
    records = [
        record
        for _, record in published(
            desk.data(
                TickPrice(req, ns(3), 2, 0.5, "7", 0),
                TickSize(req, ns(3), 3, "7"),
                TickSize(req, ns(3), 3, "8"),
                TickPrice(req, ns(3), 4, 0.1, "1", 0),
                s=3,
            )
        )
    ]
    assert [type(record) for record in records] == [BidAsk, MidPoint, BidAsk]
    assert isinstance(records[0], BidAsk)
    assert (records[0].bid, records[0].ask, records[0].bid_size, records[0].ask_size) == (-1.5, 0.5, "10", "7")
    assert isinstance(records[1], MidPoint)
    assert (records[1].price, records[1].flags, records[1].source_ns) == (-0.5, FLAG_FALLBACK, None)


def test_what_ib_never_serves_tick_by_tick_has_a_stand_in_that_stays() -> None:
    desk = Desk()
    effects = ask(desk, "trade", contract=OPTION)
    assert answer(effects).reply.status == "accepted"
    assert isinstance(asked(effects)[0], ReqMktData)
    assert desk.core.next_wakeup_s() is None
    refused = answer(ask(desk, "trade", contract=forex())).reply.error
    assert refused is not None
    assert refused.code == "unsupported"


def test_it_shares_the_line_of_level_1_and_widens_its_generic_ticks() -> None:
    desk = full()
    desk.subscribe("quote", client="third", ticks=[236])
    desk.price(desk.last_req_id, 1)
    (request,) = asked(ask(desk, "trade", s=2))
    assert isinstance(request, ReqMktData)
    assert request.generic_ticks == (236, 375)


def test_who_joins_a_line_that_is_up_finds_its_top_of_book() -> None:
    desk = full()
    desk.subscribe("quote", client="third")
    desk.price(desk.last_req_id, 1, 9.5)
    ((stream, record),) = published(ask(desk, "bidask", s=2))
    assert stream.kind == "bidask"
    assert isinstance(record, BidAsk)
    assert (record.bid, record.bid_size, record.received_ns, record.flags) == (9.5, "10", ns(1), FLAG_FALLBACK)


def test_a_refusal_of_ib_is_answered_with_level_1_and_a_gap() -> None:
    desk = Desk()
    ask(desk, "trade", s=0)
    tick_by_tick = desk.last_req_id
    desk.data(TickByTickLast(tick_by_tick, ns(1), False, ns(1), 1.5, "1", False, False, "X", ""), s=1)
    effects = desk.error(tick_by_tick, 10190, s=2)
    assert notes(effects) == []
    assert said(effects)[-1] == "fallback"
    assert isinstance(asked(effects)[0], ReqMktData)
    assert ("trade", "pending", "fallback") in states(effects)
    records = published(desk.data(told(desk.last_req_id, 3, "1.5;1;1767225603000;5;1.5;true"), s=3))
    assert [type(record) for _, record in records] == [Gap, Trade]


def test_a_command_that_waits_is_active_when_level_1_is_there_already() -> None:
    desk = Desk()
    desk.subscribe("quote", client="third")
    desk.price(desk.last_req_id, 0)
    ask(desk, "trade", s=0)
    effects = desk.error(desk.last_req_id, 10190, s=2)
    assert notes(effects) == [("second", "2", "active", ["trade"])]


def test_after_ibs_refusal_it_goes_back_a_minute_later() -> None:
    desk = Desk()
    ask(desk, "trade", s=0)
    desk.error(desk.last_req_id, 10190, s=2)
    assert desk.core.next_wakeup_s() == 62.0
    assert asked(desk.wake(61)) == []
    requests = asked(desk.wake(62))
    assert isinstance(requests[0], ReqTickByTick)


def test_a_missing_permission_does_not_send_it_back() -> None:
    desk = Desk()
    ask(desk, "trade", s=0)
    desk.error(desk.last_req_id, 10189, s=2)
    assert desk.core.next_wakeup_s() is None


def test_it_goes_back_when_a_stream_is_free_and_gives_the_line_of_level_1_back() -> None:
    desk = full()
    ask(desk, "trade")
    level1 = desk.last_req_id
    desk.data(told(level1, 2, "1.5;1;1767225602000;5;1.5;true"), s=2)
    effects = desk.note(desk.unsubscribe("trade", s=3, client="first", contract=stock("MSFT", 272093)))
    (request,) = [request for request in asked(effects) if isinstance(request, ReqTickByTick)]
    assert said(effects) == ["fallback_over"]
    assert states(effects)[-1] == ("trade", "pending", "") or ("trade", "pending", "") in states(effects)
    records = published(desk.trade(request.req_id, 4))
    assert [type(record) for _, record in records] == [Gap, Trade]
    assert records[1][1].flags == 0
    assert desk.core.status()["lines"] == {"taken": 0, "of": 20}
    assert desk.core.status()["holders"] == 1


def test_the_wish_survives_a_restart() -> None:
    desk = full()
    effects = ask(desk, "trade")
    (write,) = answer(effects).holders
    again = Desk(TIGHT)
    again.subscribe("trade", client="first", contract=stock("MSFT", 272093))
    requests = asked(again.core.handle(RestoreHolders((write,)), at(0)))
    assert [type(request) for request in requests] == [ReqMktData]
    alone = Desk(TIGHT)
    requests = asked(alone.core.handle(RestoreHolders((write,)), at(0)))
    assert [type(request) for request in requests] == [ReqTickByTick]


# ---- market data type of one subscription


@pytest.mark.parametrize(("name", "feed"), [("frozen", 2), ("delayed", 3), ("delayed_frozen", 4)])
def test_a_feed_is_switched_to_for_one_request_and_back(name: str, feed: int) -> None:
    desk = Desk(SubscriptionsConfig(market_data_type=1))
    plain = Subscribe(instrument=stock().instrument, kinds=["quote"], lease_s=0.0)
    command = structs.replace(plain, feed=name)
    (request,) = asked(desk.send(command, 0, contract=stock()))
    assert request == ReqMktData(12, stock(), feed=feed, feed_after=1)
    ((_, quote),) = published(desk.price(12, 1))
    assert quote.feed == feed


def test_the_gateways_own_feed_needs_no_switch() -> None:
    desk = Desk(SubscriptionsConfig(market_data_type=3))
    command = Subscribe(instrument=stock().instrument, kinds=["quote"], lease_s=0.0, feed="delayed")
    assert asked(desk.send(command, 0, contract=stock())) == [ReqMktData(12, stock())]


def test_a_stream_has_one_feed() -> None:
    desk = Desk()
    desk.subscribe("quote")
    command = Subscribe(instrument=stock().instrument, kinds=["tick"], lease_s=0.0, feed="delayed")
    refused = answer(desk.send(command, 1, "2", "other", stock())).reply.error
    assert refused is not None
    assert refused.code == "unsupported"
    assert "is open as live" in refused.message
    same = structs.replace(command, feed="live")
    assert answer(desk.send(same, 2, "3", "other", stock())).reply.status == "accepted"


def test_the_feed_survives_a_restart_and_a_reconnect() -> None:
    desk = Desk()
    command = Subscribe(instrument=stock().instrument, kinds=["quote"], lease_s=0.0, feed="delayed")
    (write,) = answer(desk.send(command, 0, contract=stock())).holders
    desk.down(1)
    (request,) = asked(desk.up(2))
    assert isinstance(request, ReqMktData)
    assert (request.feed, request.feed_after) == (3, 1)
    (request,) = asked(Desk().core.handle(RestoreHolders((write,)), at(0)))
    assert isinstance(request, ReqMktData)
    assert request.feed == 3


def test_a_feed_of_what_is_always_live_is_refused() -> None:
    command = Subscribe(instrument=stock().instrument, kinds=["bar.5s"], lease_s=0.0, feed="delayed")
    refused = answer(Desk().send(command, 0, contract=stock())).reply.error
    assert refused is not None
    assert refused.code == "validation_error"
