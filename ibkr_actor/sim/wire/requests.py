"""Owns what a client can ask: one Struct for each request served, read from text or protobuf.

Must not answer anything; whatever cannot be read is a BadRequest.
"""

from __future__ import annotations

from typing import Any

import msgspec
from ibapi.protobuf import (
    CancelContractData_pb2,
    CancelMarketData_pb2,
    CancelMarketDepth_pb2,
    CancelRealTimeBars_pb2,
    CancelTickByTick_pb2,
    ContractDataRequest_pb2,
    MarketDataRequest_pb2,
    MarketDataTypeRequest_pb2,
    MarketDepthRequest_pb2,
    MatchingSymbolsRequest_pb2,
    RealTimeBarsRequest_pb2,
    StartApiRequest_pb2,
    TickByTickRequest_pb2,
)

from ibkr_actor.sim.market.instruments import ContractSpec, Leg
from ibkr_actor.sim.wire import history_wire, news_wire, reference_wire, scanner_wire
from ibkr_actor.sim.wire.reading import Fields, first_varint
from ibkr_actor.sim.wire.request_base import Cancel, Plain, Reader, Request, cancel_reader, contract_of, parse

__all__ = ["Cancel", "Plain", "Request", "read_request"]


class StartApi(Request, frozen=True, kw_only=True):
    client_id: int
    optional_capabilities: str = ""


class ReqContractData(Request, frozen=True, kw_only=True):
    contract: ContractSpec


