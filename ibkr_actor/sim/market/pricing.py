"""Owns the formulas between a derivative and its underlying: carry, Black-Scholes, greeks, implied volatility.

Must not know the time, a market or a message; it is arithmetic.
"""

from __future__ import annotations

import datetime
import math
from typing import NamedTuple

from ibkr_actor.sim.market.instruments import Instrument

# The simulated market's one interest rate, continuous, a year.
RATE = 0.04
_DAYS_A_YEAR = 365.0
_MAX_VOLATILITY = 10.0


class Greeks(NamedTuple):
    """Per unit of the underlying, in IB's units: vega for one percent point of volatility, theta for one day."""

    delta: float
    gamma: float
    vega: float
    theta: float


def years_to(expiry: str, day: datetime.date) -> float:
    """Years from a trade date to an expiry (YYYYMMDD); half a day on the last day itself, 0 after it."""
    days = (datetime.date(int(expiry[:4]), int(expiry[4:6]), int(expiry[6:8])) - day).days
    return 0.0 if days < 0 else (days + 0.5) / _DAYS_A_YEAR


def forward(spot: float, years: float, carry: float) -> float:
    """The price for delivery in `years` at a continuous growth of `carry` a year."""
    return spot * math.exp(carry * years)


def price(
    spot: float, strike: float, years: float, vol: float, right: str, rate: float = RATE, carry: float | None = None
) -> float:
    """What a European option is worth; `right` is C or P, rates are continuous, `vol` 0.2 is 20 % a year.

    `carry` is the growth of the underlying: None is `rate` (a stock without dividends), 0 a future. Never falls as
    `spot` rises for a call, never rises for a put. At `years` or `vol` 0 it is the discounted value of exercise.
    Source: F. Black and M. Scholes 1973; F. Black 1976.
    """
    growth = rate if carry is None else carry
    ahead = forward(spot, years, growth)
    discount = math.exp(-rate * years)
    spread = vol * math.sqrt(years)
    sign = 1.0 if right == "C" else -1.0
    if spread <= 0.0 or ahead <= 0.0 or strike <= 0.0:
        return discount * max(0.0, sign * (ahead - strike))
    d1 = math.log(ahead / strike) / spread + 0.5 * spread
    worth = sign * (ahead * _normal(sign * d1) - strike * _normal(sign * (d1 - spread)))
    return discount * max(0.0, worth)


def greeks(
    spot: float, strike: float, years: float, vol: float, right: str, rate: float = RATE, carry: float | None = None
) -> Greeks:
    """The derivatives of `price`; at `years` or `vol` 0 only delta can be other than 0."""
    growth = rate if carry is None else carry
    ahead = forward(spot, years, growth)
    spread = vol * math.sqrt(years)
    sign = 1.0 if right == "C" else -1.0
    fade = math.exp((growth - rate) * years)
    if spread <= 0.0 or ahead <= 0.0 or strike <= 0.0:
        return Greeks(sign * fade if sign * (ahead - strike) > 0 else 0.0, 0.0, 0.0, 0.0)
    d1 = math.log(ahead / strike) / spread + 0.5 * spread
    density = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
    vega = spot * fade * density * math.sqrt(years)
    decay = vega * vol / (2 * years)
    drift = (growth - rate) * spot * fade * _normal(sign * d1)
    interest = rate * strike * math.exp(-rate * years) * _normal(sign * (d1 - spread))
    theta = -decay - sign * (drift + interest)
    return Greeks(sign * fade * _normal(sign * d1), fade * density / (spot * spread), vega / 100, theta / _DAYS_A_YEAR)


def implied_vol(
    option_price: float,
    spot: float,
    strike: float,
    years: float,
    right: str,
    rate: float = RATE,
    carry: float | None = None,
) -> float | None:
    """The volatility at which `price` gives `option_price`; None when no volatility up to 1000 % does."""

    def excess(vol: float) -> float:
        return price(spot, strike, years, vol, right, rate, carry) - option_price

    low, high = 0.0, _MAX_VOLATILITY
    if years <= 0.0 or spot <= 0.0 or strike <= 0.0 or not excess(low) <= 0.0 <= excess(high):
        return None
    while high - low > 1e-10:
        middle = 0.5 * (low + high)
        if excess(middle) < 0.0:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def derived_price(instrument: Instrument, under: float, day: datetime.date) -> float:
    """The unrounded price of an instrument on a trade date, given that of its `price_con_id`.

    Raises: ValueError for one whose price is not made from one other.
    """
    match instrument.price_model:
        case "same":
            return under
        case "forward":
            return forward(under, years_to(instrument.expiry, day), instrument.carry_rate)
        case "option":
            years = years_to(instrument.expiry, day)
            return price(
                under, instrument.strike, years, instrument.volatility, instrument.right, carry=instrument.carry_rate
            )
        case model:
            raise ValueError(f"{instrument.key} has price model {model}")


def _normal(x: float) -> float:
    """The cumulative normal distribution, precise in both tails."""
    return 0.5 * math.erfc(-x / math.sqrt(2.0))
