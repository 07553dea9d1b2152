"""Hot protobuf frames straight to events, by the official message classes: one function per message kind.

A frame begins with its four-byte id. Presence is asked only where a value is zero: an absent number reads as zero, and
zero is a tick type, a price and a side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibapi.protobuf.HistoricalDataUpdate_pb2 import HistoricalDataUpdate
from ibapi.protobuf.MarketDepth_pb2 import MarketDepth
from ibapi.protobuf.MarketDepthL2_pb2 import MarketDepthL2
from ibapi.protobuf.RealTimeBarTick_pb2 import RealTimeBarTick
from ibapi.protobuf.TickByTickData_pb2 import TickByTickData
from ibapi.protobuf.TickGeneric_pb2 import TickGeneric as TickGenericProto
from ibapi.protobuf.TickOptionComputation_pb2 import TickOptionComputation as TickOptionComputationProto
from ibapi.protobuf.TickPrice_pb2 import TickPrice as TickPriceProto
from ibapi.protobuf.TickSize_pb2 import TickSize as TickSizeProto
from ibapi.protobuf.TickString_pb2 import TickString as TickStringProto

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
from ibkr_actor.tws.broken import BadFrame
from ibkr_actor.tws.numbers import PLAIN_MAX, PLAIN_MIN, UNSET_INTEGER, SizesOfText, price_or_none
from ibkr_actor.tws.text import SECOND_NS, computed, computed_volatility

Handler = Callable[[bytes, int], MarketDataEvent]

# All bits of the attribute mask of a price.
ATTRIBS_MAX: Final = 7
SIZES: Final = SizesOfText()


def zero(message: Any, name: str) -> int:
    """Zero, for a number that reads as zero and must be there: an id, a kind, a place in the book.

    Raises:
        BadFrame: it is not there.
    """
    if message.HasField(name):
        return 0
    raise BadFrame(f"{message.DESCRIPTOR.name} without {name}")


def price(message: Any, name: str) -> float | None:
    """A price, None when absent or unset."""
    value: float = getattr(message, name)
    if value and PLAIN_MIN < value < PLAIN_MAX:
        return value
    return price_or_none(value) if message.HasField(name) else None


def count(message: Any, name: str) -> int | None:
    """A number that may be absent or unset."""
    value: int = getattr(message, name)
    return value if value != UNSET_INTEGER and message.HasField(name) else None


def part(message: Any, name: str) -> Any:
    """A message inside a message.

    Raises:
        BadFrame: it is not there.
    """
    if not message.HasField(name):
        raise BadFrame(f"{message.DESCRIPTOR.name} without {name}")
    return getattr(message, name)


def tick_price(frame: bytes, ns: int, parse: Any = TickPriceProto.FromString, sizes: Any = SIZES) -> MarketDataEvent:
    """Message 201. The last two parameters are bound early for speed."""
    message = parse(frame[4:])
    value = message.price
    attribs = message.attrMask
    if value and PLAIN_MIN < value < PLAIN_MAX and attribs <= ATTRIBS_MAX:
        # An absent mask has no bit set; the official decoder reads it as all set.
        return TickPrice(
            message.reqId or zero(message, "reqId"),
            ns,
            message.tickType or zero(message, "tickType"),
            value,
            sizes[message.size],
            attribs,
        )
    return TickPrice(
        message.reqId or zero(message, "reqId"),
        ns,
        message.tickType or zero(message, "tickType"),
        price(message, "price"),
        sizes[message.size],
        0 if attribs == UNSET_INTEGER else attribs & ATTRIBS_MAX,
    )


def tick_size(frame: bytes, ns: int, parse: Any = TickSizeProto.FromString, sizes: Any = SIZES) -> MarketDataEvent:
    """Message 202."""
    message = parse(frame[4:])
    return TickSize(
        message.reqId or zero(message, "reqId"),
        ns,
        message.tickType or zero(message, "tickType"),
        sizes[message.size],
    )


def tick_generic(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 245."""
    message = TickGenericProto.FromString(frame[4:])
    return TickGeneric(
        message.reqId or zero(message, "reqId"),
        ns,
        message.tickType or zero(message, "tickType"),
        price(message, "value"),
    )


