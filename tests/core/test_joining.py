"""The seam of history and live data, for any tape, page and moment: the tape, each record once and in order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.core.history.stitch import Row
from ibkr_actor.core.kinds import ROWS
from ibkr_actor.core.lines.line import Channel, Line
from ibkr_actor.core.past.joining import Fetch, Joining, Wish
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Bar, Bars, DataRecord, Gap, Ticks, Trade
from tests.core.kit import stock

NS = 1_000_000_000
# (second, size): few of either, so that many ticks are equal.
Tick = tuple[int, str]

tapes = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("12")), min_size=1, max_size=24).map(
    lambda ticks: sorted(ticks, key=lambda tick: tick[0])
)


def joining(kind: str, held_max: int = 1_000) -> Joining:
    row = ROWS[kind]
    line = Line(("AAPL", row.slot), row, stock(), opened_by="c", feed=1)
    return Joining(1, Channel(Stream(kind, "AAPL"), row, line), "c", Wish(start="2026-01-01"), held_max=held_max)


def live(tick: Tick) -> Trade:
    return Trade(0, 0, 1, 0, tick[0] * NS, 1, 0, 1.5, tick[1], "X", "", False, False)


def pages(ticks: Sequence[Tick], size: int) -> list[Ticks]:
    rows: list[list[int | float | str | bool | None]] = [
        [second * NS, 1.5, n, "X", "", False, False] for second, n in ticks
    ]
    return [Ticks(0, 1, 1, 0, None, 1, 0, "TRADES", rows[at : at + size]) for at in range(0, len(rows), size)]


def shown(records: Sequence[DataRecord]) -> list[Tick]:
    """The ticks, those of history first."""
    found = [record for record in records if isinstance(record, Trade)]
    assert len(found) == len(records)
    flags = [record.flags for record in found]
    assert flags == sorted(flags, reverse=True)
    return [((record.source_ns or 0) // NS, record.size or "") for record in found]


@given(tape=tapes, at=st.integers(0, 23), page=st.integers(1, 7))
def test_ticks_are_the_tape_wherever_live_data_begins(tape: list[Tick], at: int, page: int) -> None:
    at = min(at, len(tape) - 1)
    one = joining("trade")
    for tick in tape[at:]:
        one.hold(live(tick))
    first_ns = one.first_ns
    assert first_ns == tape[at][0] * NS
    one.fetch = Fetch(None, first_ns, final=True)
    out: list[DataRecord] = []
    # IB's page may go on behind what was asked for.
    for entry in pages(tape, page):
        out += one.take([entry])
    assert shown(out + one.join([], 0)) == tape


@given(
    tape=tapes,
    at=st.integers(0, 23),
    page=st.integers(1, 7),
    early=st.integers(1, 6),
    came=st.integers(0, 24),
    whole=st.booleans(),
)
def test_ticks_are_the_tape_also_when_a_part_was_fetched_before(
    tape: list[Tick], at: int, page: int, early: int, came: int, whole: bool
) -> None:
    at = min(at, len(tape) - 1)
    early = min(early, tape[at][0])
    one = joining("trade")
    one.fetch = Fetch(None, early * NS, final=False)
    out: list[DataRecord] = []
    before = [tick for tick in tape if tick[0] < early]
    for entry in pages(before if whole else before[:came], page):
        out += one.take([entry])
    out += one.fetched(whole=whole)
    for tick in tape[at:]:
        one.hold(live(tick))
    first_ns = one.first_ns
    assert first_ns is not None
    reached_ns = one.reached_ns
    one.fetch = Fetch(reached_ns, first_ns, final=True)
    for entry in pages([tick for tick in tape if reached_ns is None or tick[0] * NS >= reached_ns], page):
        out += one.take([entry])
    assert shown(out + one.join([], 0)) == tape


@given(count=st.integers(1, 40), at=st.integers(0, 39), size=st.integers(1, 9), early=st.integers(0, 40))
def test_bars_are_the_tape_whatever_history_brings_twice(count: int, at: int, size: int, early: int) -> None:
    at = min(at, count - 1)
    one = joining("bar.5s")
    out: list[DataRecord] = []
    one.fetch = Fetch(None, min(early, at) * 5 * NS, final=False)
    out += take_bars(one, count, size)
    out += one.fetched(whole=True)
    for n in range(at, count):
        start_ns = n * 5 * NS
        figures = (1.0, 1.0, 1.0, 1.0, "1", "1", 1, True, 0, "TRADES")
        one.hold(Bar(0, 0, 1, 0, None, 1, 0, start_ns, start_ns + 5 * NS, *figures))
    one.fetch = Fetch(one.reached_ns, at * 5 * NS, final=True)
    out += take_bars(one, count, size)
    out += one.join([], 0)
    bars = [record for record in out if isinstance(record, Bar)]
    assert [bar.start_ns for bar in bars] == [n * 5 * NS for n in range(count)]
    assert [bar.flags for bar in bars] == [1] * at + [0] * (count - at)


def take_bars(one: Joining, count: int, size: int) -> list[DataRecord]:
    """All bars there are, however many were asked for."""
    rows: list[Row] = [
        (n * 5 * NS, (n + 1) * 5 * NS, 1.0, 1.0, 1.0, 1.0, "1", "1", 1, "20260101") for n in range(count)
    ]
    entries = [Bars(0, 1, 1, 0, None, 1, 0, "TRADES", "5s", rows[at : at + size]) for at in range(0, count, size)]
    return [record for entry in entries for record in one.take([entry])]


@given(count=st.integers(1, 30), held_max=st.integers(1, 10))
def test_what_is_not_held_lies_in_a_gap_that_ends_where_the_held_ones_begin(count: int, held_max: int) -> None:
    one = joining("trade", held_max)
    one.hold(live((1, "1")))
    one.fetch = Fetch(None, NS, final=True)
    for n in range(2, count + 1):
        one.hold(live((n, "1")))
    out = one.join([], 0)
    gaps = [record for record in out if isinstance(record, Gap)]
    kept = [(record.source_ns or 0) // NS for record in out if isinstance(record, Trade)]
    assert kept == list(range(max(1, count - held_max + 1), count + 1))
    assert one.dropped == count - len(kept)
    expected = [("overflow", NS, kept[0] * NS)] if one.dropped else []
    assert [(gap.cause, gap.from_ns, gap.to_ns) for gap in gaps] == expected


@given(
    tape=tapes,
    page=st.integers(1, 7),
    first=st.integers(0, 24),
    lost=st.integers(0, 24),
    failed=st.integers(0, 24),
    at=st.integers(0, 24),
)
def test_ticks_are_the_tape_also_when_the_process_dies_on_the_way(
    tape: list[Tick], page: int, first: int, lost: int, failed: int, at: int
) -> None:
    """It had `first` ticks, of which the last `lost` never were written; the next process fails once, too."""
    at = min(at, len(tape) - 1)
    stream: list[DataRecord] = []
    one = joining("trade")
    one.begin(Fetch(None, 7 * NS, final=False))
    for entry in pages(tape[:first], page):
        stream += one.take([entry])
    del stream[max(0, len(stream) - lost) :]
    again = joining("trade")
    if stream:
        again.resume([each for each in stream if each.source_ns == stream[-1].source_ns])
    for final, count in ((False, failed), (True, len(tape))):
        from_ns = again.reached_ns
        if final:
            # Live data begins behind what stands there, as it did not exist before the line was up again.
            at = next((n for n in range(at, len(tape)) if tape[n][0] * NS > (from_ns or 0)), len(tape))
            for tick in tape[at:]:
                again.hold(live(tick))
        again.begin(Fetch(from_ns, again.first_ns or 7 * NS, final=final))
        since = [tick for tick in tape if tick[0] * NS >= (from_ns or 0)]
        for entry in pages(since[:count], page):
            stream += again.take([entry])
        stream += again.join([], 0) if final else again.fetched(whole=False)
    assert shown(stream) == tape
