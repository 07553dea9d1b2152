"""Owns the tests of the benchmark's verdict: what it must find, and that it finds nothing in what is whole.

Must not run a benchmark.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ibkr_actor.schema.records import AnyRecord, Gap, Quote, Reset
from tests.bench.checker import Verdict, check_numbers, check_records, percentile, share

TICKS = 6


def whole(ticks: int = TICKS) -> list[AnyRecord]:
    """A stream as the sidecar writes it: its reset, then bid and ask in turn."""
    records: list[AnyRecord] = [Reset(7, 1, 900, 1_000, None, 1, 0, "start", None, None, None)]
    quote = Quote(7, 1, 900, 1_000, None, 1, 0, None, None, None, None, None, None, None, 0)
    for number in range(1, ticks + 1):
        is_ask = number % 2 == 0
        side = {"ask": 100.02, "ask_size": str(number)} if is_ask else {"bid": 100.0, "bid_size": str(number)}
        quote = structs.replace(quote, seq=number + 1, received_ns=1_000 + number, changed=2 if is_ask else 1, **side)
        records.append(quote)
    return records


def changed(records: list[AnyRecord], place: int, **fields: object) -> list[AnyRecord]:
    return [*records[:place], structs.replace(records[place], **fields), *records[place + 1 :]]


def renumbered(records: list[AnyRecord]) -> list[AnyRecord]:
    """The same records under dense sequence numbers, so that only the running numbers can tell."""
    return [structs.replace(record, seq=seq) for seq, record in enumerate(records, 1)]


def test_a_whole_stream_passes() -> None:
    verdict = check_records("s", whole(), TICKS)
    assert verdict.ok
    assert (verdict.expected, verdict.ticks, verdict.faults) == (TICKS, TICKS, [])


def test_an_empty_stream_has_lost_everything() -> None:
    verdict = check_records("s", [], TICKS)
    assert (verdict.ok, verdict.lost, verdict.ticks) == (False, TICKS, 0)


def test_a_lost_tick_is_found_though_the_sequence_is_dense() -> None:
    records = whole()
    verdict = check_records("s", renumbered([*records[:3], *records[4:]]), TICKS)
    assert (verdict.lost, verdict.doubled, verdict.disordered) == (1, 0, 0)


def test_a_lost_last_tick_is_found() -> None:
    verdict = check_records("s", whole()[:-1], TICKS)
    assert (verdict.ok, verdict.lost, verdict.faulty) == (False, 1, 0)


def test_a_doubled_tick_is_found_though_the_sequence_is_dense() -> None:
    records = whole()
    verdict = check_records("s", renumbered([*records[:4], records[3], *records[4:]]), TICKS)
    assert (verdict.lost, verdict.doubled, verdict.disordered) == (0, 1, 0)


def test_ticks_out_of_order_are_found_though_the_sequence_is_dense() -> None:
    records = whole()
    verdict = check_records("s", renumbered([*records[:3], records[4], records[3], *records[5:]]), TICKS)
    assert (verdict.lost, verdict.doubled, verdict.disordered) == (0, 0, 1)


def test_a_tick_that_was_never_sent_is_a_fault() -> None:
    verdict = check_numbers([1, 2, 3, 9], 3)
    assert (verdict.ok, verdict.lost, verdict.faults) == (False, 0, ["number 9 was never sent"])


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda records: records[1:], id="no reset"),
        pytest.param(lambda records: changed(records, 3, seq=9), id="a hole in the sequence"),
        pytest.param(lambda records: changed(records, 3, seq=3), id="a sequence number twice"),
        pytest.param(lambda records: changed(records, 3, epoch=8), id="another epoch"),
        pytest.param(lambda records: changed(records, 3, received_ns=1_001), id="time going back"),
        pytest.param(lambda records: changed(records, 3, received_ns=0), id="no time"),
        pytest.param(lambda records: changed(records, 3, ask_size="1"), id="the other side forgotten"),
        pytest.param(lambda records: changed(records, 3, ask=None), id="the other price forgotten"),
        pytest.param(lambda records: changed(records, 4, ask=99.0), id="crossed"),
        pytest.param(lambda records: changed(records, 3, con_id=0), id="no contract"),
        pytest.param(lambda records: changed(records, 3, changed=8), id="another tick type"),
        pytest.param(lambda records: changed(records, 3, last=1.0), id="a price never sent"),
        pytest.param(lambda records: [*records, Gap(7, TICKS + 2, 900, 0, None, 1, 0, "overflow", 0, 0)], id="a gap"),
        pytest.param(
            lambda records: [*records, Reset(7, TICKS + 2, 900, 0, None, 1, 0, "deleted", 7, 1, "1-0")],
            id="another reset",
        ),
    ],
)
def test_a_record_that_is_not_as_it_should_be_is_found(harm: Callable[[list[AnyRecord]], list[AnyRecord]]) -> None:
    verdict = check_records("s", harm(whole()), TICKS)
    assert not verdict.ok
    assert verdict.faulty > 0
    assert verdict.faults


@given(st.lists(st.integers(1, 12)))
def test_no_tick_is_forgotten_in_the_count(numbers: list[int]) -> None:
    verdict = check_numbers(numbers, 12)
    assert verdict.ticks - verdict.doubled + verdict.lost == 12
    assert verdict.ok == (numbers == list(range(1, 13)))


def test_verdicts_add_up_and_keep_few_faults() -> None:
    total = Verdict()
    total.add(Verdict(3, 3))
    total.add(Verdict(3, 2, lost=1, faulty=9, faults=[f"fault {n}" for n in range(9)]))
    assert (total.expected, total.ticks, total.lost, total.faulty, len(total.faults)) == (6, 5, 1, 9, 5)
    assert not total.ok


@pytest.mark.parametrize(("ticks", "instruments"), [(200_000, 50), (103, 5), (3, 3)])
def test_the_shares_of_all_instruments_are_all_ticks(ticks: int, instruments: int) -> None:
    shares = [share(ticks, instruments, place) for place in range(instruments)]
    assert sum(shares) == ticks
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(("percent", "value"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.5, 1.0)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == value
