"""Owns the wire form of contract details and symbol samples, the two largest messages.

Must not choose instruments; it only writes what it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibapi.protobuf import (
    Contract_pb2,
    ContractData_pb2,
    ContractDescription_pb2,
    ContractDetails_pb2,
    SymbolSamples_pb2,
)

from ibkr_actor.sim.wire import escape

if TYPE_CHECKING:
    from ibkr_actor.sim.instruments import Instrument
    from ibkr_actor.sim.messages import ContractData, SymbolSamples

# First server versions of the fields below. Source: the constants of the same meaning in ibapi.server_versions.
_ASCII7 = 153
_FRACTIONAL = 163
_SIZE_RULES = 164
_BOND_ISSUER_ID = 176
_LAST_TRADE_DATE = 182
_INELIGIBILITY_REASONS = 186
_PRECISION = 224


def contract_data_fields(message: ContractData, server_version: int) -> list[str]:
    """Fields of message 10; below 164 a version comes first and an unused size multiplier follows the min tick."""
    it = message.instrument
    name = escape(it.long_name) if server_version >= _ASCII7 else it.long_name
    old = server_version < _SIZE_RULES
    fields = ["8"] if old else []
    fields += [str(message.req_id), it.symbol, it.sec_type, ""]
    if server_version >= _LAST_TRADE_DATE:
        fields.append("")
    fields += ["0", "", message.exchange, it.currency, it.local_symbol, it.market_name, it.trading_class]
    fields += [str(it.con_id), it.min_tick]
    if old:
        fields.append("1")
    fields += ["", it.order_types, it.valid_exchanges, str(it.price_magnifier), "0", name, it.primary_exchange]
    fields += ["", it.industry, it.category, it.subcategory, it.time_zone_id]
    fields += [message.trading_hours, message.liquid_hours, "", "0"]
    fields += ["1", "ISIN", it.isin] if it.isin else ["0"]
    fields += [str(it.agg_group), "", "", _rule_ids(it), "", it.stock_type]
    if server_version == _FRACTIONAL:
        fields.append(it.size_increment)
    if not old:
        fields += [it.min_size, it.size_increment, it.suggested_size_increment]
    if server_version >= _INELIGIBILITY_REASONS:
        fields.append("0")
    return fields


def _rule_ids(instrument: Instrument) -> str:
    """One market rule id for each valid exchange, as IB lists them."""
    return ",".join([instrument.market_rule_ids] * len(instrument.valid_exchanges.split(",")))


def contract_data_protobuf(message: ContractData, server_version: int) -> Any:
    """Both parts are always there: the official client drops a message that lacks one."""
    it = message.instrument
    details = ContractDetails_pb2.ContractDetails(
        marketName=it.market_name,
        minTick=it.min_tick,
        orderTypes=it.order_types,
        validExchanges=it.valid_exchanges,
        priceMagnifier=it.price_magnifier,
        underConId=0,
        longName=it.long_name,
        industry=it.industry or None,
        category=it.category or None,
        subcategory=it.subcategory or None,
        timeZoneId=it.time_zone_id,
        tradingHours=message.trading_hours,
        liquidHours=message.liquid_hours,
        aggGroup=it.agg_group,
        marketRuleIds=_rule_ids(it),
        stockType=it.stock_type or None,
        minSize=it.min_size,
        sizeIncrement=it.size_increment,
        suggestedSizeIncrement=it.suggested_size_increment,
    )
    if it.isin:
        details.secIdList["ISIN"] = it.isin
    if server_version >= _PRECISION:
        details.lastPricePrecision = it.min_tick
        details.lastSizePrecision = it.size_increment
    contract = _contract(it, message.exchange)
    return ContractData_pb2.ContractData(reqId=message.req_id, contract=contract, contractDetails=details)


def _contract(it: Instrument, exchange: str | None) -> Any:
    return Contract_pb2.Contract(
        conId=it.con_id,
        symbol=it.symbol,
        secType=it.sec_type,
        exchange=exchange,
        primaryExch=it.primary_exchange or None,
        currency=it.currency,
        localSymbol=it.local_symbol,
        tradingClass=it.trading_class,
    )


def symbol_samples_fields(message: SymbolSamples, server_version: int) -> list[str]:
    """Fields of message 79."""
    fields = [str(message.req_id), str(len(message.instruments))]
    for it in message.instruments:
        derivatives = _derivatives(it)
        fields += [str(it.con_id), it.symbol, it.sec_type, it.primary_exchange, it.currency]
        fields += [str(len(derivatives)), *derivatives]
        if server_version >= _BOND_ISSUER_ID:
            fields += [escape(it.long_name), ""]
    return fields


def symbol_samples_protobuf(message: SymbolSamples, _: int) -> Any:
    samples = SymbolSamples_pb2.SymbolSamples(reqId=message.req_id)
    for it in message.instruments:
        contract = Contract_pb2.Contract(
            conId=it.con_id,
            symbol=it.symbol,
            secType=it.sec_type,
            primaryExch=it.primary_exchange or None,
            currency=it.currency,
            description=it.long_name,
        )
        sample = ContractDescription_pb2.ContractDescription(contract=contract, derivativeSecTypes=_derivatives(it))
        samples.contractDescriptions.append(sample)
    return samples


def _derivatives(it: Instrument) -> tuple[str, ...]:
    return ("CFD", "OPT", "IOPT", "WAR", "BAG") if it.sec_type == "STK" else ()
