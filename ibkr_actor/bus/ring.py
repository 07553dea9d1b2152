"""The ring: records on their way to Redis, in flight, and written but kept for a server that comes back with less.

Decides what is dropped when it is full, and counts it exactly. No Redis, no clock, no waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.bus.config import RingConfig
from ibkr_actor.bus.streams import NOT_LAST, Drop, Entry, StreamState, parse_id
from ibkr_actor.schema.codec import Encoding, decode_record, encode_record
from ibkr_actor.schema.records import FEED_LIVE, AnyRecord, Gap, Record, Reset, System

# What an entry costs beside its payload: the Struct, its id, the heads of two bytes objects, a slot in a queue.
ENTRY_BYTES: Final = 200


class Held(Struct, frozen=True):
    """What the server holds of a stream. `seq` is our newest record there, None when the newest are not ours."""

    gone: bool
    seq: int | None = None
    last_id: bytes = b"0-0"


class Ring:
    """Bounded by records and bytes. One batch is in flight at a time and is never dropped.

    Order of use: `extend` at any time; then `take`, and for that batch exactly one of `done` and `put_back`.
    """

    def __init__(self, config: RingConfig, epoch: int, encoding: Encoding = "msgpack") -> None:
        self._config = config
        self._epoch = epoch
        self._encoding: Encoding = encoding
        self._pending: deque[Entry] = deque()  # never in a batch yet
        self._retry: deque[Entry] = deque()  # with ids, older than all pending ones of their stream; never dropped
        self._in_flight: list[Entry] = []
        self._kept: deque[list[Entry]] = deque()  # written, by batch, oldest first
        self._kept_records = 0
        self._parked: dict[StreamState, list[Entry]] = {}  # streams that cannot be written: their reset and one drop
        self.bytes = 0
        self.lost = {"conflated": 0, "overflow": 0, "restart": 0}  # records, by cause of the gap that tells of them
        self.replayed = 0

    def __len__(self) -> int:
        return len(self._pending) + len(self._retry) + len(self._in_flight) + self._kept_records

    @property
    def waiting(self) -> int:
        """Records not yet written, those in flight included."""
        return len(self._pending) + len(self._retry) + len(self._in_flight)

    @property
    def has_work(self) -> bool:
        """There is something to take."""
        return bool(self._pending or self._retry)

    @property
    def parked(self) -> list[StreamState]:
        """Streams that cannot be written."""
        return list(self._parked)

    def extend(self, entries: Sequence[Entry], payload_bytes: int) -> None:
        """Adds records in order. When full, written ones go first, then quotes are conflated, then the oldest go."""
        self._pending.extend(entries)
        self.bytes += payload_bytes + ENTRY_BYTES * len(entries)
        if len(self) > self._config.records_max or self.bytes > self._config.bytes_max:
            self._make_room()

    def take(self, records_max: int, bytes_max: int) -> list[Entry]:
        """The next batch: what was put back, then the oldest pending. Gaps are encoded and grow no more."""
        assert not self._in_flight, "one batch in flight"
        batch: list[Entry] = []
        size = 0
        for queue in (self._retry, self._pending):
            while queue and len(batch) < records_max and size < bytes_max:
                entry = queue.popleft()
                if self._parked and entry.state in self._parked:
                    self._park_one(entry)
                    continue
                if type(entry) is Drop and not entry.payload:
                    self.complete(entry, self._gap(entry))
                batch.append(entry)
                size += len(entry.payload)
        self._in_flight = batch
        return batch

    def complete(self, entry: Entry, record: AnyRecord) -> None:
        """Encodes what could not be encoded earlier."""
        entry.payload = encode_record(record, self._encoding)
        self.bytes += len(entry.payload)

    def done(self, leftover: Sequence[Entry] = ()) -> None:
        """The batch is written, save for `leftover`, which the caller hands to `put_back` or `park` next."""
        written = self._in_flight
        if leftover:
            rest = {id(entry) for entry in leftover}
            written = [entry for entry in written if id(entry) not in rest]
        self._in_flight = []
        if written:
            self._kept.append(written)
            self._kept_records += len(written)
        while self._kept_records > self._config.replay_records_max:
            self._evict()

    def put_back(self, entries: Sequence[Entry] | None = None) -> None:
        """These are not known to be written and go first next time: the whole batch in flight when none are named."""
        if entries is None:
            entries, self._in_flight = self._in_flight, []
        self._retry.extendleft(reversed(entries))

    def park(self, entries: Sequence[Entry]) -> None:
        """Their stream cannot be written now: they become a drop that is tried again after `unpark`."""
        for entry in entries:
            self._park_one(entry)

    def unpark(self) -> None:
        """Tries the parked streams again."""
        for entries in self._parked.values():
            self._retry.extend(entries)
        self._parked.clear()

    def replay(self, held: Mapping[StreamState, Held]) -> int:
        """Queues again what these streams lack, and settles what they have; how many records that are.

        What the ring itself holds no more becomes a gap, or for a stream that is gone a reset, under the seq and id of
        the last such record, so that every seq above it follows.
        """
        again: dict[StreamState, list[Entry]] = {state: [] for state in held}
        self._take_kept(held, again)
        settled: list[Entry] = []
        rest: deque[Entry] = deque()
        for entry in self._retry:
            if entry.state not in held:
                rest.append(entry)
            elif entry.id and _has(held[entry.state], entry):
                settled.append(entry)
            else:
                again[entry.state].append(entry)
        before = len(self._retry)
        if settled:
            self._kept.append(settled)
            self._kept_records += len(settled)
        self._retry = rest
        for state, entries in again.items():
            self._mend(state, held[state], entries)
            self._retry.extend(entries)
        count = len(self._retry) + len(settled) - before
        self.replayed += count
        return count

    def _take_kept(self, held: Mapping[StreamState, Held], again: dict[StreamState, list[Entry]]) -> None:
        """Moves the kept records which the server lacks."""
        kept: deque[list[Entry]] = deque()
        for batch in self._kept:
            stay = []
            for entry in batch:
                has = held.get(entry.state)
                if has is None or _has(has, entry):
                    stay.append(entry)
                else:
                    again[entry.state].append(entry)
            if stay:
                kept.append(stay)
        self._kept = kept
        self._kept_records = sum(map(len, kept))

    def _mend(self, state: StreamState, held: Held, entries: list[Entry]) -> None:
        """Puts a gap or a reset before `entries` for what is missing between the server's newest record and them."""
        if held.gone:
            state.opened = False
        have = 0 if held.gone else held.seq
        if have is None:
            return  # only ids are known, and they say nothing of what is missing
        seq, entry_id = state.floor_seq, state.floor_id
        if entries and entries[0].seq <= seq:  # made here by an earlier replay: it is made anew
            first = entries.pop(0)
            seq, entry_id = first.seq, first.id
            self.bytes -= len(first.payload) + ENTRY_BYTES
            if type(first) is Drop:
                self.lost["restart"] -= first.seq - first.first_seq + 1
        elif seq <= have:
            return
        if held.gone:
            head = Entry(state, seq, b"", NOT_LAST, entry_id)
            self.complete(head, self._reset(state, seq, entry_id))
        else:
            head = Drop(state, seq, b"", NOT_LAST, entry_id, first_seq=have + 1, cause="restart")
            self.lost["restart"] += seq - have
        self.bytes += ENTRY_BYTES
        entries.insert(0, head)

    def _reset(self, state: StreamState, seq: int, entry_id: bytes) -> Reset:
        """Stands in for record `seq` of a stream that was deleted: those after it follow."""
        return Reset(
            self._epoch, seq, state.con_id, 0, None, FEED_LIVE, 0, "deleted", self._epoch, seq, entry_id.decode()
        )

    def _gap(self, drop: Drop) -> Gap:
        """The record that announces a drop, with the times of the first and the last record dropped."""
        first, last = self._decoded(drop.first_payload), self._decoded(drop.last_payload)
        from_ns, to_ns = _time_ns(first), _time_ns(last)
        return Gap(
            self._epoch,
            drop.seq,
            drop.state.con_id,
            to_ns or 0,
            None,
            last.feed if isinstance(last, Record) else FEED_LIVE,
            0,
            drop.cause,
            from_ns,
            to_ns,
            drop.first_seq,
            drop.seq - drop.first_seq + 1,
        )

    def _decoded(self, payload: bytes) -> AnyRecord | None:
        if not payload:
            return None
        return decode_record({b"d" if self._encoding == "msgpack" else b"j": payload})

    def _make_room(self) -> None:
        """Frees what is needed and some more, so that a full ring does not pay for it at every record."""
        config = self._config
        while self._kept and (len(self) > config.records_max or self.bytes > config.bytes_max):
            self._evict()
        if len(self) <= config.records_max and self.bytes <= config.bytes_max:
            return
        records = config.records_max - int(config.records_max * config.headroom)
        size = config.bytes_max - int(config.bytes_max * config.headroom)
        self._conflate(gain_min=(config.records_max - records) // 4)
        self._drop_oldest(records, size)

    def _evict(self) -> None:
        """Forgets the oldest written batch."""
        batch = self._kept.popleft()
        self._kept_records -= len(batch)
        for entry in batch:
            state = entry.state
            state.floor_seq, state.floor_id = entry.seq, entry.id
            self.bytes -= len(entry.payload) + ENTRY_BYTES

    def _conflate(self, gain_min: int) -> None:
        """Keeps the newest pending quote of each quote stream, unless that would free next to nothing."""
        newest: dict[StreamState, Entry] = {}
        quotes = 0
        for entry in self._pending:
            if entry.state.conflates and entry.slot != NOT_LAST:
                newest[entry.state] = entry
                quotes += 1
        if quotes - len(newest) <= gain_min:
            return
        runs: dict[StreamState, Drop | None] = {}  # state -> the drop that its next dropped record joins
        stay: deque[Entry] = deque()
        for entry in self._pending:
            state = entry.state
            is_old_quote = state.conflates and entry.slot != NOT_LAST and newest[state] is not entry
            if is_old_quote or (state.conflates and type(entry) is Drop):
                self._drop(entry, "conflated", runs, stay)
            else:
                self._keep(entry, runs, stay)  # a gap or an end in a quote stream is no quote
        self._pending = stay

    def _drop_oldest(self, records: int, size: int) -> None:
        """Drops the oldest pending records of all streams until both bounds are met."""
        runs: dict[StreamState, Drop | None] = {}
        old, stay = self._pending, deque[Entry]()
        while old and (len(self) + len(stay) > records or self.bytes > size):
            entry = old.popleft()
            if _is_droppable(entry):
                self._drop(entry, "overflow", runs, stay)
            else:
                self._keep(entry, runs, stay)
        old.extendleft(reversed(stay))

    def _keep(self, entry: Entry, runs: dict[StreamState, Drop | None], stay: deque[Entry]) -> None:
        runs[entry.state] = entry if type(entry) is Drop else None
        stay.append(entry)

    def _drop(self, entry: Entry, cause: str, runs: dict[StreamState, Drop | None], stay: deque[Entry]) -> None:
        """Adds a record, or an earlier drop, to the drop that precedes it in its stream, or makes one of it."""
        run = runs.get(entry.state)
        merged = self._merge(run, entry, cause)
        if merged is not run:
            runs[entry.state] = merged
            stay.append(merged)

    def _merge(self, run: Drop | None, entry: Entry, cause: str) -> Drop:
        if type(entry) is Drop:
            if run is None:
                self.bytes -= len(entry.payload)
                entry.payload = entry.id = b""
                return entry
            self.bytes -= len(entry.payload) + ENTRY_BYTES
            if entry.cause == "overflow":
                run.cause = "overflow"
            run.seq, run.last_payload = entry.seq, entry.last_payload
            return run
        self.lost[cause] += 1
        self.bytes -= len(entry.payload)
        if run is None:
            return Drop(
                entry.state,
                entry.seq,
                b"",
                NOT_LAST,
                first_seq=entry.seq,
                cause=cause,
                first_payload=entry.payload,
                last_payload=entry.payload,
            )
        self.bytes -= ENTRY_BYTES
        if cause == "overflow":
            run.cause = cause
        run.seq, run.last_payload = entry.seq, entry.payload
        return run

    def _park_one(self, entry: Entry) -> None:
        entries = self._parked.setdefault(entry.state, [])
        if not _is_droppable(entry):
            entries.append(entry)
            return
        last = entries[-1] if entries else None
        merged = self._merge(last if isinstance(last, Drop) else None, entry, "overflow")
        if merged is not last:
            entries.append(merged)


def _is_droppable(entry: Entry) -> bool:
    """Everything but the first reset of a stream, without which its epoch would begin in silence."""
    return entry.draft is None


def _has(held: Held, entry: Entry) -> bool:
    """Whether the server holds this record, by seq, or by id where its newest entries are not ours."""
    if held.gone:
        return False
    if held.seq is not None:
        return entry.seq <= held.seq
    return parse_id(entry.id) <= parse_id(held.last_id)


def _time_ns(record: AnyRecord | None) -> int | None:
    if record is None:
        return None
    return record.at_ns if isinstance(record, System) else record.received_ns or None
