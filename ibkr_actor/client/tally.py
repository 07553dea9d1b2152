"""Counting what a reader got and what it lost, stream by stream, from epoch, seq and gap records.

Pure: it is given records and says what they prove. Reads nothing itself.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.client.items import Checkpoint, Missed, Unknown
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import AnyRecord, Gap, Reset

_NOWHERE = Stream("", "")


class StreamTally(Struct):
    """What is known of one stream. `lost_announced` stands in gaps; `lost_unannounced` fell off the end unread.

    `epoch`, `seq` and `id` are those of the last record taken; epoch 0 is before the first.
    """

    epoch: int = 0
    seq: int = 0
    id: str = ""
    records: int = 0
    doubled: int = 0
    lost_announced: int = 0
    lost_unannounced: int = 0

    def is_new(self, record: AnyRecord | Unknown) -> bool:
        """Whether it was not taken before: an entry may be read again after a lost connection."""
        return record.epoch > self.epoch or (record.epoch == self.epoch and record.seq > self.seq)

    def begin_at(self, checkpoint: Checkpoint) -> None:
        """Everything up to there was read before."""
        self.epoch, self.seq, self.id = checkpoint.epoch, checkpoint.seq, checkpoint.id

    def take(self, record: AnyRecord | Unknown, entry_id: str = "", stream: Stream = _NOWHERE) -> list[Missed]:
        """Takes the next record, and says what is missing before it and nobody announced."""
        if not self.is_new(record):
            self.doubled += 1
            return []
        first_seq = record.seq
        if isinstance(record, Gap) and record.lost is not None and record.first_seq is not None:
            self.lost_announced += record.lost
            first_seq = record.first_seq
        missed = self._missing(record, first_seq, entry_id, stream)
        self.lost_unannounced += sum(one.lost for one in missed)
        self.epoch, self.seq, self.id = record.epoch, record.seq, entry_id
        self.records += 1
        return missed

    def _missing(self, record: AnyRecord | Unknown, first_seq: int, to_id: str, stream: Stream) -> list[Missed]:
        if self.epoch == 0:
            # A reader that joins in the middle has lost nothing.
            return []
        between = (stream, self.id, to_id)
        if record.epoch == self.epoch:
            return _missed(between, self.epoch, self.seq + 1, first_seq - 1)
        of_old = self._rest_of_epoch(record, between)
        return of_old + _missed(between, record.epoch, 1, first_seq - 1)

    def _rest_of_epoch(self, record: AnyRecord | Unknown, between: tuple[Stream, str, str]) -> list[Missed]:
        """What the reset that begins an epoch proves of the one before; without it nobody knows how much that was."""
        stream, from_id, to_id = between
        if not isinstance(record, Reset):
            return [Missed(stream, 0, from_id, to_id, self.epoch, self.seq + 1, None, exact=False)]
        if record.prev_epoch is None or record.prev_seq is None:
            return []
        if record.prev_epoch == self.epoch:
            return _missed(between, self.epoch, self.seq + 1, record.prev_seq)
        # Whole epochs went by: of the last one it is known how much it had, of the others it is not.
        return [Missed(stream, record.prev_seq, from_id, to_id, record.prev_epoch, 1, record.prev_seq, exact=False)]


def _missed(between: tuple[Stream, str, str], epoch: int, first_seq: int, last_seq: int) -> list[Missed]:
    if last_seq < first_seq:
        return []
    stream, from_id, to_id = between
    return [Missed(stream, last_seq - first_seq + 1, from_id, to_id, epoch, first_seq, last_seq)]


class Tally:
    """Per stream key; the totals are sums over them."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamTally] = {}

    def add(self, key: str, record: AnyRecord) -> None:
        """Takes the next record of the stream `key`."""
        self.streams.setdefault(key, StreamTally()).take(record)

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
