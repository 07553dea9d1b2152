"""Owns since when market data farms are away, and whether a line fell silent with them.

Tells nobody: `core.lines.silences` does. IB does not say whose farm it is, so only a line's silence shows that.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.effects import Instant
from ibkr_actor.core.lines.freshness import Watch

# What was in flight when a farm went still comes; a shorter absence touches nothing.
_IN_FLIGHT_S: Final = 1.0
# Nor does one that ended before a line of several ticks a second would have been missed.
_MISSED_S: Final = 0.5


class FarmsAway:
    """Farms that are down -> since when, on the present connection."""

    def __init__(self) -> None:
        self._since: dict[str, Instant] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def clear(self) -> None:
        """The next connection tells its farms anew."""
        self._since.clear()

    def gone(self, name: str, now: Instant, at_ns: int) -> None:
        """A farm went; IB's word of that left the socket at `at_ns`."""
        self._since.setdefault(name, Instant(now.s, at_ns))

    def back(self, name: str, now: Instant) -> Instant:
        """A farm is back; since when it was away."""
        return self._since.pop(name, now)

    def hides(self, watch: Watch, now: Instant, since: Instant | None = None) -> bool:
        """Whether nothing came since then, else since the first farm went, but for what was in flight.

        However rarely lines are looked at: it is known when their newest data left the socket.
        """
        if since is None:
            since = min(self._since.values(), key=lambda each: each.s, default=now)
        begun_s = since.s + _IN_FLIGHT_S
        silent = watch.heard_s <= begun_s or watch.newest_ns <= since.ns + _IN_FLIGHT_S * 1e9
        return watch.phase.is_open and now.s > begun_s + _MISSED_S and silent
