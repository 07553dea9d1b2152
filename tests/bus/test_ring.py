"""The ring alone: what it keeps, what it drops, and that every drop is counted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.bus.config import RingConfig
from ibkr_actor.bus.ring import ENTRY_BYTES, Held, Ring
from ibkr_actor.bus.streams import LAST, NOT_LAST, Entry, StreamState
from ibkr_actor.schema.codec import decode_record, encode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import AnyRecord, Gap, Reset, Trade

EPOCH = 7
RECORDS_PER_BATCH = 1_000
BATCH_BYTES = 1 << 20


def stream(kind: str = "trade", name: str = "A") -> StreamState:
    state = StreamState(f"k:{kind}:{name}", f"l:{name}", kind, stream=Stream(kind, name))
    state.con_id = 1
    return state


def ring(records_max: int = 10, *, replay: int = 0, headroom: float = 0.0, bytes_max: int = 1 << 20) -> Ring:
    config = RingConfig(records_max=records_max, replay_records_max=replay, headroom=headroom, bytes_max=bytes_max)
    return Ring(config, EPOCH)


def entry(state: StreamState) -> Entry:
    """The next record of the stream; its time is its seq."""
    state.seq += 1
    record = Trade(EPOCH, state.seq, 1, state.seq, None, 1, 0, 10.0, "1", "", "", False, False)
    return Entry(state, state.seq, encode_record(record), LAST)


def add(to: Ring, state: StreamState, count: int = 1) -> None:
    for _ in range(count):
        one = entry(state)
        to.extend([one], len(one.payload))


def take(of: Ring, records_max: int = RECORDS_PER_BATCH) -> list[Entry]:
    """A batch, with ids as the writer gives them."""
    batch = of.take(records_max, BATCH_BYTES)
    for one in batch:
        one.state.give_ids([one], 1)
    return batch


def write(of: Ring, records_max: int = RECORDS_PER_BATCH) -> list[Entry]:
    batch = take(of, records_max)
    of.done()
    return batch


def decoded(entries: Sequence[Entry]) -> list[AnyRecord]:
    records = [decode_record({b"d": one.payload}) for one in entries]
    return [record for record in records if record is not None]


def shown(entries: Sequence[Entry]) -> list[str]:
    """`A3` for a record, `A[1-3] overflow` for a gap, `A=3` for a reset."""
    texts = []
    for one, record in zip(entries, decoded(entries), strict=True):
        name = one.state.key.decode().rsplit(":", 1)[1]
        if isinstance(record, Gap):
            assert record.lost == record.seq - (record.first_seq or 0) + 1
            texts.append(f"{name}[{record.first_seq}-{record.seq}] {record.cause}")
        elif isinstance(record, Reset):
            texts.append(f"{name}={record.seq}")
        else:
            texts.append(f"{name}{record.seq}")
    return texts


def test_records_leave_in_the_order_they_came() -> None:
    a, b, r = stream(name="A"), stream(name="B"), ring()
    add(r, a)
    add(r, b)
    add(r, a)
    assert shown(write(r)) == ["A1", "B1", "A2"]
    assert not r.has_work


def test_a_batch_holds_no_more_than_asked_for() -> None:
    a, r = stream(), ring()
    add(r, a, 5)
    assert shown(write(r, 2)) == ["A1", "A2"]
    assert r.waiting == 3


def test_a_batch_ends_where_its_bytes_are_full() -> None:
    a, r = stream(), ring()
    add(r, a, 5)
    assert len(r.take(100, 1)) == 1


def test_a_batch_put_back_comes_again_first_and_with_its_ids() -> None:
    a, r = stream(), ring()
    add(r, a, 2)
    ids = [one.id for one in take(r)]
    r.put_back()
    add(r, a)
    again = write(r)
    assert shown(again) == ["A1", "A2", "A3"]
    assert [one.id for one in again[:2]] == ids


def test_when_full_the_oldest_records_of_all_streams_become_one_gap_each() -> None:
    a, b, r = stream(name="A"), stream(name="B"), ring(4)
    add(r, a, 2)
    add(r, b, 2)
    add(r, a)
    assert shown(write(r)) == ["A[1-2] overflow", "B1", "B2", "A3"]
    assert r.lost["overflow"] == 2


def test_a_gap_grows_until_it_stands_in_a_batch() -> None:
    a, r = stream(), ring(4)
    add(r, a, 9)
    assert shown(write(r)) == ["A[1-6] overflow", "A7", "A8", "A9"]
    add(r, a, 5)
    assert shown(write(r)) == ["A[10-11] overflow", "A12", "A13", "A14"]


def test_a_gap_tells_the_times_of_the_first_and_last_record_dropped() -> None:
    a, r = stream(), ring(4)
    add(r, a, 9)
    gap = decoded(write(r))[0]
    assert isinstance(gap, Gap)
    assert (gap.from_ns, gap.to_ns, gap.con_id, gap.epoch) == (1, 6, 1, EPOCH)


def test_when_full_quotes_are_conflated_before_anything_else_is_dropped() -> None:
    trade, quote, r = stream("trade", "T"), stream("quote", "Q"), ring(8)
    add(r, trade, 3)
    add(r, quote, 6)
    assert shown(write(r)) == ["T1", "T2", "T3", "Q[1-5] conflated", "Q6"]
    assert r.lost == {"conflated": 5, "overflow": 0, "restart": 0}


def test_what_is_no_quote_in_a_quote_stream_survives_conflation() -> None:
    quote, r = stream("quote", "Q"), ring(5)
    add(r, quote, 2)
    special = entry(quote)
    special.slot = NOT_LAST
    r.extend([special], len(special.payload))
    add(r, quote, 3)
    assert shown(write(r)) == ["Q[1-2] conflated", "Q3", "Q[4-5] conflated", "Q6"]


def test_written_records_are_forgotten_before_pending_ones_are_dropped() -> None:
    a, r = stream(), ring(4, replay=100)
    add(r, a, 3)
    write(r)
    add(r, a, 3)
    assert shown(write(r)) == ["A4", "A5", "A6"]
    assert (a.floor_seq, sum(r.lost.values())) == (3, 0)


def test_a_batch_in_flight_is_never_dropped() -> None:
    a, r = stream(), ring(4)
    add(r, a, 3)
    take(r)
    add(r, a, 6)
    r.put_back()
    assert shown(write(r)) == ["A1", "A2", "A3", "A[4-9] overflow"]


def test_the_first_reset_of_a_stream_is_never_dropped() -> None:
    a, r = stream(), ring(3)
    a.seq = 1
    reset = Reset(EPOCH, 1, 1, 0, None, 1, 0, "start", None, None, None)
    r.extend([Entry(a, 1, b"", NOT_LAST, draft=reset)], 0)
    add(r, a, 6)
    batch = take(r)
    r.complete(batch[0], reset)
    r.done()
    assert shown(batch) == ["A=1", "A[2-6] overflow", "A7"]


def test_bytes_bound_the_ring_as_well_as_records() -> None:
    a = stream()
    size = len(entry(a).payload) + ENTRY_BYTES
    a.seq = 0
    r = ring(1_000, bytes_max=size * 4)
    add(r, a, 6)
    assert len(r) == 4
    assert r.bytes <= size * 4


def test_headroom_is_freed_at_once() -> None:
    a, r = stream(), ring(100, headroom=0.2)
    add(r, a, 101)
    assert len(r) == 80


def test_what_the_server_lacks_is_written_again_in_order() -> None:
    a, b, r = stream(name="A"), stream(name="B"), ring(100, replay=100)
    add(r, a, 5)
    add(r, b, 2)
    write(r)
    add(r, a, 1)
    assert r.replay({a: Held(gone=False, seq=2), b: Held(gone=False, seq=2)}) == 3
    assert shown(write(r)) == ["A3", "A4", "A5", "A6"]


def test_what_neither_the_server_nor_the_ring_holds_becomes_a_gap_under_its_last_id() -> None:
    a, r = stream(), ring(100, replay=3)
    add(r, a, 4)
    ids = [one.id for one in write(r, 2)]
    write(r, 2)
    r.replay({a: Held(gone=False, seq=1)})
    batch = write(r)
    assert shown(batch) == ["A[2-2] restart", "A3", "A4"]
    assert batch[0].id == ids[1]
    assert r.lost["restart"] == 1


def test_a_second_restart_from_older_data_makes_the_gap_longer_instead_of_a_second_one() -> None:
    a, r = stream(), ring(100, replay=10)
    add(r, a, 20)
    for _ in range(5):
        write(r, 4)
    r.replay({a: Held(gone=False, seq=11)})
    assert shown(write(r)) == ["A[12-12] restart", *[f"A{n}" for n in range(13, 21)]]
    r.replay({a: Held(gone=False, seq=5)})
    assert shown(write(r)) == ["A[6-12] restart", *[f"A{n}" for n in range(13, 21)]]
    assert r.lost["restart"] == 7


def test_a_stream_that_is_gone_comes_back_with_a_reset_in_the_place_of_the_record_before() -> None:
    a, r = stream(), ring(100, replay=3)
    add(r, a, 4)
    ids = [one.id for one in write(r, 2)]
    write(r, 2)
    a.opened = True
    r.replay({a: Held(gone=True)})
    batch = write(r)
    assert shown(batch) == ["A=2", "A3", "A4"]
    assert batch[0].id == ids[1]
    reset = decoded(batch)[0]
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.prev_epoch, reset.prev_seq, reset.prev_id) == ("deleted", EPOCH, 2, ids[1].decode())
    assert not a.opened


def test_a_stream_that_is_gone_and_of_which_all_is_kept_is_simply_written_again() -> None:
    a, r = stream(), ring(100, replay=10)
    add(r, a, 2)
    write(r)
    r.replay({a: Held(gone=True)})
    assert shown(write(r)) == ["A1", "A2"]


def test_where_the_newest_entries_are_foreign_the_ids_tell_what_is_there() -> None:
    a, r = stream(), ring(100, replay=10)
    add(r, a, 3)
    ids = [one.id for one in write(r)]
    r.replay({a: Held(gone=False, seq=None, last_id=ids[1])})
    assert shown(write(r)) == ["A3"]


def test_a_stream_that_cannot_be_written_is_parked_as_one_gap_and_does_not_hold_up_others() -> None:
    a, b, r = stream(name="A"), stream(name="B"), ring(100)
    add(r, a, 2)
    batch = take(r)
    r.done(batch)
    r.park(batch)
    add(r, a, 2)
    add(r, b, 1)
    assert shown(write(r)) == ["B1"]
    assert not r.has_work
    r.unpark()
    add(r, a, 1)
    assert shown(write(r)) == ["A[1-4] overflow", "A5"]
    assert r.lost["overflow"] == 4


class Server:
    """What a Redis would hold: entries by stream, each under a rising id."""

    def __init__(self) -> None:
        self.entries: dict[StreamState, list[Entry]] = {}

    def write(self, batch: Sequence[Entry]) -> None:
        for one in batch:
            there = self.entries.setdefault(one.state, [])
            assert not there or there[-1].seq < one.seq, "out of order or doubled"
            copy = Entry(one.state, one.seq, one.payload, one.slot, one.id)
            there.append(copy)

    def forget(self, share: float) -> None:
        """Restarts from older data: each stream loses its end."""
        for there in self.entries.values():
            del there[int(len(there) * share) :]

    def held(self, states: Sequence[StreamState]) -> dict[StreamState, Held]:
        return {state: self._held(state) for state in states}

    def _held(self, state: StreamState) -> Held:
        there = self.entries.get(state)
        return Held(gone=False, seq=there[-1].seq, last_id=there[-1].id) if there else Held(gone=True)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.integers(1, 6)),
        st.tuples(st.just("write"), st.integers(1, 9), st.just(0)),
        st.tuples(st.just("fail"), st.integers(1, 9), st.booleans()),
        st.tuples(st.just("forget"), st.sampled_from([0.0, 0.3, 0.8, 1.0]), st.just(0)),
    ),
    max_size=40,
)


@given(steps=STEPS, size=st.integers(4, 20), replay=st.integers(0, 12), headroom=st.sampled_from([0.0, 0.3]))
def test_every_record_is_written_once_in_order_or_counted(
    steps: list[tuple[str, float, int]], size: int, replay: int, headroom: float
) -> None:
    states = [stream("trade", "A"), stream("quote", "Q"), stream("trade", "C")]
    r, server = ring(size, replay=replay, headroom=headroom), Server()
    for step, first, second in steps:
        if step == "add":
            add(r, states[int(first)], second)
        elif step == "write":
            server.write(write(r, int(first)))
        elif step == "fail":  # the answer is lost: the batch was written or it was not
            batch = take(r, int(first))
            if second:
                server.write(batch)
            r.put_back()
            r.replay(server.held(states))
        else:
            server.forget(first)
            r.replay(server.held(states))
        assert r.bytes >= 0
        assert len(r) <= size + 2 * len(states) + 12 + 9
    while r.has_work:
        server.write(write(r))
    lost = 0
    for state in states:
        seq = 0
        for one, record in zip(server.entries.get(state, []), decoded(server.entries.get(state, [])), strict=True):
            first_seq = record.first_seq if isinstance(record, Gap) else record.seq
            if isinstance(record, Reset):
                first_seq = seq + 1  # tells of all before it
            assert first_seq == seq + 1
            lost += record.lost or 0 if isinstance(record, Gap) else 0
            seq = one.seq
        assert seq == state.seq or (seq == 0 and replay == 0)
    if not any(step == "forget" for step, _, _ in steps):
        assert lost == sum(r.lost.values())


@given(steps=STEPS)
def test_an_empty_ring_accounts_for_no_bytes(steps: list[tuple[str, float, int]]) -> None:
    states = [stream("trade", "A"), stream("quote", "Q"), stream("trade", "C")]
    r = ring(8, replay=4)
    for step, first, second in steps:
        if step == "add":
            add(r, states[int(first)], second)
        elif step == "write":
            write(r, int(first))
        elif step == "fail":
            take(r, int(first))
            r.put_back()
        else:
            r.replay({state: Held(gone=True) for state in states})
    while r.has_work:
        write(r)
    add(r, states[0], 8 - 1)  # pushes out everything kept
    kept = r.bytes
    first_kept = [one for batch in r._kept for one in batch]
    assert kept == sum(len(one.payload) + ENTRY_BYTES for one in [*first_kept, *r._pending])