def tick_string(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 246."""
    message = TickStringProto.FromString(frame[4:])
    return TickString(
        message.reqId or zero(message, "reqId"), ns, message.tickType or zero(message, "tickType"), message.value
    )


def option_computation(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 221."""
    message = TickOptionComputationProto.FromString(frame[4:])
    return TickOptionComputation(
        message.reqId or zero(message, "reqId"),
        ns,
        message.tickType or zero(message, "tickType"),
        count(message, "tickAttrib"),
        computed_volatility(price(message, "impliedVol")),
        computed(price(message, "delta"), -2.0),
        computed(price(message, "optPrice"), -1.0),
        computed(price(message, "pvDividend"), -1.0),
        computed(price(message, "gamma"), -2.0),
        computed(price(message, "vega"), -2.0),
        computed(price(message, "theta"), -2.0),
        computed(price(message, "undPrice"), -1.0),
    )


def tick_by_tick(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 299: 1 Last, 2 AllLast, 3 BidAsk, 4 MidPoint."""
    message = TickByTickData.FromString(frame[4:])
    req_id = message.reqId or zero(message, "reqId")
    kind = message.tickType
    if kind == 3:
        tick = part(message, "historicalTickBidAsk")
        attribs = tick.tickAttribBidAsk
        return TickByTickBidAsk(
            req_id,
            ns,
            (tick.time or zero(tick, "time")) * SECOND_NS,
            price(tick, "priceBid"),
            price(tick, "priceAsk"),
            SIZES[tick.sizeBid],
            SIZES[tick.sizeAsk],
            attribs.bidPastLow,
            attribs.askPastHigh,
        )
    if kind == 1 or kind == 2:
        tick = part(message, "historicalTickLast")
        attribs = tick.tickAttribLast
        return TickByTickLast(
            req_id,
            ns,
            kind == 2,
            (tick.time or zero(tick, "time")) * SECOND_NS,
            price(tick, "price"),
            SIZES[tick.size],
            attribs.pastLimit,
            attribs.unreported,
            tick.exchange,
            tick.specialConditions,
        )
    if kind != 4:
        raise BadFrame(f"tick-by-tick kind {kind}")
    tick = part(message, "historicalTickMidPoint")
    return TickByTickMidPoint(req_id, ns, (tick.time or zero(tick, "time")) * SECOND_NS, price(tick, "price"))


def real_time_bar(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 250."""
    message = RealTimeBarTick.FromString(frame[4:])
    return RealTimeBar(
        message.reqId or zero(message, "reqId"),
        ns,
        (message.time or zero(message, "time")) * SECOND_NS,
        price(message, "open"),
        price(message, "high"),
        price(message, "low"),
        price(message, "close"),
        SIZES[message.volume],
        SIZES[message.WAP],
        count(message, "count"),
    )


def historical_bar_update(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 290."""
    message = HistoricalDataUpdate.FromString(frame[4:])
    bar = part(message, "historicalDataBar")
    return HistoricalBarUpdate(
        message.reqId or zero(message, "reqId"),
        ns,
        bar.date,
        price(bar, "open"),
        price(bar, "high"),
        price(bar, "low"),
        price(bar, "close"),
        SIZES[bar.volume],
        SIZES[bar.WAP],
        count(bar, "barCount"),
    )


def depth(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 212."""
    message = MarketDepth.FromString(frame[4:])
    row = part(message, "marketDepthData")
    return DepthUpdate(
        message.reqId or zero(message, "reqId"),
        ns,
        row.position or zero(row, "position"),
        row.operation or zero(row, "operation"),
        row.side or zero(row, "side"),
        price(row, "price"),
        SIZES[row.size],
        None,
        False,
    )


def depth_l2(frame: bytes, ns: int) -> MarketDataEvent:
    """Message 213. An absent position is the first row, as the official decoder has it."""
    message = MarketDepthL2.FromString(frame[4:])
    row = part(message, "marketDepthData")
    return DepthUpdate(
        message.reqId or zero(message, "reqId"),
        ns,
        row.position,
        row.operation or zero(row, "operation"),
        row.side or zero(row, "side"),
        price(row, "price"),
        SIZES[row.size],
        row.marketMaker,
        row.isSmartDepth,
    )


HANDLERS: Final[dict[int, Handler]] = {
    201: tick_price,
    202: tick_size,
    212: depth,
    213: depth_l2,
    221: option_computation,
    245: tick_generic,
    246: tick_string,
    250: real_time_bar,
    290: historical_bar_update,
    299: tick_by_tick,
}
