"""The tally: what epoch, seq and gaps prove about loss."""

from ibkr_actor.client.tally import Tally
from ibkr_actor.schema.records import Gap, MidPoint, Reset

KEY = "ibkr:{g1}:midpoint:EUR.CASH.IDEALPRO.USD"


def midpoint(seq: int, epoch: int = 7) -> MidPoint:
    return MidPoint(epoch, seq, 1, 1_000, None, 1, 0, 1.1)


def gap(first_seq: int, seq: int) -> Gap:
    return Gap(7, seq, 1, 1_000, None, 1, 0, "overflow", None, None, first_seq, seq - first_seq + 1)


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
