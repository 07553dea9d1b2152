"""Owns what level 1 tells beside quotes and trades: figures of past weeks, the underlying's price, greeks, statistics.

Must not know messages or lines. Every answer depends on seed, instrument and time alone.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
from typing import NamedTuple

from ibkr_actor.sim.market import pricing
from ibkr_actor.sim.market.bars import Bar, BarSize
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.tape import Tape

_DAY = BarSize.parse("1 day")
_MINUTE = BarSize.parse("1 min")
_DAY_S = 86_400
# Days of the average volume and of historical volatility. Source: IBKR's tick type page, types 21 and 23.
_AVERAGE_DAYS = 90
_VOLATILITY_DAYS = 30
_TRADE_DAYS_A_YEAR = 252


class Computation(NamedTuple):
    """What one option tick says; None is not computed. `pv_dividend` in money, the rest as in pricing.Greeks."""

    implied_vol: float | None
    price: float
    pv_dividend: float
    greeks: pricing.Greeks | None
    under_price: float


class Activity(NamedTuple):
    """Trades per minute and shares per minute of the last whole minute; shares of the last 3, 5 and 10 minutes."""

    trade_rate: float
    volume_rate: float
    volumes: tuple[int, int, int]


class Background:
    """One instrument's; `under` is the tape its prices are made of, for derivatives."""

    def __init__(self, instrument: Instrument, tape: Tape, under: Tape | None, seed: int) -> None:
        self.instrument = instrument
        self._tape = tape
        self._under = under
        self._seed = seed
        self._days: tuple[datetime.date, list[Bar]] | None = None

    def pick(self, name: str, low: int, high: int, now_s: float = 0.0) -> int:
        """A number from low to high that stays the same for an instrument, a name and a UTC day."""
        day = int(now_s) // _DAY_S
        text = f"{self._seed}:{self.instrument.con_id}:{name}:{day}".encode()
        return low + int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "big") % (high - low + 1)

    # The past

    def extremes(self, weeks: int, now_s: float) -> tuple[float, float] | None:
        """Lowest and highest price of the trade dates of the last `weeks`; None when there were none."""
        days = self._past_days(now_s)
        first = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date() - datetime.timedelta(weeks=weeks)
        inside = [bar for bar in days if bar.trade_date >= first]
        return (min(bar.low for bar in inside), max(bar.high for bar in inside)) if inside else None

    def average_volume(self, now_s: float) -> int | None:
        """Mean volume of the last 90 trade dates; None when there were none."""
        days = self._past_days(now_s)[-_AVERAGE_DAYS:]
        return int(sum(bar.volume for bar in days) / len(days)) if days else None

    def historical_vol(self, now_s: float) -> float | None:
        """Volatility a year of the last 30 daily changes; None with fewer than two."""
        closes = [bar.close for bar in self._past_days(now_s)[-_VOLATILITY_DAYS - 1 :]]
        changes = [math.log(after / before) for before, after in itertools.pairwise(closes) if before > 0]
        if len(changes) < 2:
            return None
        mean = sum(changes) / len(changes)
        variance = sum((change - mean) ** 2 for change in changes) / (len(changes) - 1)
        return math.sqrt(variance * _TRADE_DAYS_A_YEAR)

    def _past_days(self, now_s: float) -> list[Bar]:
        """Day bars of the last 53 weeks, without the trade date that runs."""
        today = self._tape.day_so_far(now_s).trade_date
        if self._days is None or self._days[0] != today:
            show = "TRADES" if "TRADES" in self._tape.shows else "MIDPOINT"
            bars = self._tape.bars(now_s - 53 * 7 * _DAY_S, now_s, _DAY, show)
            self._days = (today, [bar for bar in bars if bar.trade_date < today])
        return self._days[1]

    # Today

    def trade_count(self, now_s: float) -> int:
        """Trades of the trade date so far."""
        return self._tape.day_so_far(now_s).trades

    def activity(self, now_s: float) -> Activity:
        """How busy the last minutes were."""
        minute_s = int(now_s) // 60 * 60
        bars = self._tape.bars(minute_s - 600, minute_s, _MINUTE, "TRADES") if "TRADES" in self._tape.shows else []
        last = [bar for bar in bars if bar.start_s >= minute_s - 60]
        volumes = [
            int(sum(bar.volume for bar in bars if bar.start_s >= minute_s - 60 * minutes)) for minutes in (3, 5, 10)
        ]
        return Activity(
            trade_rate=float(sum(bar.count for bar in last)),
            volume_rate=float(sum(bar.volume for bar in last)),
            volumes=(volumes[0], volumes[1], volumes[2]),
        )

    # Options

    def under_price(self, now_s: float) -> float | None:
        """The last price of what the prices are made of, the middle where it is only quoted; None for what has none."""
        if self._under is None:
            return None
        state = self._under.state_at(now_s)
        return state.last if "TRADES" in self._under.shows else (state.bid + state.ask) / 2

    def model(self, now_s: float) -> Computation | None:
        """IB's model tick: at the instrument's own volatility; None for what is no option."""
        return self._computed(now_s, None)

    def computed_from(self, option_price: float, now_s: float) -> Computation | None:
        """The tick of a bid, ask or last: volatility and greeks that this price implies."""
        return self._computed(now_s, option_price)

    def _computed(self, now_s: float, option_price: float | None) -> Computation | None:
        it, under = self.instrument, self.under_price(now_s)
        if it.price_model != "option" or under is None:
            return None
        years = pricing.years_to(it.expiry, self._tape.day_so_far(now_s).trade_date)
        vol: float | None = it.volatility
        if option_price is not None:
            vol = pricing.implied_vol(option_price, under, it.strike, years, it.right, carry=it.carry_rate)
        greeks = None if vol is None else pricing.greeks(under, it.strike, years, vol, it.right, carry=it.carry_rate)
        price = option_price
        if price is None:
            price = pricing.price(under, it.strike, years, it.volatility, it.right, carry=it.carry_rate)
        held_back = 0.0
        if it.under_sec_type == "STK":
            held_back = max(0.0, under * (1.0 - math.exp((it.carry_rate - pricing.RATE) * years)))
        return Computation(vol, price, held_back, greeks, under)

    # Bonds

    def bond_yield(self, price: float, now_s: float) -> float | None:
        """Yield to maturity in percent at a price in percent of face, two coupons a year; None for what is no bond."""
        bond = self.instrument.bond
        if bond is None or price <= 0:
            return None
        years = max(pricing.years_to(bond.maturity, self._tape.day_so_far(now_s).trade_date), 1 / 365)
        low, high = -0.5, 2.0
        while high - low > 1e-9:
            middle = 0.5 * (low + high)
            if _bond_price(bond.coupon, years, middle) > price:
                low = middle
            else:
                high = middle
        return round(50.0 * (low + high), 6)


def _bond_price(coupon: float, years: float, rate: float) -> float:
    """In percent of face, with coupons twice a year back from maturity and without the accrued interest."""
    worth, due = 0.0, years
    while due > 0:
        worth += coupon / 2 / (1 + rate / 2) ** (2 * due)
        due -= 0.5
    accrued = coupon * -due
    return float(worth - accrued + 100 / (1 + rate / 2) ** (2 * years))
