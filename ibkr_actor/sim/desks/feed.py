"""Owns what a subscriber sees of a market event: the messages of each kind of line, and those at its start.

Must not encode, send or keep state beyond the line's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.level_1 import (
    ASK_OPTION,
    ASK_YIELD,
    BID_OPTION,
    BID_YIELD,
    INDEPENDENT_TICKS,
    LAST_OPTION,
    LAST_YIELD,
    MODEL_OPTION,
    View,
    bond_yields,
    computation,
    first_generic_ticks,
    generic_ticks_of_quote,
    generic_ticks_of_trade,
)
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.market.books import Book, all_rows, changed_rows, first_rows
from ibkr_actor.sim.market.market import Bar, InstrumentMarket, Quote, Trade
from ibkr_actor.sim.market.venues import SMART_COMPONENTS, US_BBO_EXCHANGE

# Tick types. Source: ibapi.ticktype.TickTypeEnum.
BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE = range(10)
OPEN, LAST_TIMESTAMP, RT_VOLUME, HALTED, RT_TRADE_VOLUME = 14, 45, 48, 49, 77
# Live tick type -> its delayed twin.
DELAYED = {
    BID: 66, ASK: 67, LAST: 68, BID_SIZE: 69, ASK_SIZE: 70, LAST_SIZE: 71, HIGH: 72, LOW: 73, VOLUME: 74,
    CLOSE: 75, OPEN: 76, LAST_TIMESTAMP: 88, HALTED: 90, BID_OPTION: 80, ASK_OPTION: 81, LAST_OPTION: 82,
    MODEL_OPTION: 83, BID_YIELD: 103, ASK_YIELD: 104,
}  # fmt: skip
# Tick types whose value is a size and that therefore travel as tickSize.
SIZE_TICKS = frozenset({0, 3, 5, 8, 21, 22, 27, 28, 29, 30, 34, 61, 63, 64, 65, 69, 70, 71, 74, 86, 87, 89, 107, 108})
# What is computed from a price, by the price's tick type.
COMPUTATIONS = {BID: BID_OPTION, ASK: ASK_OPTION, LAST: LAST_OPTION}
YIELDS = {BID: BID_YIELD, ASK: ASK_YIELD, LAST: LAST_YIELD}
# Generic ticks that bring a string with each trade, and its type: RT volume and RT trade volume.
_TRADE_STRINGS = {233: RT_VOLUME, 375: RT_TRADE_VOLUME}
# From here on sizes may have a fraction. Source: ibapi MIN_SERVER_VER_FRACTIONAL_SIZE_SUPPORT.
FRACTIONAL_SIZES = 163
_TICK_BY_TICK_TYPES = {"Last": 1, "AllLast": 2}
_TICKS = (m.TickPrice, m.TickSize, m.TickString, m.TickGeneric, m.TickOptionComputation)


def start_messages(line: Line) -> list[m.Message]:
    """The two messages IB sends before any tick: 58 and 81."""
    it = line.instrument
    consolidated = it.sec_type == "STK" and it.trades
    return [
        m.MarketDataType(market_data_type=line.market_data_type),
        m.TickReqParams(
            min_tick=it.min_tick,
            bbo_exchange=_bbo_exchange(it.primary_exchange) if consolidated else "",
            snapshot_permissions=3 if it.trades else 0,
            last_price_precision=it.min_tick,
            last_size_precision=it.size_increment,
        ),
    ]


def _bbo_exchange(primary_exchange: str) -> str:
    """The code under which reqSmartComponents knows the exchanges of a stock's quotes."""
    for code, components in SMART_COMPONENTS.items():
        if any(each.exchange == primary_exchange for each in components):
            return code
    return US_BBO_EXCHANGE


def first_ticks(line: Line, market: View, now_s: float) -> list[m.Message]:
    """The state of the market at the start of a line, in the order seen on a real gateway.

    Source: a snapshot recorded at 173: 45, 4, 49, 8, 6, 7, then the rest.
    """
    it = line.instrument
    messages: list[m.Message] = []
    if it.trades:
        messages += [
            m.TickString(tick_type=LAST_TIMESTAMP, value=str(int(market.last_time_s or now_s))),
            m.TickPrice(tick_type=LAST, price=market.last, size=_shown(line, market.last_size)),
            m.TickGeneric(tick_type=HALTED, value=0.0),
        ]
        if it.sized:
            messages.append(m.TickSize(tick_type=VOLUME, size=_shown(line, market.volume)))
        messages += _day_prices(market)
        messages.append(m.TickPrice(tick_type=OPEN, price=market.open, size=0))
    if it.quotes:
        messages += [
            m.TickPrice(tick_type=BID, price=market.bid, size=_quoted(line, market.bid_size), attrib_mask=1),
            m.TickPrice(tick_type=ASK, price=market.ask, size=_quoted(line, market.ask_size), attrib_mask=1),
        ]
    if not it.trades:
        messages += _day_prices(market)
    messages += _computed(line, market, now_s, {BID: it.quotes, ASK: it.quotes, LAST: it.trades})
    if line.background is not None:
        version = line.session.server_version
        messages += first_generic_ticks(line.generic_ticks, line.background, market, now_s, version)
    return _permitted(line, messages)


