"""Owns how messages of the history family look as text, at every version, and as protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ibapi.protobuf import (
    HeadTimestamp_pb2,
    HistogramData_pb2,
    HistogramDataEntry_pb2,
    HistoricalData_pb2,
    HistoricalDataBar_pb2,
    HistoricalDataEnd_pb2,
    HistoricalDataUpdate_pb2,
    HistoricalSchedule_pb2,
    HistoricalSession_pb2,
    HistoricalTick_pb2,
    HistoricalTickBidAsk_pb2,
    HistoricalTickLast_pb2,
    HistoricalTicks_pb2,
    HistoricalTicksBidAsk_pb2,
    HistoricalTicksLast_pb2,
    TickAttribBidAsk_pb2,
    TickAttribLast_pb2,
)

from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire.frames import Size, number_text, size_text
from ibkr_actor.sim.wire.history_reading import READERS
from ibkr_actor.sim.wire.layout import HISTORICAL_FROM, Layout

__all__ = ["LAYOUTS", "READERS", "encode_bars"]

# From here on the end of the bars is a message of its own. Source: ibapi MIN_SERVER_VER_HISTORICAL_DATA_END.
END_MESSAGE_FROM = 196


def _size(value: Size) -> str:
    return size_text(value) or ""


def _price(value: h.BarPrice) -> str:
    return value if isinstance(value, str) else number_text(value)


def encode_bars(bars: Sequence[h.HistoricalBar], server_version: int) -> str | bytes:
    """A piece of EncodedHistoricalData; pieces put together are what all bars at once would be."""
    if server_version < HISTORICAL_FROM:
        return "\0".join(_bar_fields(bars))
    data: bytes = HistoricalData_pb2.HistoricalData(
        historicalDataBars=[_bar_protobuf(bar) for bar in bars]
    ).SerializeToString()
    return data


def _bar_fields(bars: Sequence[h.HistoricalBar]) -> list[str]:
    fields: list[str] = []
    for bar in bars:
        fields += [bar.date, _price(bar.open), _price(bar.high), _price(bar.low), _price(bar.close)]
        fields += [_size(bar.volume), _size(bar.wap), str(bar.count)]
    return fields


def _bars_head(message: h.HistoricalData | h.EncodedHistoricalData, server_version: int, count: int) -> list[str]:
    ends = [message.start, message.end] if server_version < END_MESSAGE_FROM else []
    return [str(message.req_id), *ends, str(count)]


def _bars(message: h.HistoricalData, server_version: int) -> Sequence[str]:
    return _bars_head(message, server_version, len(message.bars)) + _bar_fields(message.bars)


def _encoded_bars(message: h.EncodedHistoricalData, server_version: int) -> Sequence[str]:
    return [*_bars_head(message, server_version, message.count), *(str(piece) for piece in message.pieces)]


class _Joined:
    """A protobuf message in pieces: a repeated field is the concatenation of its parts."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def SerializeToString(self) -> bytes:
        return b"".join(self._pieces)


def _encoded_bars_protobuf(message: h.EncodedHistoricalData, _: int) -> Any:
    head: bytes = HistoricalData_pb2.HistoricalData(reqId=message.req_id).SerializeToString()
    return _Joined([head, *(piece for piece in message.pieces if isinstance(piece, bytes))])


def _bar_protobuf(bar: h.HistoricalBar) -> Any:
    prices = {"open": bar.open, "high": bar.high, "low": bar.low, "close": bar.close}
    proto = HistoricalDataBar_pb2.HistoricalDataBar(
        date=bar.date, volume=size_text(bar.volume), WAP=size_text(bar.wap), barCount=bar.count
    )
    for name, price in prices.items():
        if not isinstance(price, str):
            setattr(proto, name, price)
    return proto


def _bars_protobuf(message: h.HistoricalData, _: int) -> Any:
    bars = [_bar_protobuf(bar) for bar in message.bars]
    return HistoricalData_pb2.HistoricalData(reqId=message.req_id, historicalDataBars=bars)


def _update(message: h.HistoricalDataUpdate, _: int) -> Sequence[str]:
    """The fields come in another order than in the first answer: close before high, wap before volume."""
    bar = message.bar
    prices = [_price(bar.open), _price(bar.close), _price(bar.high), _price(bar.low)]
    return [str(message.req_id), str(bar.count), bar.date, *prices, _size(bar.wap), _size(bar.volume)]


def _histogram(message: h.HistogramData, _: int) -> Sequence[str]:
    fields = [str(message.req_id), str(len(message.entries))]
    for entry in message.entries:
        fields += [number_text(entry.price), _size(entry.size)]
    return fields


def _histogram_protobuf(message: h.HistogramData, _: int) -> Any:
    entries = [
        HistogramDataEntry_pb2.HistogramDataEntry(price=entry.price, size=size_text(entry.size))
        for entry in message.entries
    ]
    return HistogramData_pb2.HistogramData(reqId=message.req_id, histogramDataEntries=entries)


def _tick(tick: h.HistoricalTick) -> list[str]:
    """The second field means nothing. Source: ibapi.decoder skips it."""
    return [str(tick.time), "0", number_text(tick.price), _size(tick.size)]


def _tick_bid_ask(tick: h.HistoricalTickBidAsk) -> list[str]:
    """Bit 0 is the ask here, bit 1 the bid: the other way round than in live tick-by-tick."""
    mask = int(tick.ask_past_high) | int(tick.bid_past_low) << 1
    prices = [number_text(tick.price_bid), number_text(tick.price_ask)]
    return [str(tick.time), str(mask), *prices, _size(tick.size_bid), _size(tick.size_ask)]


