"""Owns the proof that contract details of every type arrive whole at every version, with ibapi and with ib_async.

Must not open a socket.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from ib_async.decoder import Decoder as AsyncDecoder
from ibapi.contract import FundAssetType, FundDistributionPolicyIndicator

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument
from ibkr_actor.sim.wire.reference_wire import BondData
from ibkr_actor.sim.wire.responses import Encoder
from tests.sim.peers import VERSIONS, decode, plain

CATALOGUE = default_catalogue(lambda: datetime.date(2026, 11, 22))


def like(**spec: Any) -> Instrument:
    return CATALOGUE.match(ContractSpec(**spec), 1)[0]


FUTURE = like(local_symbol="ESZ6", sec_type="FUT")
CONTINUOUS = like(symbol="ES", sec_type="CONTFUT")
OPTION = like(local_symbol="AAPL  261218C00232500", sec_type="OPT")
FOP = like(local_symbol="EW3F7 C5900", sec_type="FOP")
WARRANT = like(symbol="BMW", sec_type="WAR")
BOND = like(symbol="037833AL4", sec_type="BOND")
FUND = like(symbol="VINIX", sec_type="FUND")
CFD = like(symbol="IBUS500", sec_type="CFD")
KINDS = (
    FUTURE, CONTINUOUS, OPTION, FOP, WARRANT, BOND, FUND, CFD,
    *(CATALOGUE.find(key) for key in ("BMW", "EUR.USD", "BTC.CRYPTO.PAXOS.USD", "SPX", "XAUUSD", "SPY")),
    CATALOGUE.find("AAPL.CFD.SMART.USD"),
)  # fmt: skip


def message_of(instrument: Instrument) -> m.ContractData:
    kind = m.ContractData if instrument.bond is None else BondData
    return kind(req_id=7, instrument=instrument, exchange=instrument.exchange, trading_hours="t", liquid_hours="l")


def details_of(instrument: Instrument, version: int) -> Any:
    ((name, req_id, details),) = decode(Encoder(version).encode(message_of(instrument)), version)
    assert (name, req_id) == ("contractDetails" if instrument.bond is None else "bondContractDetails", 7)
    return details


def plain_details(instrument: Instrument, version: int) -> dict[str, Any]:
    details = vars(details_of(instrument, version))
    return {key: plain(value) for key, value in details.items() if not key.startswith("fund")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("instrument", KINDS, ids=lambda each: str(each.key))
def test_what_every_type_has_arrives(instrument: Instrument, version: int) -> None:
    details = details_of(instrument, version)
    contract = details.contract
    shown = instrument.shown_con_id or instrument.con_id
    assert (contract.conId, contract.symbol, contract.secType) == (shown, instrument.symbol, instrument.sec_type)
    assert (contract.exchange, contract.currency) == (instrument.exchange, instrument.currency)
    assert (contract.tradingClass, details.marketName) == (instrument.trading_class, instrument.market_name)
    assert (details.minTick, details.longName) == (float(instrument.min_tick), instrument.long_name)
    assert (details.orderTypes, details.validExchanges) == (instrument.order_types, instrument.valid_exchanges)
    assert details.timeZoneId == instrument.time_zone_id
    assert details.aggGroup == instrument.agg_group
    rules = [instrument.market_rule_ids] * len(instrument.valid_exchanges.split(","))
    assert details.marketRuleIds == ",".join(rules)
    if version >= 188 or not instrument.bond:
        assert (details.tradingHours, details.liquidHours) == ("t", "l")
    if version >= 164:
        sizes = (instrument.min_size, instrument.size_increment, instrument.suggested_size_increment)
        assert (details.minSize, details.sizeIncrement, details.suggestedSizeIncrement) == tuple(map(Decimal, sizes))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_derivatives_have_arrives(version: int) -> None:
    for each in (FUTURE, CONTINUOUS, OPTION, FOP, WARRANT):
        details = details_of(each, version)
        contract = details.contract
        assert contract.lastTradeDateOrContractMonth == each.expiry
        assert details.lastTradeTime == each.last_trade_time
        assert (contract.strike, contract.right) == (each.strike, each.right)
        assert (contract.multiplier, contract.localSymbol) == (each.multiplier, each.local_symbol)
        assert (details.contractMonth, details.realExpirationDate) == (each.contract_month, each.real_expiration_date)
        assert details.underConId == each.underlying_con_id > 0
        assert (details.underSymbol, details.underSecType) == (each.under_symbol, each.under_sec_type)
        if version >= 182:
            assert contract.lastTradeDate == each.expiry
    assert details_of(OPTION, version).contract.strike == 232.5
    assert details_of(WARRANT, version).contract.multiplier == "0.1"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_bonds_have_arrives(version: int) -> None:
    details = details_of(BOND, version)
    assert (details.cusip, details.coupon, details.maturity) == ("037833AL4", 3.85, "20430504")
    assert (details.issueDate, details.ratings, details.bondType) == ("20130503", "Aaa/AA+", "CORP")
    assert (details.couponType, details.descAppend) == ("FIXED", "AAPL 3.85 05/04/43")
    assert (details.convertible, details.callable, details.putable) == (False, True, False)
    assert (details.nextOptionDate, details.nextOptionType, details.nextOptionPartial) == ("20430504", "CALL", False)
    assert sorted((each.tag, each.value) for each in details.secIdList) == [
        ("CUSIP", "037833AL4"),
        ("ISIN", "US037833AL42"),
    ]


@pytest.mark.parametrize("version", [each for each in VERSIONS if each >= 179])
def test_what_funds_have_arrives_from_179_on(version: int) -> None:
    details = details_of(FUND, version)
    assert (details.fundName, details.fundFamily) == ("Vanguard Institutional Index Fund", "Vanguard")
    assert (details.fundType, details.fundFrontLoad, details.fundBackLoad) == ("Equity", "0", "0")
    assert (details.fundManagementFee, details.fundClosed) == ("0.04", False)
    assert (details.fundClosedForNewInvestors, details.fundClosedForNewMoney) == (False, False)
    assert (details.fundMinimumInitialPurchase, details.fundSubsequentMinimumPurchase) == ("3000", "1")
    assert (details.fundBlueSkyStates, details.fundBlueSkyTerritories) == ("All", "GU,PR,VI")
    assert details.fundDistributionPolicyIndicator is FundDistributionPolicyIndicator.IncomeFund
    assert details.fundAssetType is FundAssetType.Equity


@pytest.mark.parametrize("version", [each for each in VERSIONS if each >= 186])
def test_reasons_why_something_cannot_be_traded_arrive_from_186_on(version: int) -> None:
    (reason,) = details_of(CFD, version).ineligibilityReasonList
    assert (reason.id_, reason.description) == ("PERM", "No trading permission for CFD")


def test_text_and_protobuf_say_the_same() -> None:
    # The text of a bond lacks fields that the protobuf form has.
    for each in (kind for kind in KINDS if kind.bond is None):
        text, protobuf = plain_details(each, 201), plain_details(each, 205)
        # An absent list is None in text and empty in protobuf.
        assert {key: value or None for key, value in text.items()} == {
            key: value or None for key, value in protobuf.items()
        }


class _AsyncRecorder:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


# ib_async reads the coupon as a whole number and drops the message when it is none.
READABLE = (*(each for each in KINDS if each.bond is None), like(symbol="912810TM0", sec_type="BOND"))


@pytest.mark.parametrize("version", [157, 165, 173, 178])
@pytest.mark.parametrize("instrument", READABLE, ids=lambda each: str(each.key))
def test_ib_async_reads_the_same(instrument: Instrument, version: int) -> None:
    recorder: Any = _AsyncRecorder()
    decoder: Any = AsyncDecoder(recorder, version)
    decoder.interpret(Encoder(version).encode(message_of(instrument))[4:].decode().split("\0")[:-1])
    ((name, req_id, details),) = recorder.calls
    assert (name, req_id) == ("contractDetails" if instrument.bond is None else "bondContractDetails", 7)
    assert details.contract.conId == (instrument.shown_con_id or instrument.con_id)
    assert (details.minTick, details.longName) == (float(instrument.min_tick), instrument.long_name)
    if instrument.bond is not None:
        assert (details.maturity, details.coupon) == ("20521115", 4.0)
        return
    assert details.contract.lastTradeDateOrContractMonth == instrument.expiry
    assert (details.contract.strike, details.contract.right) == (instrument.strike, instrument.right)
    assert (details.contract.multiplier, details.underConId) == (instrument.multiplier, instrument.underlying_con_id)
    assert (details.underSymbol, details.contractMonth) == (instrument.under_symbol, instrument.contract_month)
    assert (details.marketRuleIds.split(",")[0], details.stockType) == (
        instrument.market_rule_ids,
        instrument.stock_type,
    )
