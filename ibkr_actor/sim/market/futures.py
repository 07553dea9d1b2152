"""Owns the futures of the simulated market: which roots there are, when their contracts end, and their con_ids.

Must not know what day it is by itself; a con_id means the same contract for ever.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from functools import lru_cache

import msgspec

from ibkr_actor.sim.market.expiries import (
    MONTH_LETTERS,
    add_months,
    business_day_on_or_before,
    business_days_before,
    month_end,
    nth_weekday,
    stamp,
    third_friday,
)
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.listed import CL_INDEX, DAX, ES_INDEX, EUR_USD, GOLD, NDX, NQ_INDEX, SPX

_FIRST_CON_ID = 2_080_000_000
_FIRST_CONTINUOUS_CON_ID = 2_090_000_000
_EPOCH = datetime.date(2000, 1, 1)
_DAYS = 1 << 14
# A continuous future moves on this many days before its contract ends. The number is this simulator's own.
ROLL_DAYS = 8
# What is expired is found for so long with includeExpired. Source: IB, Historical Data Limitations.
EXPIRED_YEARS = 2
_ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AVGCOST,BASKET,COND,DAY,GAT,GTC,GTD,GTT,LIT,LMT,MIT,MKT,STP,STPLMT"
_QUARTERLY = "HMUZ"


class FutureRoot(msgspec.Struct, frozen=True, kw_only=True):
    """One family of futures. `price_con_id` is the spot its prices follow, `months_ahead` how far it is listed."""

    symbol: str
    local: str
    exchange: str
    name: str
    multiplier: str
    min_tick: str
    rule: str
    months: str
    months_ahead: int
    ends: str
    under_con_id: int
    price_con_id: int
    carry_rate: float
    volatility: float
    start_price: float
    hours: str
    time_zone_id: str
    currency: str = "USD"
    under_symbol: str = ""
    under_sec_type: str = "IND"
    last_trade_time: str = "08:30:00"
    industry: str = "Indices"


def _root(
    symbol: str, local: str, exchange: str, name: str, multiplier: str, min_tick: str, **more: object
) -> FutureRoot:
    values = {"symbol": symbol, "local": local, "exchange": exchange, "name": name, "multiplier": multiplier}
    return msgspec.convert(values | {"min_tick": min_tick} | more, FutureRoot)


_CME = {
    "months": _QUARTERLY, "months_ahead": 15, "ends": "third-friday", "hours": "cme", "time_zone_id": "US/Central",
    "rule": "67",
}  # fmt: skip
_SPX = {"under_con_id": ES_INDEX, "price_con_id": SPX, "carry_rate": 0.027, "volatility": 0.15, "start_price": 5851.2}
_NDX = {"under_con_id": NQ_INDEX, "price_con_id": NDX, "carry_rate": 0.032, "volatility": 0.2, "start_price": 20352.0}
_DAX = {
    "under_con_id": DAX, "price_con_id": DAX, "carry_rate": 0.024, "volatility": 0.16, "start_price": 19443.0,
    "hours": "xetra", "time_zone_id": "MET", "currency": "EUR", "last_trade_time": "13:00:00", "rule": "1002",
    "months": _QUARTERLY, "months_ahead": 9, "ends": "third-friday",
}  # fmt: skip
# The order is part of every con_id: new rows go to the end.
ROOTS: tuple[FutureRoot, ...] = (
    _root("ES", "ES", "CME", "E-mini S&P 500", "50", "0.25", **_CME, **_SPX),
    _root("NQ", "NQ", "CME", "E-mini NASDAQ 100", "20", "0.25", **_CME, **_NDX),
    _root("MES", "MES", "CME", "Micro E-Mini S&P 500 Stock Price Index", "5", "0.25", **_CME, **_SPX),
    _root(
        "CL", "CL", "NYMEX", "Light Sweet Crude Oil", "1000", "0.01", rule="26", months=MONTH_LETTERS, months_ahead=24,
        ends="energy", under_con_id=CL_INDEX, price_con_id=CL_INDEX, carry_rate=-0.02, volatility=0.35,
        start_price=71.24, hours="nymex", time_zone_id="US/Eastern", last_trade_time="14:30:00", industry="Energy",
    ),
    _root(
        "GC", "GC", "COMEX", "Gold", "100", "0.1", rule="32", months="GJMQVZ", months_ahead=24, ends="metal",
        under_con_id=GOLD, price_con_id=GOLD, carry_rate=0.04, volatility=0.15, start_price=2735.4, hours="nymex",
        time_zone_id="US/Eastern", last_trade_time="13:30:00", industry="Commodity", under_symbol="XAUUSD",
        under_sec_type="CMDTY",
    ),
    _root(
        "EUR", "6E", "CME", "European Monetary Union Euro", "125000", "0.00005", rule="239", months=_QUARTERLY,
        months_ahead=15, ends="currency", under_con_id=EUR_USD, price_con_id=EUR_USD, carry_rate=0.015,
        volatility=0.07, start_price=1.08505, hours="cme", time_zone_id="US/Central", last_trade_time="09:16:00",
        industry="Currency", under_sec_type="CASH",
    ),
    _root("DAX", "FDAX", "EUREX", "DAX 40 Index", "25", "1", **_DAX),
    _root("DAX", "FDXM", "EUREX", "Mini DAX 40 Index", "5", "1", **_DAX),
    _root("DAX", "FDXS", "EUREX", "Micro DAX 40 Index", "1", "1", **_DAX),
)  # fmt: skip


def _energy(year: int, month: int) -> datetime.date:
    """Three business days before the 25th of the month before, or before the business day before that."""
    return business_days_before(business_day_on_or_before(datetime.date(*add_months(year, month, -1), 25)), 3)


def _metal(year: int, month: int) -> datetime.date:
    return business_days_before(month_end(year, month), 2)


def _currency(year: int, month: int) -> datetime.date:
    """Two business days before the third Wednesday."""
    return business_days_before(nth_weekday(year, month, 2, 3), 2)


_ENDS: dict[str, Callable[[int, int], datetime.date]] = {
    "third-friday": third_friday,
    "energy": _energy,
    "metal": _metal,
    "currency": _currency,
}


@lru_cache(maxsize=4096)
def contract(number: int, year: int, month: int) -> Instrument:
    """The contract of a month, of root `number`, whether it is listed or not."""
    root = ROOTS[number]
    ends = _ENDS[root.ends](year, month)
    letter = MONTH_LETTERS[month - 1]
    local = f"{root.local}{letter}{year % 10}" if root.exchange != "EUREX" else f"{root.local} {stamp(ends)} M"
    listed = datetime.date(*add_months(ends.year, ends.month, -root.months_ahead), 1)
    return _instrument(
        root,
        con_id=_FIRST_CON_ID + number * _DAYS + (ends - _EPOCH).days,
        sec_type="FUT",
        local_symbol=local,
        expiry=stamp(ends),
        real_expiration_date=stamp(ends),
        contract_month=f"{year}{month:02d}",
        price_model="forward",
        list_date=stamp(listed),
    )


def continuous(number: int, day: datetime.date) -> Instrument:
    """The continuous future of root `number` as it looks on a day: under its own con_id, showing its front month."""
    at_front = front(number, day)
    return _instrument(
        ROOTS[number],
        con_id=_FIRST_CONTINUOUS_CON_ID + number,
        sec_type="CONTFUT",
        shown_con_id=at_front.con_id,
        local_symbol=at_front.local_symbol,
        expiry=at_front.expiry,
        real_expiration_date=at_front.real_expiration_date,
        contract_month=at_front.contract_month,
        price_model="front",
        list_date="20040123",
    )


def _instrument(root: FutureRoot, **own: str | int) -> Instrument:
    shared = {
        "symbol": root.symbol, "exchange": root.exchange, "currency": root.currency, "trading_class": root.local,
        "market_name": root.local, "long_name": root.name, "min_tick": root.min_tick, "start_price": root.start_price,
        "valid_exchanges": root.exchange, "order_types": _ORDER_TYPES, "industry": root.industry,
        "time_zone_id": root.time_zone_id, "trading_session": "1800-1700", "liquid_session": "0930-1600",
        "agg_group": 2**31 - 1, "market_rule_ids": root.rule, "suggested_size_increment": "1", "lot": 1,
        "last_trade_time": root.last_trade_time, "multiplier": root.multiplier, "hours": root.hours,
        "underlying_con_id": root.under_con_id, "under_symbol": root.under_symbol or root.symbol,
        "under_sec_type": root.under_sec_type, "price_con_id": root.price_con_id, "volatility": root.volatility,
        "carry_rate": root.carry_rate,
    }  # fmt: skip
    return msgspec.convert(shared | own, Instrument)


def front(number: int, day: datetime.date) -> Instrument:
    """The contract a continuous future means on a day: the first that does not end within ROLL_DAYS."""
    ahead = stamp(day + datetime.timedelta(days=ROLL_DAYS))
    return next(each for each in _from(number, day) if each.expiry > ahead)


def listed(number: int, day: datetime.date, *, expired: bool = False) -> Iterator[Instrument]:
    """What of root `number` is traded on a day, by month; with `expired` also what ended in the two years before."""
    today = stamp(day)
    first = stamp(day - datetime.timedelta(days=365 * EXPIRED_YEARS)) if expired else today
    last = datetime.date(*add_months(day.year, day.month, ROOTS[number].months_ahead), 1)
    for each in _from(number, datetime.date(int(first[:4]), int(first[4:6]), 1)):
        if each.expiry >= stamp(last):
            return
        if each.expiry >= first:
            yield each


def by_con_id(con_id: int, day: datetime.date) -> Instrument | None:
    """The future of a con_id, expired or not; a continuous one as it looks on `day`."""
    number = con_id - _FIRST_CONTINUOUS_CON_ID
    if 0 <= number < len(ROOTS):
        return continuous(number, day)
    number, days = divmod(con_id - _FIRST_CON_ID, _DAYS)
    if not 0 <= number < len(ROOTS):
        return None
    ends = _EPOCH + datetime.timedelta(days=days)
    return next((each for each in _near(number, ends) if each.con_id == con_id), None)


def number_of(instrument: Instrument) -> int:
    """The root of a future or continuous future. Raises: KeyError for anything else."""
    for number, root in enumerate(ROOTS):
        if instrument.sec_type in ("FUT", "CONTFUT") and root.local == instrument.trading_class:
            return number
    raise KeyError(instrument.key)


def _near(number: int, ends: datetime.date) -> Iterator[Instrument]:
    """The contracts that could end on a day: of its month and of the one after."""
    for ahead in (0, 1):
        year, month = add_months(ends.year, ends.month, ahead)
        if MONTH_LETTERS[month - 1] in ROOTS[number].months:
            yield contract(number, year, month)


def _from(number: int, day: datetime.date) -> Iterator[Instrument]:
    """All contracts whose month is that of `day` or later, without end."""
    year, month = day.year, day.month
    while True:
        if MONTH_LETTERS[month - 1] in ROOTS[number].months:
            yield contract(number, year, month)
        year, month = add_months(year, month, 1)