def _tick_last(tick: h.HistoricalTickLast) -> list[str]:
    mask = int(tick.past_limit) | int(tick.unreported) << 1
    head = [str(tick.time), str(mask), number_text(tick.price), _size(tick.size)]
    return [*head, tick.exchange, tick.special_conditions]


def _ticks(row: Callable[[Any], list[str]]) -> Callable[[Any, int], Sequence[str]]:
    def fields(message: Any, _: int) -> Sequence[str]:
        values = [str(message.req_id), str(len(message.ticks))]
        for tick in message.ticks:
            values += row(tick)
        return [*values, str(int(message.done))]

    return fields


def _ticks_protobuf(message: h.HistoricalTicks, _: int) -> Any:
    ticks = [
        HistoricalTick_pb2.HistoricalTick(time=tick.time, price=tick.price, size=size_text(tick.size))
        for tick in message.ticks
    ]
    return HistoricalTicks_pb2.HistoricalTicks(reqId=message.req_id, historicalTicks=ticks, isDone=message.done)


def _ticks_bid_ask_protobuf(message: h.HistoricalTicksBidAsk, _: int) -> Any:
    ticks = [
        HistoricalTickBidAsk_pb2.HistoricalTickBidAsk(
            time=tick.time,
            tickAttribBidAsk=TickAttribBidAsk_pb2.TickAttribBidAsk(
                bidPastLow=tick.bid_past_low, askPastHigh=tick.ask_past_high
            ),
            priceBid=tick.price_bid,
            priceAsk=tick.price_ask,
            sizeBid=size_text(tick.size_bid),
            sizeAsk=size_text(tick.size_ask),
        )
        for tick in message.ticks
    ]
    return HistoricalTicksBidAsk_pb2.HistoricalTicksBidAsk(
        reqId=message.req_id, historicalTicksBidAsk=ticks, isDone=message.done
    )


def _ticks_last_protobuf(message: h.HistoricalTicksLast, _: int) -> Any:
    ticks = [
        HistoricalTickLast_pb2.HistoricalTickLast(
            time=tick.time,
            tickAttribLast=TickAttribLast_pb2.TickAttribLast(pastLimit=tick.past_limit, unreported=tick.unreported),
            price=tick.price,
            size=size_text(tick.size),
            exchange=tick.exchange,
            specialConditions=tick.special_conditions,
        )
        for tick in message.ticks
    ]
    return HistoricalTicksLast_pb2.HistoricalTicksLast(
        reqId=message.req_id, historicalTicksLast=ticks, isDone=message.done
    )


def _schedule(message: h.HistoricalSchedule, _: int) -> Sequence[str]:
    fields = [str(message.req_id), message.start, message.end, message.time_zone, str(len(message.sessions))]
    for session in message.sessions:
        fields += [session.start, session.end, session.ref_date]
    return fields


def _schedule_protobuf(message: h.HistoricalSchedule, _: int) -> Any:
    sessions = [
        HistoricalSession_pb2.HistoricalSession(startDateTime=each.start, endDateTime=each.end, refDate=each.ref_date)
        for each in message.sessions
    ]
    return HistoricalSchedule_pb2.HistoricalSchedule(
        reqId=message.req_id,
        startDateTime=message.start,
        endDateTime=message.end,
        timeZone=message.time_zone,
        historicalSessions=sessions,
    )


# Ordered by message id.
LAYOUTS: dict[type[Message], Layout] = {
    h.HistoricalData: Layout(17, HISTORICAL_FROM, _bars, _bars_protobuf),
    h.EncodedHistoricalData: Layout(17, HISTORICAL_FROM, _encoded_bars, _encoded_bars_protobuf),
    h.HeadTimestamp: Layout(
        88,
        HISTORICAL_FROM,
        lambda message, _: [str(message.req_id), message.head_timestamp],
        lambda message, _: HeadTimestamp_pb2.HeadTimestamp(reqId=message.req_id, headTimestamp=message.head_timestamp),
    ),
    h.HistogramData: Layout(89, HISTORICAL_FROM, _histogram, _histogram_protobuf),
    h.HistoricalDataUpdate: Layout(
        90,
        HISTORICAL_FROM,
        _update,
        lambda message, _: HistoricalDataUpdate_pb2.HistoricalDataUpdate(
            reqId=message.req_id, historicalDataBar=_bar_protobuf(message.bar)
        ),
    ),
    h.HistoricalTicks: Layout(96, HISTORICAL_FROM, _ticks(_tick), _ticks_protobuf),
    h.HistoricalTicksBidAsk: Layout(97, HISTORICAL_FROM, _ticks(_tick_bid_ask), _ticks_bid_ask_protobuf),
    h.HistoricalTicksLast: Layout(98, HISTORICAL_FROM, _ticks(_tick_last), _ticks_last_protobuf),
    h.HistoricalSchedule: Layout(106, HISTORICAL_FROM, _schedule, _schedule_protobuf),
    h.HistoricalDataEnd: Layout(
        108,
        HISTORICAL_FROM,
        lambda message, _: [str(message.req_id), message.start, message.end],
        lambda message, _: HistoricalDataEnd_pb2.HistoricalDataEnd(
            reqId=message.req_id, startDateStr=message.start, endDateStr=message.end
        ),
    ),
}