class ReqMarketData(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    generic_ticks: str = ""
    snapshot: bool = False
    regulatory_snapshot: bool = False


class ReqTickByTick(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    tick_type: str
    number_of_ticks: int = 0
    ignore_size: bool = False


class ReqRealTimeBars(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    bar_size: int
    what_to_show: str
    use_rth: bool = False


class ReqMarketDepth(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    rows: int
    is_smart_depth: bool = False


class ReqMarketDataType(Request, frozen=True, kw_only=True):
    market_data_type: int


class ReqMatchingSymbols(Request, frozen=True, kw_only=True):
    pattern: str


def _start_api(fields: Fields, _: int) -> Request:
    fields.text()
    client_id = fields.integer()
    return StartApi(message_id=71, client_id=client_id, optional_capabilities=fields.text())


def _start_api_protobuf(body: bytes) -> Request:
    proto: Any = parse(StartApiRequest_pb2.StartApiRequest, body)
    return StartApi(message_id=71, client_id=proto.clientId, optional_capabilities=proto.optionalCapabilities)


def _contract_data(fields: Fields, server_version: int) -> Request:
    fields.text()
    req_id = fields.own_id()
    contract = fields.contract()
    extra = {
        "include_expired": fields.flag(),
        "sec_id_type": fields.text(),
        "sec_id": fields.text(),
        "issuer_id": fields.text() if server_version >= 176 else "",
    }
    return ReqContractData(message_id=9, req_id=req_id, contract=msgspec.structs.replace(contract, **extra))


def _contract_data_protobuf(body: bytes) -> Request:
    proto: Any = parse(ContractDataRequest_pb2.ContractDataRequest, body)
    return ReqContractData(message_id=9, req_id=proto.reqId, contract=contract_of(proto.contract))


def _leg(fields: Fields) -> Leg:
    return Leg(con_id=fields.integer(), ratio=fields.integer(), action=fields.text(), exchange=fields.text())


def _market_data(fields: Fields, _: int) -> Request:
    fields.text()
    req_id = fields.own_id()
    contract = fields.contract()
    if contract.sec_type == "BAG":
        legs = tuple(_leg(fields) for _ in range(fields.integer()))
        contract = msgspec.structs.replace(contract, legs=legs)
    if fields.flag():
        fields.integer(), fields.number(), fields.number()
    return ReqMarketData(
        message_id=1,
        req_id=req_id,
        contract=contract,
        generic_ticks=fields.text(),
        snapshot=fields.flag(),
        regulatory_snapshot=fields.flag(),
    )


def _market_data_protobuf(body: bytes) -> Request:
    proto: Any = parse(MarketDataRequest_pb2.MarketDataRequest, body)
    return ReqMarketData(
        message_id=1,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        generic_ticks=proto.genericTickList,
        snapshot=proto.snapshot,
        regulatory_snapshot=proto.regulatorySnapshot,
    )


def _tick_by_tick(fields: Fields, _: int) -> Request:
    return ReqTickByTick(
        message_id=97,
        req_id=fields.own_id(),
        contract=fields.contract(),
        tick_type=fields.text(),
        number_of_ticks=fields.integer(),
        ignore_size=fields.flag(),
    )


def _tick_by_tick_protobuf(body: bytes) -> Request:
    proto: Any = parse(TickByTickRequest_pb2.TickByTickRequest, body)
    return ReqTickByTick(
        message_id=97,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        tick_type=proto.tickType,
        number_of_ticks=proto.numberOfTicks,
        ignore_size=proto.ignoreSize,
    )


def _real_time_bars(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqRealTimeBars(
        message_id=50,
        req_id=fields.own_id(),
        contract=fields.contract(),
        bar_size=fields.integer(),
        what_to_show=fields.text(),
        use_rth=fields.flag(),
    )


def _real_time_bars_protobuf(body: bytes) -> Request:
    proto: Any = parse(RealTimeBarsRequest_pb2.RealTimeBarsRequest, body)
    return ReqRealTimeBars(
        message_id=50,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        bar_size=proto.barSize,
        what_to_show=proto.whatToShow,
        use_rth=proto.useRTH,
    )


def _depth(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqMarketDepth(
        message_id=10,
        req_id=fields.own_id(),
        contract=fields.contract(),
        rows=fields.integer(),
        is_smart_depth=fields.flag(),
    )


def _depth_protobuf(body: bytes) -> Request:
    proto: Any = parse(MarketDepthRequest_pb2.MarketDepthRequest, body)
    return ReqMarketDepth(
        message_id=10,
        req_id=proto.reqId,
        contract=contract_of(proto.contract),
        rows=proto.numRows,
        is_smart_depth=proto.isSmartDepth,
    )


def _market_data_type(fields: Fields, _: int) -> Request:
    fields.text()
    return ReqMarketDataType(message_id=59, market_data_type=fields.integer())


def _market_data_type_protobuf(body: bytes) -> Request:
    proto: Any = parse(MarketDataTypeRequest_pb2.MarketDataTypeRequest, body)
    return ReqMarketDataType(message_id=59, market_data_type=proto.marketDataType)


def _matching_symbols(fields: Fields, _: int) -> Request:
    return ReqMatchingSymbols(message_id=81, req_id=fields.own_id(), pattern=fields.text())


def _matching_symbols_protobuf(body: bytes) -> Request:
    proto: Any = parse(MatchingSymbolsRequest_pb2.MatchingSymbolsRequest, body)
    return ReqMatchingSymbols(message_id=81, req_id=proto.reqId, pattern=proto.pattern)


_OWN: dict[int, Reader] = {
    1: (_market_data, _market_data_protobuf),
    2: cancel_reader(2, CancelMarketData_pb2.CancelMarketData),
    9: (_contract_data, _contract_data_protobuf),
    10: (_depth, _depth_protobuf),
    11: cancel_reader(11, CancelMarketDepth_pb2.CancelMarketDepth),
    50: (_real_time_bars, _real_time_bars_protobuf),
    51: cancel_reader(51, CancelRealTimeBars_pb2.CancelRealTimeBars),
    59: (_market_data_type, _market_data_type_protobuf),
    71: (_start_api, _start_api_protobuf),
    81: (_matching_symbols, _matching_symbols_protobuf),
    97: (_tick_by_tick, _tick_by_tick_protobuf),
    98: cancel_reader(98, CancelTickByTick_pb2.CancelTickByTick, versioned=False),
    106: cancel_reader(106, CancelContractData_pb2.CancelContractData, versioned=False),
}
# A family's own table wins over what stands above.
_READERS: dict[int, Reader] = {
    **_OWN,
    **news_wire.READERS,
    **scanner_wire.READERS,
    **reference_wire.READERS,
    **history_wire.READERS,
}

# Text requests of which only the req_id is read: at which field it stands. Source: ibapi.client, each request method.
_REQ_ID_AT: dict[int, int] = (
    dict.fromkeys((7, 22, 23, 25, 54, 55, 56, 57, 62, 63, 67, 68, 69, 70, 74, 75, 76, 77, 3, 4, 21), 1)
    | dict.fromkeys((20, 78, 79, 83, 84, 86, 87, 88, 89, 90, 92, 93, 94, 95, 96, 100, 101, 102, 103, 104, 107), 0)
)  # fmt: skip
# Below these versions or from these on the version field is gone. Source: ibapi.client.
_NO_VERSION_FROM = {3: 145, 20: 124, 22: 143, 4: 192}
# Protobuf requests whose field 1 is no req_id.
_WITHOUT_REQ_ID = frozenset({5, 6, 8, 12, 13, 14, 15, 16, 17, 18, 24, 49, 58, 61, 64, 80, 82, 85, 91, 99, 105})


def read_request(message_id: int, body: bytes, *, protobuf: bool, server_version: int) -> Request:
    """The request in a frame.

    Raises: BadRequest when its fields cannot be read.
    """
    reader = _READERS.get(message_id)
    if reader is not None:
        return reader[1](body) if protobuf else reader[0](Fields(body), server_version)
    if protobuf:
        req_id = -1 if message_id in _WITHOUT_REQ_ID else first_varint(body)
        return Plain(message_id=message_id, req_id=req_id)
    return Plain(message_id=message_id, req_id=_text_req_id(message_id, body, server_version))


def _text_req_id(message_id: int, body: bytes, server_version: int) -> int:
    place = _REQ_ID_AT.get(message_id)
    if place is None:
        return -1
    if server_version >= _NO_VERSION_FROM.get(message_id, 1 << 31):
        place = 0
    fields = body.split(b"\0")
    try:
        req_id = int(fields[place])
    except (IndexError, ValueError):
        return -1
    return req_id if -(1 << 31) <= req_id < 1 << 31 else -1
