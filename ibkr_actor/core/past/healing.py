"""Owns the seams of one gap that is refilled: which of the records that history holds were published on either side.

Asks for nothing (`core.past.heals` does). Live records are never held: what is refilled stands behind them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.core.holders import read_holder
from ibkr_actor.core.kinds import ROWS, KindRow
from ibkr_actor.core.past.joining import bar_of, record_key, second_of, tick_of
from ibkr_actor.schema.keys import Stream
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
    from ibkr_actor.core.lines.line import Channel

LATE: Final = FLAG_REFILLED | FLAG_LATE
# What IB's history of ticks is asked for. It has nothing for AllLast: history leaves the trades out that AllLast adds
# to Last (combinations, averages, derivatives). Source: IBKR, TWS API, "Tick-by-Tick Data".
TICKS: Final = {"Last": "TRADES", "BidAsk": "BID_ASK", "MidPoint": "MIDPOINT"}


def can_heal(row: KindRow) -> bool:
    """Whether IB has the history that a gap of this kind could be refilled from."""
    return row.line_type == "bars" or row.tick_type in TICKS


def healed(writes: Iterable[HolderWrite]) -> tuple[Stream, ...]:
    """The streams whose gaps are refilled, of those that are stored: where IB does so itself it need not be wanted."""
    found: dict[Stream, None] = {}
    for write in writes:
        try:
            stream, holder, _ = read_holder(write)
            row = ROWS[stream.kind]
        except (ValueError, KeyError, msgspec.MsgspecError):
            continue  # of a chain, or unreadable: told of where it is restored
        if row.line_type == "kept" or (holder.heal and can_heal(row)):
            found[stream] = None
    return tuple(found)


class Healing:
    """One gap of one stream. `left_ns` is where history begins: behind the last bar, or the second of the last tick."""

    def __init__(self, channel: Channel, gap: Gap, left_ns: int, left: Sequence[DataRecord]) -> None:
        self.number = 0
        self.channel = channel
        self.gap = gap
        self.left_ns = left_ns
        # Where live data went on: the start of the first bar, or the second of the first tick. None before that.
        self.right_ns: int | None = None
        self.count = 0
        self.tries = 0
        # Of what history turned out to have nothing, and of what it gave no answer yet.
        self.holes: list[tuple[int, int]] = []
        self.parts: list[tuple[int, int]] = []
        # The end of the part that is asked for again; None for all up to `right_ns`.
        self._part_end_ns: int | None = None
        # Of the second `left_ns`: what stands in the stream, and what of that history has not shown yet.
        self._before = Counter(record_key(record) for record in left)
        self._left = Counter(self._before)
        self._right: Counter[tuple[object, ...]] = Counter()
        # Ticks of the last second, which are told apart from live ones when all of them are there.
        self._tail: list[DataRecord] = []
        # The newest second of ticks that was refilled, and what of it.
        self._reached_ns = left_ns
        self._reached: Counter[tuple[object, ...]] = Counter()

    @property
    def bar(self) -> str:
        """The size of the bars of history that are wanted; empty for ticks."""
        return "5s" if self.channel.row.line_type == "bars" else ""

    @property
    def what_to_show(self) -> str:
        """What they show."""
        return self.channel.line.what_to_show if self.bar else TICKS[self.channel.row.tick_type or "Last"]

    @property
    def ready_ns(self) -> int:
        """From when on history may have all of it; 0 for now."""
        return 0

    @property
    def end_ns(self) -> int | None:
        """Up to where history is asked for."""
        return self.right_ns if self._part_end_ns is None else self._part_end_ns

    def unanswered(self, parts: Sequence[tuple[int, int]]) -> bool:
        """History left parts out that it did not answer; whether they can be asked for again.

        Ticks can when nothing behind them was published yet; bars are known by their start.
        """
        if not self.count or parts[0][0] >= self._reached_ns:
            return True
        if not self.bar:
            return False
        self.parts += parts
        return self.next_part()

    def next_part(self) -> bool:
        """Goes on with the next part that was not answered; False when there is none."""
        if not self.parts:
            return False
        self.left_ns, self._part_end_ns = self.parts.pop(0)
        self._reached_ns = self.left_ns
        return True

    def went_on(self, record: DataRecord) -> bool:
        """The first live record behind the gap, and more of the same second; False for what comes later."""
        at_ns = second_of(record)
        if self.right_ns is None:
            self.right_ns = at_ns
        if at_ns != self.right_ns:
            return False
        self._right[record_key(record)] += 1
        return True

    def retry(self) -> None:
        """The history did not come whole: it is fetched once more, from where it broke off."""
        self.tries += 1
        self._tail = []
        if self._reached_ns > self.left_ns:
            self.left_ns, self._before = self._reached_ns, Counter()
        self._before += self._reached
        self._left, self._reached = Counter(self._before), Counter()

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
        found: list[DataRecord] = []
        for row in entry.rows:
            bar = bar_of(entry, row, LATE)
            if self._wanted(bar):
                self.left_ns = self._reached_ns = bar.end_ns
                found.append(self._published(bar))
        return found

    def _wanted(self, bar: Bar) -> bool:
        return self.end_ns is not None and self.left_ns <= bar.start_ns < self.end_ns

    def _published(self, bar: Bar) -> Bar:
        return bar

    def _ticks(self, entry: Ticks) -> list[DataRecord]:
        found: list[DataRecord] = []
        for row in entry.rows:
            record = tick_of(entry, row, LATE)
            at_ns, key = second_of(record), record_key(record)
            if at_ns == self.left_ns and self._left[key] > 0:
                # The begin of the second was published before the gap.
                self._left[key] -= 1
            elif at_ns == self.right_ns:
                self._tail.append(record)
            elif self.right_ns is not None and at_ns < self.right_ns:
                if at_ns != self._reached_ns:
                    self._reached_ns, self._reached = at_ns, Counter()
                self._reached[key] += 1
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
        self._opened = self._healing(gap, gap.from_ns)
        self._cuts.append(self._opened)

    def _healing(self, gap: Gap, from_ns: int) -> Healing:
        return Healing(self._channel, gap, self._left_ns or from_ns // NS * NS, self._tail)

    def note(self, record: DataRecord) -> None:
        """A live record is published, or was before a restart."""
        if record.flags & FLAG_FALLBACK:
            return
        self._remember(record)
        if self._opened is not None and not self._opened.went_on(record):
            self._opened = None

    def _remember(self, record: DataRecord) -> None:
        if type(record) is Bar:
            self._left_ns = record.end_ns
            return
        second_ns = second_of(record)
        if second_ns != self._left_ns:
            self._left_ns, self._tail = second_ns, []
        self._tail.append(record)
