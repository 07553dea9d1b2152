"""Owns recorded level-1 rows and where each subscriber stands in them.

Must not send; it says which message is due when.
"""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import msgspec

from ibkr_actor.sim.desks.feed import value_tick
from ibkr_actor.sim.messages import Message


class _Row(msgspec.Struct, frozen=True):
    time: str
    tick_type: int
    price: float
    size: float


class ReplayError(Exception):
    """The recording cannot be used; the text names file and line."""


class Recording:
    """`offsets_s[i]` is when row i comes after row 0, `messages[i]` what it is on the wire."""

    def __init__(self, offsets_s: list[float], messages: list[Message]) -> None:
        self.offsets_s = offsets_s
        self.messages = messages

    def __len__(self) -> int:
        return len(self.messages)


def load_recording(path: str) -> Recording:
    """Read rows {"time", "tick_type", "price", "size"} of a .jsonl or .jsonl.gz file.

    Raises: ReplayError when the file is missing, empty, or a row is malformed or earlier than the one before.
    """
    decoder = msgspec.json.Decoder(_Row)
    offsets: list[float] = []
    messages: list[Message] = []
    first_s = 0.0
    for number, line in enumerate(_read_lines(path), start=1):
        try:
            row = decoder.decode(line)
            time_s = datetime.datetime.fromisoformat(row.time).timestamp()
        except (msgspec.DecodeError, ValueError) as error:
            raise ReplayError(f"{path} line {number}: {error}") from None
        if not messages:
            first_s = time_s
        offset = time_s - first_s
        if offsets and offset < offsets[-1]:
            raise ReplayError(f"{path} line {number}: earlier than the row before")
        offsets.append(offset)
        messages.append(value_tick(row.tick_type, row.price, row.size))
    if not messages:
        raise ReplayError(f"{path}: no rows")
    return Recording(offsets, messages)


def _read_lines(path: str) -> list[bytes]:
    try:
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError) as error:
        raise ReplayError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    return [line for line in data.splitlines() if line.strip()]


class Cursor:
    """One subscriber's place in a recording; speed 0 makes every row due at once."""

    def __init__(self, recording: Recording, *, start_s: float, speed: float) -> None:
        self._recording = recording
        self._start_s = start_s
        self._speed = speed
        self._next = 0

    def take_due(self, now_s: float) -> list[Message]:
        """The rows due by `now_s`, in order, each once."""
        first = self._next
        while self._next < len(self._recording) and self._due_s(self._next) <= now_s:
            self._next += 1
        return self._recording.messages[first : self._next]

    def next_s(self) -> float | None:
        """When the next row is due; None after the last."""
        return self._due_s(self._next) if self._next < len(self._recording) else None

    def _due_s(self, index: int) -> float:
        if self._speed == 0:
            return self._start_s
        return self._start_s + self._recording.offsets_s[index] / self._speed
