"""Owns how long records take through the sidecar, as histograms: one look per burst and per write, none per tick.

Measures with the clock it is given; writes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ibkr_actor.bus.streams import Entry
from ibkr_actor.schema.records import FLAG_REFILLED, DataRecord

BUCKETS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
# Place of `received_ns` in a record on msgpack. Source: docs/STREAMS.md, "Records".
_RECEIVED: Final = 4
_decode: Final = msgspec.msgpack.Decoder().decode


class Histogram:
    """Counts per bucket, the last one for all that is above."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def told(self) -> dict[str, object]:
        """`le` are upper bounds in seconds; `counts` has one more, and is not cumulative."""
        return {"le": BUCKETS_S, "counts": self.counts, "sum": round(self.sum_s, 6)}


class Latencies:
    """From IB to the socket where IB sends a time, and from the socket to Redis' answer."""

    def __init__(self) -> None:
        self.ib_to_received = Histogram()
        self.received_to_published = Histogram()

    def burst(self, last: DataRecord) -> None:
        """The last record of a burst that is published. IB's times are whole seconds, so a second is uncertain."""
        source_ns = last.source_ns
        if source_ns is not None and not last.flags & FLAG_REFILLED:
            self.ib_to_received.observe(max(0, last.received_ns - source_ns) / 1e9)

    def written(self, batch: Sequence[Entry], now_ns: int) -> None:
        """A write was answered: its first record is the one that waited longest."""
        first = batch[0]
        if first.draft is not None or not first.state.is_data or not first.payload:
            return
        self.received_to_published.observe(max(0, now_ns - _received_ns(first.payload)) / 1e9)

    def told(self) -> dict[str, object]:
        return {
            "ib_to_received": self.ib_to_received.told(),
            "received_to_published": self.received_to_published.told(),
        }


def _received_ns(payload: bytes) -> int:
    value: Any = msgspec.json.decode(payload) if payload[:1] == b"{" else _decode(payload)
    return int(value["received_ns"]) if isinstance(value, dict) else int(value[_RECEIVED])
