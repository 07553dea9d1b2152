"""How well Redis can be written and read, and how long to wait before trying again.

Logs changes of state only, never attempts.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Literal

from ibkr_actor.bus.config import RedisConfig
from ibkr_actor.bus.connection import Refused, Unreachable

log = logging.getLogger(__name__)

HealthState = Literal["starting", "up", "degraded", "down"]
OnChange = Callable[["Health", HealthState], None]


class Health:
    """The state of one part of the bus, with the reason in plain words."""

    def __init__(self, part: str, on_change: OnChange | None = None) -> None:
        self.part = part
        self.state: HealthState = "starting"
        self.reason = "not connected yet"
        self.losses = 0  # times it left `up`
        self._on_change = on_change  # told of the new state and the one before

    def up(self) -> None:
        self._set("up", "")

    def degraded(self, reason: str) -> None:
        """Connected, but the server does not do what it is asked."""
        self._set("degraded", reason)

    def down(self, reason: str) -> None:
        """Not connected."""
        self._set("down", reason)

    def trouble(self, error: Unreachable | Refused) -> None:
        """Not connected, or refused by the server."""
        if isinstance(error, Refused):
            self.degraded(str(error))
        else:
            self.down(str(error))

    def _set(self, state: HealthState, reason: str) -> None:
        if state == self.state:
            self.reason = reason
            return
        before, self.state, self.reason = self.state, state, reason
        if before == "up":
            self.losses += 1
        level = logging.INFO if state == "up" else logging.WARNING
        log.log(level, "redis_%s part=%s before=%s reason=%s", state, self.part, before, reason or "-")
        if self._on_change is not None:
            self._on_change(self, before)


class Backoff:
    """Waits that double up to a cap, with jitter, so that many parts do not return at once."""

    def __init__(self, config: RedisConfig, max_s: float | None = None) -> None:
        self._min_s = config.backoff_min_s
        self._max_s = config.backoff_max_s if max_s is None else max_s
        self._next_s = self._min_s

    def reset(self) -> None:
        self._next_s = self._min_s

    def next_s(self) -> float:
        """How long to wait now."""
        wait_s, self._next_s = self._next_s, min(self._next_s * 2, self._max_s)
        return wait_s * (0.5 + random.random() / 2)
