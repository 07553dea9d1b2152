"""Conflation: of each stream the newest at most every so often, and everything that is no data at its place.

Pure: the time is given. Reads nothing.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from ibkr_actor.client.book import OrderBook
from ibkr_actor.client.items import AnyItem, Item, Missed, Refused
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_SNAPSHOT, Depth, End, Gap, Greeks, Option, Reset, Roll, Tick

_NOTICES = (Gap, Reset, Roll, End, Missed, Refused)


class _Lane(Struct, eq=False):
    """One stream: when it may give out again, what waits for that (part -> item), and its book if it is one."""

    free_at_s: float
    held: dict[Any, Item[AnyItem]]
    book: OrderBook


class Conflator:
    """Give it every item, and ask for what is `due` after each wait of `wait_s`."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._lanes: dict[Stream, _Lane] = {}
        self.conflated = 0

    def take(self, item: Item[AnyItem], now_s: float) -> list[Item[AnyItem]]:
        """What to give out at once: nothing, the item, or for a notice what was held before it too."""
        lane = self._lanes.get(item.stream)
        if lane is None:
            lane = self._lanes[item.stream] = _Lane(now_s, {}, OrderBook())
        record = item.record
        if isinstance(record, _NOTICES):
            items = [*self._release(lane), item]
            if not isinstance(record, Missed | Refused):
                lane.book.add(record)
            return items
        if isinstance(record, Depth):
            lane.book.add(record)
            if not lane.book.known:
                return []
        part = _part(record)
        older = lane.held.pop(part, None)
        if older is not None:
            self.conflated += 1
            item = structs.replace(item, conflated=older.conflated + 1)
        lane.held[part] = item
        return self._release(lane, now_s) if now_s >= lane.free_at_s else []

    def due(self, now_s: float) -> list[Item[AnyItem]]:
        """What was held until now."""
        lanes = [lane for lane in self._lanes.values() if lane.held and lane.free_at_s <= now_s]
        return [item for lane in lanes for item in self._release(lane, now_s)]

    def wait_s(self, now_s: float) -> float | None:
        """How long until something is due; None when nothing is held."""
        times = [lane.free_at_s for lane in self._lanes.values() if lane.held]
        return max(0.0, min(times) - now_s) if times else None

    def _release(self, lane: _Lane, now_s: float | None = None) -> list[Item[AnyItem]]:
        """Everything held, in the order it came. A notice lets go of it early, and moves no time."""
        items = [_whole(item, lane.book) for item in lane.held.values()]
        lane.held.clear()
        if now_s is not None:
            lane.free_at_s = now_s + self._interval_s
        return items


def _part(record: AnyItem) -> Any:
    """What may replace what: a tick only one of its type, a computation of its source, an option itself."""
    match record:
        case Tick():
            return record.tick_type
        case Greeks():
            return record.source
        case Option():
            return record.con_id
        case _:
            return type(record)


def _whole(item: Item[AnyItem], book: OrderBook) -> Item[AnyItem]:
    """A change of a book says nothing without those left out, so the whole book is given."""
    record = item.record
    if not isinstance(record, Depth):
        return item
    record = structs.replace(
        record,
        side=None,
        position=None,
        operation="snapshot",
        price=None,
        size=None,
        market_maker=None,
        flags=record.flags | FLAG_SNAPSHOT,
        bids=list(book.bids),
        asks=list(book.asks),
    )
    return structs.replace(item, record=record)
