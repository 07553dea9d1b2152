"""Owns how requests of the history family are read, from text and from protobuf.

Must not answer anything; `history_wire` gives its table to requests.py.
"""

from __future__ import annotations

from typing import Any

import msgspec
from ibapi.protobuf import (
    CancelHeadTimestamp_pb2,
    CancelHistogramData_pb2,
    CancelHistoricalData_pb2,
    CancelHistoricalTicks_pb2,
    HeadTimestampRequest_pb2,
    HistogramDataRequest_pb2,
    HistoricalDataRequest_pb2,
    HistoricalTicksRequest_pb2,
)

from ibkr_actor.sim.market.instruments import ContractSpec, Leg
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire.reading import Fields
from ibkr_actor.sim.wire.request_base import Reader, Request, cancel_reader, contract_of, parse


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
