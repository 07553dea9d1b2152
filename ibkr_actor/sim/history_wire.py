"""Owns how requests and messages of the history family look as text, at every version, and as protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from ibapi.protobuf import (
    CancelHeadTimestamp_pb2,
    CancelHistogramData_pb2,
    CancelHistoricalData_pb2,
    CancelHistoricalTicks_pb2,
    HeadTimestamp_pb2,
    HeadTimestampRequest_pb2,
    HistogramData_pb2,
    HistogramDataEntry_pb2,
    HistogramDataRequest_pb2,
    HistoricalData_pb2,
    HistoricalDataBar_pb2,
    HistoricalDataEnd_pb2,
    HistoricalDataRequest_pb2,
    HistoricalDataUpdate_pb2,
    HistoricalSchedule_pb2,
    HistoricalSession_pb2,
    HistoricalTick_pb2,
    HistoricalTickBidAsk_pb2,
    HistoricalTickLast_pb2,
    HistoricalTicks_pb2,
    HistoricalTicksBidAsk_pb2,
    HistoricalTicksLast_pb2,
    HistoricalTicksRequest_pb2,
    TickAttribBidAsk_pb2,
    TickAttribLast_pb2,
)

from ibkr_actor.sim import history_messages as h
from ibkr_actor.sim.instruments import ContractSpec, Leg
from ibkr_actor.sim.layout import HISTORICAL_FROM, Layout
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.reading import Fields
from ibkr_actor.sim.request_base import Reader, Request, cancel_reader, contract_of, parse
from ibkr_actor.sim.wire import Size, number_text, size_text

# From here on the end of the bars is a message of its own. Source: ibapi MIN_SERVER_VER_HISTORICAL_DATA_END.
END_MESSAGE_FROM = 196


def _contract(fields: Fields) -> ContractSpec:
    """The twelve contract fields and whether expired contracts count."""
    contract = fields.contract()
    return msgspec.structs.replace(contract, include_expired=fields.flag())


def _with_legs(fields: Fields, contract: ContractSpec) -> ContractSpec:
    """The legs of a combination, which only this request writes, behind the date format."""
    legs = [
        Leg(con_id=fields.integer(), ratio=fields.integer(), action=fields.text(), exchange=fields.text())
        for _ in range(fields.integer())
    ]
    return msgspec.structs.replace(contract, legs=tuple(legs))


def _historical_data(fields: Fields, _: int) -> Request:
    """Every version served is above 124, so there is no version field and keepUpToDate is always there."""
    req_id = fields.own_id()
    contract = _contract(fields)
    end_date_time, bar_size, duration = fields.text(), fields.text(), fields.text()
    use_rth, what_to_show, format_date = fields.flag(), fields.text(), fields.integer()
    if contract.sec_type == "BAG":
        contract = _with_legs(fields, contract)
    return h.ReqHistoricalData(
        message_id=20,
        req_id=req_id,
        contract=contract,
        end_date_time=end_date_time,
        bar_size=bar_size,
        duration=duration,
        use_rth=use_rth,
        what_to_show=what_to_show,
        format_date=format_date,
        keep_up_to_date=fields.flag(),
    )


def _format_date(proto: Any) -> int | None:
    value: int | None = proto.formatDate if proto.HasField("formatDate") else None
    return value


def _historical_data_protobuf(body: bytes) -> Request:
    proto: Any = parse(HistoricalDataRequest_pb2.HistoricalDataRequest, body)
    return h.ReqHistoricalData(
        message_id=20,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        end_date_time=proto.endDateTime,
        bar_size=proto.barSizeSetting,
        duration=proto.duration,
        use_rth=proto.useRTH,
        what_to_show=proto.whatToShow,
        format_date=_format_date(proto),
        keep_up_to_date=proto.keepUpToDate,
    )


def _head_timestamp_request(fields: Fields, _: int) -> Request:
    return h.ReqHeadTimestamp(
        message_id=87,
        req_id=fields.own_id(),
        contract=_contract(fields),
        use_rth=fields.flag(),
        what_to_show=fields.text(),
        format_date=fields.integer(),
    )


def _head_timestamp_request_protobuf(body: bytes) -> Request:
    proto: Any = parse(HeadTimestampRequest_pb2.HeadTimestampRequest, body)
    return h.ReqHeadTimestamp(
        message_id=87,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        use_rth=proto.useRTH,
        what_to_show=proto.whatToShow,
        format_date=_format_date(proto),
    )


def _histogram_request(fields: Fields, _: int) -> Request:
    return h.ReqHistogramData(
        message_id=88,
        req_id=fields.own_id(),
        contract=_contract(fields),
        use_rth=fields.flag(),
        time_period=fields.text(),
    )


def _histogram_request_protobuf(body: bytes) -> Request:
    proto: Any = parse(HistogramDataRequest_pb2.HistogramDataRequest, body)
    return h.ReqHistogramData(
        message_id=88,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        use_rth=proto.useRTH,
        time_period=proto.timePeriod,
    )


def _ticks_request(fields: Fields, _: int) -> Request:
    return h.ReqHistoricalTicks(
        message_id=96,
        req_id=fields.own_id(),
        contract=_contract(fields),
        start_date_time=fields.text(),
        end_date_time=fields.text(),
        number_of_ticks=fields.integer(),
        what_to_show=fields.text(),
        use_rth=fields.flag(),
        ignore_size=fields.flag(),
    )


def _ticks_request_protobuf(body: bytes) -> Request:
    proto: Any = parse(HistoricalTicksRequest_pb2.HistoricalTicksRequest, body)
    return h.ReqHistoricalTicks(
        message_id=96,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        start_date_time=proto.startDateTime,
        end_date_time=proto.endDateTime,
        number_of_ticks=proto.numberOfTicks,
        what_to_show=proto.whatToShow,
        use_rth=proto.useRTH,
        ignore_size=proto.ignoreSize,
    )


READERS: dict[int, Reader] = {
    20: (_historical_data, _historical_data_protobuf),
    25: cancel_reader(25, CancelHistoricalData_pb2.CancelHistoricalData),
    87: (_head_timestamp_request, _head_timestamp_request_protobuf),
    88: (_histogram_request, _histogram_request_protobuf),
    89: cancel_reader(89, CancelHistogramData_pb2.CancelHistogramData, versioned=False),
    90: cancel_reader(90, CancelHeadTimestamp_pb2.CancelHeadTimestamp, versioned=False),
    96: (_ticks_request, _ticks_request_protobuf),
    107: cancel_reader(107, CancelHistoricalTicks_pb2.CancelHistoricalTicks, versioned=False),
}


def _size(value: Size) -> str:
    return size_text(value) or ""


def _price(value: h.BarPrice) -> str:
    return value if isinstance(value, str) else number_text(value)


def _bars(message: h.HistoricalData, server_version: int) -> Sequence[str]:
    fields = [str(message.req_id)]
    if server_version < END_MESSAGE_FROM:
        fields += [message.start, message.end]
    fields.append(str(len(message.bars)))
    for bar in message.bars:
        fields += [bar.date, _price(bar.open), _price(bar.high), _price(bar.low), _price(bar.close)]
        fields += [_size(bar.volume), _size(bar.wap), str(bar.count)]
    return fields


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
