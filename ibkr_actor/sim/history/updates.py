"""Owns the queries that are kept up to date: what each is told at every 5 s of the simulator's clock.

Must not judge a request; it is given those that were allowed and answered.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ibkr_actor.sim.clock import Entry
from ibkr_actor.sim.world import World

# Source: updates come every 4 to 6 s; real-time bars stand on the same grid.
UPDATE_S = 5


class Ticker:
    """Calls `tell(time_s)` at each multiple of 5 s until stopped. What a late clock has passed is not made up for."""

    def __init__(self, world: World, tell: Callable[[int], None]) -> None:
        self._world = world
        self._tell = tell
        self._entry: Entry | None = self._next(world.clock.now_s())

    def stop(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
        self._entry = None

    def _next(self, after_s: float) -> Entry:
        return self._world.schedule.at((math.floor(after_s / UPDATE_S) + 1) * UPDATE_S, self._due)

    def _due(self, due_s: float) -> None:
        late_s = math.floor(self._world.clock.now_s() / UPDATE_S) * UPDATE_S
        now_s = max(due_s, late_s)
        self._entry = self._next(now_s)
        self._tell(int(now_s))
