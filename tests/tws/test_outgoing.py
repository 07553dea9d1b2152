"""Each request on the wire, as text and as protobuf; read with the official message classes, not with our code."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from ibapi.protobuf.CalculateOptionPriceRequest_pb2 import CalculateOptionPriceRequest
from ibapi.protobuf.ContractDataRequest_pb2 import ContractDataRequest
from ibapi.protobuf.MarketDataRequest_pb2 import MarketDataRequest
from ibapi.protobuf.RealTimeBarsRequest_pb2 import RealTimeBarsRequest
from ibapi.protobuf.ScannerSubscriptionRequest_pb2 import ScannerSubscriptionRequest
from ibapi.protobuf.SecDefOptParamsRequest_pb2 import SecDefOptParamsRequest
from ibapi.protobuf.TickByTickRequest_pb2 import TickByTickRequest

from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.requests import (
    AnyRequest,
    CalcImpliedVolatility,
    CalcOptionPrice,
    CancelCalcImpliedVolatility,
    CancelCalcOptionPrice,
    CancelHeadTimestamp,
    CancelHistogram,
    CancelHistoricalData,
    CancelMktData,
    CancelMktDepth,
    CancelNewsBulletins,
    CancelRealTimeBars,
    CancelScan,
    CancelTickByTick,
    ReqContractDetails,
    ReqCurrentTime,
    ReqDepthExchanges,
    ReqHeadTimestamp,
    ReqHistogram,
    ReqHistoricalData,
    ReqHistoricalNews,
    ReqHistoricalTicks,
    ReqMarketDataType,
    ReqMarketRule,
    ReqMatchingSymbols,
    ReqMktData,
    ReqMktDepth,
    ReqNewsArticle,
    ReqNewsBulletins,
    ReqNewsProviders,
    ReqOptionParams,
    ReqRealTimeBars,
    ReqScan,
    ReqScannerParams,
    ReqSmartComponents,
    ReqTickByTick,
)
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.tws.outgoing import WRITERS
from tests.tws.conftest import Rig
from tests.tws.wire import Peer

pytestmark = pytest.mark.anyio

AAPL = Contract(265598, "AAPL", "STK", "SMART", "USD", primary_exchange="NASDAQ", local_symbol="AAPL")
OPTION = Contract(
    5,
    "SPX",
    "OPT",
    "SMART",
    "USD",
    trading_class="SPXW",
    multiplier="100",
    last_trade_date="20230714",
    strike=4325.0,
    right="P",
)
AAPL_TEXT = ["265598", "AAPL", "STK", "", "", "", "", "SMART", "NASDAQ", "USD", "AAPL", ""]
OPTION_TEXT = ["5", "SPX", "OPT", "20230714", "4325.0", "P", "100", "SMART", "", "USD", "", "SPXW"]
BROAD_TAPE = Contract(7, "BRFG:BRFG_ALL", "NEWS", "BRFG", "")
BROAD_TAPE_TEXT = ["7", "BRFG:BRFG_ALL", "NEWS", "", "", "", "", "BRFG", "", "", "", ""]
EURUSD = InstrumentQuery(symbol="EUR", sec_type="CASH", exchange="IDEALPRO", currency="USD")

TEXT_ROWS: list[tuple[AnyRequest, list[str]]] = [
    (
        ReqContractDetails(11, EURUSD),
        ["9", "8", "11", "0", "EUR", "CASH", "", "", "", "", "IDEALPRO", "", "USD", "", "", "0", "", "", ""],
    ),
    (ReqMatchingSymbols(91, "Micro"), ["81", "91", "Micro"]),
    (ReqMktData(12, AAPL, (233, 236)), ["1", "11", "12", *AAPL_TEXT, "0", "233,236", "0", "0", ""]),
    (ReqMktData(12, OPTION, (), True, True), ["1", "11", "12", *OPTION_TEXT, "0", "", "1", "1", ""]),
    (CancelMktData(12), ["2", "2", "12"]),
    (ReqTickByTick(22, AAPL, "AllLast", 3, True), ["97", "22", *AAPL_TEXT, "AllLast", "3", "1"]),
    (CancelTickByTick(22), ["98", "22"]),
    (ReqMktDepth(82, AAPL, 10, True), ["10", "5", "82", *AAPL_TEXT, "10", "1", ""]),
    (CancelMktDepth(82, True), ["11", "1", "82", "1"]),
    (ReqRealTimeBars(32, AAPL, "MIDPOINT", True), ["50", "3", "32", *AAPL_TEXT, "5", "MIDPOINT", "1", ""]),
    (CancelRealTimeBars(32), ["51", "1", "32"]),
    (ReqMarketDataType(0, 3), ["59", "1", "3"]),
    (ReqCurrentTime(0), ["49", "1"]),
    (
        ReqHistoricalData(43, AAPL, "20260105-21:00:00", "1 D", "5 secs", "TRADES", True),
        ["20", "43", *AAPL_TEXT, "0", "20260105-21:00:00", "5 secs", "1 D", "1", "TRADES", "2", "0", ""],
    ),
    (CancelHistoricalData(43), ["25", "1", "43"]),
    (
        ReqHistoricalTicks(53, AAPL, "20260105-14:30:00", "", 1000, "BID_ASK", False, True),
        ["96", "53", *AAPL_TEXT, "0", "20260105-14:30:00", "", "1000", "BID_ASK", "0", "1", ""],
    ),
    (ReqHeadTimestamp(63, AAPL, "TRADES", True), ["87", "63", *AAPL_TEXT, "0", "1", "TRADES", "2"]),
    (CancelHeadTimestamp(63), ["90", "63"]),
    (ReqHistogram(73, AAPL, True, "3 days"), ["88", "73", *AAPL_TEXT, "0", "1", "3 days"]),
    (CancelHistogram(73), ["89", "73"]),
    (ReqOptionParams(84, AAPL, "CME"), ["78", "84", "AAPL", "CME", "STK", "265598"]),
    (CalcImpliedVolatility(92, OPTION, 1.5, 4300.0), ["54", "3", "92", *OPTION_TEXT, "1.5", "4300.0", ""]),
    (CancelCalcImpliedVolatility(92), ["56", "1", "92"]),
    (CalcOptionPrice(92, OPTION, 0.2, 4300.0), ["55", "3", "92", *OPTION_TEXT, "0.2", "4300.0", ""]),
    (CancelCalcOptionPrice(92), ["57", "1", "92"]),
    (ReqSmartComponents(94, "9c0001"), ["83", "94", "9c0001"]),
    (ReqMarketRule(94, 26), ["91", "26"]),
    (ReqDepthExchanges(94), ["82"]),
    (ReqNewsProviders(94), ["85"]),
    (ReqScannerParams(94), ["24", "1"]),
    (ReqNewsArticle(94, "BRFG", "BRFG$1"), ["84", "94", "BRFG", "BRFG$1", ""]),
    (
        ReqHistoricalNews(94, 265598, "BRFG+DJNL", "2026-01-05 00:00:00.0", "", 5),
        ["86", "94", "265598", "BRFG+DJNL", "2026-01-05 00:00:00.0", "", "5", ""],
    ),
    (
        ReqScan(94, "TOP_PERC_GAIN", "STK", "STK.US.MAJOR", 5, 1.5, None, 1000),
        ["22", "94", "5", "STK", "STK.US.MAJOR", "TOP_PERC_GAIN", "1.5", "", "1000", *[""] * 10, "0", *[""] * 5],
    ),
    (
        ReqScan(94, "TOP_PERC_GAIN", "STK", "STK.US.MAJOR", 5, filters=(("priceAbove", "5"), ("x", "y"))),
        ["22", "94", "5", "STK", "STK.US.MAJOR", "TOP_PERC_GAIN", *[""] * 13, "0", *[""] * 3, "priceAbove=5;x=y;", ""],
    ),
    (CancelScan(94), ["23", "1", "94"]),
    (ReqNewsBulletins(92, True), ["12", "1", "1"]),
    (CancelNewsBulletins(92), ["13", "1"]),
    (ReqMktData(12, BROAD_TAPE, (292,)), ["1", "11", "12", *BROAD_TAPE_TEXT, "0", "mdoff,292", "0", "0", ""]),
]


def test_every_request_has_a_row_and_no_row_is_for_anything_else() -> None:
    assert set(WRITERS) == set(typing.get_args(AnyRequest))


async def test_every_request_as_text(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer, 178)
    for request, fields in TEXT_ROWS:
        rig.gateway.send(request)
        assert gateway.read_frame().decode().split("\0")[:-1] == fields
    assert {type(request) for request, _ in TEXT_ROWS} == set(WRITERS)
    await rig.gateway.aclose()
    assert rig.gateway.counters()["requests_sent"] == len(TEXT_ROWS)


def fields_of(message: Any) -> dict[str, Any]:
    return {field.name: fields_of(value) if field.message_type else value for field, value in message.ListFields()}


AAPL_PROTO = {
    "conId": 265598,
    "symbol": "AAPL",
    "secType": "STK",
    "exchange": "SMART",
    "primaryExch": "NASDAQ",
    "currency": "USD",
    "localSymbol": "AAPL",
}
OPTION_PROTO = {
    "conId": 5,
    "symbol": "SPX",
    "secType": "OPT",
    "lastTradeDateOrContractMonth": "20230714",
    "strike": 4325.0,
    "right": "P",
    "multiplier": 100.0,
    "exchange": "SMART",
    "currency": "USD",
    "tradingClass": "SPXW",
}


@pytest.mark.parametrize(
    ("request_", "number", "message", "fields"),
    [
        (
            ReqContractDetails(11, InstrumentQuery(conid=265598, exchange="SMART")),
            209,
            ContractDataRequest,
            {"reqId": 11, "contract": {"conId": 265598, "exchange": "SMART"}},
        ),
        (
            ReqMktData(12, AAPL, (233, 236)),
            201,
            MarketDataRequest,
            {"reqId": 12, "contract": AAPL_PROTO, "genericTickList": "233,236"},
        ),
        (
            ReqMktData(12, OPTION, (), True),
            201,
            MarketDataRequest,
            {"reqId": 12, "contract": OPTION_PROTO, "snapshot": True},
        ),
        (
            ReqTickByTick(22, AAPL, "BidAsk"),
            297,
            TickByTickRequest,
            {"reqId": 22, "contract": AAPL_PROTO, "tickType": "BidAsk"},
        ),
        (
            ReqRealTimeBars(32, AAPL, "TRADES", True),
            250,
            RealTimeBarsRequest,
            {"reqId": 32, "contract": AAPL_PROTO, "barSize": 5, "whatToShow": "TRADES", "useRTH": True},
        ),
        (
            ReqOptionParams(84, AAPL, "CME"),
            278,
            SecDefOptParamsRequest,
            {
                "reqId": 84,
                "underlyingSymbol": "AAPL",
                "futFopExchange": "CME",
                "underlyingSecType": "STK",
                "underlyingConId": 265598,
            },
        ),
        (
            CalcOptionPrice(92, OPTION, 0.2, 4300.0),
            255,
            CalculateOptionPriceRequest,
            {"reqId": 92, "contract": OPTION_PROTO, "volatility": 0.2, "underPrice": 4300.0},
        ),
        (
            ReqScan(94, "TOP_PERC_GAIN", "STK", "STK.US.MAJOR", 5, 1.5),
            222,
            ScannerSubscriptionRequest,
            {
                "reqId": 94,
                "scannerSubscription": {
                    "numberOfRows": 5,
                    "instrument": "STK",
                    "locationCode": "STK.US.MAJOR",
                    "scanCode": "TOP_PERC_GAIN",
                    "abovePrice": 1.5,
                },
            },
        ),
    ],
)
async def test_requests_as_protobuf(
    rig: Rig, peer: Peer, request_: AnyRequest, number: int, message: Any, fields: dict[str, Any]
) -> None:
    gateway = await rig.connect(peer, 213)
    rig.gateway.send(request_)
    frame = gateway.read_frame()
    assert int.from_bytes(frame[:4], "big") == number
    said = {name: value for name, value in fields_of(message.FromString(frame[4:])).items() if value not in (0, False)}
    assert said == fields


@pytest.mark.parametrize(
    ("server_version", "number"), [(178, b"49\0"), (200, b"49\0"), (212, b"\0\0\0\x31"), (213, b"\0\0\0\xf9")]
)
async def test_the_clock_is_asked_for_in_the_way_that_every_server_answers(
    rig: Rig, peer: Peer, server_version: int, number: bytes
) -> None:
    gateway = await rig.connect(peer, server_version)
    rig.gateway.send(ReqCurrentTime(0))
    assert gateway.read_frame().startswith(number)


@pytest.mark.parametrize(
    ("server_version", "contract", "code"),
    [
        (178, Contract(1, "M\u00dcV2", "STK", "IBIS", "EUR"), 579),
        (213, Contract(1, "X", "OPT", "SMART", "USD", multiplier="many"), 320),
    ],
)
async def test_a_request_that_cannot_be_written_is_answered_and_the_connection_goes_on(
    rig: Rig, peer: Peer, server_version: int, contract: Contract, code: int
) -> None:
    gateway = await rig.connect(peer, server_version)
    rig.gateway.send(ReqMktData(12, contract))
    rig.gateway.send(CancelMktData(22))
    notice = await rig.until_event(ErrorNotice)
    assert (notice.conn, notice.req_id, notice.code) == (1, 12, code)
    assert gateway.read_frame()
    assert rig.ends() == []
    assert rig.gateway.counters()["requests_refused"] == 1