def _day_prices(market: View) -> list[m.Message]:
    return [
        m.TickPrice(tick_type=HIGH, price=market.high, size=0),
        m.TickPrice(tick_type=LOW, price=market.low, size=0),
        m.TickPrice(tick_type=CLOSE, price=market.close, size=0),
    ]


def _computed(line: Line, market: View, now_s: float, moved: dict[int, bool]) -> list[m.Message]:
    """Greeks of an option and yields of a bond, for those of bid, ask and last that moved."""
    back, kind = line.background, line.instrument.sec_type
    prices = {BID: market.bid, ASK: market.ask, LAST: market.last}
    changed = {tick_type: prices[tick_type] for tick_type, has in moved.items() if has}
    if back is None or not changed:
        return []
    if kind == "BOND":
        return bond_yields({YIELDS[tick_type]: price for tick_type, price in changed.items()}, back, now_s)
    if line.instrument.price_model != "option":
        return []
    ticks = [
        tick
        for tick_type, price in changed.items()
        for tick in computation(COMPUTATIONS[tick_type], back.computed_from(price, now_s))
    ]
    return ticks + computation(MODEL_OPTION, back.model(now_s))


def first_depth(line: Line, market: Book) -> list[m.Message]:
    """The whole book, inserted row by row, bids first."""
    return first_rows(line, market)


def present_messages(line: Line, market: InstrumentMarket, now_s: float) -> list[m.Message]:
    """What holds now, on a line whose client may know otherwise: prices as at the start, all rows of a book.

    Ticks one by one are what happened, and nothing did.
    """
    match line.kind:
        case Kind.MARKET_DATA:
            return first_ticks(line, market, now_s)
        case Kind.DEPTH:
            return all_rows(line, market)
        case _:
            return []


def event_messages(line: Line, event: Quote | Trade, market: InstrumentMarket) -> list[m.Message]:
    """What `event` means on `line`; often nothing."""
    match line.kind:
        case Kind.MARKET_DATA:
            ticks = _quote_ticks(line, event, market) if isinstance(event, Quote) else _trade_ticks(line, event, market)
            return _permitted(line, ticks)
        case Kind.TICK_BY_TICK:
            return list(_tick_by_tick(line, event))
        case Kind.DEPTH:
            return changed_rows(line, market, event) if isinstance(event, Quote) else []
        case Kind.REAL_TIME_BARS:
            return []


def bar_message(bar: Bar, line: Line, start_s: int) -> m.RealTimeBar:
    """Only bars of trades have volume, wap and count; the others carry -1 as IB sends them. An index has no average."""
    trades = line.view == "TRADES"
    wap = round(bar.wap, 8) if line.instrument.sized else 0.0
    return m.RealTimeBar(
        time=start_s,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume if trades else -1,
        wap=wap if trades else -1,
        count=bar.count if trades else -1,
    )


def wants(line: Line, message: m.Message) -> bool:
    """Whether a message pushed by hand belongs on this line."""
    match message:
        case m.TickByTickLast():
            return line.kind is Kind.TICK_BY_TICK and _TICK_BY_TICK_TYPES.get(line.view) == message.tick_type
        case m.TickByTickBidAsk():
            return line.kind is Kind.TICK_BY_TICK and line.view == "BidAsk"
        case m.TickByTickMidPoint():
            return line.kind is Kind.TICK_BY_TICK and line.view == "MidPoint"
        case m.RealTimeBar():
            return line.kind is Kind.REAL_TIME_BARS
        case m.MarketDepth() | m.MarketDepthL2():
            return line.kind is Kind.DEPTH
        case m.ErrorMessage():
            return True
        case _:
            return line.kind is Kind.MARKET_DATA


def _quote_ticks(line: Line, quote: Quote, market: View) -> list[m.Message]:
    ticks: list[m.Message] = []
    if quote.bid_moved:
        ticks.append(m.TickPrice(tick_type=BID, price=quote.bid, size=_quoted(line, quote.bid_size), attrib_mask=1))
    elif quote.bid_resized and line.instrument.sized:
        ticks.append(m.TickSize(tick_type=BID_SIZE, size=quote.bid_size))
    if quote.ask_moved:
        ticks.append(m.TickPrice(tick_type=ASK, price=quote.ask, size=_quoted(line, quote.ask_size), attrib_mask=1))
    elif quote.ask_resized and line.instrument.sized:
        ticks.append(m.TickSize(tick_type=ASK_SIZE, size=quote.ask_size))
    ticks += _computed(line, market, quote.time_s, {BID: quote.bid_moved, ASK: quote.ask_moved})
    if line.background is not None and (quote.bid_moved or quote.ask_moved):
        version = line.session.server_version
        ticks += generic_ticks_of_quote(line.generic_ticks, line.background, market, quote.time_s, version)
    return ticks


