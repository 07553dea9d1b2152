"""Owns sets of things that become due at a time: leases, probes, time-outs.

Knows nothing of what is due; one heap entry per key however often a key is moved.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Below this many entries a heap is not worth tidying.
_TIDY_MIN: Final = 64


class Deadlines(Generic[K]):
    """Keys with a monotonic time each. Moving a key later costs nothing until its old time comes."""

    def __init__(self) -> None:
        # key -> when it is due; set by `set`, cleared by `clear` and `due`.
        self._at: dict[K, float] = {}
        # key -> the earliest time at which it stands in the heap.
        self._heaped: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, key: K) -> bool:
        return key in self._at

    def set(self, key: K, at_s: float) -> None:
        """The key is due at `at_s`, whatever was said before."""
        self._at[key] = at_s
        if self._heaped.get(key, float("inf")) > at_s:
            self._push(key, at_s)

    def clear(self, key: K) -> None:
        """The key is due no more."""
        self._at.pop(key, None)
        if len(self._heap) > _TIDY_MIN + 2 * len(self._at):
            self._tidy()

    def at(self, key: K) -> float | None:
        """When the key is due."""
        return self._at.get(key)

    def next_s(self) -> float | None:
        """The earliest time at which something is due."""
        while self._heap:
            at_s, _, key = self._heap[0]
            wanted = self._at.get(key)
            if wanted == at_s:
                return at_s
            heapq.heappop(self._heap)
            if self._heaped.get(key) == at_s:
                del self._heaped[key]
                if wanted is not None:
                    self._push(key, wanted)
        return None

    def due(self, now_s: float) -> list[K]:
        """The keys due by now, earliest first; they are cleared."""
        keys: list[K] = []
        while (at_s := self.next_s()) is not None and at_s <= now_s:
            key = heapq.heappop(self._heap)[2]
            del self._heaped[key]
            del self._at[key]
            keys.append(key)
        return keys

    def _push(self, key: K, at_s: float) -> None:
        self._count += 1
        self._heaped[key] = at_s
        heapq.heappush(self._heap, (at_s, self._count, key))

    def _tidy(self) -> None:
        self._heap.clear()
        self._heaped.clear()
        for key, at_s in self._at.items():
            self._push(key, at_s)
