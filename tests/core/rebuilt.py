"""A reader of a depth stream, written from docs/STREAMS.md alone: it keeps the book that the records tell of."""

from __future__ import annotations

from collections.abc import Iterable

from ibkr_actor.schema.records import AnyRecord, Depth

Rows = list[tuple[float | None, str | None, str | None]]


class Rebuilt:
    """Bids and asks, best first; None before the first snapshot."""

    def __init__(self) -> None:
        self.bids: Rows | None = None
        self.asks: Rows | None = None
        self.snapshots = 0
        self.changes = 0

    def read(self, records: Iterable[AnyRecord]) -> Rebuilt:
        for record in records:
            if isinstance(record, Depth):
                self._take(record)
        return self

    def _take(self, record: Depth) -> None:
        if record.operation == "snapshot":
            assert record.bids is not None
            assert record.asks is not None
            assert record.flags & 8
            if record.bids or record.asks:
                # Not a beginning: it must be what the changes led to.
                assert self.bids in (None, record.bids)
                assert self.asks in (None, record.asks)
            self.bids, self.asks = list(record.bids), list(record.asks)
            self.snapshots += 1
            return
        self.changes += 1
        rows = self.bids if record.side == "bid" else self.asks
        if rows is None:
            return
        assert record.position is not None
        row = (record.price, record.size, record.market_maker)
        if record.operation == "insert":
            rows.insert(record.position, row)
        elif record.operation == "update":
            rows[record.position] = row
        else:
            assert rows.pop(record.position) == row
