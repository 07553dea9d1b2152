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

from ibkr_actor.sim.wire.frames import escape

if TYPE_CHECKING:
    from ibkr_actor.sim.market.instruments import Instrument
    from ibkr_actor.sim.messages import ContractData, SymbolSamples

# First server versions of the fields below. Source: the constants of the same meaning in ibapi.server_versions.
_ASCII7 = 153
_FRACTIONAL = 163
_SIZE_RULES = 164
_BOND_ISSUER_ID = 176
_FUND_FIELDS = 179
_LAST_TRADE_DATE = 182
_INELIGIBILITY_REASONS = 186
_BOND_HOURS = 188
_PRECISION = 224


def contract_data_fields(message: ContractData, server_version: int) -> list[str]:
    """Fields of message 10; below 164 a version comes first and an unused size multiplier follows the min tick."""
    it = message.instrument
    old = server_version < _SIZE_RULES
    fields = ["8"] if old else []
    fields += [str(message.req_id), it.symbol, it.sec_type, _last_trade(it)]
    if server_version >= _LAST_TRADE_DATE:
        fields.append(it.expiry)
    fields += [_strike(it), it.right, message.exchange, it.currency, it.local_symbol, it.market_name, it.trading_class]
    fields += [_con_id(it), it.min_tick, *(["1"] if old else []), it.multiplier, it.order_types, it.valid_exchanges]
    fields += [str(it.price_magnifier), str(it.underlying_con_id), _long_name(it, server_version)]
    fields += [it.primary_exchange, it.contract_month, it.industry, it.category, it.subcategory, it.time_zone_id]
    fields += [message.trading_hours, message.liquid_hours, "", "0", *_sec_ids(it), str(it.agg_group)]
    fields += [it.under_symbol, it.under_sec_type, _rule_ids(it), it.real_expiration_date, it.stock_type]
    if server_version == _FRACTIONAL:
        fields.append(it.size_increment)
    if not old:
        fields += [it.min_size, it.size_increment, it.suggested_size_increment]
    if server_version >= _FUND_FIELDS:
        fields += _fund_fields(it)
    if server_version >= _INELIGIBILITY_REASONS:
        fields += [str(len(it.ineligibility)), *(text for reason in it.ineligibility for text in reason)]
    return fields


def bond_data_fields(message: ContractData, server_version: int) -> list[str]:
    """Fields of message 18; below 188 the time zone stands behind the maturity, and there are no hours."""
    it, old = message.instrument, server_version < _SIZE_RULES
    bond = it.bond
    if bond is None:
        raise ValueError(f"{it.key} is no bond")
    maturity = bond.maturity if server_version >= _BOND_HOURS else f"{bond.maturity} 00:00:00 {it.time_zone_id}"
    fields = ["6"] if old else []
    fields += [str(message.req_id), it.symbol, it.sec_type, it.cusip, f"{bond.coupon:g}", maturity, bond.issue_date]
    fields += [bond.ratings, bond.bond_type, bond.coupon_type, _flag(bond.convertible), _flag(bond.callable)]
    fields += [_flag(bond.puttable), bond.description, message.exchange, it.currency, it.market_name, it.trading_class]
    fields += [_con_id(it), it.min_tick, *(["1"] if old else []), it.order_types, it.valid_exchanges]
    fields += [bond.next_option_date, bond.next_option_type, _flag(bond.next_option_partial), bond.notes, it.long_name]
    if server_version >= _BOND_HOURS:
        fields += [it.time_zone_id, message.trading_hours, message.liquid_hours]
    fields += ["", "0", *_sec_ids(it), str(it.agg_group), _rule_ids(it)]
    if not old:
        fields += [it.min_size, it.size_increment, it.suggested_size_increment]
    return fields


def _con_id(it: Instrument) -> str:
    return str(it.shown_con_id or it.con_id)


def _last_trade(it: Instrument) -> str:
    """The last trade date, with the time and its zone where IB knows one: `20261218 08:30:00 US/Central`."""
    return f"{it.expiry} {it.last_trade_time} {it.time_zone_id}" if it.last_trade_time else it.expiry


def _strike(it: Instrument) -> str:
    return repr(it.strike) if it.strike else "0"


def _long_name(it: Instrument, server_version: int) -> str:
    return escape(it.long_name) if server_version >= _ASCII7 else it.long_name


def _sec_ids(it: Instrument) -> list[str]:
    """How many other ids there are, and each as tag and value."""
    ids = _other_ids(it)
    return [str(len(ids)), *(text for pair in ids.items() for text in pair)]


def _other_ids(it: Instrument) -> dict[str, str]:
    ids = {"CUSIP": it.cusip if it.bond else "", "ISIN": it.isin}
    return {tag: value for tag, value in ids.items() if value}


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _fund_fields(it: Instrument) -> list[str]:
    fund = it.fund
    if fund is None:
        return []
    return [
        fund.name, fund.family, fund.fund_type, fund.front_load, fund.back_load, fund.back_load_interval,
        fund.management_fee, _flag(fund.closed), _flag(fund.closed_for_new_investors), _flag(fund.closed_for_new_money),
        fund.notify_amount, fund.minimum_initial_purchase, fund.minimum_subsequent_purchase, fund.blue_sky_states,
        fund.blue_sky_territories, fund.distribution_policy, fund.asset_type,
    ]  # fmt: skip


