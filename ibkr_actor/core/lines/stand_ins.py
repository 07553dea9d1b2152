"""Owns the records of tick-by-tick streams that level 1 stands in for: trades, top of book and midpoint of its ticks.

Decides neither when level 1 stands in nor when it ends: `core.subscriptions.fallbacks` does.
"""

from __future__ import annotations

import math
from typing import Final

from ibkr_actor.core.events import TickString
from ibkr_actor.core.lines.line import Channel, Item, Line, append
from ibkr_actor.core.lines.tick_types import TickType
from ibkr_actor.schema.records import FLAG_FALLBACK, BidAsk, MidPoint, Trade

_NS_PER_MS: Final = 1_000_000
# Trades as level 1 tells them one by one, with their time; those of 375 leave out what is not in the tape.
# Source: IBKR, TWS API, "Generic Tick Types": 233 RTVolume, 375 RT Trade Volume; ";"-separated.
GENERIC_TICK_OF: Final = {"Last": 375, "AllLast": 233}
_TOLD_BY: Final = {"Last": int(TickType.RT_TRD_VOLUME), "AllLast": int(TickType.RT_VOLUME)}
_SIDES: Final = frozenset(
    int(tick_type)
    for tick_type in (
        TickType.BID,
        TickType.ASK,
        TickType.BID_SIZE,
        TickType.ASK_SIZE,
        TickType.DELAYED_BID,
        TickType.DELAYED_ASK,
        TickType.DELAYED_BID_SIZE,
        TickType.DELAYED_ASK_SIZE,
    )
)


def needed_ticks(channel: Channel) -> frozenset[int]:
    """The generic ticks that level 1 is asked for to stand in for a stream."""
    tick = GENERIC_TICK_OF.get(channel.row.tick_type or "")
    return frozenset() if tick is None else frozenset({tick})


def top_moved(line: Line, tick_type: int, received_ns: int, items: list[Item]) -> None:
    """The top of book after a price or size: told where it says something new."""
    if tick_type not in _SIDES:
        return
    top = line.top
    head = (0, 0, line.con_id, received_ns, None, line.feed, line.flags | FLAG_FALLBACK)
    for channel in line.standing_in:
        if channel.row.tick_type == "BidAsk":
            sides = (top.bid, top.ask, top.bid_size, top.ask_size)
            if sides != channel.shown and any(side is not None for side in sides):
                channel.shown = sides
                append(items, line, channel, BidAsk(*head, *sides, False, False))
        elif channel.row.tick_type == "MidPoint" and top.bid is not None and top.ask is not None:
            middle = (top.bid + top.ask) / 2
            if middle != channel.shown:
                channel.shown = middle
                append(items, line, channel, MidPoint(*head, middle))


def traded(line: Line, event: TickString, items: list[Item]) -> None:
    """A trade that level 1 tells: `price;size;time in ms;volume of the day;average;by one market maker`."""
    for channel in line.standing_in:
        if _TOLD_BY.get(channel.row.tick_type or "") != event.tick_type:
            continue
        trade = _trade(line, event)
        if trade is None:
            line.ignored += 1
        else:
            append(items, line, channel, trade)


def _trade(line: Line, event: TickString) -> Trade | None:
    """None for a message without a price, which only moves the day's volume."""
    price, size, at_ms, *_ = [*event.value.split(";"), "", "", ""]
    try:
        value, source_ns = float(price), int(at_ms) * _NS_PER_MS
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    head = (0, 0, line.con_id, event.received_ns, source_ns or None, line.feed, line.flags | FLAG_FALLBACK)
    plain = size.rstrip("0").rstrip(".") if "." in size else size
    return Trade(*head, value, plain or None, "", "", False, False)
