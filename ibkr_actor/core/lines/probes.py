"""Owns what the answer to a line's renewed request says of the silence before: that nothing happened, or that much was.

Asks for nothing (`core.lines.silences` does) and judges no silence that goes on (`core.lines.freshness` does).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.market_phases import Phase
from ibkr_actor.core.effects import Instant
from ibkr_actor.core.lines.freshness import Watch
from ibkr_actor.core.lines.line import Line, LineKey
from ibkr_actor.core.lines.quote import TopOfBook

# IB answers a request of level 1 with all that it knows, in several messages; they are all there after this time.
_WHOLE_AFTER_S: Final = 5.0


class _Probe(Struct):
    """A request in place of one that was silent: what was known before, and since when it is answered."""

    line: Line
    watch: Watch
    phase: Phase
    req_id: int
    before: TopOfBook
    silence_s: float
    answered_s: float | None = None


class Probes:
    """Level-1 lines that were asked for again since they were silent. Caller: `Silences`; affects their watches.

    A line that died has missed something: its answer shows other values. One that merely has nothing to say shows the
    same ones, volume and sizes included, and its silence is a habit.
    """

    def __init__(self) -> None:
        self._probes: dict[LineKey, _Probe] = {}

    def asked(self, line: Line, watch: Watch, before: TopOfBook, silence_s: float) -> None:
        """The line is asked for again. Without an answer to the last request there is nothing to compare with."""
        earlier = self._probes.pop(line.key, None)
        unanswered = earlier is not None and earlier.answered_s is None
        if line.req_id is not None and before.changed is not None and not unanswered:
            self._probes[line.key] = _Probe(line, watch, watch.phase, line.req_id, before, silence_s)

    def answered(self, line: Line, now: Instant) -> None:
        """The first data after a request."""
        probe = self._probes.get(line.key)
        if probe is not None and probe.answered_s is None:
            probe.answered_s = now.s

    def look(self, now: Instant) -> None:
        """Takes the silences for habits that turned out to be ones."""
        for key, probe in list(self._probes.items()):
            line = probe.line
            if line.req_id != probe.req_id or probe.watch.phase != probe.phase:
                del self._probes[key]
            elif probe.answered_s is not None and now.s - probe.answered_s >= _WHOLE_AFTER_S:
                del self._probes[key]
                if line.live and line.top.tells_no_more_than(probe.before):
                    probe.watch.take_for_habit(probe.silence_s)
