"""Owns the seams of one gap that is refilled: which of the records that history holds were published on either side.

Asks for nothing (`core.heals` does). Live records are never held: what is refilled stands behind them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ibkr_actor.core.joining import bar_of, record_key, second_of, tick_of
from ibkr_actor.core.sessions import NS
from ibkr_actor.schema.records import (
    FLAG_FALLBACK,
    FLAG_LATE,
    FLAG_REFILLED,
    Bar,
    Bars,
    DataRecord,
    Gap,
    Ticks,
)

if TYPE_CHECKING:
    from ibkr_actor.core.lines import Channel

_FLAGS = FLAG_REFILLED | FLAG_LATE


class Healing:
    """One gap of one stream. `left_ns` is where history begins: behind the last bar, or the second of the last tick."""

    def __init__(self, number: int, channel: Channel, gap: Gap, left_ns: int, left: Sequence[DataRecord]) -> None:
        self.number = number
        self.channel = channel
        self.gap = gap
        self.left_ns = left_ns
        # Where live data went on: the start of the first bar, or the second of the first tick. None before that.
        self.right_ns: int | None = None
        self.count = 0
        self._left = Counter(record_key(record) for record in left)
        self._right: Counter[tuple[object, ...]] = Counter()
        # Ticks of the last second, which are told apart from live ones when all of them are there.
        self._tail: list[DataRecord] = []

    def went_on(self, record: DataRecord) -> bool:
        """The first live record behind the gap, and more of the same second; False for what comes later."""
        at_ns = second_of(record)
        if self.right_ns is None:
            self.right_ns = at_ns
        if at_ns != self.right_ns:
            return False
        self._right[record_key(record)] += 1
        return True

    def take(self, entries: Sequence[DataRecord]) -> list[DataRecord]:
        """The next history; what of it is published."""
        found: list[DataRecord] = []
        for entry in entries:
            if isinstance(entry, Bars):
                found += self._bars(entry)
            elif isinstance(entry, Ticks):
                found += self._ticks(entry)
        self.count += len(found)
        return found

    def _bars(self, entry: Bars) -> list[DataRecord]:
        assert self.right_ns is not None
        found: list[DataRecord] = []
        for row in entry.rows:
            bar = bar_of(entry, row, _FLAGS)
            if self.left_ns <= bar.start_ns < self.right_ns:
                self.left_ns = bar.end_ns
                found.append(bar)
        return found

    def _ticks(self, entry: Ticks) -> list[DataRecord]:
        found: list[DataRecord] = []
        for row in entry.rows:
            record = tick_of(entry, row, _FLAGS)
            at_ns, key = second_of(record), record_key(record)
            if at_ns == self.left_ns and self._left[key] > 0:
                # The begin of the second was published before the gap.
                self._left[key] -= 1
            elif at_ns == self.right_ns:
                self._tail.append(record)
            elif self.right_ns is not None and at_ns < self.right_ns:
                found.append(record)
        return found

    def end(self) -> list[DataRecord]:
        """Of the second in which live data went on, what came before: live ticks are the last of their equals."""
        found: list[DataRecord] = []
        for record in reversed(self._tail):
            key = record_key(record)
            if self._right[key] > 0:
                self._right[key] -= 1
            else:
                found.append(record)
        self._tail = []
        self.count += len(found)
        return found[::-1]


class Tap:
    """What a stream published last, as far as the seam of a gap needs it. Set on streams whose gaps are refilled."""

    __slots__ = ("_channel", "_cuts", "_left_ns", "_opened", "_tail")

    def __init__(self, channel: Channel, cuts: list[Healing]) -> None:
        """Gaps are handed over in `cuts`, still without a number."""
        self._channel = channel
        self._cuts = cuts
        self._opened: Healing | None = None
        # The end of the newest bar, or the second of the newest tick with all ticks of that second.
        self._left_ns = 0
        self._tail: list[DataRecord] = []

    def cut(self, gap: Gap) -> None:
        """The gap stands in the stream; the first record behind it follows."""
        if self._channel.joining is not None or gap.from_ns is None:
            return
        left_ns = self._left_ns or gap.from_ns // NS * NS
        self._opened = Healing(0, self._channel, gap, left_ns, self._tail)
        self._cuts.append(self._opened)

    def note(self, record: DataRecord) -> None:
        """A live record is published."""
        if record.flags & FLAG_FALLBACK:
            return
        if type(record) is Bar:
            self._left_ns = record.end_ns
        else:
            second_ns = second_of(record)
            if second_ns != self._left_ns:
                self._left_ns, self._tail = second_ns, []
            self._tail.append(record)
        if self._opened is not None and not self._opened.went_on(record):
            self._opened = None