def _trade_ticks(line: Line, trade: Trade, market: View) -> list[m.Message]:
    ticks: list[m.Message] = []
    second = int(trade.time_s)
    if second != line.last_timestamp_s:
        line.last_timestamp_s = second
        ticks.append(m.TickString(tick_type=LAST_TIMESTAMP, value=str(second)))
    ticks += [
        m.TickString(tick_type=tick_type, value=_rt_volume(trade))
        for number, tick_type in _TRADE_STRINGS.items()
        if number in line.generic_ticks
    ]
    if trade.price_moved:
        ticks.append(m.TickPrice(tick_type=LAST, price=trade.price, size=_shown(line, trade.size)))
    elif line.instrument.sized:
        ticks.append(m.TickSize(tick_type=LAST_SIZE, size=_shown(line, trade.size)))
    if line.instrument.sized:
        ticks.append(m.TickSize(tick_type=VOLUME, size=_shown(line, trade.volume)))
    if trade.new_high:
        ticks.append(m.TickPrice(tick_type=HIGH, price=trade.price, size=0))
    if trade.new_low:
        ticks.append(m.TickPrice(tick_type=LOW, price=trade.price, size=0))
    ticks += _computed(line, market, trade.time_s, {LAST: trade.price_moved})
    if line.background is not None and line.generic_ticks:
        version = line.session.server_version
        ticks += generic_ticks_of_trade(line.generic_ticks, line.background, market, trade.time_s, version)
    return ticks


def _rt_volume(trade: Trade) -> str:
    """price;size;time in ms;total volume;vwap;single market maker. Source: IBKR's RT Volume page."""
    return f"{trade.price};{trade.size};{int(trade.time_s * 1000)};{trade.volume};{trade.vwap:.8f};true"


def _tick_by_tick(line: Line, event: Quote | Trade) -> Iterable[m.Message]:
    time = int(event.time_s)
    if isinstance(event, Trade):
        tick_type = _TICK_BY_TICK_TYPES.get(line.view)
        # A client of whole sizes only would be told of a trade of nothing.
        untold = event.size < 1 and line.session.server_version < FRACTIONAL_SIZES
        if tick_type is not None and not untold:
            yield m.TickByTickLast(
                tick_type=tick_type, time=time, price=event.price, size=event.size, exchange=event.exchange
            )
    elif line.view == "BidAsk" and (event.bid_moved or event.ask_moved or not line.ignore_size):
        yield m.TickByTickBidAsk(
            time=time,
            bid_price=event.bid,
            ask_price=event.ask,
            bid_size=event.bid_size,
            ask_size=event.ask_size,
        )
    elif line.view == "MidPoint" and (event.bid_moved or event.ask_moved):
        yield m.TickByTickMidPoint(time=time, mid_point=round((event.bid + event.ask) / 2, 8))


def _quoted(line: Line, size: Decimal) -> Decimal | None:
    """The size of a quote; an index has prices only, and IB leaves their sizes empty."""
    return size if line.instrument.sized else None


def _shown(line: Line, size: Decimal) -> Decimal | None:
    """Level-1 last sizes and volumes are whole before 222. Source: ibapi MIN_SERVER_VER_FRACTIONAL_LAST_SIZE."""
    if not line.instrument.sized:
        return None
    if line.session.server_version >= 222:
        return size
    return size.to_integral_value(rounding="ROUND_FLOOR")


def _permitted(line: Line, ticks: list[m.Message]) -> list[m.Message]:
    """What of the ticks the line gets: all, those that need no permission, or their delayed twins.

    A tick type that has no twin is left out of delayed data.
    """
    if line.reduced:
        return [tick for tick in ticks if getattr(tick, "tick_type", None) in INDEPENDENT_TICKS]
    if not line.delayed:
        return ticks
    return [
        msgspec.structs.replace(tick, tick_type=DELAYED[tick.tick_type])
        for tick in ticks
        if isinstance(tick, _TICKS) and tick.tick_type in DELAYED
    ]


def value_tick(tick_type: int, price: float, size: float) -> m.Message:
    """One recorded level-1 row as the one message it came from: tickSize for size types, else tickPrice."""
    if tick_type in SIZE_TICKS:
        return m.TickSize(tick_type=tick_type, size=size)
    return m.TickPrice(tick_type=tick_type, price=price, size=size)
