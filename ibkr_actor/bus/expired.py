"""Streams of this epoch that expired in Redis: the little that must be known when one of them comes back.

Bounded: where there are too many, the one that expired longest ago is forgotten, and its seqs would begin anew.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

from msgspec import Struct

from ibkr_actor.bus.streams import TICK_KINDS
from ibkr_actor.schema.instruments import symbol_of
from ibkr_actor.schema.keys import Stream

EXPIRED_MAX: Final = 100_000


class Expired(Struct, frozen=True, gc=False):
    """The newest record of a stream that is gone."""

    seq: int
    entry_id: str


class ExpiredStreams:
    """Expired streams by name, oldest first."""

    def __init__(self, most: int = EXPIRED_MAX) -> None:
        self._most = most
        self._streams: OrderedDict[Stream, Expired] = OrderedDict()
        self._ticks: Counter[str] = Counter()  # symbol -> records in those of its streams whose records are ticks

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, stream: Stream, expired: Expired) -> None:
        """The stream is gone."""
        self._streams[stream] = expired
        self._count(stream, expired.seq - 1)
        if len(self._streams) > self._most:
            self.take(next(iter(self._streams)))

    def take(self, stream: Stream) -> Expired | None:
        """The stream comes back; None when it never expired. Affects: it is expired no more."""
        expired = self._streams.pop(stream, None)
        if expired is not None:
            self._count(stream, 1 - expired.seq)
        return expired

    def ticks(self, symbol: str) -> int:
        """Records of a symbol's ticks in streams that are gone."""
        return self._ticks[symbol]

    def _count(self, stream: Stream, records: int) -> None:
        if stream.kind not in TICK_KINDS:
            return
        symbol = symbol_of(stream.instrument)
        self._ticks[symbol] += records
        if not self._ticks[symbol]:
            del self._ticks[symbol]
