"""Owns whether a connection is alive: when the gateway was last heard, and the question that asks it to speak.

Sends nothing and closes nothing: `core.session.core` does.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import SessionConfig
from ibkr_actor.core.effects import Instant

# An answer may have come and wait to be handled, when this process was held up: it is looked once more before a word,
# after such a part of the time that the answer has.
_SECOND_LOOK: Final = 0.25


class Pulse(Struct):
    """One connection's. `req_id` is that of a question under way; the wait for its answer starts when it left."""

    heard_s: float = 0.0
    req_id: int | None = None
    sent_s: float | None = None
    # When the answer was found missing, and whether that was told.
    missed_s: float | None = None
    mute: bool = False

    def heard(self, now: Instant) -> None:
        """Anything came: whatever was asked is answered by that."""
        self.heard_s = now.s
        self.req_id = self.sent_s = self.missed_s = None
        self.mute = False

    def sent(self, req_id: int, now: Instant) -> None:
        """Pacing let a request go, however long it was held."""
        if req_id == self.req_id:
            self.sent_s = now.s

    def next_s(self, config: SessionConfig) -> float | None:
        """When the question is due, or its answer overdue; None while pacing holds it."""
        if self.sent_s is None:
            return self.heard_s + config.heartbeat_interval_s if self.req_id is None else None
        dead_s = self.sent_s + config.heartbeat_timeout_s
        if self.mute:
            return dead_s
        if self.missed_s is None:
            return min(self.sent_s + config.mute_s, dead_s)
        return min(self.missed_s + _SECOND_LOOK * config.mute_s, dead_s)

    def is_dead(self, config: SessionConfig, now: Instant) -> bool:
        """Whether nothing came in answer."""
        return self.sent_s is not None and now.s >= self.sent_s + config.heartbeat_timeout_s

    def falls_mute(self, config: SessionConfig, now: Instant) -> bool:
        """Whether it is to be told now that the gateway answers nothing. Affects: `missed_s`, `mute`."""
        if self.sent_s is None or self.mute or now.s < self.sent_s + config.mute_s:
            return False
        if self.missed_s is None:
            self.missed_s = now.s
        self.mute = now.s >= self.missed_s + _SECOND_LOOK * config.mute_s
        return self.mute

    def is_due(self, config: SessionConfig, now: Instant) -> bool:
        """Whether it is time to ask."""
        return self.req_id is None and now.s >= self.heard_s + config.heartbeat_interval_s
