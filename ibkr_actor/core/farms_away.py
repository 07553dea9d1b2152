"""Owns since when market data farms are away, and whether a line fell silent with them.

Tells nobody: `core.silences` does. IB does not say whose farm it is, so only a line's silence shows that.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.effects import Instant
from ibkr_actor.core.freshness import Watch

# What was in flight when a farm went still comes; a shorter absence touches nothing.
_IN_FLIGHT_S: Final = 1.0


class FarmsAway:
    """Farms that are down -> since when, on the present connection."""

    def __init__(self, sweep_s: float) -> None:
        self._in_flight_s = max(_IN_FLIGHT_S, sweep_s)
        self._since: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def clear(self) -> None:
        """The next connection tells its farms anew."""
        self._since.clear()

    def gone(self, name: str, now: Instant) -> None:
        """A farm went."""
        self._since.setdefault(name, now.s)

    def back(self, name: str, now: Instant) -> float:
        """A farm is back; since when it was away."""
        return self._since.pop(name, now.s)

    def hides(self, watch: Watch, now: Instant, from_s: float | None = None) -> bool:
        """Whether nothing was heard since `from_s`, else since the first farm went, but for what was in flight then."""
        if from_s is None:
            from_s = min(self._since.values(), default=now.s)
        begun_s = from_s + self._in_flight_s
        return watch.phase.is_open and now.s > begun_s and watch.heard_s <= begun_s
