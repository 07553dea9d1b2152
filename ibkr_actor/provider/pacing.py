"""Owns `TokenBucket` and `PacingManager`, for whoever paces requests of their own as the replaced package let them.

Paces nothing of ours: the sidecar does that for all its clients together.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

log = logging.getLogger(__name__)

Clock = Callable[[], float]


class TokenBucket:
    """At most `capacity` tokens in any `capacity / refill_rate` seconds.

    IB counts over a rolling window, and a bucket that fills while it is drawn from grants nearly twice its capacity in
    the first window. Here a token comes back one whole window after it was taken.
    """

    def __init__(self, capacity: int, refill_rate: float, *, clock: Clock = time.monotonic) -> None:
        """`refill_rate` is in tokens per second."""
        if capacity < 1 or refill_rate <= 0:
            raise ValueError("capacity must be 1 or more and refill_rate above 0")
        self.capacity = capacity
        self.refill_rate = refill_rate
        self.window_s = capacity / refill_rate
        self._clock = clock
        self._taken: deque[float] = deque()  # when each token that is out was taken
        self._turn = anyio.Lock()  # first come, first served

    @property
    def tokens(self) -> float:
        """How many are there now."""
        self._give_back()
        return float(self.capacity - len(self._taken))

    async def acquire(self, tokens: int = 1, timeout: float | None = None) -> bool:
        """Takes tokens, waiting for them up to `timeout` seconds (None: for ever). Whether they were taken."""
        if not 1 <= tokens <= self.capacity:
            raise ValueError(f"tokens must be 1 to {self.capacity}")
        if not self._turn.locked() and self._take(tokens):
            return True
        with anyio.move_on_after(timeout):
            async with self._turn:
                # One sleep and no poll: nobody else takes any meanwhile, and those that are out come back.
                await anyio.sleep(self._wait_s(tokens))
                return self._take(tokens)
        return False

    async def get_available_tokens(self) -> float:
        return self.tokens

    def _take(self, tokens: int) -> bool:
        if self.tokens < tokens:
            return False
        self._taken.extend([self._clock()] * tokens)
        return True

    def _wait_s(self, tokens: int) -> float:
        """Until enough have come back; never 0, or a clock that stands still would be asked without end."""
        missing = tokens - (self.capacity - len(self._taken))
        return max(0.001, self._taken[missing - 1] + self.window_s - self._clock())

    def _give_back(self) -> None:
        before = self._clock() - self.window_s
        while self._taken and self._taken[0] <= before:
            self._taken.popleft()


class PacingManager:
    """Cooldowns by scope (`hist_AAPL`): which of them may not be asked for again yet.

    `on_clear` is told of each scope whose cooldown is cleared by hand, so that it is cleared where it counts.
    """

    def __init__(
        self,
        default_cooldown_sec: int = 600,
        *,
        clock: Clock = time.monotonic,
        on_clear: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.default_cooldown_sec = default_cooldown_sec
        self._clock = clock
        self._on_clear = on_clear
        self._until: dict[str, float] = {}

    async def check_cooldown(self, scope: str) -> bool:
        """True when the scope may be used, False while it cools down."""
        return self.remaining_s(scope) == 0

    async def trigger_cooldown(self, scope: str, duration_sec: float | None = None) -> None:
        """Begins a cooldown, of the default length when none is given; one that runs is not made shorter."""
        duration_s = self.default_cooldown_sec if duration_sec is None else duration_sec
        self._until[scope] = max(self._until.get(scope, 0.0), self._clock() + duration_s)
        log.warning("cooldown_started scope=%s duration_s=%g", scope, duration_s)

    async def get_cooldown_status(self, scope: str) -> dict[str, Any]:
        """`in_cooldown`, `remaining_sec`, and `cooldown_until` as ISO 8601 in UTC, None when there is none."""
        left_s = self.remaining_s(scope)
        until = (datetime.now(UTC) + timedelta(seconds=left_s)).isoformat() if left_s else None
        return {"in_cooldown": left_s > 0, "remaining_sec": left_s, "cooldown_until": until}

    async def clear_cooldown(self, scope: str) -> None:
        """Ends the cooldown of a scope."""
        if self._until.pop(scope, None) is not None:
            log.info("cooldown_cleared scope=%s", scope)
        if self._on_clear is not None:
            await self._on_clear(scope)

    async def clear_all_cooldowns(self) -> None:
        """Ends every cooldown."""
        self._until.clear()
        if self._on_clear is not None:
            await self._on_clear("")

    def remaining_s(self, scope: str) -> float:
        """Seconds until the scope may be used; 0 when it may."""
        until = self._until.get(scope)
        if until is None:
            return 0.0
        left_s = until - self._clock()
        if left_s <= 0:
            del self._until[scope]
            return 0.0
        return left_s
