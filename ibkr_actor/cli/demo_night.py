"""What the demo of a bad night shows: each stream with its state and freshness, its gaps, and what `system` says.

Holds what it was given, all of it read from Redis; prints only when told, and on a pipe each event at once.
"""

from __future__ import annotations

import sys
from collections import deque
from datetime import UTC, datetime
from typing import Final, TextIO

from msgspec import Struct

from ibkr_actor.cli.demo_view import DemoView, summary
from ibkr_actor.schema.records import AnyRecord, Gap, Reset, System

_LINES_MAX: Final = 10
_NS: Final = 1e9


class _Stream(Struct):
    """What is known of one stream; `after_gap` counts the records behind its newest gap."""

    state: str = "pending"
    freshness: str = "-"
    gaps: int = 0
    missing_s: float = 0.0
    after_gap: int = 0


class NightView(DemoView):
    """The table of the demo, with states and gaps, above the newest words of `system`."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        super().__init__(out)
        self._streams: dict[str, _Stream] = {}
        self._said: deque[str] = deque(maxlen=_LINES_MAX)

    def expect(self, keys: list[str]) -> None:
        """The streams that are to be there again in the end."""
        for key in keys:
            self._streams.setdefault(key, _Stream())

    def add(self, key: str, record: AnyRecord) -> None:
        """Takes a record of a stream or of `system`."""
        if isinstance(record, System):
            self._note(record.at_ns, f"{record.topic:<12} {record.event:<17} {record.message}")
            return
        stream = self._streams.get(key)
        if stream is None:
            return
        if isinstance(record, Gap):
            stream.gaps += 1
            stream.after_gap = 0
            if record.from_ns is not None and record.to_ns is not None:
                stream.missing_s = (record.to_ns - record.from_ns) / _NS
            text = f"{key.split(':', 2)[2]}: {stream.missing_s:.1f} s missing ({record.cause})"
            self._note(record.received_ns, f"{'stream':<12} {'back':<17} {text}")
        elif not isinstance(record, Reset):
            stream.after_gap += 1
        self._keep(key, record)

    def show(self, key: str, state: str | None, freshness: str | None) -> None:
        """How the hash of last values describes a stream."""
        stream = self._streams.get(key)
        if stream is not None:
            stream.state, stream.freshness = state or stream.state, freshness or stream.freshness

    def lines(self) -> list[str]:
        """The table and the newest words."""
        head = f"{'stream':<36} {'state':<8} {'freshness':<10} {'records':>8} {'gaps':>5} {'missing':>9}  newest"
        rows = [head]
        for key, stream in sorted(self._streams.items()):
            seen, known = self.tally.streams.get(key), self.newest(key)
            missing = f"{stream.missing_s:.1f} s" if stream.gaps else "-"
            rows.append(
                f"{key.split(':', 2)[2]:<36} {stream.state:<8} {stream.freshness:<10} {seen.records if seen else 0:>8}"
                f" {stream.gaps:>5} {missing:>9}  {summary(known) if known else ''}"
            )
        return [*rows, "", *self._said] if self.live else rows

    @property
    def whole(self) -> bool:
        """Whether every stream is alive again, proven by records after its gap."""
        return bool(self._streams) and all(
            stream.state == "live" and stream.gaps and stream.after_gap for stream in self._streams.values()
        )

    def totals(self) -> str:
        """The demo's totals, and how many streams are alive again."""
        gaps = sum(stream.gaps for stream in self._streams.values())
        back = sum(
            1 for stream in self._streams.values() if stream.state == "live" and stream.gaps and stream.after_gap
        )
        return f"{super().totals()}, {gaps} gaps announced, {back} of {len(self._streams)} streams alive again"

    def _note(self, at_ns: int, text: str) -> None:
        line = f"{datetime.fromtimestamp(at_ns / _NS, UTC):%H:%M:%S} {text}"
        self._said.append(line)
        if not self.live:
            self._say(line)
