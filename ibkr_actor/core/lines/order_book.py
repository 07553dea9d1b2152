"""Owns the rows of one order book, as IB's insert, update and delete by position change them.

Publishes nothing and asks for nothing: `core.lines.line` makes records of the changes, `core.lines.depth` heals a
broken book.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ibkr_actor.core.events import DepthUpdate

# IB's numbers. Source: IBKR, TWS API, EWrapper::updateMktDepth.
ASK: Final = 0
BID: Final = 1
INSERT: Final = 0
UPDATE: Final = 1
DELETE: Final = 2
# No exchange's book is sent this deep.
_DEPTH_MAX: Final = 1_000
_OPERATIONS: Final = {INSERT: "insert", UPDATE: "update", DELETE: "delete"}


class BadRow(ValueError):
    """A change that cannot be made to this book: what is known of it is wrong."""


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One row; `market_maker` None where the book names nobody."""

    price: float | None
    size: str | None
    market_maker: str | None


class Change(Struct, frozen=True, gc=False):
    """One change that was made; the row of a delete is the one that is gone. `side` is IB's number."""

    side: int
    position: int
    operation: str
    row: Row


class Book:
    """Both sides, best row first, as deep as asked for (`rows`), or as IB keeps it. Built anew for every request to IB.

    `fresh` until the first change; `dirty` when it has changed since it was last shown; `doubtful` when changes may
    have been missed; `broken` when a change did not fit. The last two end with the next request.
    """

    __slots__ = ("broken", "depth", "dirty", "doubtful", "fresh", "received_ns", "rows", "sides")

    def __init__(self, rows: int) -> None:
        self.rows = rows
        # How many rows the server keeps of each side, as far as is known.
        self.depth = rows
        # By IB's number of the side: asks, bids.
        self.sides: tuple[list[Row], list[Row]] = ([], [])
        self.fresh = True
        self.dirty = False
        self.doubtful = False
        self.broken = False
        # When the last change was received.
        self.received_ns = 0

    def apply(self, event: DepthUpdate) -> list[Change]:
        """Makes the change, and says what it did.

        A row that an insert pushes beyond the depth of the book is deleted, and said to be; IB's own deletion of such a
        row, which some servers send, then finds it gone and does nothing.

        Raises:
            BadRow: the position does not exist, or side or operation is none of IB's. Nothing was changed.
        """
        position, operation = event.position, event.operation
        if event.side not in (ASK, BID) or operation not in _OPERATIONS:
            raise BadRow(f"side {event.side}, operation {operation}")
        side = self.sides[event.side]
        if operation == DELETE and position >= self.depth and position == len(side):
            return []
        if not 0 <= position < len(side) + (operation == INSERT) or position >= _DEPTH_MAX:
            raise BadRow(f"{_OPERATIONS[operation]} of row {position} where there are {len(side)}")
        if operation == INSERT:
            # A row put behind a full side shows that the server keeps more rows than it was asked for.
            self.depth = max(self.depth, position + 1)
        row = Row(event.price, event.size, event.market_maker or None)
        changes = []
        if operation == INSERT:
            side.insert(position, row)
        elif operation == UPDATE:
            side[position] = row
        else:
            row = side.pop(position)
        changes.append(Change(event.side, position, _OPERATIONS[operation], row))
        if len(side) > self.depth:
            changes.append(Change(event.side, self.depth, "delete", side.pop()))
        self.dirty = True
        self.received_ns = event.received_ns
        return changes
