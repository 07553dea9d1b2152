"""Owns the resolutions a bar may have: our short name, IB's bar size text, and how long one lasts.

Must not know durations or sessions; which request yields which bars is decided by `core.history.plan`.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

Kind = Literal["intraday", "day", "week", "month"]

DAY_S: Final = 86_400
# Bars of at most this size fall under IB's pacing rules and are kept for six months only.
# Source: IBKR, Historical Data Limitations, "Pacing Violations for Small Bars (30 secs or less)".
SMALL_MAX_S: Final = 30


class Resolution(Struct, frozen=True):
    """One size of bar. `seconds` is exact within a day and nominal from a day on (a month counts 30 days)."""

    name: str
    bar_size: str
    seconds: int

    @property
    def small(self) -> bool:
        """Whether IB's rules for bars of 30 seconds and less concern it."""
        return self.seconds <= SMALL_MAX_S

    @property
    def intraday(self) -> bool:
        return self.seconds < DAY_S

    @property
    def kind(self) -> Kind:
        if self.intraday:
            return "intraday"
        return "day" if self.name == "1d" else "week" if self.name == "1w" else "month"


# Source: the list in the gateway's own error 321 (InterReact#16): 1 secs, 5 secs, ..., 1 day, 1W, 1M.
_ROWS: Final = (
    Resolution("1s", "1 secs", 1),
    Resolution("5s", "5 secs", 5),
    Resolution("10s", "10 secs", 10),
    Resolution("15s", "15 secs", 15),
    Resolution("30s", "30 secs", 30),
    Resolution("1m", "1 min", 60),
    Resolution("2m", "2 mins", 120),
    Resolution("3m", "3 mins", 180),
    Resolution("5m", "5 mins", 300),
    Resolution("10m", "10 mins", 600),
    Resolution("15m", "15 mins", 900),
    Resolution("20m", "20 mins", 1_200),
    Resolution("30m", "30 mins", 1_800),
    Resolution("1h", "1 hour", 3_600),
    Resolution("2h", "2 hours", 7_200),
    Resolution("3h", "3 hours", 10_800),
    Resolution("4h", "4 hours", 14_400),
    Resolution("8h", "8 hours", 28_800),
    Resolution("1d", "1 day", DAY_S),
    Resolution("1w", "1W", 7 * DAY_S),
    Resolution("1M", "1M", 30 * DAY_S),
)
RESOLUTIONS: Final[dict[str, Resolution]] = {row.name: row for row in _ROWS}


def resolution(name: str) -> Resolution:
    """The resolution of a name; `1m` is a minute and `1M` a month.

    Raises: ValueError for any other text, with the legal names.
    """
    found = RESOLUTIONS.get(name)
    if found is None:
        raise ValueError(f"bar {name!r} is not one of {', '.join(RESOLUTIONS)}")
    return found
