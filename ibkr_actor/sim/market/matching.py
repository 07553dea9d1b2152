"""Owns whether an instrument is what a contract description means, field by field, as a gateway decides it.

Must not know which instruments there are.
"""

from __future__ import annotations

import datetime

from ibkr_actor.sim.market.expiries import stamp
from ibkr_actor.sim.market.futures import EXPIRED_YEARS
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument

_RIGHTS = {"C": "C", "CALL": "C", "P": "P", "PUT": "P"}
# What clients write for a right that is not given.
_NO_RIGHT = frozenset({"", "0", "?", "NONE"})


def right_of(text: str) -> str | None:
    """C or P, empty when none is given, None when it is neither."""
    wanted = text.strip().upper()
    return "" if wanted in _NO_RIGHT else _RIGHTS.get(wanted)


def expiry_of(text: str) -> str | None:
    """YYYYMM or YYYYMMDD, empty when none is given, None when it is neither. A time behind the date is dropped."""
    words = text.replace("-", " ").split()
    date = words[0] if words else ""
    return date if not date or (date.isdigit() and len(date) in (6, 8)) else None


def says_enough(spec: ContractSpec) -> bool:
    """Whether there is anything to look for."""
    if spec.sec_id_type or spec.sec_id:
        return bool(spec.sec_id_type and spec.sec_id)
    return bool(spec.con_id or spec.symbol or spec.local_symbol or spec.issuer_id)


def fits(instrument: Instrument, spec: ContractSpec, today: datetime.date) -> bool:
    """Whether it is meant. With a con_id only the type of a continuous future, the exchange and expiry still count."""
    if not is_listed(instrument, today, expired=spec.include_expired):
        return False
    if spec.exchange and not instrument.trades_on(spec.exchange):
        return False
    if spec.con_id:
        return (instrument.sec_type == "CONTFUT") == (spec.sec_type == "CONTFUT") or not instrument.shown_con_id
    return _same_names(instrument, spec) and _same_terms(instrument, spec) and _same_ids(instrument, spec)


def is_listed(instrument: Instrument, today: datetime.date, *, expired: bool = False) -> bool:
    """Whether it is traded on a day; with `expired` also a future that was within the last two years."""
    if not instrument.expiry:
        return True
    if instrument.expiry < stamp(today):
        since = today - datetime.timedelta(days=365 * EXPIRED_YEARS)
        return expired and instrument.sec_type == "FUT" and instrument.expiry >= stamp(since)
    return instrument.sec_type not in ("FUT", "OPT", "FOP", "WAR") or instrument.list_date <= stamp(today)


def _same_names(instrument: Instrument, spec: ContractSpec) -> bool:
    symbols = (instrument.symbol, instrument.cusip, instrument.isin) if instrument.bond else (instrument.symbol,)
    if spec.symbol and spec.symbol not in symbols:
        return False
    if spec.sec_type and instrument.sec_type not in spec.sec_type.split("+"):
        return False
    exact = (
        (spec.currency, instrument.currency),
        (" ".join(spec.local_symbol.split()), " ".join(instrument.local_symbol.split())),
        (spec.trading_class, instrument.trading_class),
        (spec.primary_exchange, instrument.primary_exchange),
    )
    return not any(wanted and wanted != has for wanted, has in exact)


def _same_terms(instrument: Instrument, spec: ContractSpec) -> bool:
    """Expiry, strike, right and multiplier."""
    expiry, right = expiry_of(spec.last_trade_date_or_contract_month), right_of(spec.right)
    if expiry is None or right is None:
        return False
    if expiry and not _ends(instrument, expiry):
        return False
    if right and right != instrument.right:
        return False
    if spec.strike and abs(spec.strike - instrument.strike) > 1e-9:
        return False
    return not spec.multiplier or _number(spec.multiplier) == _number(instrument.multiplier)


def _ends(instrument: Instrument, expiry: str) -> bool:
    """A month is the contract's month, which for energy is not the month it ends in; a date is the last trade date."""
    if instrument.sec_type == "CONTFUT":
        return False
    if len(expiry) == 6:
        return expiry == (instrument.contract_month or instrument.expiry[:6])
    return expiry in (instrument.expiry, instrument.real_expiration_date)


def _same_ids(instrument: Instrument, spec: ContractSpec) -> bool:
    if spec.issuer_id and spec.issuer_id != instrument.issuer_id:
        return False
    if not spec.sec_id_type:
        return True
    known = {"ISIN": instrument.isin, "CUSIP": instrument.cusip, "FIGI": instrument.figi}
    return known.get(spec.sec_id_type.upper()) == spec.sec_id


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
