"""Contracts across the border: the official client's objects to our schema and back.

Converts spelling only; never decides which contract is meant.
"""

from __future__ import annotations

import re
from typing import Any

from ibapi.contract import ComboLeg
from ibapi.contract import Contract as IbContract

from ibkr_actor.core.events import FoundSymbol
from ibkr_actor.schema.instruments import WITH_STRIKE, Contract, InstrumentQuery, Leg
from ibkr_actor.tws.numbers import UNSET_DOUBLE, UNSET_INTEGER, price_or_none
from ibkr_actor.tws.whole_text import whole_text

# "20230714", "20230714 22:00:00 Europe/Prague", "20230714-22:00:00", "202307".
_DATE = re.compile(r"\d{6,8}")
_RIGHTS = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}


def from_details(details: Any) -> Contract:
    """Our contract from an official ContractDetails, of a bond or not."""
    contract = details.contract
    return Contract(
        con_id=contract.conId,
        symbol=contract.symbol,
        sec_type=contract.secType,
        exchange=contract.exchange,
        currency=contract.currency,
        primary_exchange=contract.primaryExchange,
        local_symbol=contract.localSymbol,
        trading_class=contract.tradingClass,
        multiplier="" if contract.multiplier == "0" else str(contract.multiplier),
        last_trade_date=_date(contract.lastTradeDateOrContractMonth, contract.lastTradeDate, details.maturity),
        strike=_strike(contract.strike, contract.secType),
        right=_RIGHTS.get(contract.right.upper(), ""),
        # No price moves by nothing: a zero is the official decoder's for an empty field.
        min_tick=price_or_none(float(details.minTick)) or None,
        long_name=whole_text(details.longName),
        valid_exchanges=details.validExchanges,
        market_rule_ids=details.marketRuleIds,
        trading_hours=details.tradingHours,
        liquid_hours=details.liquidHours,
        time_zone=details.timeZoneId,
        sec_ids=tuple((each.tag, each.value) for each in details.secIdList or () if each.tag and each.value),
        under_con_id=0 if details.underConId == UNSET_INTEGER else details.underConId,
    )


def found_symbol(description: Any) -> FoundSymbol:
    """One row of a search from an official ContractDescription. Issuers of bonds have a con_id of 0 or below."""
    contract = description.contract
    return FoundSymbol(
        con_id=max(0, contract.conId),
        symbol=contract.symbol,
        sec_type=contract.secType,
        primary_exchange=contract.primaryExchange,
        currency=contract.currency,
        derivative_sec_types=tuple(description.derivativeSecTypes or ()),
        description=whole_text(contract.description),
        issuer_id=contract.issuerId,
    )


def to_ibapi(contract: Contract | InstrumentQuery) -> Any:
    """An official Contract with everything we know; what we do not know stays unset."""
    out = IbContract()
    out.conId = contract.con_id or (contract.conid or 0 if isinstance(contract, InstrumentQuery) else 0)
    out.symbol = contract.symbol
    out.secType = contract.sec_type
    out.exchange = contract.exchange
    out.currency = contract.currency
    out.primaryExchange = contract.primary_exchange or ""
    out.localSymbol = contract.local_symbol or ""
    out.tradingClass = contract.trading_class or ""
    out.multiplier = contract.multiplier or ""
    out.lastTradeDateOrContractMonth = contract.last_trade_date
    out.strike = UNSET_DOUBLE if contract.strike is None else contract.strike
    out.right = contract.right
    if isinstance(contract, InstrumentQuery):
        out.secIdType, out.secId = contract.sec_id_type, contract.sec_id
    if contract.legs:
        out.comboLegs = [_leg(leg) for leg in contract.legs]
    return out


def _leg(leg: Leg) -> Any:
    out = ComboLeg()
    out.conId, out.ratio, out.action, out.exchange = leg.con_id, leg.ratio, leg.action, leg.exchange
    return out


def _date(*texts: str) -> str:
    """The first text that begins with a date, as `YYYYMMDD` or `YYYYMM`."""
    for text in texts:
        found = _DATE.match(text)
        if found:
            return found[0]
    return ""


def _strike(strike: float, sec_type: str) -> float | None:
    known = price_or_none(float(strike))
    return None if known == 0 and sec_type not in WITH_STRIKE else known
