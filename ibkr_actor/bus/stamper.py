"""The stamper: knows every stream of this epoch, and makes entries of records: epoch, seq, encoding.

Writes nothing and keeps no entries; the ring does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from ibkr_actor.bus.config import PublisherConfig, RetentionConfig
from ibkr_actor.bus.expired import Expired, ExpiredStreams
from ibkr_actor.bus.streams import LAST, NOT_LAST, TICK_KINDS, WINDOW, Entry, StreamState
from ibkr_actor.schema.codec import encode_msgpack, encode_record
from ibkr_actor.schema.instruments import symbol_of
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import (
    FEED_LIVE,
    FLAG_LATE,
    GREEKS_SOURCES,
    ChainWindow,
    DataRecord,
    Depth,
    End,
    Gap,
    Greeks,
    Option,
    Record,
    Reset,
    Roll,
    System,
    Tick,
)

ENTRIES_MIN: Final = 100  # approximate trimming works on whole nodes of 100 entries
# Records that are no last value.
SLOTS: Final[dict[type[Record], int]] = {
    Gap: NOT_LAST,
    Reset: NOT_LAST,
    Roll: NOT_LAST,
    End: NOT_LAST,
    Depth: NOT_LAST,
    ChainWindow: WINDOW,
}


class Stamper:
    """The streams of one epoch. Every method returns at once and is called by one task at a time."""

    def __init__(self, keys: Keys, epoch: int, config: PublisherConfig, retention: RetentionConfig) -> None:
        self._keys = keys
        self._epoch = epoch
        self._all_kinds = config.all_kinds
        self._retention = retention
        self._encode: Callable[[DataRecord | System], bytes] = (
            encode_msgpack if config.encoding == "msgpack" else partial(encode_record, encoding="json")
        )
        self._states: dict[Stream, StreamState] = {}  # every stream of this epoch, open or closed, that is not expired
        self._expired = ExpiredStreams()
        self._open: dict[Stream, StreamState] = {}  # those that may be published to without further ado
        self._all: dict[str, StreamState] = {}  # kind -> its `all:<kind>` stream
        self._system = StreamState(keys.system, keys.system, "system", stream=None, is_data=False)
        self._entries_divisor = 1
        self.gaps: dict[str, int] = {}  # cause -> how many were announced

    def stamp(self, items: Sequence[tuple[Stream, DataRecord]], entries: list[Entry]) -> None:
        """Adds an entry for each record, after the reset of its stream where that is new. Affects: the records.

        A record that cannot be encoded raises; what came before it stands in `entries`, and its stream has no hole.
        """
        epoch, encode, streams, all_kinds = self._epoch, self._encode, self._open, self._all_kinds
        for stream, record in items:
            state = streams.get(stream)
            if state is None:
                state = self._opened(stream, record, entries)
            seq = state.seq + 1
            record.epoch = epoch
            record.seq = seq
            payload = encode(record)
            state.seq = seq  # only now: see above
            slot = SLOTS.get(type(record), LAST)
            if slot != LAST:
                if type(record) is Depth and record.operation == "snapshot":
                    slot = LAST  # only a whole book is a value
                elif type(record) is Gap:
                    self.gaps[record.cause] = self.gaps.get(record.cause, 0) + 1
            elif type(record) is Tick:
                slot = record.tick_type
            elif type(record) is Greeks:
                slot = GREEKS_SOURCES.index(record.source)
            elif type(record) is Option:
                slot = record.con_id
            elif record.flags & FLAG_LATE:
                slot = NOT_LAST  # newer ones stand before it
            entries.append(Entry(state, seq, payload, slot))
            if all_kinds and stream.kind in all_kinds:
                self._stamp_for_all(stream.kind, record, entries)

    def stamp_system(self, record: System, entries: list[Entry]) -> None:
        """The same for the `system` stream."""
        if self._system.seq == 0:
            entries.append(self._reset_entry(self._system, record.at_ns))
        self._add(self._system, record, entries)

    def close(self, stream: Stream) -> StreamState | None:
        """The stream has no holders: its next write lets it expire. None when it is not open."""
        state = self._open.pop(stream, None)
        if state is not None:
            state.closed = True
            state.ttl = b"%d" % max(1, round(self._retention.stream_ttl_s))
        return state

    def forget(self, keys: Collection[bytes]) -> None:
        """These keys are gone from Redis: closed streams among them need no more than their last seq and id."""
        gone = [
            stream for stream, state in self._states.items() if state.closed and not state.ttl and state.key in keys
        ]
        for stream in gone:
            state = self._states.pop(stream)
            self._expired.add(stream, Expired(state.seq, state.last_id))

    def set_entries_divisor(self, divisor: int) -> None:
        """Keeps fewer entries per stream from now on."""
        self._entries_divisor = divisor
        for state in self._every():
            state.entries_max = b"%d" % self.entries_max_of(state.kind)

    def entries_max_of(self, kind: str) -> int:
        """How many entries a stream of this kind keeps at present."""
        return max(ENTRIES_MIN, self._retention.entries_of(kind) // self._entries_divisor)

    def ticks(self) -> dict[str, int]:
        """Symbol -> records of its ticks in this epoch, for symbols with an open stream: no more than there are lines.

        Streams that are closed or gone count too, or a sum would fall when one of several ends.
        """
        held = {symbol_of(stream.instrument) for stream in self._open if stream.kind in TICK_KINDS}
        found = {symbol: self._expired.ticks(symbol) for symbol in held}
        for stream, state in self._states.items():
            if stream.kind in TICK_KINDS and (symbol := symbol_of(stream.instrument)) in held:
                found[symbol] += state.seq - 1  # without the reset
        return found

    @property
    def open_streams(self) -> list[StreamState]:
        """Data streams that have holders."""
        return list(self._open.values())

    @property
    def resolved(self) -> list[StreamState]:
        """Streams whose first record of this epoch has been made, and so may have been written."""
        return [state for state in self._every() if state.resolved]

    def __len__(self) -> int:
        return len(self._states)

    def _every(self) -> tuple[StreamState, ...]:
        return (*self._states.values(), *self._all.values(), self._system)

    def _opened(self, stream: Stream, record: DataRecord, entries: list[Entry]) -> StreamState:
        """The state of a stream that is not open: made, with its reset, or opened again."""
        state = self._states.get(stream)
        if state is None:
            key, last_key = self._keys.stream(stream.kind, stream.instrument), self._keys.last(stream.instrument)
            state = self._states[stream] = StreamState(key, last_key, stream.kind, stream=stream)
            state.con_id = record.con_id
            state.entries_max = b"%d" % self.entries_max_of(stream.kind)
            expired = self._expired.take(stream)
            entries.append(
                self._reset_entry(state, record.received_ns)
                if expired is None
                else self._reset_after(expired, state, record.received_ns)
            )
        elif state.closed:
            state.closed = False
            state.ttl = b"p"
        self._open[stream] = state
        return state

    def _stamp_for_all(self, kind: str, record: DataRecord, entries: list[Entry]) -> None:
        state = self._all.get(kind)
        if state is None:
            key = self._keys.all(kind)
            state = self._all[kind] = StreamState(key, key, kind, stream=None)
            state.entries_max = b"%d" % self.entries_max_of(kind)
            entries.append(self._reset_entry(state, record.received_ns))
        self._add(state, record, entries)

    def _add(self, state: StreamState, record: DataRecord | System, entries: list[Entry]) -> None:
        record.epoch, record.seq = self._epoch, state.seq + 1
        payload = self._encode(record)
        state.seq += 1
        entries.append(Entry(state, state.seq, payload, NOT_LAST))

    def _reset_after(self, expired: Expired, state: StreamState, received_ns: int) -> Entry:
        """Stands in for the records of this epoch that expired with the stream: its seq and its ids go on."""
        state.seq = seq = expired.seq
        state.start_after(expired.entry_id.encode())
        epoch, last_id = self._epoch, expired.entry_id
        draft = Reset(epoch, seq, state.con_id, received_ns, None, FEED_LIVE, 0, "deleted", epoch, seq, last_id)
        return Entry(state, seq, b"", NOT_LAST, draft=draft)

    def _reset_entry(self, state: StreamState, received_ns: int) -> Entry:
        """The first record of a stream in this epoch, completed when its past has been looked up."""
        state.seq = 1
        draft = Reset(self._epoch, 1, state.con_id, received_ns, None, FEED_LIVE, 0, "start", None, None, None)
        return Entry(state, 1, b"", NOT_LAST, draft=draft)
