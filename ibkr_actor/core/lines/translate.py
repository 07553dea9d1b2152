"""Owns how an IB event becomes a record: one function per kind of event.

Keeps no state and decides no stream. `epoch` and `seq` are left 0 for the publisher.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.events import (
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickGeneric,
    TickNews,
    TickOptionComputation,
    TickPrice,
    TickSize,
    TickString,
)
from ibkr_actor.core.lines.bar_builder import STEP_NS, Told
from ibkr_actor.core.lines.order_book import ASK, BID, Book, Change
from ibkr_actor.core.lines.quote import NO_SIZE, TopOfBook, is_no_price
from ibkr_actor.core.lines.tick_types import GREEKS_SOURCE_OF
from ibkr_actor.core.lines.tick_values import price_of_tick, size_of_tick, value_of_tick
from ibkr_actor.schema.records import (
    FLAG_BUILT,
    FLAG_REFILLED,
    FLAG_SNAPSHOT,
    Bar,
    BidAsk,
    Depth,
    Greeks,
    MidPoint,
    News,
    Quote,
    Tick,
    Trade,
)

_TRADES: Final = frozenset({"TRADES", "AGGTRADES"})


def quote(top: TopOfBook, received_ns: int, changed: int, con_id: int, feed: int, flags: int) -> Quote:
    """The top of book after a price or size message. IB sends no time with it."""
    return Quote(
        0,
        0,
        con_id,
        received_ns,
        None,
        feed,
        flags,
        top.bid,
        top.ask,
        top.last,
        top.bid_size,
        top.ask_size,
        top.last_size,
        top.volume,
        changed,
    )


def known_quote(top: TopOfBook, con_id: int, feed: int, flags: int) -> Quote | None:
    """The top of book as it stood after the last message, for a holder who joins a line that is already up."""
    if top.changed is None:
        return None
    return quote(top, top.received_ns, top.changed, con_id, feed, flags | FLAG_BUILT)


def tick_price(event: TickPrice, con_id: int, feed: int, flags: int) -> Tick:
    """A price that is not top of book (high, low, close, mark, ...); a size that came with it is IB's repetition."""
    return Tick(0, 0, con_id, event.received_ns, None, feed, flags, event.tick_type, price_of_tick(event))


def tick_size(event: TickSize, con_id: int, feed: int, flags: int) -> Tick:
    """A size that is not top of book (open interest, average volume, ...), as text."""
    return Tick(0, 0, con_id, event.received_ns, None, feed, flags, event.tick_type, size_of_tick(event))


def tick_value(event: TickGeneric | TickString, con_id: int, feed: int, flags: int) -> Tick:
    """A generic tick (number) or a string tick (text)."""
    return Tick(0, 0, con_id, event.received_ns, None, feed, flags, event.tick_type, value_of_tick(event))


def trade(event: TickByTickLast, con_id: int, feed: int, flags: int) -> Trade:
    """A trade of Last or AllLast, with the exchange's time in whole seconds as IB sends it."""
    return Trade(
        0,
        0,
        con_id,
        event.received_ns,
        event.time_ns or None,
        feed,
        flags,
        event.price,
        event.size,
        event.exchange,
        event.conditions,
        event.past_limit,
        event.unreported,
    )


def bid_ask(event: TickByTickBidAsk, con_id: int, feed: int, flags: int) -> BidAsk:
    """A tick-by-tick change of the best bid or ask; -1 without a size is none."""
    return BidAsk(
        0,
        0,
        con_id,
        event.received_ns,
        event.time_ns or None,
        feed,
        flags,
        None if is_no_price(event.bid, event.bid_size) else event.bid,
        None if is_no_price(event.ask, event.ask_size) else event.ask,
        event.bid_size,
        event.ask_size,
        event.bid_past_low,
        event.ask_past_high,
    )


def midpoint(event: TickByTickMidPoint, con_id: int, feed: int, flags: int) -> MidPoint:
    """A tick-by-tick change of the midpoint."""
    return MidPoint(0, 0, con_id, event.received_ns, event.time_ns or None, feed, flags, event.price)


def news(event: TickNews, con_id: int, feed: int, flags: int) -> News:
    """A headline; the article is asked for by its id."""
    return News(
        0, 0, con_id, event.received_ns, event.time_ns or None, feed, flags,
        event.provider, event.article_id, event.headline, event.extra,
    )  # fmt: skip


def greeks(event: TickOptionComputation, con_id: int, feed: int, flags: int) -> Greeks:
    """What IB computed of an option; what it could not compute is null."""
    return Greeks(
        0,
        0,
        con_id,
        event.received_ns,
        None,
        feed,
        flags,
        GREEKS_SOURCE_OF[event.tick_type],
        event.implied_vol,
        event.delta,
        event.gamma,
        event.vega,
        event.theta,
        event.option_price,
        event.pv_dividend,
        event.underlying_price,
    )


def book_row(change: Change, received_ns: int, con_id: int, feed: int, flags: int, *, smart: bool) -> Depth:
    """A change of one row. IB sends no time with it."""
    row = change.row
    return Depth(
        0,
        0,
        con_id,
        received_ns,
        None,
        feed,
        flags,
        "bid" if change.side == BID else "ask",
        change.position,
        change.operation,
        row.price,
        row.size,
        row.market_maker,
        smart,
    )


def whole_book(book: Book, received_ns: int, con_id: int, feed: int, flags: int, *, smart: bool) -> Depth:
    """All rows of a book as they stood after the last change."""
    bids, asks = ([(row.price, row.size, row.market_maker) for row in book.sides[side]] for side in (BID, ASK))
    flags |= FLAG_SNAPSHOT
    return Depth(
        0, 0, con_id, received_ns, None, feed, flags, None, None, "snapshot", None, None, None, smart, bids, asks
    )


def bar(event: RealTimeBar, con_id: int, feed: int, flags: int, what_to_show: str, revision: int = 0) -> Bar:
    """A closed 5-second bar; IB sends the start of its interval and no time of sending.

    Bars of bids, asks, midpoints and indices have no volume, average or count: IB writes -1 there, which is unknown.
    """
    traded = what_to_show in _TRADES
    counted = traded and event.volume != NO_SIZE
    return Bar(
        0,
        0,
        con_id,
        event.received_ns,
        None,
        feed,
        flags,
        event.start_ns,
        event.start_ns + STEP_NS,
        event.open,
        event.high,
        event.low,
        event.close,
        event.volume if counted else None,
        event.wap if counted or (traded and event.wap != NO_SIZE) else None,
        event.count if traded and event.count != -1 else None,
        True,
        revision,
        what_to_show,
    )


def told_bar(told: Told, received_ns: int, con_id: int, feed: int, flags: int, what_to_show: str) -> Bar:
    """A bar as it stands, or finished, that IB keeps up to date or that is made here. IB sends no time with it."""
    span, shape = told.span, told.shape
    return Bar(
        0,
        0,
        con_id,
        received_ns,
        None,
        feed,
        flags | FLAG_REFILLED if told.refilled else flags,
        span.start_ns,
        span.end_ns,
        shape.open,
        shape.high,
        shape.low,
        shape.close,
        shape.volume,
        shape.wap,
        shape.count,
        told.final,
        told.revision,
        what_to_show,
        span.session_date,
    )
