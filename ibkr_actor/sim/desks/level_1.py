"""Owns the ticks of level 1 that come of generic ticks, and those of options and bonds.

Must not know lines or sessions; `feed` decides which of these a line gets.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.background import Background, Computation

# Tick types of option computations. Source: ibapi.ticktype.TickTypeEnum.
BID_OPTION, ASK_OPTION, LAST_OPTION, MODEL_OPTION = 10, 11, 12, 13
BID_YIELD, ASK_YIELD, LAST_YIELD = 50, 51, 52
MARK_PRICE = 37
# Ticks that need no market data permission: they still come with 10090 and 10091.
# Source: the generic ticks IBKR's page calls statistics; the text of 10090 names them only in general.
INDEPENDENT_TICKS = frozenset({15, 16, 17, 18, 19, 20, 21, 23, 24, 46, 59, 87, 89})


class View(Protocol):
    """What is read of an instrument's market."""

    bid_size: Decimal
    ask_size: Decimal
    open: float
    close: float
    high: float
    low: float
    last: float
    last_size: Decimal
    last_time_s: float
    volume: Decimal

    @property
    def bid(self) -> float: ...
    @property
    def ask(self) -> float: ...
    @property
    def vwap(self) -> float: ...


_Row = Callable[[Background, View, float], Iterable[m.Message]]


def _size(tick_type: int, value: Decimal | int | None) -> list[m.Message]:
    return [] if value is None else [m.TickSize(tick_type=tick_type, size=value)]


def _generic(tick_type: int, value: float | None) -> list[m.Message]:
    return [] if value is None else [m.TickGeneric(tick_type=tick_type, value=round(value, 8))]


def _price(tick_type: int, value: float | None) -> list[m.Message]:
    return [] if value is None else [m.TickPrice(tick_type=tick_type, price=value, size=0)]


def mark_price(view: View) -> float:
    """The last price, moved into the spread. Source: IBKR's page on mark price."""
    return min(max(view.last, view.bid), view.ask)


def _has_options(back: Background) -> bool:
    return back.instrument.sec_type in ("STK", "IND", "FUT")


