"""Owns the verdict over what arrived: each running number once and in order, and every record whole.

Pure: given numbers or records, it counts. It reads no stream and asks no clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ibkr_actor.schema.records import AnyRecord, Quote, Reset

# How many faults are kept as text; the rest are only counted.
FAULTS_SHOWN = 5
BID, ASK = 1, 2


class Verdict(Struct):
    """What one or more streams held of the ticks sent. `faulty` counts records that are wrong in themselves."""

    expected: int = 0
    ticks: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    faulty: int = 0
    faults: list[str] = []

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.faulty)

    def fault(self, text: str) -> None:
        """Counts one fault."""
        self.faulty += 1
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(text)

    def add(self, other: Verdict) -> None:
        """Takes in the verdict over another stream."""
        self.expected += other.expected
        self.ticks += other.ticks
        self.lost += other.lost
        self.doubled += other.doubled
        self.disordered += other.disordered
        self.faulty += other.faulty
        self.faults = (self.faults + other.faults)[:FAULTS_SHOWN]


def check_numbers(numbers: Sequence[int], expected: int) -> Verdict:
    """Whether the running numbers of one instrument are 1..expected, each once and in order."""
    seen = set(numbers)
    found = seen & set(range(1, expected + 1))
    verdict = Verdict(expected, len(numbers), lost=expected - len(found), doubled=len(numbers) - len(seen))
    for foreign in sorted(seen - found):
        verdict.fault(f"number {foreign} was never sent")
    highest = 0
    for number in numbers:
        verdict.disordered += number < highest
        highest = max(highest, number)
    return verdict


def check_records(name: str, records: Iterable[AnyRecord], expected: int) -> Verdict:
    """The same for a stream of the sidecar, and that it is dense from its reset on and every quote is whole.

    A quote is whole when its other side is what the tick before it said: the simulator's blast sends bid and ask in
    turn, the running number as the size, the ask above the bid.
    """
    numbers: list[int] = []
    shape = Verdict()
    epoch = seq = received_ns = 0
    for record in records:
        if seq == 0:
            epoch = record.epoch
            if not isinstance(record, Reset):
                shape.fault(f"{name} begins with {_tag(record)}, not with a reset")
        if (record.epoch, record.seq) != (epoch, seq + 1):
            shape.fault(f"{name}: {epoch}/{seq} is followed by {record.epoch}/{record.seq}")
        epoch, seq = record.epoch, record.seq
        if isinstance(record, Quote):
            number = number_of(record)
            if not _is_whole(record, number):
                shape.fault(f"{name}: tick {number} is not whole: {record}")
            if record.received_ns < received_ns:
                shape.fault(f"{name}: tick {number} was received before the one it follows")
            received_ns = record.received_ns
            numbers.append(number)
        elif not isinstance(record, Reset) or seq > 1:
            shape.fault(f"{name}: unexpected {record}")
    verdict = check_numbers(numbers, expected)
    verdict.add(shape)
    return verdict


def number_of(quote: Quote) -> int:
    """The running number: the size of the side that changed; 0 when there is none."""
    size = quote.bid_size if quote.changed == BID else quote.ask_size
    return int(size) if size is not None and size.isdecimal() else 0


def share(ticks: int, instruments: int, place: int) -> int:
    """How many of `ticks` dealt out in turn the instrument at `place` gets."""
    return len(range(place, ticks, instruments))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _is_whole(quote: Quote, number: int) -> bool:
    if quote.changed not in (BID, ASK) or quote.changed != (BID if number % 2 else ASK):
        return False
    if quote.last is not None or quote.bid is None or not quote.con_id or not quote.received_ns:
        return False
    other = quote.ask_size if quote.changed == BID else quote.bid_size
    if number == 1:
        return other is None and quote.ask is None
    return other == str(number - 1) and quote.ask is not None and _sides_fit(quote)


def _sides_fit(quote: Quote) -> bool:
    """The ask of a pair is above its own bid; a new bid may pass the ask of the pair before."""
    assert quote.bid is not None
    assert quote.ask is not None
    return quote.changed == BID or quote.ask > quote.bid


def _tag(record: AnyRecord) -> str:
    return str(record.__struct_config__.tag)
