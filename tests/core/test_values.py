"""Values through every kind of record: negative, zero, fractional and missing ones survive, and no mark of IB does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from ibkr_actor.core.chains.member import Member
from ibkr_actor.core.events import (
    DepthUpdate,
    HistoricalBarUpdate,
    MarketDataEvent,
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickGeneric,
    TickOptionComputation,
    TickPrice,
    TickSize,
    TickString,
)
from ibkr_actor.core.history.events import HistoricalTick
from ibkr_actor.core.history.tick_pages import row_of
from ibkr_actor.schema.codec import Encoding, decode_record, encode_record
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import AnyRecord, Bars, DataRecord, Tick, Ticks
from tests.core.desk import Desk
from tests.core.kit import ns, published

Make = Callable[[float | None, str | None], MarketDataEvent]
OPTION = Contract(5, "AAPL", "OPT", "SMART", "USD", instrument="AAPL.OPT.SMART.USD.20261218.C.230.AAPL")
STOCK = Contract(265598, "AAPL", "STK", "SMART", "USD", instrument="AAPL.STK.SMART.USD")

# kind -> the contract, the event that carries a price and a size, and where they stand in the record.
KINDS: dict[str, tuple[Contract, Make, tuple[str, ...], tuple[str, ...]]] = {
    "quote": (STOCK, lambda p, s: TickPrice(12, ns(1), 1, p, s, 0), ("bid",), ("bid_size",)),
    "tick": (STOCK, lambda p, s: TickGeneric(12, ns(1), 31, p), ("value",), ()),
    "greeks": (
        OPTION,
        lambda p, s: TickOptionComputation(12, ns(1), 13, 1, p, p, p, p, p, p, p, p),
        ("implied_vol", "delta", "gamma", "vega", "theta", "option_price", "pv_dividend", "underlying_price"),
        (),
    ),
    "trade": (
        STOCK,
        lambda p, s: TickByTickLast(12, ns(1), False, ns(1), p, s, False, False, "", ""),
        ("price",),
        ("size",),
    ),
    "alltrade": (
        STOCK,
        lambda p, s: TickByTickLast(12, ns(1), True, ns(1), p, s, False, False, "", ""),
        ("price",),
        ("size",),
    ),
    "bidask": (
        STOCK,
        lambda p, s: TickByTickBidAsk(12, ns(1), ns(1), p, p, s, s, False, False),
        ("bid", "ask"),
        ("bid_size", "ask_size"),
    ),
    "midpoint": (STOCK, lambda p, s: TickByTickMidPoint(12, ns(1), ns(1), p), ("price",), ()),
    "depth": (STOCK, lambda p, s: DepthUpdate(12, ns(1), 0, 0, 1, p, s, None, False), ("price",), ("size",)),
    "bar.5s": (
        STOCK,
        lambda p, s: RealTimeBar(12, ns(1), ns(0), p, p, p, p, s, None, None),
        ("open", "high", "low", "close"),
        ("volume",),
    ),
    "bar.10s.built": (
        STOCK,
        lambda p, s: RealTimeBar(12, ns(1), ns(0), p, p, p, p, s, None, None),
        ("open", "high", "low", "close"),
        ("volume",),
    ),
    "bar.1m": (
        STOCK,
        lambda p, s: HistoricalBarUpdate(12, ns(1), str(ns(0) // 10**9), p, p, p, p, s, None, None),
        ("open", "high", "low", "close"),
        ("volume",),
    ),
}


def told(kind: str, price: float | None, size: str | None) -> DataRecord:
    contract, make, _, _ = KINDS[kind]
    desk = Desk()
    desk.subscribe(kind, contract=contract)
    return published(desk.data(make(price, size), s=1))[-1][1]


def read_back(record: AnyRecord, encoding: Encoding) -> Any:
    return decode_record({b"d" if encoding == "msgpack" else b"j": encode_record(record, encoding)})


each_value = pytest.mark.parametrize(
    ("price", "size"),
    [(-37.63, "10"), (-1.0, "1"), (0.0, "0"), (0.0001, "0.00012345"), (1e-9, "1234567890.5"), (None, None)],
)
each_encoding = pytest.mark.parametrize("encoding", ["msgpack", "json"])


@each_encoding
@each_value
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_reaches_the_reader_as_it_is(
    kind: str, price: float | None, size: str | None, encoding: Encoding
) -> None:
    _, _, prices, sizes = KINDS[kind]
    record = told(kind, price, size)
    again = read_back(record, encoding)
    assert again == record
    assert [getattr(again, name) for name in prices] == [price] * len(prices)
    assert [getattr(again, name) for name in sizes] == [size] * len(sizes)


@each_encoding
@each_value
def test_a_value_of_a_chains_member_reaches_the_reader_as_it_is(
    price: float | None, size: str | None, encoding: Encoding
) -> None:
    member = Member(structs.replace(OPTION, last_trade_date="20261218", right="C", strike=230.0), 12, 1)
    member.take(TickPrice(12, ns(1), 1, price, size, 0))
    member.take(TickSize(12, ns(1), 27, size))
    for tick_type in (10, 13):
        member.take(TickOptionComputation(12, ns(1), tick_type, 1, *[price] * 8))
    again = read_back(member.record(on_line=True), encoding)
    assert (again.bid, again.bid_size, again.open_interest) == (price, size, size)
    names = ("implied_vol", "delta", "gamma", "vega", "theta", "option_price", "pv_dividend", "underlying_price")
    for computed in (again, again.bid_greeks):
        assert [getattr(computed, name) for name in names] == [price] * 8
    assert (again.ask, again.last, again.volume, again.close, again.ask_greeks) == (None,) * 5


@each_encoding
@each_value
def test_a_value_of_history_reaches_the_reader_as_it_is(
    price: float | None, size: str | None, encoding: Encoding
) -> None:
    common = (0, 0, 5, ns(1), None, 1, 0)
    trade = row_of("TRADES", HistoricalTick(5, price=price, size=size))
    quote = row_of("BID_ASK", HistoricalTick(5, bid=price, ask=price, bid_size=size, ask_size=size))
    bar = (0, 1, price, price, price, price, size, None, None, None)
    assert read_back(Ticks(*common, "TRADES", [trade]), encoding).rows[0][1:3] == [price, size]
    assert read_back(Ticks(*common, "BID_ASK", [quote]), encoding).rows[0][1:5] == [price, price, size, size]
    assert read_back(Bars(*common, "TRADES", "1d", [bar]), encoding).rows == [bar]


@pytest.mark.parametrize("tick_type", [6, 7, 9, 14, 15, 37])
@pytest.mark.parametrize(
    ("price", "size", "value"),
    [(-1.0, "0", None), (-1.0, None, None), (-1.0, "-1", None), (-0.5, "0", -0.5), (0.0, "0", 0.0)],
)
def test_a_price_of_minus_one_without_a_size_is_none(
    tick_type: int, price: float, size: str | None, value: float | None
) -> None:
    desk = Desk()
    desk.subscribe("tick")
    ((_, record),) = published(desk.data(TickPrice(12, ns(1), tick_type, price, size, 0), s=1))
    assert isinstance(record, Tick)
    assert record.value == value


@pytest.mark.parametrize(
    ("kind", "tick_type", "name"), [("quote", 0, "bid_size"), ("quote", 8, "volume"), ("tick", 21, "value")]
)
def test_a_size_of_minus_one_is_none(kind: str, tick_type: int, name: str) -> None:
    desk = Desk()
    desk.subscribe(kind)
    ((_, record),) = published(desk.data(TickSize(12, ns(1), tick_type, "-1"), s=1))
    assert getattr(record, name) is None


def test_bars_of_quotes_have_no_volume_whatever_ib_writes() -> None:
    desk = Desk()
    desk.subscribe("bar.5s.bid")
    ((_, record),) = published(desk.data(RealTimeBar(12, ns(5), ns(0), -1.0, -1.0, -1.0, -1.0, "-1", "-1", -1), s=5))
    shown = [getattr(record, name) for name in ("open", "high", "low", "close", "volume", "wap", "count")]
    assert shown == [-1.0, -1.0, -1.0, -1.0, None, None, None]


@pytest.mark.parametrize(
    ("event", "value"),
    [
        (TickGeneric(12, ns(1), 49, -1.0), None),
        (TickGeneric(12, ns(1), 90, -1.0), None),
        (TickGeneric(12, ns(1), 49, 0.0), 0.0),
        (TickGeneric(12, ns(1), 24, -1.0), None),
        (TickGeneric(12, ns(1), 58, -0.5), None),
        (TickGeneric(12, ns(1), 24, 0.0), 0.0),
        (TickGeneric(12, ns(1), 31, -1.0), -1.0),
        (TickGeneric(12, ns(1), 46, 3.0), 3.0),
        (TickString(12, ns(1), 45, "0"), None),
        (TickString(12, ns(1), 88, "0"), None),
        (TickString(12, ns(1), 45, "1767225600"), "1767225600"),
        (TickString(12, ns(1), 32, ""), None),
        (TickString(12, ns(1), 59, "0.83,0.92,20260208,0.23"), "0.83,0.92,20260208,0.23"),
        (TickString(12, ns(1), 48, ";0;1767225600123;5;1.5;true"), ";0;1767225600123;5;1.5;true"),
    ],
)
def test_what_ib_does_not_know_of_a_tick_is_none(event: MarketDataEvent, value: float | str | None) -> None:
    desk = Desk()
    desk.subscribe("tick")
    ((_, record),) = published(desk.data(event, s=1))
    assert isinstance(record, Tick)
    assert record.value == value


@pytest.mark.parametrize(
    ("event", "value"),
    [
        (TickPrice(12, ns(1), 9999, -0.5, "3", 0), -0.5),
        (TickSize(12, ns(1), 9999, "0.25"), "0.25"),
        (TickGeneric(12, ns(1), 9999, 4.5), 4.5),
        (TickString(12, ns(1), 9999, "a;b"), "a;b"),
    ],
)
def test_a_tick_of_a_type_that_a_newer_ib_brings_is_told_under_its_number(
    event: MarketDataEvent, value: float | str
) -> None:
    desk = Desk()
    desk.subscribe("quote", "tick")
    ((stream, record),) = published(desk.data(event, s=1))
    assert stream.kind == "tick"
    assert isinstance(record, Tick)
    assert (record.tick_type, record.value) == (9999, value)


@pytest.mark.parametrize(
    "event",
    [
        TickPrice(12, ns(1), 75, 1.5, None, 0),
        TickGeneric(12, ns(1), 90, 0.0),
        TickGeneric(12, ns(1), 103, 4.5),
        TickString(12, ns(1), 88, "1767225600"),
    ],
)
def test_a_delayed_tick_says_so_before_ib_has_named_the_feed(event: MarketDataEvent) -> None:
    desk = Desk()
    desk.subscribe("tick")
    ((_, record),) = published(desk.data(event, s=1))
    assert isinstance(record, Tick)
    assert record.feed == 3


def test_odd_lots_shares_to_borrow_and_values_of_funds_are_not_delayed() -> None:
    desk = Desk()
    desk.subscribe("tick")
    live = [TickPrice(12, ns(1), tick_type, 1.5, "0.5", 0) for tick_type in (105, 106, 92, 94, 95, 96, 101)]
    sizes = [TickSize(12, ns(1), tick_type, "1000.5") for tick_type in (89, 107, 108, 86)]
    records = [record for _, record in published(desk.data(*live, *sizes, s=1))]
    assert [record.feed for record in records] == [1] * 11
    assert [record.value for record in records if isinstance(record, Tick)] == [1.5] * 7 + ["1000.5"] * 4


def test_a_time_that_ib_does_not_tell_is_none() -> None:
    desk = Desk()
    desk.subscribe("midpoint")
    ((_, record),) = published(desk.data(TickByTickMidPoint(12, ns(1), 0, 1.5), s=1))
    assert record.source_ns is None


def test_a_bar_of_trades_without_a_volume_has_no_average_either() -> None:
    desk = Desk()
    desk.subscribe("bar.5s")
    ((_, record),) = published(desk.data(RealTimeBar(12, ns(5), ns(0), 1.0, 1.0, 1.0, 1.0, "-1", "-1", -1), s=5))
    assert [getattr(record, name) for name in ("volume", "wap", "count")] == [None, None, None]


def test_a_bid_of_minus_one_without_a_size_is_none_tick_by_tick_too() -> None:
    desk = Desk()
    desk.subscribe("bidask")
    ((_, record),) = published(desk.data(TickByTickBidAsk(12, ns(1), ns(1), -1.0, -1.0, "0", "5", False, False), s=1))
    assert [getattr(record, name) for name in ("bid", "ask", "bid_size", "ask_size")] == [None, -1.0, "0", "5"]
