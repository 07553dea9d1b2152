"""Owns what a subscriber sees of a market event: the messages of each kind of line, and those at its start.

Must not encode, send or keep state beyond the line's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.lines import Kind, Line
from ibkr_actor.sim.market import Bar, InstrumentMarket, Quote, Trade

# Tick types. Source: ibapi.ticktype.TickTypeEnum.
BID_SIZE, BID, ASK, ASK_SIZE, LAST, LAST_SIZE, HIGH, LOW, VOLUME, CLOSE = range(10)
OPEN, LAST_TIMESTAMP, RT_VOLUME, HALTED = 14, 45, 48, 49
# Live tick type -> its delayed twin.
DELAYED = {
    BID: 66, ASK: 67, LAST: 68, BID_SIZE: 69, ASK_SIZE: 70, LAST_SIZE: 71, HIGH: 72, LOW: 73, VOLUME: 74,
    CLOSE: 75, OPEN: 76, LAST_TIMESTAMP: 88, HALTED: 90,
}  # fmt: skip
# Tick types whose value is a size and that therefore travel as tickSize.
SIZE_TICKS = frozenset({0, 3, 5, 8, 21, 22, 27, 28, 29, 30, 34, 61, 63, 64, 65, 69, 70, 71, 74, 86, 87, 89, 107, 108})
# The generic tick that asks for RT volume.
GENERIC_RT_VOLUME = 233
# From here on sizes may have a fraction. Source: ibapi MIN_SERVER_VER_FRACTIONAL_SIZE_SUPPORT.
FRACTIONAL_SIZES = 163
_TICK_BY_TICK_TYPES = {"Last": 1, "AllLast": 2}
_TICKS = (m.TickPrice, m.TickSize, m.TickString, m.TickGeneric)


def start_messages(line: Line) -> list[m.Message]:
    """The two messages IB sends before any tick: 58 and 81."""
    it = line.instrument
    return [
        m.MarketDataType(market_data_type=line.market_data_type),
        m.TickReqParams(
            min_tick=it.min_tick,
            bbo_exchange="9c0001" if it.trades else "",
            snapshot_permissions=3 if it.trades else 0,
            last_price_precision=it.min_tick,
            last_size_precision=it.size_increment,
        ),
    ]


def first_ticks(line: Line, market: InstrumentMarket, now_s: float) -> list[m.Message]:
    """The state of the market at the start of a line, in the order seen on a real gateway.

    Source: a snapshot recorded at 173: 45, 4, 49, 8, 6, 7, then the rest.
    """
    messages: list[m.Message] = []
    if line.instrument.trades:
        messages += [
            m.TickString(tick_type=LAST_TIMESTAMP, value=str(int(market.last_time_s or now_s))),
            m.TickPrice(tick_type=LAST, price=market.last, size=_shown(line, market.last_size)),
            m.TickGeneric(tick_type=HALTED, value=0.0),
            m.TickSize(tick_type=VOLUME, size=_shown(line, market.volume)),
            m.TickPrice(tick_type=HIGH, price=market.high, size=0),
            m.TickPrice(tick_type=LOW, price=market.low, size=0),
            m.TickPrice(tick_type=CLOSE, price=market.close, size=0),
            m.TickPrice(tick_type=OPEN, price=market.open, size=0),
        ]
    messages += [
        m.TickPrice(tick_type=BID, price=market.bid, size=market.bid_size, attrib_mask=1),
        m.TickPrice(tick_type=ASK, price=market.ask, size=market.ask_size, attrib_mask=1),
    ]
    if not line.instrument.trades:
        messages += [
            m.TickPrice(tick_type=HIGH, price=market.high, size=0),
            m.TickPrice(tick_type=LOW, price=market.low, size=0),
            m.TickPrice(tick_type=CLOSE, price=market.close, size=0),
        ]
    return _as_delayed(messages) if line.delayed else messages


def first_depth(line: Line, market: InstrumentMarket) -> list[m.Message]:
    """The whole book, inserted row by row, bids first."""
    return _depth_rows(line, market, 0, {1: line.rows, 0: line.rows})


def _depth_update(line: Line, market: InstrumentMarket, quote: Quote) -> list[m.Message]:
    """All rows of a side that moved, the best row of one that only has another size."""
    bids = line.rows if quote.bid_moved else int(quote.bid_resized)
    asks = line.rows if quote.ask_moved else int(quote.ask_resized)
    return _depth_rows(line, market, 1, {1: bids, 0: asks})


def _depth_rows(line: Line, market: InstrumentMarket, operation: int, counts: dict[int, int]) -> list[m.Message]:
    """The best `counts[side]` rows of each side as operation 0 (insert) or 1 (update)."""
    rows: list[m.Message] = []
    for side, count in counts.items():
        for position in range(count):
            price, size = market.level(side, position)
            if line.smart_depth:
                rows.append(
                    m.MarketDepthL2(
                        position=position,
                        market_maker="NASDAQ",
                        operation=operation,
                        side=side,
                        price=price,
                        size=size,
                        is_smart_depth=True,
                    )
                )
            else:
                rows.append(m.MarketDepth(position=position, operation=operation, side=side, price=price, size=size))
    return rows


def event_messages(line: Line, event: Quote | Trade, market: InstrumentMarket) -> list[m.Message]:
    """What `event` means on `line`; often nothing."""
    match line.kind:
        case Kind.MARKET_DATA:
            ticks = _quote_ticks(event) if isinstance(event, Quote) else list(_trade_ticks(line, event))
            return _as_delayed(ticks) if line.delayed else ticks
        case Kind.TICK_BY_TICK:
            return list(_tick_by_tick(line, event))
        case Kind.DEPTH:
            return _depth_update(line, market, event) if isinstance(event, Quote) else []
        case Kind.REAL_TIME_BARS:
            return []


def bar_message(bar: Bar, what_to_show: str, start_s: int) -> m.RealTimeBar:
    """Only bars of trades have volume, wap and count; the others carry -1 as IB sends them."""
    trades = what_to_show == "TRADES"
    return m.RealTimeBar(
        time=start_s,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume if trades else -1,
        wap=f"{bar.wap:.6f}".rstrip("0").rstrip(".") if trades else -1,
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


def _quote_ticks(quote: Quote) -> list[m.Message]:
    ticks: list[m.Message] = []
    if quote.bid_moved:
        ticks.append(m.TickPrice(tick_type=BID, price=quote.bid, size=quote.bid_size, attrib_mask=1))
    elif quote.bid_resized:
        ticks.append(m.TickSize(tick_type=BID_SIZE, size=quote.bid_size))
    if quote.ask_moved:
        ticks.append(m.TickPrice(tick_type=ASK, price=quote.ask, size=quote.ask_size, attrib_mask=1))
    elif quote.ask_resized:
        ticks.append(m.TickSize(tick_type=ASK_SIZE, size=quote.ask_size))
    return ticks


def _trade_ticks(line: Line, trade: Trade) -> Iterable[m.Message]:
    second = int(trade.time_s)
    if second != line.last_timestamp_s:
        line.last_timestamp_s = second
        yield m.TickString(tick_type=LAST_TIMESTAMP, value=str(second))
    if GENERIC_RT_VOLUME in line.generic_ticks:
        yield m.TickString(tick_type=RT_VOLUME, value=_rt_volume(trade))
    if trade.price_moved:
        yield m.TickPrice(tick_type=LAST, price=trade.price, size=_shown(line, trade.size))
    else:
        yield m.TickSize(tick_type=LAST_SIZE, size=_shown(line, trade.size))
    yield m.TickSize(tick_type=VOLUME, size=_shown(line, trade.volume))
    if trade.new_high:
        yield m.TickPrice(tick_type=HIGH, price=trade.price, size=0)
    if trade.new_low:
        yield m.TickPrice(tick_type=LOW, price=trade.price, size=0)


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
    elif line.view == "BidAsk":
        yield m.TickByTickBidAsk(
            time=time,
            bid_price=event.bid,
            ask_price=event.ask,
            bid_size=event.bid_size,
            ask_size=event.ask_size,
        )
    elif line.view == "MidPoint" and (event.bid_moved or event.ask_moved):
        yield m.TickByTickMidPoint(time=time, mid_point=round((event.bid + event.ask) / 2, 8))


def _shown(line: Line, size: Decimal) -> Decimal:
    """Level-1 last sizes and volumes are whole before 222. Source: ibapi MIN_SERVER_VER_FRACTIONAL_LAST_SIZE."""
    if line.session.server_version >= 222:
        return size
    return size.to_integral_value(rounding="ROUND_FLOOR")


def _as_delayed(ticks: list[m.Message]) -> list[m.Message]:
    """The delayed twins; a tick type that has none is left out."""
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
