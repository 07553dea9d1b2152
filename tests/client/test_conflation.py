"""Conflation: the newest at its time, everything else counted, and what is no data at its place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.client import Item, OrderBook
from ibkr_actor.client.conflation import Conflator
from ibkr_actor.client.items import AnyItem, Missed
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Depth, Greeks, MidPoint, Tick
from tests.client.kit import gap, midpoint

A, B = Stream("midpoint", "A"), Stream("midpoint", "B")


def item(record: AnyItem, stream: Stream = A) -> Item[AnyItem]:
    return Item(stream, f"7-{getattr(record, 'seq', 0)}", record)


def given_out(items: list[Item[AnyItem]]) -> list[tuple[int, int]]:
    """seq, and how many were left out before it."""
    return [(getattr(one.record, "seq", 0), one.conflated) for one in items]


def test_the_first_comes_at_once_and_the_newest_of_the_others_when_it_is_due() -> None:
    conflator = Conflator(1.0)
    assert given_out(conflator.take(item(midpoint(1)), 10.0)) == [(1, 0)]
    assert conflator.wait_s(10.0) is None
    for seq in (2, 3, 4):
        assert conflator.take(item(midpoint(seq)), 10.0 + seq / 10) == []
    assert round(conflator.wait_s(10.4) or 0, 9) == 0.6
    assert conflator.due(10.9) == []
    assert given_out(conflator.due(11.0)) == [(4, 2)]
    assert conflator.conflated == 2


def test_a_record_after_a_quiet_time_comes_at_once() -> None:
    conflator = Conflator(1.0)
    conflator.take(item(midpoint(1)), 10.0)
    assert given_out(conflator.take(item(midpoint(2)), 12.0)) == [(2, 0)]


def test_streams_do_not_hold_up_each_other() -> None:
    conflator = Conflator(1.0)
    conflator.take(item(midpoint(1)), 10.0)
    assert given_out(conflator.take(item(midpoint(1), B), 10.5)) == [(1, 0)]
    conflator.take(item(midpoint(2)), 10.6)
    conflator.take(item(midpoint(2), B), 10.7)
    assert [one.stream for one in conflator.due(11.0)] == [A]
    assert [one.stream for one in conflator.due(11.5)] == [B]


def test_a_gap_or_a_loss_keeps_its_place_behind_what_was_held() -> None:
    conflator = Conflator(1.0)
    conflator.take(item(midpoint(1)), 10.0)
    conflator.take(item(midpoint(2)), 10.1)
    conflator.take(item(midpoint(3)), 10.2)
    assert given_out(conflator.take(item(gap(4, 8)), 10.3)) == [(3, 1), (8, 0)]
    missed = item(Missed(A, 3, "7-8", "7-12"))
    assert conflator.take(missed, 10.4) == [missed]
    # A notice moves no time: the next record still waits for its turn.
    assert conflator.take(item(midpoint(12)), 10.5) == []
    assert given_out(conflator.due(11.0)) == [(12, 0)]


def test_a_tick_replaces_only_one_of_its_type_and_a_computation_one_of_its_source() -> None:
    conflator = Conflator(1.0)
    for seq, tick_type in ((1, 49), (2, 49), (3, 21), (4, 49)):
        conflator.take(item(Tick(7, seq, 1, 1, None, 1, 0, tick_type, 1.0)), 10.0 + seq / 100)
    assert given_out(conflator.due(11.01)) == [(3, 0), (4, 1)]
    stream = Stream("greeks", "A")
    for seq, source in ((1, "bid"), (2, "bid"), (3, "ask")):
        record = Greeks(7, seq, 1, 1, None, 1, 0, source, 0.2, None, None, None, None, None, None, None)
        conflator.take(item(record, stream), 20.0 + seq / 100)
    assert given_out(conflator.due(21.01)) == [(2, 0), (3, 0)]


def depth(seq: int, operation: str, side: str | None, position: int | None, price: float | None) -> Depth:
    rows: list[tuple[float | None, str | None, str | None]] | None = [] if operation == "snapshot" else None
    return Depth(7, seq, 1, 1, None, 1, 0, side, position, operation, price, "5", None, False, rows, rows)


def test_an_order_book_is_conflated_to_the_whole_book() -> None:
    conflator, book = Conflator(1.0), OrderBook()
    records = [
        depth(1, "snapshot", None, None, None),
        depth(2, "insert", "bid", 0, 10.0),
        depth(3, "insert", "bid", 0, 11.0),
        depth(4, "delete", "bid", 1, None),
    ]
    items = []
    for record in records:
        items += conflator.take(item(record), 10.0)
        book.add(record)
    items += conflator.due(11.0)
    newest = items[-1].record
    assert isinstance(newest, Depth)
    assert (newest.operation, newest.seq, newest.bids, newest.asks) == ("snapshot", 4, book.bids, book.asks)
    assert newest.flags & 8
    assert items[-1].conflated == 2


def test_changes_of_a_book_that_is_not_known_are_held_back_until_it_is_whole() -> None:
    conflator = Conflator(1.0)
    assert conflator.take(item(depth(5, "update", "bid", 0, 10.0)), 10.0) == []
    assert conflator.due(20.0) == []
    assert len(conflator.take(item(depth(6, "snapshot", None, None, None)), 20.0)) == 1


@given(st.lists(st.tuples(st.floats(0, 0.5), st.booleans(), st.sampled_from([A, B])), max_size=60))
def test_whatever_comes_is_given_out_in_order_or_counted(steps: list[tuple[float, bool, Stream]]) -> None:
    conflator, now_s, seqs = Conflator(1.0), 0.0, {A: 0, B: 0}
    out: list[Item[AnyItem]] = []
    for wait_s, is_gap, stream in steps:
        now_s += wait_s
        out += conflator.due(now_s)
        seqs[stream] += 1
        seq = seqs[stream]
        out += conflator.take(item(gap(seq, seq) if is_gap else midpoint(seq), stream), now_s)
    out += conflator.due(now_s + 1.0)
    for stream, newest in seqs.items():
        mine = [one for one in out if one.stream == stream]
        told = [one.record.seq for one in mine if not isinstance(one.record, Missed) and hasattr(one.record, "seq")]
        assert told == sorted(set(told))
        assert len(mine) + sum(one.conflated for one in mine) == newest
        data = [one for one in mine if isinstance(one.record, MidPoint)]
        assert conflator.conflated >= sum(one.conflated for one in data)