def _rule_ids(instrument: Instrument) -> str:
    """One market rule id for each valid exchange, as IB lists them."""
    return ",".join([instrument.market_rule_ids] * len(instrument.valid_exchanges.split(",")))


def contract_data_protobuf(message: ContractData, server_version: int) -> Any:
    """Messages 10 and 18. Both parts are always there: the official client drops a message that lacks one."""
    it = message.instrument
    details = ContractDetails_pb2.ContractDetails(
        marketName=it.market_name,
        minTick=it.min_tick,
        orderTypes=it.order_types,
        validExchanges=it.valid_exchanges,
        priceMagnifier=it.price_magnifier,
        underConId=it.underlying_con_id,
        longName=it.long_name,
        contractMonth=it.contract_month or None,
        industry=it.industry or None,
        category=it.category or None,
        subcategory=it.subcategory or None,
        timeZoneId=it.time_zone_id,
        tradingHours=message.trading_hours,
        liquidHours=message.liquid_hours,
        aggGroup=it.agg_group,
        underSymbol=it.under_symbol or None,
        underSecType=it.under_sec_type or None,
        marketRuleIds=_rule_ids(it),
        realExpirationDate=it.real_expiration_date or None,
        stockType=it.stock_type or None,
        minSize=it.min_size,
        sizeIncrement=it.size_increment,
        suggestedSizeIncrement=it.suggested_size_increment,
    )
    for tag, value in _other_ids(it).items():
        details.secIdList[tag] = value
    if server_version >= _PRECISION:
        details.lastPricePrecision = it.min_tick
        details.lastSizePrecision = it.size_increment
    for reason, description in it.ineligibility:
        details.ineligibilityReasonList.add(id=reason, description=description)
    _add_bond(details, it)
    _add_fund(details, it)
    contract = _contract(it, message.exchange)
    return ContractData_pb2.ContractData(reqId=message.req_id, contract=contract, contractDetails=details)


def _add_bond(details: Any, it: Instrument) -> None:
    bond = it.bond
    if bond is None:
        return
    details.cusip, details.coupon, details.issueDate = it.cusip, bond.coupon, bond.issue_date
    details.ratings, details.bondType, details.couponType = bond.ratings, bond.bond_type, bond.coupon_type
    details.convertible, details.callable, details.puttable = bond.convertible, bond.callable, bond.puttable
    details.descAppend, details.bondNotes = bond.description, bond.notes
    details.nextOptionDate, details.nextOptionType = bond.next_option_date, bond.next_option_type
    details.nextOptionPartial = bond.next_option_partial


def _add_fund(details: Any, it: Instrument) -> None:
    fund = it.fund
    if fund is None:
        return
    details.fundName, details.fundFamily, details.fundType = fund.name, fund.family, fund.fund_type
    details.fundFrontLoad, details.fundBackLoad = fund.front_load, fund.back_load
    details.fundBackLoadTimeInterval, details.fundManagementFee = fund.back_load_interval, fund.management_fee
    details.fundClosed, details.fundClosedForNewInvestors = fund.closed, fund.closed_for_new_investors
    details.fundClosedForNewMoney, details.fundNotifyAmount = fund.closed_for_new_money, fund.notify_amount
    details.fundMinimumInitialPurchase = fund.minimum_initial_purchase
    details.fundMinimumSubsequentPurchase = fund.minimum_subsequent_purchase
    details.fundBlueSkyStates, details.fundBlueSkyTerritories = fund.blue_sky_states, fund.blue_sky_territories
    details.fundDistributionPolicyIndicator, details.fundAssetType = fund.distribution_policy, fund.asset_type


def _contract(it: Instrument, exchange: str | None) -> Any:
    return Contract_pb2.Contract(
        conId=it.shown_con_id or it.con_id,
        symbol=it.symbol,
        secType=it.sec_type,
        lastTradeDateOrContractMonth=_last_trade(it) or None,
        lastTradeDate=it.expiry or None,
        strike=it.strike,
        right=it.right or None,
        multiplier=float(it.multiplier) if it.multiplier else None,
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
            fields += [escape(it.long_name), it.issuer_id]
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
            issuerId=it.issuer_id or None,
        )
        sample = ContractDescription_pb2.ContractDescription(contract=contract, derivativeSecTypes=_derivatives(it))
        samples.contractDescriptions.append(sample)
    return samples


_DERIVATIVES: dict[str, tuple[str, ...]] = {
    "STK": ("CFD", "OPT", "IOPT", "WAR", "BAG"),
    "IND": ("FUT", "OPT", "BAG"),
}


def _derivatives(it: Instrument) -> tuple[str, ...]:
    return _DERIVATIVES.get(it.sec_type, ())
