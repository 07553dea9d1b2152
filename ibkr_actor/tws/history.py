"""Frames of history straight to events, as text and as protobuf: an answer of many bars or ticks is one event.

Not hot, but large: the official decoder would call back for every bar, and stumble over a price IB leaves out. What a
row means for a job is decided by `core.history.core`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibapi.protobuf.HistoricalData_pb2 import HistoricalData
from ibapi.protobuf.HistoricalTicks_pb2 import HistoricalTicks as MidPointsProto
from ibapi.protobuf.HistoricalTicksBidAsk_pb2 import HistoricalTicksBidAsk as BidAsksProto
from ibapi.protobuf.HistoricalTicksLast_pb2 import HistoricalTicksLast as TradesProto

from ibkr_actor.core.history.events import HistoricalBar, HistoricalBars, HistoricalTick, HistoricalTicks, HistoryEvent
from ibkr_actor.tws.broken import BadFrame
from ibkr_actor.tws.proto import SIZES, count, price, zero
from ibkr_actor.tws.text import Fields

# Versions at which the text layout of bars changes. Source: ibapi.server_versions.
SYNTHETIC_REAL_TIME_BARS: Final = 124
HISTORICAL_DATA_END: Final = 196
# What a row of each kind takes at least in a text frame: a count beyond it is broken, not large.
_BAR_FIELDS: Final = 8
_TICK_FIELDS: Final = 4

# Source: IB's answers for MIDPOINT, BID and ASK.
NO_VOLUME: Final = "-1"

TextHandler = Callable[[list[bytes], int], HistoryEvent]


def _rows(fields: Fields, left: int, fields_each: int) -> range:
    """As many turns as the frame says it has rows.

    Raises:
        BadFrame: it cannot hold so many.
    """
    rows = fields.number()
    if not 0 <= rows * fields_each <= left:
        raise BadFrame(f"{rows} rows in {left} fields")
    return range(rows)


def bars(server_version: int) -> TextHandler:
    """Message 17."""
    synthetic = server_version >= SYNTHETIC_REAL_TIME_BARS
    end_follows = server_version >= HISTORICAL_DATA_END

    def row(left: Fields) -> HistoricalBar:
        date = left.text()
        prices = left.price(), left.price(), left.price(), left.price()
        volume, wap = left.size(), left.size()
        if not synthetic:
            left.skip()
        return _bar(date, prices, volume, wap, left.count())

    def decode(fields: list[bytes], ns: int) -> HistoryEvent:
        left = Fields(fields)
        if not synthetic:
            left.skip()
        req_id = left.number()
        if not end_follows:
            left.skip()
            left.skip()
        found = tuple(row(left) for _ in _rows(left, len(fields), _BAR_FIELDS))
        return HistoricalBars(req_id, ns, found, not end_follows)

    return decode


Prices = tuple[float | None, float | None, float | None, float | None]


def _bar(date: str, prices: Prices, volume: str | None, wap: str | None, trades: int | None) -> HistoricalBar:
    """A bar; one of quotes has no volume, which IB writes as -1, and then neither wap nor count."""
    if volume == NO_VOLUME:
        return HistoricalBar(date, *prices)
    return HistoricalBar(date, *prices, volume, wap, trades)


def mid_points(fields: list[bytes], ns: int) -> HistoryEvent:
    """Message 96. Its size has no meaning."""

    def row(left: Fields) -> HistoricalTick:
        time_s = left.number()
        left.skip()
        tick = HistoricalTick(time_s, left.price())
        left.skip()
        return tick

    return _page(fields, ns, "MIDPOINT", row)


def bid_asks(fields: list[bytes], ns: int) -> HistoryEvent:
    """Message 97. Bit 0 of its mask is ask past high, bit 1 bid past low: the other way round than in message 99."""

    def row(left: Fields) -> HistoricalTick:
        time_s, mask = left.number(), left.mask()
        bid, ask, bid_size, ask_size = left.price(), left.price(), left.size(), left.size()
        return HistoricalTick(
            time_s,
            bid=bid,
            ask=ask,
            bid_size=bid_size,
            ask_size=ask_size,
            bid_past_low=bool(mask & 2),
            ask_past_high=bool(mask & 1),
        )

    return _page(fields, ns, "BID_ASK", row)


def trades(fields: list[bytes], ns: int) -> HistoryEvent:
    """Message 98."""

    def row(left: Fields) -> HistoricalTick:
        time_s, mask = left.number(), left.mask()
        value, size, exchange, conditions = left.price(), left.size(), left.text(), left.text()
        return HistoricalTick(time_s, value, size, exchange, conditions, bool(mask & 1), bool(mask & 2))

    return _page(fields, ns, "TRADES", row)


def _page(fields: list[bytes], ns: int, what_to_show: str, row: Callable[[Fields], HistoricalTick]) -> HistoryEvent:
    left = Fields(fields)
    req_id = left.number()
    ticks = tuple(row(left) for _ in _rows(left, len(fields), _TICK_FIELDS))
    return HistoricalTicks(req_id, ns, what_to_show, ticks, left.mask() != 0)


def bars_proto(frame: bytes, ns: int) -> HistoryEvent:
    """Message 217; its end is a message of its own."""
    message = HistoricalData.FromString(frame[4:])
    found = tuple(
        _bar(
            row.date,
            (price(row, "open"), price(row, "high"), price(row, "low"), price(row, "close")),
            SIZES[row.volume],
            SIZES[row.WAP],
            count(row, "barCount"),
        )
        for row in message.historicalDataBars
    )
    return HistoricalBars(_req_id(message), ns, found, False)


def mid_points_proto(frame: bytes, ns: int) -> HistoryEvent:
    """Message 296."""
    message = MidPointsProto.FromString(frame[4:])
    ticks = tuple(HistoricalTick(row.time, price(row, "price")) for row in message.historicalTicks)
    return HistoricalTicks(_req_id(message), ns, "MIDPOINT", ticks, message.isDone)


def bid_asks_proto(frame: bytes, ns: int) -> HistoryEvent:
    """Message 297."""
    message = BidAsksProto.FromString(frame[4:])
    ticks = tuple(
        HistoricalTick(
            row.time,
            bid=price(row, "priceBid"),
            ask=price(row, "priceAsk"),
            bid_size=SIZES[row.sizeBid],
            ask_size=SIZES[row.sizeAsk],
            bid_past_low=row.tickAttribBidAsk.bidPastLow,
            ask_past_high=row.tickAttribBidAsk.askPastHigh,
        )
        for row in message.historicalTicksBidAsk
    )
    return HistoricalTicks(_req_id(message), ns, "BID_ASK", ticks, message.isDone)


def trades_proto(frame: bytes, ns: int) -> HistoryEvent:
    """Message 298."""
    message = TradesProto.FromString(frame[4:])
    ticks = tuple(
        HistoricalTick(
            row.time,
            price(row, "price"),
            SIZES[row.size],
            row.exchange,
            row.specialConditions,
            row.tickAttribLast.pastLimit,
            row.tickAttribLast.unreported,
        )
        for row in message.historicalTicksLast
    )
    return HistoricalTicks(_req_id(message), ns, "TRADES", ticks, message.isDone)


def _req_id(message: Any) -> int:
    req_id: int = message.reqId or zero(message, "reqId")
    return req_id


def text_handlers(server_version: int) -> dict[int, TextHandler]:
    """Message id -> handler, for a server of this version."""
    return {17: bars(server_version), 96: mid_points, 97: bid_asks, 98: trades}


PROTO_HANDLERS: Final[dict[int, Callable[[bytes, int], HistoryEvent]]] = {
    217: bars_proto,
    296: mid_points_proto,
    297: bid_asks_proto,
    298: trades_proto,
}
