"""Owns how far back one request for bars may reach: IB's two tables, which contradict each other.

Must not know sessions or times; how much of a duration a window needs is decided by `core.history.plan`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, get_args

from msgspec import Struct

from ibkr_actor.core.history.resolutions import RESOLUTIONS, Resolution

Unit = Literal["S", "D", "W", "M", "Y"]
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
UNIT_S: Final[dict[Unit, int]] = {"S": 1, "D": 86_400, "W": 7 * 86_400, "M": 30 * 86_400, "Y": 365 * 86_400}


class Duration(Struct, frozen=True, order=True):
    """`count` of `unit`, backwards from a request's end.

    What the gateway makes of it (live, wboayue/rust-ibapi#837): S are seconds of trading time, D whole trade dates
    that touch the time before the end, W, M and Y go by the calendar.
    """

    count: int
    unit: Unit

    @property
    def text(self) -> str:
        """As IB reads it: `3600 S`, `2 D`."""
        return f"{self.count} {self.unit}"

    @property
    def nominal_s(self) -> int:
        """Its length by the clock, for comparing one with another."""
        return self.count * UNIT_S[self.unit]


# The new tables. Source: IBKR, TWS API documentation, "Max Duration Per Bar Size": for 1 secs seconds only, and 2,000
# of them; for every other size these counts (the gateway says 321 "greater than 86400 seconds", and beyond 365 D).
ONE_SECOND_MAX: Final = Duration(2_000, "S")
COUNT_MAX: Final[dict[Unit, int]] = {"S": 86_400, "D": 365, "W": 52, "M": 12, "Y": 68}
# Unit -> smallest and largest bar it goes with. Source: ibid., "Step Sizes".
STEPS: Final[dict[Unit, tuple[str, str]]] = {
    "S": ("1s", "1m"),
    "D": ("5s", "1h"),
    "W": ("10s", "4h"),
    "M": ("30s", "8h"),
    "Y": ("1m", "1d"),
}
# The legacy table: duration -> smallest and largest bar. Source: interactivebrokers.github.io, historical_limitations.
LEGACY: Final[tuple[tuple[Duration, str, str], ...]] = (
    (Duration(60, "S"), "1s", "1m"),
    (Duration(120, "S"), "1s", "2m"),
    (Duration(1_800, "S"), "1s", "30m"),
    (Duration(3_600, "S"), "5s", "1h"),
    (Duration(14_400, "S"), "10s", "3h"),
    (Duration(28_800, "S"), "30s", "8h"),
    (Duration(1, "D"), "1m", "1d"),
    (Duration(2, "D"), "2m", "1d"),
    (Duration(1, "W"), "3m", "1w"),
    (Duration(1, "M"), "30m", "1M"),
    (Duration(1, "Y"), "1d", "1M"),
)


def _within(resolution: Resolution, smallest: str, largest: str) -> bool:
    return RESOLUTIONS[smallest].seconds <= resolution.seconds <= RESOLUTIONS[largest].seconds


def new_caps(resolution: Resolution) -> dict[Unit, int]:
    """Unit -> most of it that one request may ask for by the new tables.

    No step goes with weekly and monthly bars there, although all counts are said to hold for them; years do in both.
    """
    if resolution.seconds == 1:
        return {ONE_SECOND_MAX.unit: ONE_SECOND_MAX.count}
    steps: tuple[Unit, ...] = tuple(unit for unit in UNITS if _within(resolution, *STEPS[unit]))
    return {unit: COUNT_MAX[unit] for unit in steps or ("Y",)}


def legacy_caps(resolution: Resolution) -> dict[Unit, int]:
    """Unit -> most of it that one request may ask for by the legacy table."""
    caps: dict[Unit, int] = {}
    for duration, smallest, largest in LEGACY:
        if _within(resolution, smallest, largest):
            caps[duration.unit] = max(duration.count, caps.get(duration.unit, 0))
    return caps


def caps(resolution: Resolution, refused: Collection[Duration] = ()) -> dict[Unit, int]:
    """Unit -> most of it to ask for, after IB `refused` these durations (162 or 321 for step or duration).

    A unit that was refused falls back to its count in the legacy table if that is smaller, else it is given up. When
    the new tables have nothing left, the legacy table's other units follow. Empty when all of it was refused.
    """
    legacy = legacy_caps(resolution)
    found: dict[Unit, int] = {}
    for table in (new_caps(resolution), legacy):
        for unit, count in table.items():
            least = min((each.count for each in refused if each.unit == unit), default=None)
            left = count if least is None or count < least else legacy.get(unit, 0)
            if left and (least is None or left < least):
                found[unit] = left
        if found:
            break
    return found


def candidates(resolution: Resolution, wanted_s: int | None = None) -> tuple[Duration, ...]:
    """What to ask for in turn if each is refused: from the longest of the new tables down to the legacy ones.

    `wanted_s`: seconds by the clock that are wanted, when it is less than all; no duration is longer than that needs.
    """
    found: list[Duration] = []
    refused: list[Duration] = []
    while left := caps(resolution, refused):
        count, unit = max(((count, unit) for unit, count in left.items()), key=lambda each: each[0] * UNIT_S[each[1]])
        refused.append(Duration(count, unit))
        needed = count if wanted_s is None else min(count, max(1, -(-wanted_s // UNIT_S[unit])))
        if Duration(needed, unit) not in found:
            found.append(Duration(needed, unit))
    return tuple(found)
