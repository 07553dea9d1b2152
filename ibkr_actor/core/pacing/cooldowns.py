"""Owns how long a limit rests after IB said that it was broken, and how that grows when IB says so again.

Blocks nothing itself: pacing holds the windows shut that are named here.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.deadlines import Deadlines


class Cooldown(Struct, frozen=True):
    """A limit at rest. `strikes` counts the violations in a row, this one included."""

    scope: str
    since_s: float
    until_s: float
    strikes: int


class Cooldowns:
    """At most one cooldown per limit.

    IB does not say which of its rules was broken, and pacing counts exactly what this process sent. So IB knows of
    requests that we do not: charts in TWS, another program on the login, what left just before a crash. All of them
    count in the window that the whole login shares, hence that is what rests, as if it had been filled now.
    """

    def __init__(self, config: PacingConfig) -> None:
        self._config = config
        # scope -> its last cooldown, over or not; kept to tell a repeated violation from a new one.
        self._last: dict[str, Cooldown] = {}
        self._running = Deadlines[str]()

    def begin(self, scope: str, sent_s: float, now_s: float) -> Cooldown | None:
        """A request under `scope` that left at `sent_s` broke a limit; None when the cooldown that runs covers it."""
        last = self._last.get(scope)
        if last is not None and scope in self._running and sent_s <= last.since_s:
            # It was under way already when IB first complained.
            return None
        base_s = self._config.cooldown_s
        again = last is not None and now_s < last.until_s + base_s
        strikes = last.strikes + 1 if last is not None and again else 1
        # The exponent is capped: the wait is bounded long before.
        span_s = min(self._config.cooldown_max_s, base_s * 2 ** min(strikes - 1, 20)) + self._config.window_margin_s
        return self._run(Cooldown(scope, now_s, now_s + span_s, strikes))

    def restore(self, scope: str, until_s: float, strikes: int, now_s: float) -> Cooldown:
        """Goes on with a cooldown of before a restart, or remembers that it was."""
        until_s = min(until_s, now_s + self._config.cooldown_max_s + self._config.window_margin_s)
        return self._run(Cooldown(scope, now_s, until_s, strikes))

    def _run(self, cooldown: Cooldown) -> Cooldown:
        self._last[cooldown.scope] = cooldown
        self._running.set(cooldown.scope, cooldown.until_s)
        return cooldown

    def clear(self, scope: str) -> list[str]:
        """Ends the cooldown of one scope, or every one when `scope` is empty; which were ended."""
        ended = [name for name in self._last if name in self._running and scope in ("", name)]
        for name in ended:
            self._running.clear(name)
            del self._last[name]
        return ended

    def due(self, now_s: float) -> list[str]:
        """The cooldowns that are over by now."""
        return self._running.due(now_s)

    def next_s(self) -> float | None:
        """When the next cooldown is over."""
        return self._running.next_s()

    def running(self) -> list[Cooldown]:
        """Those that are not over."""
        return [cooldown for scope, cooldown in self._last.items() if scope in self._running]

    def remembered(self) -> list[Cooldown]:
        """The last one of each scope, over or not."""
        return list(self._last.values())
