"""Owns how each event of a line becomes records of its streams: the hot path, one function per type of event.

Decides no request and changes no holder; `core.lines.translate` gives the records their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ibkr_actor.core import events
from ibkr_actor.core.lines import stand_ins, translate
from ibkr_actor.core.lines.bar_builder import Told
from ibkr_actor.core.lines.line import Channel, Item, Line, add, append
from ibkr_actor.core.lines.order_book import BadRow, Book
from ibkr_actor.core.lines.tick_types import (
    DELAYED_TICKS,
    GREEKS_SOURCE_OF,
    HALTED_TICKS,
    QUOTE_PRICES,
    QUOTE_SIZES,
    TickType,
)
from ibkr_actor.schema.records import FEED_DELAYED, FLAG_BUILT, DataRecord

_BAR_NS: Final = 5_000_000_000
_FIRST_DELAYED: Final = int(TickType.DELAYED_BID)


def _tick_price(line: Line, event: events.TickPrice, items: list[Item]) -> None:
    tick_type = event.tick_type
    if tick_type not in QUOTE_PRICES:
        if line.feed < FEED_DELAYED and tick_type in DELAYED_TICKS:
            line.feed = FEED_DELAYED
        channel = line.tick
        if channel is None:
            line.unheld += 1
        else:
            append(items, line, channel, translate.tick_price(event, line.con_id, line.feed, line.flags))
        return
    if tick_type >= _FIRST_DELAYED and line.feed < FEED_DELAYED:
        line.feed = FEED_DELAYED
    line.top.merge_price(event)
    _quote(line, tick_type, event.received_ns, items)


def _tick_size(line: Line, event: events.TickSize, items: list[Item]) -> None:
    tick_type = event.tick_type
    if tick_type not in QUOTE_SIZES:
        channel = line.tick
        if channel is None:
            line.unheld += 1
        else:
            append(items, line, channel, translate.tick_size(event, line.con_id, line.feed, line.flags))
        return
    if tick_type >= _FIRST_DELAYED and line.feed < FEED_DELAYED:
        line.feed = FEED_DELAYED
    line.top.merge_size(event)
    _quote(line, tick_type, event.received_ns, items)


def _quote(line: Line, tick_type: int, received_ns: int, items: list[Item]) -> None:
    """The top of the book after a change."""
    if line.standing_in:
        stand_ins.top_moved(line, tick_type, received_ns, items)
    channel = line.quote
    if channel is None:
        line.unheld += 1
        return
    record = translate.quote(line.top, received_ns, tick_type, line.con_id, line.feed, line.flags)
    if channel.gap is None:
        items.append((channel.stream, record))
    else:
        append(items, line, channel, record)


def _tick_value(line: Line, event: events.TickGeneric | events.TickString, items: list[Item]) -> None:
    if event.tick_type in HALTED_TICKS and isinstance(event, events.TickGeneric):
        line.halted = (event.value or 0) > 0
    if line.feed < FEED_DELAYED and event.tick_type in DELAYED_TICKS:
        line.feed = FEED_DELAYED
    if line.standing_in and isinstance(event, events.TickString):
        stand_ins.traded(line, event, items)
    channel = line.tick
    if channel is None:
        line.unheld += 1
    else:
        append(items, line, channel, translate.tick_value(event, line.con_id, line.feed, line.flags))


def _trade(line: Line, event: events.TickByTickLast, items: list[Item]) -> None:
    if line.main is not None:
        append(items, line, line.main, translate.trade(event, line.con_id, line.feed, line.flags))


def _bid_ask(line: Line, event: events.TickByTickBidAsk, items: list[Item]) -> None:
    if line.main is not None:
        append(items, line, line.main, translate.bid_ask(event, line.con_id, line.feed, line.flags))


def _midpoint(line: Line, event: events.TickByTickMidPoint, items: list[Item]) -> None:
    if line.main is not None:
        append(items, line, line.main, translate.midpoint(event, line.con_id, line.feed, line.flags))


def _bar(line: Line, event: events.RealTimeBar, items: list[Item]) -> None:
    if line.fives is None:
        line.unheld += 1
        return
    before_ns = line.fives.newest_ns
    revision = line.fives.take(event)
    if revision is None:
        return
    if before_ns and line.watch is not None and line.watch.left_out(before_ns, event.start_ns):
        # One comes every five seconds: a login elsewhere silences them without a word. Source: IBKR, "Real Time Bars".
        for channel in line.channels.values():
            channel.lose("stall", before_ns + _BAR_NS)
    if line.main is not None:
        record = translate.bar(event, line.con_id, line.feed, line.flags, line.what_to_show, revision)
        if revision:
            # It says nothing of what is missing: a gap that is open stands before the next one that is new.
            add(items, line.main, record)
        else:
            append(items, line, line.main, record)
    for channel in line.built:
        assert channel.builder is not None
        publish_bars(line, channel, channel.builder.take(event), event.received_ns, items)


def _kept_bar(line: Line, event: events.HistoricalBarUpdate, items: list[Item]) -> None:
    if line.kept is None or line.main is None:
        line.unheld += 1
    else:
        publish_bars(line, line.main, line.kept.update(event), event.received_ns, items)


def publish_bars(line: Line, channel: Channel, bars: Sequence[Told], received_ns: int, items: list[Item]) -> None:
    """Publishes what is to be told of bars that IB keeps up to date, or that are made here."""
    flags = line.flags | (FLAG_BUILT if channel.row.built else 0)
    for told in bars:
        bar = translate.told_bar(told, received_ns, line.con_id, line.feed, flags, line.what_to_show)
        append(items, line, channel, bar)


def _news(line: Line, event: events.TickNews, items: list[Item]) -> None:
    channel = line.channels.get("news")
    if channel is None:
        line.unheld += 1
    else:
        append(items, line, channel, translate.news(event, line.con_id, line.feed, line.flags))


def _greeks(line: Line, event: events.TickOptionComputation, items: list[Item]) -> None:
    tick_type = event.tick_type
    source = GREEKS_SOURCE_OF.get(tick_type)
    if source is None:
        line.ignored += 1
        return
    if tick_type >= _FIRST_DELAYED and line.feed < FEED_DELAYED:
        line.feed = FEED_DELAYED
    line.computed[source] = event
    if line.greeks is None:
        line.unheld += 1
    else:
        append(items, line, line.greeks, translate.greeks(event, line.con_id, line.feed, line.flags))


def whole_book(line: Line, book: Book, received_ns: int) -> DataRecord:
    """The record that shows a book whole."""
    return translate.whole_book(book, received_ns, line.con_id, line.feed, line.flags, smart=line.row.smart)


def emptied_book(line: Line, received_ns: int) -> list[Item]:
    """IB begins the book anew: it is empty until rows are inserted again."""
    items: list[Item] = []
    if line.book is not None:
        line.book = Book(line.book.rows)
        if line.main is not None and line.live:
            line.book.fresh = False
            append(items, line, line.main, whole_book(line, line.book, received_ns))
    return items


def _depth(line: Line, event: events.DepthUpdate, items: list[Item]) -> None:
    book, channel = line.book, line.main
    if book is None or channel is None:
        line.unheld += 1
        return
    if book.broken or book.doubtful:
        book.broken = True
        return
    empty = Book(0) if book.fresh else None
    try:
        changes = book.apply(event)
    except BadRow:
        book.broken = True
        return
    if empty is not None:
        # What a reader holds of an earlier request is void.
        book.fresh = False
        append(items, line, channel, whole_book(line, empty, event.received_ns))
    for change in changes:
        record = translate.book_row(change, event.received_ns, line.con_id, line.feed, line.flags, smart=line.row.smart)
        items.append((channel.stream, record))


def _market_data_type(line: Line, event: events.MarketDataType, items: list[Item]) -> None:
    line.feed = event.feed


def _ignore(line: Line, event: events.MarketDataEvent, items: list[Item]) -> None:
    line.ignored += 1


# Data that shows a line to be alive, against what merely accompanies it.
DATA: Final[frozenset[type[events.MarketDataEvent]]] = frozenset(
    {
        events.TickPrice,
        events.TickSize,
        events.TickGeneric,
        events.TickString,
        events.TickOptionComputation,
        events.TickNews,
        events.TickByTickLast,
        events.TickByTickBidAsk,
        events.TickByTickMidPoint,
        events.RealTimeBar,
        events.HistoricalBarUpdate,
        events.DepthUpdate,
    }
)
PUBLISH: Final[dict[type[events.MarketDataEvent], Callable[[Line, Any, list[Item]], None]]] = {
    events.TickPrice: _tick_price,
    events.TickSize: _tick_size,
    events.TickGeneric: _tick_value,
    events.TickString: _tick_value,
    events.TickByTickLast: _trade,
    events.TickByTickBidAsk: _bid_ask,
    events.TickByTickMidPoint: _midpoint,
    events.RealTimeBar: _bar,
    events.MarketDataType: _market_data_type,
    events.Rerouted: _ignore,
    events.TickOptionComputation: _greeks,
    events.TickNews: _news,
    events.HistoricalBarUpdate: _kept_bar,
    events.DepthUpdate: _depth,
    events.TickReqParams: _ignore,
    events.TickSnapshotEnd: _ignore,
}
