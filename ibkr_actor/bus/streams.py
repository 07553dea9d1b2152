"""What the publisher knows of each stream it writes, and the entries on their way there.

Plain data with the rule by which entry ids follow each other; no Redis, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.schema.keys import CHAIN, Stream
from ibkr_actor.schema.records import GREEKS_SOURCES, Reset

# What an entry means for the hash of last values; numbers from 0 on are one of several values of its kind: IB tick
# types, places in `GREEKS_SOURCES`, and of a chain the con_ids of its options, 0 for the chain's own window.
NOT_LAST: Final = -2
LAST: Final = -1
WINDOW: Final = 0

# Kinds of which every record is a tick of IB.
TICK_KINDS: Final = frozenset({"quote", "tick", "trade", "alltrade", "bidask", "midpoint"})

# Ids are `<ms>-<n>`; n rarely passes the number of records of one stream in a millisecond.
_NUMBERS: Final = tuple(b"%d" % n for n in range(4096))


class StreamState:
    """One stream in this epoch. Compared by identity.

    The publisher sets `seq` when a record enters the ring; the writer sets the ids; the ring sets the floor.
    """

    __slots__ = (
        "closed",
        "con_id",
        "conflates",
        "entries_max",
        "floor_id",
        "floor_seq",
        "group",
        "is_data",
        "key",
        "kind",
        "kind_fields",
        "last_key",
        "last_ms",
        "last_n",
        "opened",
        "resolved",
        "seq",
        "stream",
        "ttl",
    )

    def __init__(self, key: str, last_key: str, kind: str, *, stream: Stream | None, is_data: bool = True) -> None:
        self.key = key.encode()
        self.last_key = last_key.encode()
        self.kind = kind
        self.kind_fields = (kind.encode(), f"{kind}:id".encode())  # in the hash of last values
        self.stream = stream  # None for `system` and `all:<kind>`
        self.con_id = 0
        self.is_data = is_data  # stands in the set `streams`
        self.conflates = kind == "quote" and stream is not None
        self.seq = 0  # of the newest record that entered the ring
        self.last_ms = 0  # of the newest id given, or of the stream's last-generated-id where that is higher
        self.last_n = 0
        self.floor_seq = 0  # of the newest record that was written and is kept for replay no more
        self.floor_id = b""
        self.resolved = False  # its past has been looked up, and its reset made
        self.opened = False  # a write of this epoch has been answered, and the key has not vanished since
        self.closed = False  # has no holders; may expire
        self.ttl = b""  # what the next write does to the expiry: nothing, `p` to remove it, or seconds
        self.entries_max = b"10000"  # retention, for MAXLEN
        self.group: list[Entry] | None = None  # only while a batch is packed

    @property
    def last_id(self) -> str:
        """The newest id given."""
        return f"{self.last_ms}-{self.last_n}"

    @property
    def in_parts(self) -> bool:
        """Whether the hash of last values keeps several values of the kind."""
        return self.kind in ("tick", "greeks", CHAIN)

    def part_field(self, slot: int) -> bytes:
        """The field of one of them."""
        if self.kind == CHAIN:
            return b"option:%d" % slot if slot else b"window"
        return b"tick:%d" % slot if self.kind == "tick" else f"greeks:{GREEKS_SOURCES[slot]}".encode()

    def give_ids(self, entries: Sequence[Entry], ms: int) -> None:
        """Ids after the last one given, to those that have none: `ms` is the clock, which may stand still or go back.

        Affects: the entries' ids.
        """
        new = [entry for entry in entries if not entry.id]
        if not new:
            return
        if ms > self.last_ms:
            self.last_ms, self.last_n = ms, -1
        head = b"%d-" % self.last_ms
        for n, entry in enumerate(new, self.last_n + 1):
            entry.id = head + (_NUMBERS[n] if n < 4096 else b"%d" % n)
        self.last_n += len(new)

    def start_after(self, last_id: bytes) -> None:
        """No id will be given that is not above `last_id`."""
        ms, n = parse_id(last_id)
        if (ms, n) > (self.last_ms, self.last_n):
            self.last_ms, self.last_n = ms, n


class Entry(Struct, gc=False):
    """One record of one stream, encoded. The id is given when it first stands in a batch, and then stays.

    `payload` is empty for what can only be encoded later: a reset whose past is not looked up yet, a gap that may grow.
    `slot` is what it means for the hash of last values.
    """

    state: StreamState
    seq: int
    payload: bytes
    slot: int
    id: bytes = b""
    # The reset to be completed; with it the entry is never dropped.
    draft: Reset | None = None


class Drop(Entry, gc=False, kw_only=True):
    """Records first_seq..seq of a stream that were dropped, to become one `gap` under the seq and id of the last."""

    first_seq: int
    cause: str
    # The first and the last dropped record as encoded, for the times in the gap; empty when they are not known.
    first_payload: bytes = b""
    last_payload: bytes = b""


def parse_id(text: bytes) -> tuple[int, int]:
    """(ms, n) of an entry id."""
    ms, _, n = text.partition(b"-")
    return int(ms), int(n or 0)
