"""Owns IB's request limits as rows of data, and the rolling window that counts against one.

Holds no queue: what waits for a window is `core.pacing`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.requests import AnyRequest, ReqRealTimeBars, ReqTickByTick


def weigh_one(request: AnyRequest) -> int:
    """A request counts once."""
    return 1


class Limit(Struct, frozen=True):
    """At most `count` in any `window_s`, for all requests with one `scope` key.

    `scope` gives the key of a request, None when the limit does not concern it; a limit without `scope` is the whole
    connection's and concerns every message, cancels too. IB counts on receipt, which trails sending by up to
    `margin_s` more for one request than for another: the window is that much longer here.
    """

    name: str
    window_s: float
    count: int
    margin_s: float
    source: str
    scope: Callable[[AnyRequest], Hashable | None] | None = None
    weight: Callable[[AnyRequest], int] = weigh_one

    @property
    def span_s(self) -> float:
        """How long a request counts here."""
        return self.window_s + self.margin_s


class Window:
    """What was sent under one limit and scope within its span. A rolling window, not a bucket: IB counts that way."""

    __slots__ = ("_sent", "limit", "used")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._sent: deque[tuple[float, int]] = deque()
        self.used = 0

    def free_at(self, now_s: float, weight: int) -> float:
        """The earliest time at which `weight` more fit; `now_s` when they fit now."""
        self.prune(now_s)
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

    def add(self, now_s: float, weight: int) -> None:
        """Counts a request that is sent now."""
        self._sent.append((now_s, weight))
        self.used += weight

    def prune(self, now_s: float) -> None:
        """Forgets what counts no more."""
        span_s = self.limit.span_s
        while self._sent and self._sent[0][0] + span_s <= now_s:
            self.used -= self._sent.popleft()[1]


def same_instrument(request: AnyRequest) -> Hashable | None:
    """Tick-by-tick requests are counted per contract, whatever their type."""
    return request.contract.con_id if isinstance(request, ReqTickByTick) else None


def real_time_bars(request: AnyRequest) -> Hashable | None:
    """New real-time bars share one window."""
    return "bars" if isinstance(request, ReqRealTimeBars) else None


_PACING_PAGE: Final = "IBKR, TWS API: Pacing Limitations"


def limits_of(config: PacingConfig) -> tuple[Limit, ...]:
    """Every limit that concerns what this version asks. A limit of another request is one more row."""
    return (
        Limit("messages", 1.0, max(1, config.lines // 2), config.message_margin_s, _PACING_PAGE),
        Limit(
            "tick_by_tick_instrument",
            15.0,
            1,
            config.window_margin_s,
            "IBKR, TWS API: Request Tick-by-Tick Data",
            same_instrument,
        ),
        Limit(
            "real_time_bars",
            600.0,
            60,
            config.window_margin_s,
            "IBKR, TWS API: Real Time Bars (legacy page)",
            real_time_bars,
        ),
    )
