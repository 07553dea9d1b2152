"""Owns the proof that what the official client asks, at every version, is read as it was meant.

Must not open a socket.
"""

from __future__ import annotations

from typing import Any

import pytest
from ibapi.order_cancel import OrderCancel

from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.wire.frames import split_frame
from ibkr_actor.sim.wire.reading import BadRequest, first_varint
from ibkr_actor.sim.wire.requests import read_request
from tests.sim.peers import VERSIONS, Requests, stock


def _read(version: int, name: str, *arguments: Any) -> r.Request:
    client = Requests(version)
    getattr(client, name)(*arguments)
    (frame,) = client.sent
    message_id, body, protobuf = split_frame(frame[4:], version)
    return read_request(message_id, body, protobuf=protobuf, server_version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_market_data_request_is_read_with_all_its_fields(version: int) -> None:
    contract = stock("AAPL")
    contract.conId, contract.primaryExchange, contract.tradingClass = 265598, "NASDAQ", "NMS"
    assert _read(version, "reqMktData", 5, contract, "233,236", False, True, []) == r.ReqMarketData(
        message_id=1,
        req_id=5,
        contract=ContractSpec(
            con_id=265598,
            symbol="AAPL",
            sec_type="STK",
            exchange="SMART",
            primary_exchange="NASDAQ",
            currency="USD",
            trading_class="NMS",
        ),
        generic_ticks="233,236",
        regulatory_snapshot=True,
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_a_contract_data_request_is_read_with_its_security_id(version: int) -> None:
    contract = stock("")
    contract.secIdType, contract.secId, contract.includeExpired = "ISIN", "US0378331005", True
    request = _read(version, "reqContractDetails", 9, contract)
    assert isinstance(request, r.ReqContractData)
    assert (request.req_id, request.contract.sec_id_type, request.contract.sec_id) == (9, "ISIN", "US0378331005")
    assert request.contract.include_expired


@pytest.mark.parametrize("version", VERSIONS)
def test_streaming_requests_are_read(version: int) -> None:
    spec = ContractSpec(symbol="SPY", sec_type="STK", exchange="SMART", currency="USD")
    contract = stock("SPY")
    ticks = _read(version, "reqTickByTickData", 3, contract, "BidAsk", 0, True)
    bars = _read(version, "reqRealTimeBars", 4, contract, 5, "MIDPOINT", True, [])
    depth = _read(version, "reqMktDepth", 6, contract, 10, True, [])
    assert ticks == r.ReqTickByTick(message_id=97, req_id=3, contract=spec, tick_type="BidAsk", ignore_size=True)
    assert bars == r.ReqRealTimeBars(
        message_id=50, req_id=4, contract=spec, bar_size=5, what_to_show="MIDPOINT", use_rth=True
    )
    assert depth == r.ReqMarketDepth(message_id=10, req_id=6, contract=spec, rows=10, is_smart_depth=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_cancels_and_small_requests_are_read(version: int) -> None:
    assert _read(version, "cancelMktData", 5) == r.Cancel(message_id=2, req_id=5)
    assert _read(version, "cancelTickByTickData", 5) == r.Cancel(message_id=98, req_id=5)
    assert _read(version, "cancelRealTimeBars", 5) == r.Cancel(message_id=51, req_id=5)
    assert _read(version, "cancelMktDepth", 5, True) == r.Cancel(message_id=11, req_id=5)
    assert _read(version, "reqMarketDataType", 3) == r.ReqMarketDataType(message_id=59, market_data_type=3)
    assert _read(version, "reqMatchingSymbols", 5, "APP") == r.ReqMatchingSymbols(
        message_id=81, req_id=5, pattern="APP"
    )
    assert _read(version, "reqIds", 1) == r.Plain(message_id=8)
    assert _read(version, "reqCurrentTime") == r.Plain(message_id=49)
    assert _read(version, "setServerLogLevel", 5) == r.Plain(message_id=14)
    assert _read(version, "reqPositions") == r.Plain(message_id=61)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_req_id_of_requests_that_are_not_served_is_found(version: int) -> None:
    assert _read(version, "reqPnL", 44, "DU1234567", "") == r.Plain(message_id=92, req_id=44)
    assert _read(version, "reqAccountSummary", 45, "All", "NetLiquidation") == r.Plain(message_id=62, req_id=45)
    assert _read(version, "cancelPnL", 46) == r.Plain(message_id=93, req_id=46)
    assert _read(version, "cancelOrder", 47, OrderCancel()) == r.Plain(message_id=4, req_id=47)


@pytest.mark.parametrize("version", [178, 205, 226])
def test_start_api_is_read_in_all_three_forms(version: int) -> None:
    client = Requests(version)
    client.clientId, client.optCapab = 12, "cap"
    client.startApi()
    (frame,) = client.sent
    message_id, body, protobuf = split_frame(frame[4:], version)
    assert protobuf == (version >= 213)
    request = read_request(message_id, body, protobuf=protobuf, server_version=version)
    assert request == r.StartApi(message_id=71, client_id=12, optional_capabilities="cap")


def test_cancel_contract_data_exists_as_protobuf_from_215() -> None:
    assert _read(226, "cancelContractData", 9) == r.Cancel(message_id=106, req_id=9)


def test_a_short_text_request_is_bad_and_keeps_the_req_id_it_had() -> None:
    with pytest.raises(BadRequest) as raised:
        read_request(1, b"11\0" + b"5\0" + b"265598\0", protobuf=False, server_version=178)
    assert raised.value.req_id == 5


def test_a_request_with_text_for_a_number_is_bad() -> None:
    with pytest.raises(BadRequest, match="abc"):
        read_request(2, b"2\0abc\0", protobuf=False, server_version=178)


def test_bytes_that_are_no_protobuf_are_bad_and_keep_the_req_id_they_begin_with() -> None:
    with pytest.raises(BadRequest) as raised:
        read_request(1, b"\x08\x05\xff\xff\xff", protobuf=True, server_version=226)
    assert raised.value.req_id == 5


def test_field_one_is_read_as_a_signed_varint() -> None:
    assert first_varint(b"\x08\x96\x01") == 150
    assert first_varint(b"\x08" + b"\xff" * 9 + b"\x01") == -1
    assert first_varint(b"\x08\xff") == -1
    assert first_varint(b"\x12\x01a") == -1
    assert first_varint(b"") == -1
