"""Owns the simulator's time and what is due when; every rule, tick and bar follows it.

Must not await, sleep or know what its callbacks do.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable


class Clock:
    """Seconds since 1970, running at `speed` times real time; speed 0 stands still until `set()`."""

    def __init__(self, *, speed: float = 1.0, start_s: float | None = None) -> None:
        self.speed = speed
        self._start_s = time.time() if start_s is None else start_s
        self._real_start_s = time.monotonic()

    def now_s(self) -> float:
        """The simulated time in seconds since 1970."""
        if self.speed == 0:
            return self._start_s
        return self._start_s + (time.monotonic() - self._real_start_s) * self.speed

    def set(self, now_s: float) -> None:
        """Move a standing clock; going back is refused with ValueError."""
        if self.speed != 0 or now_s < self._start_s:
            raise ValueError("only a standing clock (speed 0) can be set, and only forward")
        self._start_s = now_s

    def real_delay_s(self, due_s: float | None) -> float:
        """Real seconds until `due_s`; infinite when nothing is due or the clock stands."""
        if due_s is None or (self.speed == 0 and due_s > self._start_s):
            return float("inf")
        if self.speed == 0:
            return 0.0
        return max(0.0, (due_s - self.now_s()) / self.speed)


class Entry:
    """One thing to do at a time; `cancel()` before it is due and it never happens."""

    __slots__ = ("callback", "due_s")

    def __init__(self, due_s: float, callback: Callable[[float], None]) -> None:
        self.due_s = due_s
        self.callback: Callable[[float], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Schedule:
    """A heap of entries by due time, ties in the order they were added.

    `on_earlier` is called when a new entry is due before all others, so that a sleeping pump can wake.
    """

    def __init__(self, on_earlier: Callable[[], None]) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._sequence = itertools.count()
        self._on_earlier = on_earlier

    def at(self, due_s: float, callback: Callable[[float], None]) -> Entry:
        """Call `callback(due_s)` once `due_s` has come."""
        entry = Entry(due_s, callback)
        earliest = not self._heap or due_s < self._heap[0][0]
        heapq.heappush(self._heap, (due_s, next(self._sequence), entry))
        if earliest:
            self._on_earlier()
        return entry

    def next_s(self) -> float | None:
        """When the earliest living entry is due."""
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def run_due(self, now_s: float, at_most: int) -> bool:
        """Run what is due by `now_s`, in order, at most `at_most` entries. True when more is due."""
        for _ in range(at_most):
            due_s = self.next_s()
            if due_s is None or due_s > now_s:
                return False
            entry = heapq.heappop(self._heap)[2]
            callback = entry.callback
            if callback is not None:
                callback(due_s)
        due_s = self.next_s()
        return due_s is not None and due_s <= now_s
