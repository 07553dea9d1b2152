"""Owns the bars of a historical request: which view of the tape they are of, in pieces small enough for one turn.

Must not know a session or a clock; `now_s` comes with each question.
"""

from __future__ import annotations

import bisect
import datetime
import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from ibkr_actor.sim.market.bars import Bar, BarSize
from ibkr_actor.sim.market.calendar import Calendar, Segment
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.tape import Tape

_DAY_S = 86_400
# How far one piece goes: about ten milliseconds of work. Bars below 5 s are made of single ticks.
_PIECE_BARS = 400
_PIECE_FINE_BARS = 100
_PIECE_S = {"day": 50 * _DAY_S, "week": 130 * _DAY_S, "month": 200 * _DAY_S}
_DAYS = BarSize.parse("1 day")
_TRADE_DAYS_A_YEAR = 252
_VOLATILITY_DAYS = 30

# whatToShow -> the view of the tape its bars are of.
_VIEWS = {
    "TRADES": "TRADES",
    "AGGTRADES": "TRADES",
    "ADJUSTED_LAST": "TRADES",
    "MIDPOINT": "MIDPOINT",
    "BID": "BID",
    "ASK": "ASK",
    "BID_ASK": "BID_ASK",
    "YIELD_BID": "BID",
    "YIELD_ASK": "ASK",
    "YIELD_BID_ASK": "BID_ASK",
    "YIELD_LAST": "TRADES",
}
_VOLATILITIES = ("HISTORICAL_VOLATILITY", "OPTION_IMPLIED_VOLATILITY")
WITH_VOLUME = frozenset({"TRADES", "AGGTRADES", "ADJUSTED_LAST"})


class Stretch(NamedTuple):
    """Bars that start in [start_s, end_s); the market is known up to `now_s`."""

    start_s: float
    end_s: float
    now_s: float
    size: BarSize
    regular_only: bool


class Source:
    """The bars of one instrument for one whatToShow."""

    def __init__(self, instrument: Instrument, tape: Tape, calendar: Calendar, what_to_show: str) -> None:
        self._instrument = instrument
        self._tape = tape
        self._calendar = calendar
        self._show = what_to_show
        self._view = _VIEWS.get(what_to_show, "TRADES" if "TRADES" in tape.shows else "MIDPOINT")
        self._map = self._mapping()
        self._dates: list[datetime.date] = []
        self._closes: list[float] = []
        self._closes_end_s = 0.0

    @property
    def exists(self) -> bool:
        """Whether the instrument has such data at all. Fee rates are of shorting, which this market has not."""
        instrument = self._instrument
        if self._show in _VOLATILITIES:
            return instrument.sec_type in ("STK", "ETF", "IND") and bool(self._tape.shows)
        if self._show.startswith("YIELD_"):
            return instrument.bond is not None and self._view in self._tape.shows
        return self._show in _VIEWS and self._view in self._tape.shows

    def pieces(self, stretch: Stretch) -> Iterator[list[Bar]]:
        """The bars in order; a piece may be empty, so that a long wait for the next bar is no long turn either."""
        fine = stretch.size.seconds < 5
        step_s = _PIECE_S.get(stretch.size.unit, stretch.size.seconds * (_PIECE_FINE_BARS if fine else _PIECE_BARS))
        cursor_s = max(stretch.start_s, self._tape.head_s)
        end_s = min(stretch.end_s, self._tape.end_s, stretch.now_s)
        while cursor_s < end_s:
            upper_s = min(cursor_s + step_s, end_s)
            bars = self._tape.bars(cursor_s, upper_s, stretch.size, self._view, stretch.regular_only)
            if bars and bars[-1].end_s > self._limit_s(stretch):
                bars[-1:] = self._unfinished(stretch)
            yield self._mapped(bars)
            cursor_s = upper_s if bars else max(upper_s, self._calendar.after(upper_s).start_s)

    def so_far(self, now_s: float, size: BarSize, regular_only: bool) -> Bar | None:
        """The bar at `now_s`, or the one that has just ended with the 5 s before it; None when nothing happened."""
        bar = self._tape.bar_so_far(now_s, size, self._view, regular_only)
        if bar is None:
            back_s = size.seconds if size.intraday else 2 * size.seconds + 4 * _DAY_S
            before = self._tape.bars(now_s - back_s, now_s, size, self._view, regular_only)
            bar = before[-1] if before and before[-1].end_s == int(now_s) else None
        return None if bar is None else self._mapped([bar])[0]

    def _limit_s(self, stretch: Stretch) -> float:
        """Up to where a bar may reach: days and more are whole unless they are still going on."""
        return min(stretch.end_s, stretch.now_s) if stretch.size.intraday else stretch.now_s

    def _unfinished(self, stretch: Stretch) -> list[Bar]:
        bar = self._tape.bar_so_far(self._limit_s(stretch), stretch.size, self._view, stretch.regular_only)
        return [] if bar is None else [bar]

    def _mapped(self, bars: list[Bar]) -> list[Bar]:
        return self._map(bars) if bars else bars

    def _mapping(self) -> Callable[[list[Bar]], list[Bar]]:
        if self._show == "HISTORICAL_VOLATILITY":
            return self._with_volatility
        if self._show == "OPTION_IMPLIED_VOLATILITY":
            return lambda bars: [_flat(bar, self._instrument.volatility) for bar in bars]
        if self._show.startswith("YIELD_"):
            return lambda bars: [self._with_yield(bar) for bar in bars]
        return lambda bars: bars

    def _with_volatility(self, bars: list[Bar]) -> list[Bar]:
        """From that of the trade date before to that of the bar's own; inside a day it is that of the day before."""
        self._learn_closes(bars[0].start_s, bars[-1].end_s)
        dates, closes = self._dates, self._closes
        found = []
        for bar in bars:
            position = bisect.bisect_left(dates, bar.trade_date)
            before = volatility(closes[max(position - _VOLATILITY_DAYS - 1, 0) : position])
            now = before if bar.end_s - bar.start_s < _DAY_S // 4 else _up_to(closes, dates, bar.trade_date)
            found.append(_prices(bar, before, max(before, now), min(before, now), now))
        return found

    def _learn_closes(self, first_s: float, last_s: float) -> None:
        """The closes from thirty trade dates before `first_s` to `last_s`; pieces come in order and share them."""
        start_s = max(first_s - 2 * _VOLATILITY_DAYS * _DAY_S, self._closes_end_s)
        days = self._tape.bars(start_s, last_s, _DAYS, self._view) if last_s > start_s else []
        self._dates += [day.trade_date for day in days]
        self._closes += [day.close for day in days]
        self._closes_end_s = max(last_s, self._closes_end_s)

    def _with_yield(self, bar: Bar) -> Bar:
        """The lowest price is the highest yield."""
        bond = self._instrument.bond
        assert bond is not None
        years = max((_date(bond.maturity) - bar.trade_date).days, 30) / 365.25
        values = [bond_yield(bond.coupon, years, price) for price in (bar.open, bar.high, bar.low, bar.close)]
        return _prices(bar, values[0], max(values), min(values), values[3])


