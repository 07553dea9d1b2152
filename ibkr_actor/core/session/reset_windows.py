"""Owns when IB or the gateway is away by plan: the table of reset windows, and whether a time lies in one.

Knows no connection; what follows from a window is `core.session.reconnecting`'s.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from msgspec import Struct

_NEW_YORK: Final = "America/New_York"
_SOURCE: Final = "IBKR, System Status: server reset times"
_NS: Final = 1_000_000_000
_RESTART_TAKES: Final = timedelta(minutes=10)


class ResetWindow(Struct, frozen=True):
    """One plan: from `start` by the clock of `zone` on `weekdays` (Monday is 0), for `lasts`."""

    name: str
    zone: str
    weekdays: frozenset[int]
    start: time
    lasts: timedelta
    source: str

    def end_ns(self, ns: int) -> int | None:
        """When the window that holds at `ns` ends; None outside of it."""
        now = datetime.fromtimestamp(ns // _NS, UTC)
        zone = ZoneInfo(self.zone)
        today = now.astimezone(zone).date()
        for day in (today - timedelta(days=1), today):
            # The length is real time, whatever the wall clock does meanwhile.
            start = datetime.combine(day, self.start, tzinfo=zone).astimezone(UTC)
            if day.weekday() in self.weekdays and start <= now < start + self.lasts:
                return int((start + self.lasts).timestamp()) * _NS
        return None


NORTH_AMERICA: Final = (
    ResetWindow(
        "IB's nightly reset",
        _NEW_YORK,
        frozenset({5, 6, 0, 1, 2, 3}),
        time(23, 45),
        timedelta(hours=1),
        _SOURCE,
    ),
    ResetWindow("IB's weekly reset", _NEW_YORK, frozenset({4}), time(23, 0), timedelta(hours=4), _SOURCE),
)


def gateway_restart(text: str) -> ResetWindow:
    """The gateway's own daily restart, from `HH:MM Zone/City`, as it is set in its configuration.

    Raises:
        ValueError: the text is no time with a zone.
    """
    clock, _, zone = text.partition(" ")
    try:
        ZoneInfo(zone)
        start = time.fromisoformat(clock)
    except (OSError, ValueError, KeyError):
        raise ValueError(f"{text!r} is not a time with a zone, such as 23:55 America/New_York") from None
    return ResetWindow(
        "the gateway's daily restart",
        zone,
        frozenset(range(7)),
        start.replace(tzinfo=None),
        _RESTART_TAKES,
        "IBKR, IB Gateway: Configuration, Lock and Exit, Auto restart",
    )


def window_at(windows: tuple[ResetWindow, ...], ns: int) -> tuple[ResetWindow, int] | None:
    """The window that holds at a time and when it ends, the latest end first; None when none holds."""
    found = [(window, end_ns) for window in windows if (end_ns := window.end_ns(ns)) is not None]
    return max(found, key=lambda pair: pair[1], default=None)
