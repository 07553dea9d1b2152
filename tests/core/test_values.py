"""Values through every kind of record: negative, zero, fractional and missing ones survive, and no mark of IB does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
)
from ibkr_actor.schema.codec import Encoding, decode_record, encode_record
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import DataRecord, Tick
from tests.core.desk import Desk
from tests.core.kit import ns, published

Make = Callable[[float | None, str | None], MarketDataEvent]
OPTION = Contract(5, "AAPL", "OPT", "SMART", "USD", instrument="AAPL.OPT.SMART.USD.20261218.C.230.AAPL")
STOCK = Contract(265598, "AAPL", "STK", "SMART", "USD", instrument="AAPL.STK.SMART.USD")

# kind -> the contract, the event that carries a price and a size, and where they stand in the record.
KINDS: dict[str, tuple[Contract, Make, tuple[str, ...], tuple[str, ...]]] = {
    "quote": (STOCK, lambda p, s: TickPrice(12, ns(1), 1, p, s, 0), ("bid",), ("bid_size",)),
    "tick": (STOCK, lambda p, s: TickGeneric(12, ns(1), 49, p), ("value",), ()),
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


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
@pytest.mark.parametrize(
    ("price", "size"),
    [(-37.63, "10"), (-1.0, "1"), (0.0, "0"), (0.0001, "0.00012345"), (1e-9, "1234567890.5"), (None, None)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_value_reaches_the_reader_as_it_is(
    kind: str, price: float | None, size: str | None, encoding: Encoding
) -> None:
    _, _, prices, sizes = KINDS[kind]
    record = told(kind, price, size)
    again = decode_record({b"d" if encoding == "msgpack" else b"j": encode_record(record, encoding)})
    assert again == record
    assert [getattr(again, name) for name in prices] == [price] * len(prices)
    assert [getattr(again, name) for name in sizes] == [size] * len(sizes)


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