def volatility(closes: list[float]) -> float:
    """Of the last thirty trade dates, a year (0.2 is 20 %); 0 with fewer than three closes."""
    last = closes[-_VOLATILITY_DAYS - 1 :]
    moves = [math.log(after / before) for before, after in itertools.pairwise(last) if before > 0 < after]
    if len(moves) < 2:
        return 0.0
    mean = sum(moves) / len(moves)
    variance = sum((move - mean) ** 2 for move in moves) / (len(moves) - 1)
    return round(math.sqrt(variance * _TRADE_DAYS_A_YEAR), 6)


def _up_to(closes: list[float], dates: list[datetime.date], date: datetime.date) -> float:
    position = bisect.bisect_right(dates, date)
    return volatility(closes[max(position - _VOLATILITY_DAYS - 1, 0) : position])


def bond_yield(coupon: float, years: float, price: float) -> float:
    """In percent a year: coupon and pull to par over the mean of price and par, the usual approximation."""
    return round((coupon + (100.0 - price) / years) / ((100.0 + price) / 2.0) * 100.0, 4)


def _date(text: str) -> datetime.date:
    return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _flat(bar: Bar, value: float) -> Bar:
    return _prices(bar, value, value, value, value)


def _prices(bar: Bar, first: float, high: float, low: float, last: float) -> Bar:
    return msgspec.structs.replace(bar, open=first, high=high, low=low, close=last)


def segments_from(calendar: Calendar, first_s: float, last_s: float, *, regular_only: bool) -> list[Segment]:
    """The segments that begin in [first_s, last_s)."""
    found = calendar.segments(first_s, last_s)
    return [each for each in found if each.start_s >= first_s and (each.regular or not regular_only)]


def sessions(segments: list[Segment]) -> list[Segment]:
    """The stretches of trading: segments of one trade date that touch are one."""
    found: list[Segment] = []
    for each in segments:
        last = found[-1] if found else None
        if last is not None and last.end_s == each.start_s and last.trade_date == each.trade_date:
            found[-1] = last._replace(end_s=each.end_s)
        else:
            found.append(each)
    return found


def histogram(bars: list[Bar], min_tick: float, decimals: int) -> dict[float, float]:
    """Price -> volume, in order of price; each bar's volume stands at its average price, on the grid of min_tick."""
    table: dict[float, float] = {}
    for bar in bars:
        if bar.volume > 0:
            price = round(round(bar.wap / min_tick) * min_tick, decimals)
            table[price] = table.get(price, 0.0) + float(bar.volume)
    return dict(sorted(table.items()))
