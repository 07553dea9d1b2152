"""The tally: what epoch, seq and gaps prove about loss."""

from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.client import Checkpoint, Missed
from ibkr_actor.client.items import Unknown
from ibkr_actor.client.tally import StreamTally, Tally
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import AnyRecord, Gap, Reset
from tests.client.kit import gap, midpoint, reset

KEY = "ibkr:{g1}:midpoint:EUR.CASH.IDEALPRO.USD"
A = Stream("midpoint", "A")


def test_a_dense_stream_has_lost_nothing() -> None:
    tally = Tally()
    for record in (Reset(7, 1, 1, 1, None, 1, 0, "start", None, None, None), midpoint(2), midpoint(3)):
        tally.add(KEY, record)
    assert (tally.records, tally.doubled, tally.lost) == (3, 0, 0)


def test_a_hole_in_seq_is_a_loss_nobody_announced() -> None:
    tally = Tally()
    for seq in (5, 6, 9):
        tally.add(KEY, midpoint(seq))
    assert (tally.records, tally.streams[KEY].lost_unannounced, tally.lost) == (3, 2, 2)


def test_a_gap_announces_exactly_what_it_covers() -> None:
    tally = Tally()
    for record in (midpoint(1), gap(2, 11), midpoint(12), gap(15, 15)):
        tally.add(KEY, record)
    assert tally.streams[KEY].lost_announced == 11
    assert tally.streams[KEY].lost_unannounced == 2


def test_a_gap_in_time_with_no_count_loses_no_record_of_ours() -> None:
    tally = Tally()
    tally.add(KEY, midpoint(1))
    tally.add(KEY, Gap(7, 2, 1, 1_000, None, 1, 0, "disconnect", 5, 9))
    assert (tally.records, tally.lost) == (2, 0)


def test_a_record_seen_again_is_doubled_and_not_counted_twice() -> None:
    tally = Tally()
    for seq in (1, 2, 2, 1, 3):
        tally.add(KEY, midpoint(seq))
    assert (tally.records, tally.doubled, tally.lost) == (3, 2, 0)


def test_a_new_epoch_starts_at_one_and_what_is_missing_before_its_reset_counts() -> None:
    tally = Tally()
    tally.add(KEY, midpoint(40))
    tally.add(KEY, Reset(8, 1, 1, 1, None, 1, 0, "restart", 7, 40, "5-0"))
    tally.add(KEY, midpoint(3, epoch=8))
    assert tally.streams[KEY].lost_unannounced == 1


def missed_of(tally: StreamTally, *records: AnyRecord | Unknown) -> list[tuple[int | None, ...]]:
    """epoch, first_seq, last_seq and lost of all that was missed before these records."""
    found = [one for record in records for one in tally.take(record, f"{record.epoch}-{record.seq}", A)]
    assert all(one.stream == A and one.exact for one in found)
    return [(one.epoch, one.first_seq, one.last_seq, one.lost) for one in found]


def test_what_is_missed_is_named_with_its_place() -> None:
    tally = StreamTally()
    assert tally.take(midpoint(5), "7-5", A) == []
    assert tally.take(midpoint(9), "7-9", A) == [Missed(A, 3, "7-5", "7-9", 7, 6, 8)]


def test_a_checkpoint_tells_what_was_missed_since() -> None:
    tally = StreamTally()
    tally.begin_at(Checkpoint("7-5", 7, 5))
    assert missed_of(tally, midpoint(5), midpoint(6), midpoint(8)) == [(7, 7, 7, 1)]
    assert (tally.doubled, tally.records) == (1, 2)


def test_a_reset_proves_how_much_of_the_old_epoch_was_missed() -> None:
    tally = StreamTally()
    assert missed_of(tally, midpoint(38), reset(8, 7, 40)) == [(7, 39, 40, 2)]


def test_when_even_the_reset_is_gone_the_head_of_the_epoch_is_known_and_the_rest_is_not() -> None:
    tally = StreamTally()
    tally.take(midpoint(38), "7-38", A)
    rest, head = tally.take(midpoint(5, epoch=8), "8-5", A)
    assert (rest.lost, rest.exact, rest.epoch, rest.first_seq, rest.last_seq) == (0, False, 7, 39, None)
    assert (head.lost, head.exact, head.epoch, head.first_seq, head.last_seq) == (4, True, 8, 1, 4)


def test_of_a_whole_epoch_that_went_by_at_least_its_length_is_missed() -> None:
    tally = StreamTally()
    tally.take(midpoint(38), "7-38", A)
    (missed,) = tally.take(reset(10, 9, 20), "10-1", A)
    assert (missed.lost, missed.exact, missed.epoch) == (20, False, 9)


def test_a_record_of_a_tag_that_is_not_known_counts() -> None:
    assert missed_of(StreamTally(), midpoint(1), Unknown(7, 2), midpoint(3)) == []


@given(st.integers(1, 5), st.lists(st.booleans(), min_size=2, max_size=60), st.booleans())
def test_what_came_and_what_was_missed_add_up_to_what_was_published(first: int, kept: list[bool], again: bool) -> None:
    """Whichever records are trimmed, the counts are exact from the first to the last that was read."""
    tally = StreamTally()
    for seq, keep in enumerate(kept, first):
        if keep:
            tally.take(midpoint(seq), "", A)
            if again:
                tally.take(midpoint(seq), "", A)
    if any(kept):
        read = [seq for seq, keep in enumerate(kept, first) if keep]
        assert tally.records == len(read)
        assert tally.records + tally.lost_unannounced == read[-1] - read[0] + 1
        assert tally.doubled == (len(read) if again else 0)
