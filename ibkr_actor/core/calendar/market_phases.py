"""Owns in which phase a market is: regular hours, the rest of its trading hours, closed, or unknown.

Knows no line and no data; reads IB's texts of hours, and the week's pattern beyond the days they list.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS, Sessions, from_hours
from ibkr_actor.schema.instruments import Contract

PhaseName = Literal["regular", "extended", "closed", "unknown"]

_DAY_NS: Final = 86_400 * NS
# How far around the present the week's pattern is laid out; longer than any market is closed in a row.
_AROUND: Final = timedelta(days=12)
# Texts of hours that are kept read: a hundred lines have a handful of them, and reading one takes near a millisecond.
_TEXTS_MAX: Final = 256
_CLOSED: Final = re.compile(r"(?:^|;)([0-9]{8}):CLOSED")


class Phase(Struct, frozen=True):
    """What holds in [from_ns, to_ns)."""

    name: PhaseName
    from_ns: int
    to_ns: int

    @property
    def is_open(self) -> bool:
        """Whether data may be expected."""
        return self.name in ("regular", "extended")


class MarketPhases:
    """The phases of one contract. With `regular_only` all that is not regular hours is closed."""

    def __init__(self, contract: Contract, *, regular_only: bool = False) -> None:
        # A feed of news has hours, but whether there is anything to say is nobody's habit.
        self._trading = None if contract.sec_type == "NEWS" else _stretches(contract.trading_hours, contract.time_zone)
        self._liquid = _stretches(contract.liquid_hours, contract.time_zone)
        self._regular_only = regular_only
        self._now = Phase("unknown", 0, 0)

    def at(self, ns: int) -> Phase:
        """The phase at a time; cheap as long as the phase lasts."""
        if not self._now.from_ns <= ns < self._now.to_ns:
            self._now = self._phase(ns)
        return self._now

    def _phase(self, ns: int) -> Phase:
        if self._trading is None:
            return Phase("unknown", ns, ns + _DAY_NS)
        trades, from_ns, to_ns = self._trading.at(ns)
        if not trades:
            return Phase("closed", from_ns, to_ns)
        if self._liquid is None:
            return Phase("regular", from_ns, to_ns)
        liquid, liquid_from_ns, liquid_to_ns = self._liquid.at(ns)
        name: PhaseName = "regular" if liquid else "closed" if self._regular_only else "extended"
        return Phase(name, max(from_ns, liquid_from_ns), min(to_ns, liquid_to_ns))


class _Stretches:
    """Open and closed stretches by one of IB's texts. Days it lists as CLOSED stay closed; others follow the week."""

    def __init__(self, listed: Sessions, closed: frozenset[date]) -> None:
        self._listed = listed
        self._closed = closed
        self._laid_out = listed
        self._until_ns = 0

    def at(self, ns: int) -> tuple[bool, int, int]:
        """Whether it is open, and from when to when that holds."""
        if not self._until_ns - _DAY_NS <= ns < self._until_ns:
            self._lay_out(ns)
        segment = self._laid_out.segment_at(ns)
        if segment is not None:
            return self._laid_out.date_at(ns) not in self._closed, segment[0], segment[1]
        before, after = self._laid_out.open_before(ns), self._laid_out.open_from(ns)
        return False, before[1] if before else ns, after[0] if after else ns + _DAY_NS

    def _lay_out(self, ns: int) -> None:
        today = datetime.fromtimestamp(ns // NS, UTC).date()
        self._laid_out = self._listed.extended(today - _AROUND, today + _AROUND)
        self._until_ns = ns + _DAY_NS


@lru_cache(maxsize=_TEXTS_MAX)
def _stretches(hours: str, zone_name: str) -> _Stretches | None:
    """None when the text cannot be read: then nothing is known of the market."""
    try:
        listed = from_hours(hours, zone_name)
    except ValueError:
        return None
    return _Stretches(listed, frozenset(_dates(hours)))


def _dates(hours: str) -> list[date]:
    found = []
    for text in _CLOSED.findall(hours):
        try:
            found.append(date(int(text[:4]), int(text[4:6]), int(text[6:])))
        except ValueError:
            continue
    return found
