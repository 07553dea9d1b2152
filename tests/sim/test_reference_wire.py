"""Owns the proof that reference data is read and written as the official client and ib_async write and read it.

Must not open a socket.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ib_async.decoder import Decoder as AsyncDecoder
from ibapi.contract import Contract

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.market.venues import DepthExchange, PriceIncrement, SmartComponent
from ibkr_actor.sim.wire import reference_wire as w
from ibkr_actor.sim.wire.frames import split_frame
from ibkr_actor.sim.wire.request_base import Cancel, Request
from ibkr_actor.sim.wire.requests import read_request
from ibkr_actor.sim.wire.responses import LAYOUTS, Encoder
from tests.sim.peers import VERSIONS, Call, Requests, decode, plain

# message -> the call the official client must make of it, the same at every version.
CASES: list[tuple[m.Message, Call]] = [
    (
        w.OptionParameter(
            req_id=7, exchange="CBOE", underlying_con_id=265598, trading_class="AAPL", multiplier="100",
            expirations=("20261218", "20270115"), strikes=(227.5, 230.0),
        ),
        (
            "securityDefinitionOptionParameter", 7, "CBOE", 265598, "AAPL", "100",
            {"20261218", "20270115"}, {227.5, 230.0},
        ),
    ),
    (
        w.OptionParameter(
            req_id=7, exchange="CME", underlying_con_id=1, trading_class="ES", multiplier="50", expirations=(),
            strikes=(),
        ),
        ("securityDefinitionOptionParameter", 7, "CME", 1, "ES", "50", set(), set()),
    ),
    (
        w.SmartComponentMap(req_id=7, components=(SmartComponent(0, "AMEX", "A"), SmartComponent(9, "ARCA", "P"))),
        (
            "smartComponents", 7,
            [
                {"bitNumber": 0, "exchange": "AMEX", "exchangeLetter": "A"},
                {"bitNumber": 9, "exchange": "ARCA", "exchangeLetter": "P"},
            ],
        ),
    ),
    (
        w.MarketRule(market_rule_id=26, increments=(PriceIncrement(0.0, 0.01), PriceIncrement(100.0, 0.05))),
        ("marketRule", 26, [{"lowEdge": 0.0, "increment": 0.01}, {"lowEdge": 100.0, "increment": 0.05}]),
    ),
    (
        w.DepthExchanges(exchanges=(DepthExchange("NASDAQ", "STK", "", "Deep2", 1), DepthExchange("CME", "FUT"))),
        (
            "mktDepthExchanges",
            [
                {
                    "exchange": "NASDAQ", "secType": "STK", "listingExch": "", "serviceDataType": "Deep2",
                    "aggGroup": 1,
                },
                {
                    "exchange": "CME", "secType": "FUT", "listingExch": "", "serviceDataType": "Deep",
                    "aggGroup": 2147483647,
                },
            ],
        ),
    ),
]  # fmt: skip
_GATES = {w.OptionParameter: 212, w.SmartComponentMap: 212, w.MarketRule: 212, w.DepthExchanges: 213}


def test_every_message_of_the_family_has_a_case_here_or_among_contract_details() -> None:
    assert {type(message) for message, _ in CASES} | {w.BondData} == set(w.LAYOUTS)
    assert set(w.LAYOUTS) <= set(LAYOUTS)


def _rows(value: Any) -> Any:
    """Objects as dicts; the newer decoder of smart components makes a dict of pairs, and the older one objects."""
    if isinstance(value, dict):
        return [{"bitNumber": bit, "exchange": row[0], "exchangeLetter": row[1]} for bit, row in value.items()]
    return value if isinstance(value, set) else plain(value)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_decoder_reads_every_message_as_it_was_sent(version: int) -> None:
    for message, expected in CASES:
        frame = Encoder(version).encode(message)
        ((name, *arguments),) = decode(frame, version)
        assert (name, *map(_rows, arguments)) == expected
        is_protobuf = version >= 201 and int.from_bytes(frame[4:8], "big") > 200
        assert is_protobuf == (version >= _GATES[type(message)])


class _AsyncRecorder:
    """Takes ib_async's callbacks."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


def _decode_async(message: m.Message, version: int) -> Call:
    recorder: Any = _AsyncRecorder()
    decoder: Any = AsyncDecoder(recorder, version)
    decoder.interpret(Encoder(version).encode(message)[4:].decode().split("\0")[:-1])
    (call,) = recorder.calls
    return tuple(call)


def _fields(row: Any) -> dict[str, Any]:
    return dict(zip(row._fields, row, strict=True)) if hasattr(row, "_fields") else dataclasses.asdict(row)


@pytest.mark.parametrize("version", [157, 165, 173, 178])
def test_ib_async_reads_the_same(version: int) -> None:
    chain, _, components, rule, books = (_decode_async(message, version) for message, _ in CASES)
    # ib_async leaves this con_id as text.
    assert chain[1:] == (7, "CBOE", "265598", "AAPL", "100", ["20261218", "20270115"], [227.5, 230.0])
    for call, expected in ((components, CASES[2][1]), (rule, CASES[3][1]), (books, CASES[4][1])):
        assert (*call[:-1], [_fields(row) for row in call[-1]]) == expected


def _read(version: int, name: str, *arguments: Any) -> Request:
    client = Requests(version)
    getattr(client, name)(*arguments)
    (frame,) = client.sent
    message_id, body, protobuf = split_frame(frame[4:], version)
    return read_request(message_id, body, protobuf=protobuf, server_version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_of_the_official_client_are_read_whole(version: int) -> None:
    option = Contract()
    option.symbol, option.secType, option.exchange, option.currency = "AAPL", "OPT", "SMART", "USD"
    option.lastTradeDateOrContractMonth, option.strike, option.right = "20261218", 230.0, "C"
    spec = ContractSpec(
        symbol="AAPL", sec_type="OPT", exchange="SMART", currency="USD", strike=230.0, right="C",
        last_trade_date_or_contract_month="20261218",
    )  # fmt: skip
    assert _read(version, "reqSecDefOptParams", 7, "ES", "CME", "FUT", 495512563) == w.ReqOptionParameters(
        message_id=78, req_id=7, symbol="ES", exchange="CME", sec_type="FUT", con_id=495512563
    )
    assert _read(version, "reqSmartComponents", 7, "9c0001") == w.ReqSmartComponents(
        message_id=83, req_id=7, bbo_exchange="9c0001"
    )
    assert _read(version, "reqMarketRule", 26) == w.ReqMarketRule(message_id=91, market_rule_id=26)
    assert _read(version, "reqMktDepthExchanges") == w.ReqDepthExchanges(message_id=82)
    assert _read(version, "calculateImpliedVolatility", 7, option, 5.25, 228.5, []) == w.ReqImpliedVolatility(
        message_id=54, req_id=7, contract=spec, option_price=5.25, under_price=228.5
    )
    assert _read(version, "calculateOptionPrice", 7, option, 0.25, 228.5, []) == w.ReqOptionPrice(
        message_id=55, req_id=7, contract=spec, volatility=0.25, under_price=228.5
    )
    assert _read(version, "cancelCalculateImpliedVolatility", 7) == Cancel(message_id=56, req_id=7)
    assert _read(version, "cancelCalculateOptionPrice", 7) == Cancel(message_id=57, req_id=7)
