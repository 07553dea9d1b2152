"""Entry ids as the publisher gives them: one above the other in each stream, whatever the clock does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.bus.streams import LAST, Entry, StreamState, parse_id
from tests.bus.kit import TRADE


def stream() -> StreamState:
    return StreamState("key", "last", "trade", stream=TRADE)


def entries(state: StreamState, count: int) -> list[Entry]:
    return [Entry(state, 0, b"", LAST) for _ in range(count)]


def given_ids(state: StreamState, count: int, ms: int) -> list[bytes]:
    batch = entries(state, count)
    state.give_ids(batch, ms)
    return [entry.id for entry in batch]


def test_ids_count_on_within_a_millisecond_and_start_anew_in_the_next() -> None:
    state = stream()
    assert given_ids(state, 2, 10) == [b"10-0", b"10-1"]
    assert given_ids(state, 1, 10) == [b"10-2"]
    assert given_ids(state, 2, 11) == [b"11-0", b"11-1"]


def test_a_clock_that_goes_back_changes_nothing_but_the_count() -> None:
    state = stream()
    given_ids(state, 1, 10)
    assert given_ids(state, 2, 3) == [b"10-1", b"10-2"]


def test_ids_go_on_after_the_last_one_that_the_server_holds() -> None:
    state = stream()
    state.start_after(b"50-7")
    assert given_ids(state, 2, 20) == [b"50-8", b"50-9"]
    assert given_ids(state, 1, 51) == [b"51-0"]


def test_an_entry_keeps_the_id_it_has() -> None:
    state = stream()
    batch = entries(state, 3)
    state.give_ids(batch[:1], 10)
    state.give_ids(batch, 12)
    assert [entry.id for entry in batch] == [b"10-0", b"12-0", b"12-1"]
    state.give_ids(batch, 13)
    assert given_ids(state, 1, 12) == [b"12-2"]


def test_a_batch_may_be_longer_than_any_table() -> None:
    ids = given_ids(stream(), 5_000, 10)
    assert [parse_id(one) for one in ids] == [(10, n) for n in range(5_000)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=20))
def test_every_id_is_above_the_one_before_it_and_not_below_the_clock(calls: list[tuple[int, int]]) -> None:
    state = stream()
    last = (0, -1)
    for count, ms in calls:
        for one in given_ids(state, count, ms):
            assert parse_id(one) > last
            assert parse_id(one)[0] >= ms
            last = parse_id(one)
