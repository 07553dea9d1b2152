"""Owns the proof that the official decoder and ib_async read every message as the value that was sent.

Must not open a socket.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ib_async.decoder import Decoder as AsyncDecoder

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.wire.responses import LAYOUTS, Encoder
from tests.sim.peers import VERSIONS, Call, decode, plain

UNSET_DECIMAL = Decimal(2**127 - 1)
UNSET_DOUBLE = 1.7976931348623157e308
_AAPL = default_catalogue().find("AAPL")
_BMW = default_catalogue().find("BMW")
_HOURS = "20231114:0930-20231114:1600;20231115:0930-20231115:1600"
NO_ATTRIBUTES = {"canAutoExecute": False, "pastLimit": False, "preOpen": False}
ALL_ATTRIBUTES = {"canAutoExecute": True, "pastLimit": True, "preOpen": True}

# message -> the calls the official client must make of it, the same at every version.
CASES: list[tuple[m.Message, list[Call]]] = [
    (
        m.TickPrice(req_id=7, tick_type=1, price=227.51, size=Decimal("300"), attrib_mask=7),
        [("tickPrice", 7, 1, 227.51, ALL_ATTRIBUTES), ("tickSize", 7, 0, Decimal(300))],
    ),
    (
        m.TickPrice(req_id=7, tick_type=9, price=227.51, size=0, attrib_mask=0),
        [("tickPrice", 7, 9, 227.51, NO_ATTRIBUTES)],
    ),
    (
        m.TickPrice(req_id=7, tick_type=68, price=-1.0, size="12", attrib_mask=0),
        [("tickPrice", 7, 68, -1.0, NO_ATTRIBUTES), ("tickSize", 7, 71, Decimal(12))],
    ),
    (
        m.TickPrice(req_id=7, tick_type=4, price=0.0, size=None, attrib_mask=0),
        [("tickPrice", 7, 4, 0.0, NO_ATTRIBUTES), ("tickSize", 7, 5, UNSET_DECIMAL)],
    ),
    (m.TickSize(req_id=2147483646, tick_type=8, size=1900900), [("tickSize", 2147483646, 8, Decimal(1900900))]),
    (m.TickSize(req_id=7, tick_type=3, size=None), [("tickSize", 7, 3, UNSET_DECIMAL)]),
    (m.TickString(req_id=7, tick_type=45, value="1700000000"), [("tickString", 7, 45, "1700000000")]),
    (m.TickString(req_id=7, tick_type=48, value=""), [("tickString", 7, 48, "")]),
    (m.TickGeneric(req_id=7, tick_type=49, value=0.0), [("tickGeneric", 7, 49, 0.0)]),
    (
        m.TickOptionComputation(
            req_id=7, tick_type=13, tick_attrib=1, implied_vol=0.25, delta=-0.5, opt_price=3.2, pv_dividend=0.1,
            gamma=0.02, vega=0.3, theta=-0.04, und_price=227.5,
        ),
        [("tickOptionComputation", 7, 13, 1, 0.25, -0.5, 3.2, 0.1, 0.02, 0.3, -0.04, 227.5)],
    ),
    (
        m.TickOptionComputation(req_id=7, tick_type=10, tick_attrib=0),
        [("tickOptionComputation", 7, 10, 0, None, None, None, None, None, None, None, None)],
    ),
    (
        m.TickEfp(
            req_id=7, tick_type=38, basis_points=1.5, formatted_basis_points="1.5%", implied_future=10.25, hold_days=12,
            future_last_trade_date="20231215", dividend_impact=0.5, dividends_to_last_trade_date=0.25,
        ),
        [("tickEFP", 7, 38, 1.5, "1.5%", 10.25, 12, "20231215", 0.5, 0.25)],
    ),
    (
        m.TickReqParams(req_id=7, min_tick="0.01", bbo_exchange="9c0001", snapshot_permissions=3),
        [("tickReqParams", 7, 0.01, "9c0001", 3)],
    ),
    (m.MarketDataType(req_id=7, market_data_type=3), [("marketDataType", 7, 3)]),
    (m.TickSnapshotEnd(req_id=7), [("tickSnapshotEnd", 7)]),
    (
        m.TickNews(
            req_id=7, time=1700000000123, provider_code="BRFG", article_id="B$1", headline="up", extra_data="K:1"
        ),
        [("tickNews", 7, 1700000000123, "BRFG", "B$1", "up", "K:1")],
    ),
    (
        m.TickByTickLast(
            req_id=7, tick_type=2, time=1700000000, price=227.5, size=Decimal("100"), past_limit=True, unreported=False,
            exchange="ARCA", special_conditions="  TI",
        ),
        [
            (
                "tickByTickAllLast", 7, 2, 1700000000, 227.5, Decimal(100),
                {"pastLimit": True, "unreported": False}, "ARCA", "  TI",
            )
        ],
    ),
    (
        m.TickByTickLast(req_id=7, tick_type=1, time=1700000000, price=227.5, size=1, unreported=True),
        [
            (
                "tickByTickAllLast", 7, 1, 1700000000, 227.5, Decimal(1),
                {"pastLimit": False, "unreported": True}, "", "",
            )
        ],
    ),
    (
        m.TickByTickBidAsk(
            req_id=7, time=1700000000, bid_price=227.5, ask_price=227.52, bid_size=100, ask_size=200, bid_past_low=True
        ),
        [
            (
                "tickByTickBidAsk", 7, 1700000000, 227.5, 227.52, Decimal(100), Decimal(200),
                {"bidPastLow": True, "askPastHigh": False},
            )
        ],
    ),
    (
        m.TickByTickBidAsk(
            req_id=7, time=1700000000, bid_price=0.0, ask_price=227.52, bid_size=0, ask_size=200, ask_past_high=True
        ),
        [
            (
                "tickByTickBidAsk", 7, 1700000000, 0.0, 227.52, Decimal(0), Decimal(200),
                {"bidPastLow": False, "askPastHigh": True},
            )
        ],
    ),
    (
        m.TickByTickMidPoint(req_id=7, time=1700000000, mid_point=1.085075),
        [("tickByTickMidPoint", 7, 1700000000, 1.085075)],
    ),
    (
        m.RealTimeBar(
            req_id=7, time=1700000000, open=1.0, high=2.5, low=0.5, close=1.5, volume=Decimal("1188"), wap="1.503603",
            count=9,
        ),
        [("realtimeBar", 7, 1700000000, 1.0, 2.5, 0.5, 1.5, Decimal(1188), Decimal("1.503603"), 9)],
    ),
    (
        m.RealTimeBar(req_id=7, time=1700000000, open=1.0, high=2.5, low=0.5, close=1.5, volume=-1, wap=-1, count=-1),
        [("realtimeBar", 7, 1700000000, 1.0, 2.5, 0.5, 1.5, Decimal(-1), Decimal(-1), -1)],
    ),
    (
        m.MarketDepth(req_id=7, position=0, operation=0, side=1, price=227.5, size=100),
        [("updateMktDepth", 7, 0, 0, 1, 227.5, Decimal(100))],
    ),
    (
        m.MarketDepthL2(
            req_id=7, position=2, market_maker="NASDAQ", operation=2, side=0, price=0.0, size=0, is_smart_depth=True
        ),
        [("updateMktDepthL2", 7, 2, "NASDAQ", 2, 0, 0.0, Decimal(0), True)],
    ),
    (
        m.DeltaNeutralValidation(req_id=7, con_id=265598, delta=0.5, price=227.5),
        [("deltaNeutralValidation", 7, {"conId": 265598, "delta": 0.5, "price": 227.5})],
    ),
    (
        m.RerouteMarketData(req_id=7, con_id=265598, exchange="SMART"),
        [("rerouteMktDataReq", 7, 265598, "SMART")],
    ),
    (
        m.RerouteMarketDepth(req_id=7, con_id=265598, exchange="NASDAQ"),
        [("rerouteMktDepthReq", 7, 265598, "NASDAQ")],
    ),
    (m.UserInfo(req_id=7, white_branding_id="a"), [("userInfo", 7, "a")]),
    (m.ContractDataEnd(req_id=7), [("contractDetailsEnd", 7)]),
    (m.NextValidId(order_id=12), [("nextValidId", 12)]),
    (m.ManagedAccounts(accounts=("DU1", "DU2")), [("managedAccounts", "DU1,DU2")]),
    (m.CurrentTime(time=1700000000), [("currentTime", 1700000000)]),
    (m.CurrentTimeInMillis(time_ms=1700000000123), [("currentTimeInMillis", 1700000000123)]),
    (m.OpenOrderEnd(), [("openOrderEnd",)]),
    (m.CompletedOrdersEnd(), [("completedOrdersEnd",)]),
    (m.ExecutionDataEnd(req_id=7), [("execDetailsEnd", 7)]),
    (m.PositionEnd(), [("positionEnd",)]),
    (m.PositionMultiEnd(req_id=7), [("positionMultiEnd", 7)]),
    (m.AccountDownloadEnd(account="DU1"), [("accountDownloadEnd", "DU1")]),
    (m.AccountUpdateMultiEnd(req_id=7), [("accountUpdateMultiEnd", 7)]),
    (m.AccountSummaryEnd(req_id=7), [("accountSummaryEnd", 7)]),
    (m.SecDefOptParameterEnd(req_id=7), [("securityDefinitionOptionParameterEnd", 7)]),
]  # fmt: skip
# Their decoded form depends on the version or is large: they have tests of their own below.
APART = (m.ErrorMessage, m.ContractData, m.SymbolSamples)


def test_every_message_the_simulator_can_send_has_a_case() -> None:
    # The messages of a *_wire module have their cases in that module's own test.
    own = {kind for kind in LAYOUTS if kind.__module__ == m.__name__}
    assert {type(message) for message, _ in CASES} | set(APART) == own


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_decoder_reads_every_message_as_it_was_sent(version: int) -> None:
    encoder = Encoder(version)
    for message, expected in CASES:
        got = [(name, *map(plain, arguments)) for name, *arguments in decode(encoder.encode(message), version)]
        assert got == expected, message


@pytest.mark.parametrize("version", VERSIONS)
def test_fractional_sizes_survive_from_163_on_and_are_cut_before(version: int) -> None:
    tick = m.TickByTickLast(req_id=7, tick_type=2, time=1, price=1.0, size=Decimal("3.25"))
    size = decode(Encoder(version).encode(tick), version)[0][5]
    assert size == (Decimal(3) if version < 163 else Decimal("3.25"))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_absent_price_is_unset_in_protobuf_and_empty_in_text(version: int) -> None:
    tick = m.TickPrice(req_id=7, tick_type=9, price=None, size=None)
    price = decode(Encoder(version).encode(tick), version)[0][3]
    assert price == (UNSET_DOUBLE if version >= 206 else 0.0)


@pytest.mark.parametrize("version", VERSIONS)
def test_errors_have_the_layout_of_their_version(version: int) -> None:
    error = m.ErrorMessage(
        req_id=7, code=200, text="ambiguous;\nspecify ü", advanced_order_reject='{"a":1}', time_ms=1700000000123
    )
    reject = '{"a":1}' if version >= 166 else ""
    time_ms = 1700000000123 if version >= 194 else 0
    assert decode(Encoder(version).encode(error), version) == [
        ("error", 7, time_ms, 200, "ambiguous;\nspecify ü", reject)
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_contract_details_arrive_with_every_field(version: int) -> None:
    hours = "20231114:0900-20231114:1730;20231115:0900-20231115:1730"
    message = m.ContractData(req_id=7, instrument=_BMW, exchange="IBIS", trading_hours=hours, liquid_hours=_HOURS)
    ((name, req_id, details),) = decode(Encoder(version).encode(message), version)
    assert (name, req_id) == ("contractDetails", 7)
    contract = details.contract
    assert (contract.conId, contract.symbol, contract.secType, contract.currency) == (14094, "BMW", "STK", "EUR")
    assert (contract.exchange, contract.primaryExchange) == ("IBIS", "IBIS")
    assert (contract.localSymbol, contract.tradingClass) == ("BMW", "XETRA")
    assert (details.marketName, details.minTick, details.priceMagnifier) == ("XETRA", 0.02, 1)
    assert details.longName == "BAYERISCHE MOTOREN WERKE, München"
    assert (details.orderTypes, details.validExchanges) == (_BMW.order_types, _BMW.valid_exchanges)
    assert details.timeZoneId == "MET"
    assert details.tradingHours == hours
    assert details.liquidHours == _HOURS
    assert [(each.tag, each.value) for each in details.secIdList] == [("ISIN", "DE0005190003")]
    assert (details.aggGroup, details.stockType, details.marketRuleIds) == (1, "COMMON", "2202,2202,2202,2202,2202")
    if version >= 164:
        sizes = (details.minSize, details.sizeIncrement, details.suggestedSizeIncrement)
        assert sizes == (Decimal(1), Decimal(1), Decimal(100))
    if version >= 224:
        assert (details.lastPricePrecision, details.lastSizePrecision) == (Decimal("0.02"), Decimal(1))


@pytest.mark.parametrize("version", VERSIONS)
def test_symbol_samples_arrive_with_every_field(version: int) -> None:
    message = m.SymbolSamples(req_id=7, instruments=(_AAPL, default_catalogue().find("EUR.USD")))
    ((name, req_id, samples),) = decode(Encoder(version).encode(message), version)
    assert (name, req_id) == ("symbolSamples", 7)
    first, second = samples
    assert (first.contract.conId, first.contract.symbol, first.contract.secType) == (265598, "AAPL", "STK")
    assert (first.contract.primaryExchange, first.contract.currency) == ("NASDAQ", "USD")
    assert first.derivativeSecTypes == ["CFD", "OPT", "IOPT", "WAR", "BAG"]
    assert (second.contract.symbol, second.contract.currency, second.derivativeSecTypes) == ("EUR", "USD", [])
    if version >= 176:
        assert first.contract.description == "APPLE INC"


@pytest.mark.parametrize("version", VERSIONS)
def test_protobuf_begins_where_the_gate_of_each_message_says(version: int) -> None:
    gates: dict[type[m.Message], int] = {
        m.ErrorMessage: 201,
        m.ContractDataEnd: 205,
        m.TickPrice: 206,
        m.RealTimeBar: 208,
    }
    gates |= {m.SecDefOptParameterEnd: 212, m.NextValidId: 213, m.ManagedAccounts: 213, m.CurrentTime: 213}
    cases: dict[type[m.Message], m.Message] = {type(message): message for message, _ in CASES}
    cases[m.ErrorMessage] = m.ErrorMessage(req_id=1, code=1, text="")
    for kind, gate in gates.items():
        frame = Encoder(version).encode(cases[kind])
        is_protobuf = version >= 201 and int.from_bytes(frame[4:8], "big") > 200
        assert is_protobuf == (version >= gate), kind


def test_managed_accounts_can_be_protobuf_from_207() -> None:
    frame = Encoder(208, managed_accounts_proto_from=207).encode(m.ManagedAccounts(accounts=("DU1",)))
    assert int.from_bytes(frame[4:8], "big") == 215
    assert decode(frame, 208) == [("managedAccounts", "DU1")]


class _AsyncRecorder:
    """Takes ib_async's callbacks."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def _decode_async(message: m.Message, version: int) -> list[Call]:
    recorder: Any = _AsyncRecorder()
    fields = Encoder(version).encode(message)[4:].decode().split("\0")[:-1]
    decoder: Any = AsyncDecoder(recorder, version)
    decoder.interpret(fields)
    calls: list[Call] = recorder.calls
    return calls


