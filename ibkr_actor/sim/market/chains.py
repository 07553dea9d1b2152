"""Owns the option chains of the simulated market: roots, expiries, strikes, volatilities, and con_ids that hold it all.

Must not keep a chain: each contract is made when it is asked for, and its con_id means the same contract for ever.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from ibkr_actor.sim.market import futures
from ibkr_actor.sim.market.expiries import (
    FRIDAY,
    MONTH_LETTERS,
    add_months,
    business_day_on_or_before,
    business_days_before,
    days_between,
    is_business_day,
    nth_weekday,
    stamp,
    third_friday,
)
from ibkr_actor.sim.market.instruments import Instrument, strike_text
from ibkr_actor.sim.market.pricing import RATE

# 30 bits behind the first con_id: 5 for the root, 14 for the day, 10 for the strike, 1 for the right.
_FIRST_CON_ID = 1_000_000_000
_EPOCH = datetime.date(2000, 1, 1)
_STRIKES = 1 << 10
_DAYS = 1 << 14
_ORDER_TYPES = "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AVGCOST,BASKET,COND,DAY,GTC,GTD,GTT,LIT,LMT,MIT,MKT,STP,STPLMT"
_US_EXCHANGES = "SMART,AMEX,CBOE,PHLX,PSE,ISE,BOX,BATS,NASDAQOM,CBOE2,NASDAQBX,MIAX,GEMINI,EDGX,MERCURY,PEARL"
# How far ahead each kind of expiry is listed.
_DAILY_DAYS, _WEEKLY_DAYS, _MONTHS, _JANUARY_MONTHS = 14, 56, 12, 26


class OptionRoot(msgspec.Struct, frozen=True, kw_only=True):
    """One trading class. `unit` is the smallest distance of strikes; `future` the root a FOP is written on.

    `kind`: `stock` ends on Fridays, `daily` on business days, `monthly` on third Fridays with the last trade the day
    before, `quarterly` on third Fridays of a future's months, `week-N` on all other Nth Fridays, `december` yearly.
    """

    symbol: str
    trading_class: str
    sec_type: str
    exchange: str
    kind: str
    unit: float
    start_price: float
    volatility: float
    under_con_id: int
    under_sec_type: str
    currency: str = "USD"
    multiplier: str = "100"
    min_tick: str = "0.01"
    rule: str = "26"
    hours: str = "us-option"
    time_zone_id: str = "US/Eastern"
    valid_exchanges: str = _US_EXCHANGES
    future: int = -1
    carry_rate: float = RATE
    long_name: str = ""


def _stock(
    symbol: str, con_id: int, name: str, price: float, volatility: float, unit: float, **more: str
) -> OptionRoot:
    values = {
        "symbol": symbol, "trading_class": symbol, "sec_type": "OPT", "exchange": "SMART", "kind": "stock",
        "unit": unit, "start_price": price, "volatility": volatility, "under_con_id": con_id, "under_sec_type": "STK",
        "long_name": name,
    }  # fmt: skip
    return msgspec.convert(values | more, OptionRoot)


def _spx(trading_class: str, kind: str) -> OptionRoot:
    return OptionRoot(
        symbol="SPX", trading_class=trading_class, sec_type="OPT", exchange="SMART", kind=kind, unit=10.0,
        start_price=5851.2, volatility=0.15, under_con_id=416904, under_sec_type="IND", min_tick="0.05", rule="109",
        hours="us-index-option", time_zone_id="US/Central", valid_exchanges="SMART,CBOE", carry_rate=0.027,
        long_name="S&P 500 Stock Index",
    )  # fmt: skip


def _es(trading_class: str, kind: str) -> OptionRoot:
    return OptionRoot(
        symbol="ES", trading_class=trading_class, sec_type="FOP", exchange="CME", kind=kind, unit=10.0,
        start_price=5890.0, volatility=0.15, under_con_id=0, under_sec_type="FUT", multiplier="50", min_tick="0.05",
        rule="109", hours="cme", time_zone_id="US/Central", valid_exchanges="CME", future=0, carry_rate=0.0,
        long_name="E-mini S&P 500",
    )  # fmt: skip


# The order is part of every con_id: new rows go to the end.
ROOTS: tuple[OptionRoot, ...] = (
    _stock("AAPL", 265598, "APPLE INC", 227.5, 0.25, 2.5),
    _stock("MSFT", 272093, "MICROSOFT CORP", 415.2, 0.25, 2.5),
    _stock("NVDA", 4815747, "NVIDIA CORP", 131.4, 0.45, 1.0),
    _stock("TSLA", 76792991, "TESLA INC", 249.8, 0.5, 2.5),
    _stock("AMZN", 3691937, "AMAZON.COM INC", 186.4, 0.25, 2.5),
    _stock("IBM", 8314, "INTL BUSINESS MACHINES CORP", 214.6, 0.25, 2.5),
    _stock("SPY", 756733, "SS SPDR S&P 500 ETF TRUST-US", 584.6, 0.16, 1.0, kind="daily", hours="us-index-option"),
    _stock("QQQ", 320227571, "INVESCO QQQ TRUST SERIES 1", 494.5, 0.2, 1.0, kind="daily", hours="us-index-option"),
    _spx("SPX", "monthly"),
    _spx("SPXW", "daily"),
    _es("ES", "quarterly"),
    _es("EW1", "week-1"),
    _es("EW2", "week-2"),
    _es("EW3", "week-3"),
    _es("EW4", "week-4"),
    OptionRoot(
        symbol="BMW", trading_class="BMW", sec_type="WAR", exchange="FWB", kind="december", unit=5.0, start_price=75.3,
        volatility=0.25, under_con_id=14094, under_sec_type="STK", currency="EUR", multiplier="0.1", hours="xetra",
        time_zone_id="MET", valid_exchanges="SMART,FWB,SWB,GETTEX", long_name="BAYERISCHE MOTOREN WERKE Warrant",
    ),
)  # fmt: skip


def _is_weekly(day: datetime.date) -> bool:
    """A Friday, or the last business day before a Friday that is a holiday."""
    friday = day + datetime.timedelta(days=(FRIDAY - day.weekday()) % 7)
    return is_business_day(day) and business_day_on_or_before(friday) == day


def _is_monthly(day: datetime.date) -> bool:
    return day == third_friday(day.year, day.month)


def _is_am_monthly(day: datetime.date) -> bool:
    """The last day of trading of what is settled on the morning of the third Friday."""
    return day == business_days_before(third_friday(day.year, day.month), 1)


def _is_quarterly(day: datetime.date) -> bool:
    return day.month % 3 == 0 and _is_monthly(day)


def _is_week(nth: int) -> Callable[[datetime.date], bool]:
    def ends(day: datetime.date) -> bool:
        return day == business_day_on_or_before(nth_weekday(day.year, day.month, FRIDAY, nth)) and not _is_quarterly(
            day
        )

    return ends


_ENDS: dict[str, Callable[[datetime.date], bool]] = {
    "stock": _is_weekly,
    "daily": is_business_day,
    "monthly": _is_am_monthly,
    "quarterly": _is_quarterly,
    **{f"week-{nth}": _is_week(nth) for nth in (1, 2, 3, 4)},
    "december": lambda day: day.month == 12 and _is_monthly(day),
}


def expiries(number: int, today: datetime.date) -> list[datetime.date]:
    """The days on which something listed of root `number` ends, in order; computed once a day."""
    return list(_expiries(number, today))


@lru_cache(maxsize=256)
def _expiries(number: int, today: datetime.date) -> tuple[datetime.date, ...]:
    ends, last = _ENDS[ROOTS[number].kind], datetime.date(*add_months(today.year, today.month, _JANUARY_MONTHS + 1), 1)
    return tuple(day for day in days_between(today, last) if ends(day) and today >= _listed_from(number, day))


@lru_cache(maxsize=4096)
def _listed_from(number: int, day: datetime.date) -> datetime.date:
    """The first day on which what ends on `day` is traded."""
    kind = ROOTS[number].kind
    long_lived = kind in ("monthly", "quarterly", "december") or (kind in ("stock", "daily") and _is_monthly(day))
    if long_lived:
        months = _JANUARY_MONTHS if day.month == 1 or kind == "december" else _MONTHS
        return datetime.date(*add_months(day.year, day.month, -months), 1)
    weekly = kind != "daily" or _is_weekly(day)
    return day - datetime.timedelta(days=_WEEKLY_DAYS if weekly else _DAILY_DAYS)


@lru_cache(maxsize=512)
def strike_numbers(number: int, day: datetime.date) -> tuple[int, ...]:
    """The strikes of an expiry in units of the root, around the price the underlying starts at.

    They reach as far as the underlying can move. What is listed for weeks only has every strike of the inner range;
    what is listed for longer has every second one outside it, too.
    """
    root = ROOTS[number]
    width = min(0.7, max(0.25, 1.4 * root.volatility))
    inner = _range(root, 1.0 - width, 1.0 + width)
    if (day - _listed_from(number, day)).days <= _WEEKLY_DAYS:
        return tuple(inner)
    outer = _range(root, max(0.2, 1.0 - 1.5 * width), 1.0 + 1.8 * width)
    return tuple(each for each in outer if each % 2 == 0 or each in inner)


def _range(root: OptionRoot, low: float, high: float) -> range:
    return range(round(low * root.start_price / root.unit), round(high * root.start_price / root.unit) + 1)


def strikes(number: int, day: datetime.date) -> list[float]:
    """The strikes of an expiry, ascending."""
    return [each * ROOTS[number].unit for each in strike_numbers(number, day)]


def con_id_of(number: int, day: datetime.date, strike_number: int, right: str) -> int:
    place = number * _DAYS + (day - _EPOCH).days
    return _FIRST_CON_ID + ((place * _STRIKES + strike_number) << 1) + (right == "P")


def by_con_id(con_id: int) -> Instrument | None:
    """The option of a con_id, listed or not; None when the number means none."""
    rest = con_id - _FIRST_CON_ID
    number, days = divmod((rest >> 1) // _STRIKES, _DAYS)
    if rest < 0 or number >= len(ROOTS):
        return None
    day, strike_number = _EPOCH + datetime.timedelta(days=days), (rest >> 1) % _STRIKES
    if not _ENDS[ROOTS[number].kind](day) or strike_number not in strike_numbers(number, day):
        return None
    return contract(number, day, strike_number, "P" if rest & 1 else "C")


def underlying_of(number: int, day: datetime.date) -> int:
    """The con_id that what ends on `day` is written on: for a FOP the first future that does not end before it."""
    root = ROOTS[number]
    if root.future < 0:
        return root.under_con_id
    return next(each for each in futures.listed(root.future, day) if each.expiry >= stamp(day)).con_id


@lru_cache(maxsize=8192)
def contract(number: int, day: datetime.date, strike_number: int, right: str) -> Instrument:
    """One option of root `number`, ending on `day`."""
    root, under = ROOTS[number], underlying_of(number, day)
    strike = strike_number * root.unit
    settled = third_friday(day.year, day.month) if root.kind == "monthly" else day
    return Instrument(
        con_id=con_id_of(number, day, strike_number, right), symbol=root.symbol, sec_type=root.sec_type,
        exchange=root.exchange, currency=root.currency, local_symbol=_local_symbol(root, settled, strike, right),
        trading_class=root.trading_class, market_name=root.trading_class, long_name=root.long_name,
        min_tick=root.min_tick, start_price=root.start_price, valid_exchanges=root.valid_exchanges,
        order_types=_ORDER_TYPES, time_zone_id=root.time_zone_id, trading_session="0930-1600", agg_group=2,
        market_rule_ids=root.rule, suggested_size_increment="1", lot=1, expiry=stamp(day),
        contract_month=f"{settled.year}{settled.month:02d}", real_expiration_date=stamp(settled),
        last_trade_time="15:00:00" if root.sec_type == "FOP" else "", strike=strike, right=right,
        multiplier=root.multiplier, underlying_con_id=under, under_symbol=_under_symbol(root, under),
        under_sec_type=root.under_sec_type, hours=root.hours, price_model="option", price_con_id=under,
        volatility=volatility(root, strike), carry_rate=root.carry_rate, list_date=stamp(_listed_from(number, day)),
        has_depth=root.sec_type != "OPT",
    )  # fmt: skip


def volatility(root: OptionRoot, strike: float) -> float:
    """What options of one strike are priced with: a smile around the start price that time does not change."""
    away = strike / root.start_price - 1.0
    return round(root.volatility * min(2.5, max(0.6, 1.0 - 0.6 * away + 1.2 * away * away)), 6)


def _under_symbol(root: OptionRoot, under: int) -> str:
    if root.future < 0:
        return root.symbol
    future = futures.by_con_id(under, _EPOCH)
    return root.symbol if future is None else future.local_symbol


def _local_symbol(root: OptionRoot, day: datetime.date, strike: float, right: str) -> str:
    """The 21 characters of the OCC for US options; `ESZ6 C5900` for FOPs."""
    if root.sec_type == "FOP":
        return f"{root.trading_class}{MONTH_LETTERS[day.month - 1]}{day.year % 10} {right}{strike_text(strike)}"
    if root.sec_type == "WAR":
        return f"{root.symbol}{stamp(day)[2:]}{right}{strike_text(strike)}"
    return f"{root.trading_class:<6}{stamp(day)[2:]}{right}{round(strike * 1000):08d}"


class Terms(NamedTuple):
    """What is known of an option: YYYYMM or YYYYMMDD, strike, C or P; empty text and 0 are not known."""

    expiry: str = ""
    strike: float = 0.0
    right: str = ""


_ANY = Terms()


def listed(number: int, today: datetime.date, terms: Terms = _ANY) -> Iterator[Instrument]:
    """What of root `number` is traded on a day and agrees with `terms`, by expiry, strike and right.

    What is settled the day after its last trade is found by the month of either day, and not told apart by day.
    """
    root = ROOTS[number]
    rights = (terms.right,) if terms.right else ("C", "P")
    expiry = terms.expiry[:6] if root.kind == "monthly" else terms.expiry
    for day in _expiries(number, today):
        if not stamp(day).startswith(expiry):
            continue
        for strike_number in strike_numbers(number, day):
            if not terms.strike or abs(strike_number * root.unit - terms.strike) < 1e-9:
                for right in rights:
                    yield contract(number, day, strike_number, right)
