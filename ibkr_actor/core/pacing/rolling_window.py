"""Owns the rolling window: what was sent under one limit and scope, and when there is room again.

Knows no request, and nothing of who waits.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from ibkr_actor.core.pacing.limits import Limit


class Window:
    """What was sent under one limit and scope within its span. A rolling window, not a bucket: IB counts that way."""

    __slots__ = ("_sent", "blocked_until_s", "limit", "used")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._sent: deque[tuple[float, int]] = deque()
        self.used = 0
        # Set by a cooldown: nothing fits before, whatever was sent.
        self.blocked_until_s = float("-inf")

    def free_at(self, now_s: float, weight: int) -> float:
        """The earliest time at which `weight` more fit; `now_s` when they fit now."""
        self.prune(now_s)
        return max(now_s, self.blocked_until_s, self._room_at(now_s, weight))

    def _room_at(self, now_s: float, weight: int) -> float:
        excess = self.used + min(weight, self.limit.count) - self.limit.count
        if excess <= 0:
            return now_s
        for at_s, sent_weight in self._sent:
            excess -= sent_weight
            if excess <= 0:
                return at_s + self.limit.span_s
        # More than the whole window asks to wait: it starts afresh after the last entry, and again after that.
        turns = 1 + -(-excess // self.limit.count)
        return (self._sent[-1][0] if self._sent else now_s) + turns * self.limit.span_s

    def full_turns_at(self, now_s: float, weight: int) -> float:
        """When the last of requests that weigh `weight` together fits, if they go as soon as they can."""
        whole_turns, rest = divmod(weight - 1, self.limit.count)
        return self.free_at(now_s, rest + 1) + whole_turns * self.limit.span_s

    def add(self, now_s: float, weight: int) -> None:
        """Counts a request that is sent now."""
        self._sent.append((now_s, weight))
        self.used += weight

    def restore(self, entries: Iterable[tuple[float, int]]) -> None:
        """Adds what was sent earlier, in any order."""
        older = sorted(entries)
        self._sent = deque(heapq.merge(older, self._sent))
        self.used += sum(weight for _, weight in older)

    def entries(self) -> Iterable[tuple[float, int]]:
        """(when, weight) of what counts, oldest first."""
        return self._sent

    def prune(self, now_s: float) -> None:
        """Forgets what counts no more."""
        span_s = self.limit.span_s
        while self._sent and self._sent[0][0] + span_s <= now_s:
            self.used -= self._sent.popleft()[1]
