"""Owns the seams of a gap in bars that are built here: bars that data is missing of are replaced by those of history.

Asks for nothing (`core.past.heals` does), and completes no bar that goes on: history has it when it is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from ibkr_actor.core.calendar.bar_times import BarTimes
from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.lines.bar_builder import STEP_NS
from ibkr_actor.core.past.healing import Healing, Tap
from ibkr_actor.schema.records import Bar, DataRecord, Gap

if TYPE_CHECKING:
    from ibkr_actor.core.lines.line import Channel

# Bars whose last revision is remembered.
_REMEMBERED: Final = 100


class Revisions:
    """What was told of the newest bars of one stream. `most` is how often a bar is told at most while it goes on."""

    def __init__(self, most: int) -> None:
        self._most = most
        # start_ns -> the revision that was told last; the oldest first.
        self._told: dict[int, int] = {}
        self._final: dict[int, None] = {}

    def note(self, bar: Bar) -> None:
        """A bar was told."""
        self._told[bar.start_ns] = max(bar.revision, self._told.get(bar.start_ns, 0))
        if bar.final:
            self._final[bar.start_ns] = None
        for told in (self._told, self._final):
            if len(told) > _REMEMBERED:
                del told[next(iter(told))]

    def is_final(self, start_ns: int) -> bool:
        """Whether a bar was told as finished."""
        return start_ns in self._final

    def next(self, start_ns: int, *, doubtful: bool) -> int:
        """The revision that replaces what was told of a bar; of a `doubtful` one that may not be known."""
        told = self._told.get(start_ns)
        if told is not None:
            return told + 1
        return self._most if doubtful else 0


class BuiltHealing(Healing):
    """One gap. `left_ns` is where the bar begins that it broke, `right_ns` the end of the one in which data went on."""

    def __init__(self, channel: Channel, gap: Gap, left_ns: int, revisions: Revisions) -> None:
        super().__init__(channel, gap, left_ns, ())
        self._revisions = revisions
        self._begun_ns = left_ns

    @property
    def bar(self) -> str:
        return self.channel.row.size

    @property
    def ready_ns(self) -> int:
        return self.right_ns or 0

    def went_on(self, record: DataRecord) -> bool:
        if self.right_ns is None and isinstance(record, Bar):
            builder = self.channel.builder
            whole = record.final or (builder is not None and builder.closes_ns is not None)
            self.right_ns = record.start_ns if whole else record.end_ns
        return False

    def _wanted(self, bar: Bar) -> bool:
        return super()._wanted(bar) and not self._revisions.is_final(bar.start_ns)

    def _published(self, bar: Bar) -> Bar:
        broken = bar.start_ns == self._begun_ns or bar.end_ns == self.right_ns
        bar = structs.replace(bar, revision=self._revisions.next(bar.start_ns, doubtful=broken))
        self._revisions.note(bar)
        return bar


class BuiltTap(Tap):
    """The same for bars that are built here."""

    def __init__(self, channel: Channel, cuts: list[Healing]) -> None:
        super().__init__(channel, cuts)
        line, row = channel.line, channel.row
        self._times = BarTimes(row.resolution, line.contract, rth=row.rth)
        # One for each bar of 5 s, and as many again for what IB corrects.
        self._revisions = Revisions(2 * row.resolution.seconds * NS // STEP_NS)

    def _healing(self, gap: Gap, from_ns: int) -> Healing:
        left_ns = self._left_ns or self._times.around(from_ns).start_ns
        return BuiltHealing(self._channel, gap, left_ns, self._revisions)

    def _remember(self, record: DataRecord) -> None:
        if isinstance(record, Bar):
            self._left_ns = record.end_ns if record.final else record.start_ns
            self._revisions.note(record)
