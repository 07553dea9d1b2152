"""The order book that a `depth` stream tells of, kept by a reader from its records.

Pure: it is given records in the order of the stream and reads nothing itself.
"""

from __future__ import annotations

from ibkr_actor.schema.records import AnyRecord, Depth

Row = tuple[float | None, str | None, str | None]


class OrderBook:
    """Bids and asks, best first, each row (price, size, market_maker).

    `known` is False before the first whole book, and after anything that may be missing until the next one: then what
    it holds is out of date. Give it every record of the stream, the gaps and resets too.
    """

    def __init__(self) -> None:
        self.bids: list[Row] = []
        self.asks: list[Row] = []
        self.known = False
        self._epoch = 0
        self._seq = 0

    def add(self, record: AnyRecord) -> None:
        """Takes the next record; one that was taken already changes nothing."""
        if record.epoch == self._epoch and record.seq <= self._seq:
            return
        if record.epoch != self._epoch or record.seq != self._seq + 1:
            self.known = False
        self._epoch, self._seq = record.epoch, record.seq
        if not isinstance(record, Depth):
            # A gap, a reset or an end: the book begins anew after it.
            self.known = False
        elif record.bids is not None and record.asks is not None:
            self.bids, self.asks = list(record.bids), list(record.asks)
            self.known = True
        elif self.known and record.position is not None:
            self._change(self.bids if record.side == "bid" else self.asks, record.position, record)

    def _change(self, rows: list[Row], position: int, record: Depth) -> None:
        row = (record.price, record.size, record.market_maker)
        match record.operation:
            case "insert":
                rows.insert(position, row)
            case "update":
                rows[position] = row
            case "delete":
                del rows[position]