def _option_volume(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    if _has_options(back):
        yield m.TickSize(tick_type=29, size=back.pick("call volume", 1_000, 900_000, now_s))
        yield m.TickSize(tick_type=30, size=back.pick("put volume", 1_000, 900_000, now_s))


def _open_interest(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    it = back.instrument
    if _has_options(back) or it.right:
        # An option tells of itself only: of the other right it is 0.
        calls = 0 if it.right == "P" else back.pick("call open interest", 1_000, 4_000_000, now_s)
        puts = 0 if it.right == "C" else back.pick("put open interest", 1_000, 4_000_000, now_s)
        yield m.TickSize(tick_type=27, size=calls)
        yield m.TickSize(tick_type=28, size=puts)


def _statistics(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    """13, 26 and 52 weeks' low and high, then the average volume."""
    for weeks, low_type in ((13, 15), (26, 17), (52, 19)):
        extremes = back.extremes(weeks, now_s)
        if extremes is not None:
            yield from _price(low_type, extremes[0])
            yield from _price(low_type + 1, extremes[1])
    if back.instrument.trades and back.instrument.sized:
        yield from _size(21, back.average_volume(now_s))


def _auction(back: Background, view: View, now_s: float) -> Iterable[m.Message]:
    if back.instrument.sec_type == "STK":
        yield from _price(35, view.open)
        yield m.TickSize(tick_type=34, size=back.pick("auction", 1, 500, now_s) * 100)
        yield m.TickSize(tick_type=36, size=back.pick("imbalance", 0, 90, now_s) * 100)
        yield m.TickSize(tick_type=61, size=back.pick("regulatory imbalance", 0, 90, now_s) * 100)


def _mark(_: Background, view: View, __: float) -> Iterable[m.Message]:
    return _price(MARK_PRICE, mark_price(view))


def _shortable(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    """Above 2.5 at least 1,000 shares can be borrowed. Source: IBKR's page on shortable shares."""
    if back.instrument.sec_type == "STK":
        yield m.TickGeneric(tick_type=46, value=3.0)
        yield m.TickSize(tick_type=89, size=back.pick("shortable", 1_000, 90_000_000, now_s))


def _trade_count(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _generic(54, float(back.trade_count(now_s))) if back.instrument.trades else []


def _trade_rate(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _generic(55, back.activity(now_s).trade_rate) if back.instrument.trades else []


def _volume_rate(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _generic(56, back.activity(now_s).volume_rate) if _sized_trades(back) else []


def _short_term_volumes(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    if _sized_trades(back):
        for tick_type, volume in zip((63, 64, 65), back.activity(now_s).volumes, strict=True):
            yield m.TickSize(tick_type=tick_type, size=volume)


def _sized_trades(back: Background) -> bool:
    return back.instrument.trades and back.instrument.sized


def _dividends(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    """Paid in the last 12 months, due in the next 12, date and amount of the next one; all empty when it pays none."""
    if back.instrument.sec_type == "STK":
        quarter = back.pick("dividend", 0, 120) / 100
        if quarter < 0.2:
            yield m.TickString(tick_type=59, value=",,,")
            return
        day = datetime.datetime.fromtimestamp(now_s, datetime.UTC).date()
        ahead = day + datetime.timedelta(days=back.pick("dividend day", 5, 90) - day.toordinal() % 5)
        paid = f"{4 * quarter - 0.04:.2f},{4 * quarter:.2f}"
        yield m.TickString(tick_type=59, value=f"{paid},{ahead:%Y%m%d},{quarter:.2f}")


def _odd_lots(back: Background, view: View, now_s: float) -> Iterable[m.Message]:
    """Better than the round lots by a tick on either side, in fewer shares than a lot."""
    it = back.instrument
    if it.sec_type == "STK" and view.ask - view.bid > 2 * float(it.min_tick):
        tick = float(it.min_tick)
        yield from _price(105, round(view.bid + tick, it.decimals))
        yield from _price(106, round(view.ask - tick, it.decimals))
        yield m.TickSize(tick_type=107, size=back.pick("odd bid", 1, 99, now_s))
        yield m.TickSize(tick_type=108, size=back.pick("odd ask", 1, 99, now_s))
        yield m.TickString(tick_type=109, value="Q")
        yield m.TickString(tick_type=110, value="P")


def _fund_values(tick_types: tuple[int, ...]) -> _Row:
    """Net asset values of an exchange traded fund, a little off its price."""

    def row(back: Background, view: View, now_s: float) -> Iterable[m.Message]:
        if back.instrument.stock_type == "ETF":
            for tick_type in tick_types:
                off = back.pick(f"value {tick_type}", -8, 8, now_s) / 10_000
                yield from _price(tick_type, round(view.last * (1 + off), 4))

    return row


def _premium(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _generic(31, back.pick("future premium", 50, 900, now_s) / 100)


def _implied_vol(back: Background, _: View, __: float) -> Iterable[m.Message]:
    return _generic(24, back.instrument.volatility) if _has_options(back) else []


def _historical_vol(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _generic(58, back.historical_vol(now_s))


def _last_regular(_: Background, view: View, __: float) -> Iterable[m.Message]:
    return _price(57, view.last)


def _average_option_volume(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    return _size(87, back.pick("option volume", 1_000, 2_000_000, now_s)) if _has_options(back) else []


def _futures_open_interest(back: Background, _: View, now_s: float) -> Iterable[m.Message]:
    if back.instrument.sec_type in ("FUT", "CONTFUT"):
        yield m.TickSize(tick_type=86, size=back.pick("open interest", 10_000, 2_500_000, now_s))


def _factor(back: Background, _: View, __: float) -> Iterable[m.Message]:
    return _generic(60, 1.0) if back.instrument.sec_type == "BOND" else []


def _slow_mark(tick_type: int) -> _Row:
    return lambda _, view, __: _price(tick_type, mark_price(view))


# Generic tick -> what it brings. Source: IBKR's page of generic tick types; 258 (fundamentals), 586 (offerings) and
# 587 bring nothing for any instrument here, 233, 292 and 375 nothing before the first trade or headline.
_ROWS: dict[int, tuple[_Row, ...]] = {
    100: (_option_volume,),
    101: (_open_interest,),
    105: (_average_option_volume,),
    106: (_implied_vol,),
    162: (_premium,),
    165: (_statistics,),
    221: (_mark, _slow_mark(78)),
    225: (_auction,),
    232: (_mark,),
    236: (_shortable,),
    293: (_trade_count,),
    294: (_trade_rate,),
    295: (_volume_rate,),
    318: (_last_regular,),
    411: (_historical_vol,),
    456: (_dividends,),
    460: (_factor,),
    576: (_fund_values((94, 95)),),
    577: (_fund_values((96,)),),
    578: (_fund_values((92, 93)),),
    588: (_futures_open_interest,),
    595: (_short_term_volumes,),
    614: (_fund_values((98, 99)),),
    619: (_slow_mark(79),),
    623: (_fund_values((97,)),),
    787: (_odd_lots,),
}
# Those that are said again with each trade; 37 with each quote too.
_WITH_TRADES = (293, 294, 295, 318, 595)
_MARKS = (221, 232, 619)
# The first version with odd lots. Source: ibapi.server_versions MIN_SERVER_VER_ODD_LOT_BID_ASK_QUOTES.
_ODD_LOTS, _ODD_LOTS_FROM = 787, 225


def first_generic_ticks(
    numbers: frozenset[int], back: Background, view: View, now_s: float, server_version: int
) -> list[m.Message]:
    """What the generic ticks asked for bring at the start of a line."""
    return _told(sorted(numbers), back, view, now_s, server_version)


def generic_ticks_of_trade(
    numbers: frozenset[int], back: Background, view: View, now_s: float, server_version: int
) -> list[m.Message]:
    """What they bring with a trade."""
    asked = [number for number in (*_MARKS, *_WITH_TRADES) if number in numbers]
    return _told(asked, back, view, now_s, server_version)


def generic_ticks_of_quote(
    numbers: frozenset[int], back: Background, view: View, now_s: float, server_version: int
) -> list[m.Message]:
    """What they bring with a change of bid or ask."""
    asked = [number for number in (*_MARKS, _ODD_LOTS) if number in numbers]
    return _told(asked, back, view, now_s, server_version)


def _told(numbers: Iterable[int], back: Background, view: View, now_s: float, server_version: int) -> list[m.Message]:
    told: dict[int, m.Message] = {}
    for number in numbers:
        if number == _ODD_LOTS and server_version < _ODD_LOTS_FROM:
            continue
        for row in _ROWS.get(number, ()):
            for message in row(back, view, now_s):
                # 221 and 232 both bring the mark price.
                told[getattr(message, "tick_type", 0)] = message
    return list(told.values())


def computation(tick_type: int, found: Computation | None) -> list[m.Message]:
    """An option tick; nothing for what is no option."""
    if found is None:
        return []
    greeks = found.greeks
    return [
        m.TickOptionComputation(
            tick_type=tick_type,
            implied_vol=found.implied_vol,
            delta=None if greeks is None else greeks.delta,
            opt_price=found.price,
            pv_dividend=found.pv_dividend,
            gamma=None if greeks is None else greeks.gamma,
            vega=None if greeks is None else greeks.vega,
            theta=None if greeks is None else greeks.theta,
            und_price=found.under_price,
        )
    ]


def bond_yields(prices: dict[int, float], back: Background, now_s: float) -> list[m.Message]:
    """Yields as prices, by tick type; nothing for what is no bond."""
    return [tick for tick_type, price in prices.items() for tick in _price(tick_type, back.bond_yield(price, now_s))]