@pytest.mark.parametrize("version", [157, 165, 173, 178])
def test_ib_async_reads_the_text_messages_as_they_were_sent(version: int) -> None:
    read = [
        _decode_async(m.TickPrice(req_id=7, tick_type=1, price=1.5, size=3), version),
        _decode_async(m.TickString(req_id=7, tick_type=45, value="1"), version),
        _decode_async(m.TickReqParams(req_id=7, min_tick="0.01", bbo_exchange="a", snapshot_permissions=3), version),
        _decode_async(m.ErrorMessage(req_id=7, code=200, text="no"), version),
        _decode_async(m.TickSnapshotEnd(req_id=7), version),
        _decode_async(
            m.RealTimeBar(req_id=7, time=5, open=1.0, high=2.0, low=0.5, close=1.5, volume=9, wap="1.25", count=2),
            version,
        ),
    ]
    assert read == [
        [("priceSizeTick", 7, 1, 1.5, 3.0)],
        [("tickString", 7, 45, "1")],
        [("tickReqParams", 7, 0.01, "a", 3)],
        [("error", 7, 200, "no", "")],
        [("tickSnapshotEnd", 7)],
        [("realtimeBar", 7, 5, 1.0, 2.0, 0.5, 1.5, 9.0, 1.25, 2)],
    ]


@pytest.mark.parametrize("version", [157, 165, 173, 178])
def test_ib_async_reads_contract_details(version: int) -> None:
    message = m.ContractData(req_id=7, instrument=_BMW, exchange="SMART", trading_hours="a", liquid_hours="b")
    ((name, req_id, details),) = _decode_async(message, version)
    assert (name, req_id, details.contract.conId, details.minTick) == ("contractDetails", 7, 14094, 0.02)
    assert (details.longName, details.stockType) == ("BAYERISCHE MOTOREN WERKE, München", "COMMON")
