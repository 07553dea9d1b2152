"""Counting what a reader got and what it lost, stream by stream, from epoch, seq and gap records.

Pure: it is given records and says what they prove. Reads nothing itself.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.schema.records import AnyRecord, Gap, Reset


class StreamTally(Struct):
    """What is known of one stream. `lost_announced` stands in gaps; `lost_unannounced` fell off the end unread."""

    epoch: int = 0
    seq: int = 0
    records: int = 0
    doubled: int = 0
    lost_announced: int = 0
    lost_unannounced: int = 0


class Tally:
    """Per stream key; the totals are sums over them."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamTally] = {}

    def add(self, key: str, record: AnyRecord) -> None:
        """Takes the next record of the stream `key`."""
        seen = self.streams.setdefault(key, StreamTally())
        first_seq = record.seq
        if isinstance(record, Gap) and record.lost is not None and record.first_seq is not None:
            seen.lost_announced += record.lost
            first_seq = record.first_seq
        if record.epoch != seen.epoch:
            # A new epoch begins with its reset at 1; a reader that joins in the middle has lost nothing.
            joined = seen.epoch == 0 and not isinstance(record, Reset)
            seen.epoch, seen.seq = record.epoch, first_seq - 1 if joined else 0
        if record.seq <= seen.seq:
            seen.doubled += 1
            return
        seen.lost_unannounced += max(0, first_seq - seen.seq - 1)
        seen.seq = record.seq
        seen.records += 1

    @property
    def records(self) -> int:
        return sum(seen.records for seen in self.streams.values())

    @property
    def doubled(self) -> int:
        return sum(seen.doubled for seen in self.streams.values())

    @property
    def lost(self) -> int:
        """Records that were published or dropped and did not arrive here, announced or not."""
        return sum(seen.lost_announced + seen.lost_unannounced for seen in self.streams.values())
