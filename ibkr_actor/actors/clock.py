"""Owns the time that all actors of a process go by: monotonic seconds and UTC nanoseconds, read together.

Sleeps for nobody.
"""

from __future__ import annotations

import time
from typing import Final

from ibkr_actor.core.effects import Instant

_NS: Final = 1_000_000_000


class Clock:
    """The present. Calling it gives an Instant.

    `speed` seconds pass in each real one, on both clocks, and UTC begins at `start_ns`: beside a simulated gateway
    whose clock runs fast or on another day, the sidecar has to live in its time. Real time is speed 1 and no start.
    """

    def __init__(self, *, speed: float = 1.0, start_ns: int | None = None) -> None:
        self.speed = speed
        self._real_start_s = time.monotonic()
        self._start_ns = start_ns

    def __call__(self) -> Instant:
        if self._start_ns is None:
            return Instant(time.monotonic(), time.time_ns())
        passed_s = (time.monotonic() - self._real_start_s) * self.speed
        return Instant(self._real_start_s + passed_s, self._start_ns + round(passed_s * _NS))

    def now_ns(self) -> int:
        """UTC alone."""
        return time.time_ns() if self._start_ns is None else self().ns


system_clock: Final = Clock()
