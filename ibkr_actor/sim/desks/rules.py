"""Owns IB's limits as the simulator enforces them: sliding windows, line counts and what each breach is called.

Must not send anything or read a clock; every question comes with its time.
"""

from __future__ import annotations

import enum
from collections import deque


class Rule(enum.StrEnum):
    """What a client can break; the keys of `Simulator.violations`."""

    MESSAGE_RATE = "message_rate"  # 100
    LINES = "lines"  # 101
    DUPLICATE_ID = "duplicate_id"  # 102
    LATE_CANCEL = "late_cancel"  # 300
    DEPTH_LINES = "depth_lines"  # 309
    ORDER = "order"  # 321, read-only mode
    CLIENT_ID = "client_id"  # 326
    REAL_TIME_BARS_RATE = "real_time_bars_rate"  # 420
    TICK_BY_TICK_LINES = "tick_by_tick_lines"  # 10190
    TICK_BY_TICK_INTERVAL = "tick_by_tick_interval"  # 10190
    TICK_TYPE = "tick_type"  # 321, tick-by-tick type spelled wrongly
    BAD_REQUEST = "bad_request"  # 320, fields that cannot be read
    HISTORY_DUPLICATE_ID = "history_duplicate_id"  # 322
    HISTORY_OPEN = "history_open"  # 322
    HISTORY_LATE_CANCEL = "history_late_cancel"  # 366
    HISTORY_RATE = "history_rate"  # 162
    HISTORY_IDENTICAL = "history_identical"  # 162
    HISTORY_BURST = "history_burst"  # 162
    HISTORY_STEP = "history_step"  # 162
    HISTORY_DURATION = "history_duration"  # 321
    HISTORY_BAR_SIZE = "history_bar_size"  # 321
    HISTORY_VIEW = "history_view"  # 321, 10295, 10299
    HISTORY_FORMAT = "history_format"  # 321
    HISTORY_UPDATES = "history_updates"  # 321
    HISTORY_TICKS = "history_ticks"  # 321
    HISTORY_END = "history_end"  # 321, 10339
    HISTORY_DATE = "history_date"  # 10314
    HISTORY_EXPIRED = "history_expired"  # 166


class Window:
    """At most `limit` events within any `seconds`."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._times: deque[float] = deque()

    def count(self, now_s: float) -> int:
        """Events still inside the window."""
        while self._times and now_s - self._times[0] >= self._seconds:
            self._times.popleft()
        return len(self._times)

    def take(self, now_s: float) -> bool:
        """Count one event. False, and not counted, when the window is full."""
        if self.count(now_s) >= self.limit:
            return False
        self._times.append(now_s)
        return True

    def free_s(self, now_s: float) -> float:
        """When the next event fits; `now_s` when it fits already."""
        if self.count(now_s) < self.limit:
            return now_s
        return self._times[0] + self._seconds


class PeakRate:
    """The most events seen within any one second, for tests of other people's pacing."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self.peak = 0

    def add(self, now_s: float) -> None:
        self._times.append(now_s)
        while now_s - self._times[0] >= 1.0:
            self._times.popleft()
        self.peak = max(self.peak, len(self._times))

    def count(self) -> int:
        """Events in the second that ended with the last one."""
        return len(self._times)


def message_rate(lines: int) -> int:
    """Messages per second of a connection. Source: IBKR pacing limitations, half the market data lines."""
    return max(1, lines // 2)


def tick_by_tick_lines(lines: int) -> int:
    """Simultaneous tick-by-tick streams. Source: 5 % of the market data lines, 100 lines gave 5 when measured."""
    return max(1, lines * 5 // 100)


class Cooldown:
    """At most one event per key within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[int, float] = {}

    def take(self, key: int, now_s: float) -> bool:
        """Count one event of `key`. False, and not counted, when the last was too short ago."""
        last = self._last.get(key)
        if last is not None and now_s - last < self._seconds:
            return False
        self._last[key] = now_s
        return True
