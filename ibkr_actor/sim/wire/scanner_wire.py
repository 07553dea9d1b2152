"""Owns how requests and messages of market scanners look, as text and as protobuf.

Must not answer anything; requests.py and responses.py merge its tables.
"""

from __future__ import annotations

from typing import Any

from ibapi.protobuf import (
    CancelScannerSubscription_pb2,
    Contract_pb2,
    ScannerData_pb2,
    ScannerDataElement_pb2,
    ScannerParameters_pb2,
    ScannerSubscriptionRequest_pb2,
)

from ibkr_actor.sim.market.instruments import Instrument, strike_text
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire.layout import SCANNER_FROM, Layout
from ibkr_actor.sim.wire.reading import Fields
from ibkr_actor.sim.wire.request_base import Plain, Reader, Request, cancel_reader, parse

# Below it a subscription begins with a version field. Source: ibapi MIN_SERVER_VER_SCANNER_GENERIC_OPTS.
_NO_VERSION_FROM = 143


class ReqScannerSubscription(Request, frozen=True, kw_only=True):
    """The filters the simulator applies; the others are read over. None is no limit, `rows` -1 the default."""

    rows: int
    instrument: str
    location_code: str
    scan_code: str
    above_price: float | None
    below_price: float | None


class ScannerParameters(Message, frozen=True, kw_only=True):
    """It belongs to no request."""

    xml: str


class ScannerData(Message, frozen=True, kw_only=True):
    """Instruments in order of rank, from 0."""

    instruments: tuple[Instrument, ...]


def _subscription(fields: Fields, server_version: int) -> Request:
    if server_version < _NO_VERSION_FROM:
        fields.text()
    req_id, rows = fields.own_id(), fields.text()
    return ReqScannerSubscription(
        message_id=22,
        req_id=req_id,
        rows=int(rows) if rows.isascii() and rows.isdigit() and len(rows) < 10 else -1,
        instrument=fields.text(),
        location_code=fields.text(),
        scan_code=fields.text(),
        above_price=fields.optional_number(),
        below_price=fields.optional_number(),
    )


def _subscription_protobuf(body: bytes) -> Request:
    proto: Any = parse(ScannerSubscriptionRequest_pb2.ScannerSubscriptionRequest, body)
    wanted = proto.scannerSubscription
    return ReqScannerSubscription(
        message_id=22,
        req_id=proto.reqId,
        rows=wanted.numberOfRows if wanted.HasField("numberOfRows") else -1,
        instrument=wanted.instrument,
        location_code=wanted.locationCode,
        scan_code=wanted.scanCode,
        above_price=wanted.abovePrice if wanted.HasField("abovePrice") else None,
        below_price=wanted.belowPrice if wanted.HasField("belowPrice") else None,
    )


READERS: dict[int, Reader] = {
    22: (_subscription, _subscription_protobuf),
    23: cancel_reader(23, CancelScannerSubscription_pb2.CancelScannerSubscription),
    24: (lambda fields, _: Plain(message_id=24), lambda body: Plain(message_id=24)),
}


def _parameters_fields(message: ScannerParameters, _: int) -> list[str]:
    return ["1", message.xml]


def _parameters_proto(message: ScannerParameters, _: int) -> Any:
    return ScannerParameters_pb2.ScannerParameters(xml=message.xml)


def _data_fields(message: ScannerData, _: int) -> list[str]:
    """Distance, benchmark, projection and legs are empty, as on most scans."""
    fields = ["3", str(message.req_id), str(len(message.instruments))]
    for rank, it in enumerate(message.instruments):
        strike = strike_text(it.strike) if it.strike else "0"
        fields += [str(rank), str(it.con_id), it.symbol, it.sec_type, it.expiry, strike, it.right]
        fields += [it.exchange, it.currency, it.local_symbol, it.market_name, it.trading_class, "", "", "", ""]
    return fields


def _data_proto(message: ScannerData, _: int) -> Any:
    elements = [
        ScannerDataElement_pb2.ScannerDataElement(
            rank=rank,
            contract=Contract_pb2.Contract(
                conId=it.con_id,
                symbol=it.symbol,
                secType=it.sec_type,
                lastTradeDateOrContractMonth=it.expiry or None,
                strike=it.strike or None,
                right=it.right or None,
                exchange=it.exchange,
                currency=it.currency,
                localSymbol=it.local_symbol,
                tradingClass=it.trading_class,
            ),
            marketName=it.market_name,
        )
        for rank, it in enumerate(message.instruments)
    ]
    return ScannerData_pb2.ScannerData(reqId=message.req_id, scannerDataElement=elements)


LAYOUTS: dict[type[Message], Layout] = {
    ScannerParameters: Layout(19, SCANNER_FROM, _parameters_fields, _parameters_proto),
    ScannerData: Layout(20, SCANNER_FROM, _data_fields, _data_proto),
}
