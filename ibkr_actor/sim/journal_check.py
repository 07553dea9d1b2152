"""Owns the comparison of a journal with what arrived: which frames were lost, and which nobody sent.

Must not know a message; frames are compared by their bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ibkr_actor.sim.journal import JournalLine

# How many frames in a row may be lost for what follows to be recognised.
_LOOK_AHEAD = 10_000


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """`lost` are frames sent that did not arrive though a later one did; `unexpected` are payloads that nobody sent.

    `behind` counts frames sent after the last that arrived: still under way when the reader stopped.
    """

    arrived: int
    lost: list[JournalLine]
    unexpected: list[bytes]
    behind: int

    @property
    def complete(self) -> bool:
        """Whether everything arrived, in order and once, up to where the reader stopped."""
        return not self.lost and not self.unexpected


def read_journal(path: str | Path) -> list[JournalLine]:
    """The lines of a journal. Raises: OSError, msgspec.DecodeError."""
    decoder = msgspec.json.Decoder(JournalLine)
    return [decoder.decode(line) for line in Path(path).read_bytes().splitlines()]


def frames_sent(lines: Iterable[JournalLine], *, session: int | None = None) -> list[JournalLine]:
    """The frames sent to a connection (None: to all), without handshake and raw bytes."""
    return [
        line for line in lines if line.direction == "out" and line.message_id > 0 and session in (None, line.session)
    ]


def skipped_numbers(lines: Iterable[JournalLine]) -> dict[str, list[int]]:
    """Instrument -> running numbers that are not there. Empty for any journal that is whole."""
    seen: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        if line.instrument is not None and line.number is not None:
            seen[line.instrument].append(line.number)
    missing = {key: sorted(set(range(1, max(numbers) + 1)) - set(numbers)) for key, numbers in seen.items()}
    return {key: numbers for key, numbers in missing.items() if numbers}


def compare(lines: Iterable[JournalLine], arrived: Iterable[bytes], *, session: int | None = None) -> Comparison:
    """What a connection was sent against the payloads (frames without their length) that its client got, in order.

    Neither side has the answer to the greeting.

    Raises: ValueError for a journal without payloads (`journal_payload`).
    """
    sent = frames_sent(lines, session=session)
    if any(line.frame is None for line in sent):
        raise ValueError("the journal holds no payloads; journal_payload makes it")
    lost: list[JournalLine] = []
    unexpected: list[bytes] = []
    place = count = 0
    for payload in arrived:
        count += 1
        text = payload.hex()
        ahead = range(place, min(place + _LOOK_AHEAD, len(sent)))
        found = next((index for index in ahead if sent[index].frame == text), None)
        if found is None:
            unexpected.append(payload)
        else:
            lost += sent[place:found]
            place = found + 1
    return Comparison(arrived=count, lost=lost, unexpected=unexpected, behind=len(sent) - place)
