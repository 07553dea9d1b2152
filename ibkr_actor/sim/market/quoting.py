"""Owns how the ticks of a path become an instrument's prices: last, bid, ask, midpoint, and derivatives of another.

Must not know time beyond a trade date; every map here rises (or, for a put, falls) with the path, so the map of a bar's
prices is the bar of the mapped prices.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.path import noise_of
from ibkr_actor.sim.market.pricing import derived_price

# The bid and the ask follow the price in steps that repeat after so many ticks.
_PATTERN = 64
_CACHED_PRICES = 32_768
_CACHED_DATES = 64
# Price models in which the trade date counts.
_DATED = frozenset({"forward", "option", "front"})
# Views that are a price each.
VIEWS = ("TRADES", "BID", "ASK", "MIDPOINT")


class Prices(dict[int, float]):
    """Ticks of the path -> price, computed when first asked for."""

    def __init__(self, compute: Callable[[int], float]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, ticks: int) -> float:
        if len(self) >= _CACHED_PRICES:
            self.clear()
        found = self[ticks] = self._compute(ticks)
        return found


class Quoting:
    """The prices of one instrument as functions of its path; `under` is the quoting of its `price_con_id`.

    `meant` says which instrument it is on a trade date, for a continuous future. `falls` when the instrument gets
    cheaper as the path rises.
    """

    def __init__(
        self,
        instrument: Instrument,
        name: str,
        under: Quoting | None = None,
        meant: Callable[[datetime.date], Instrument] | None = None,
    ) -> None:
        self.instrument = instrument
        self._under = under
        self._meant = meant
        self.tick = float(instrument.min_tick)
        self._decimals = max(instrument.decimals, 1)
        self._dated: bool = under is not None and (under._dated or instrument.price_model in _DATED)
        self._positive = instrument.price_model != "legs"
        self.falls = instrument.price_model == "option" and instrument.right.startswith("P")
        self._below, self._above = _pattern(noise_of(f"{name}:quotes")(0, 0))
        self._maps: dict[tuple[str, datetime.date | None], Prices] = {}

    def prices(self, view: str, day: datetime.date) -> Prices:
        """The map of a view on a trade date."""
        key = (view, day if self._dated else None)
        found = self._maps.get(key)
        if found is None:
            if len(self._maps) >= _CACHED_DATES:
                self._maps.clear()
            found = self._maps[key] = Prices(self._view(view, day))
        return found

    def price(self, ticks: int, day: datetime.date) -> float:
        """The price itself, be it traded or not."""
        return self.prices("TRADES", day)[ticks]

    def money(self, own_ticks: int) -> float:
        """Ticks of the instrument itself as a price."""
        return round(own_ticks * self.tick, self._decimals)

    def _own_ticks(self, day: datetime.date) -> Callable[[int], int]:
        """How the path's ticks become ticks of the instrument itself on a trade date."""
        if self._under is None:
            return int
        under = self._under.prices("TRADES", day)
        it = self.instrument if self._meant is None else self._meant(day)
        return lambda ticks: max(1, round(derived_price(it, under[ticks], day) / self.tick))

    def _view(self, view: str, day: datetime.date) -> Callable[[int], float]:
        own_ticks = self._own_ticks(day)

        def last(ticks: int) -> float:
            return self.money(own_ticks(ticks))

        def bid(ticks: int) -> float:
            return self.money(self._bid(own_ticks(ticks)))

        def ask(ticks: int) -> float:
            return self.money(self._ask(own_ticks(ticks)))

        def middle(ticks: int) -> float:
            own = own_ticks(ticks)
            return round((self._bid(own) + self._ask(own)) * self.tick / 2, self._decimals + 1)

        return {"TRADES": last, "BID": bid, "ASK": ask, "MIDPOINT": middle}[view]

    def _bid(self, own: int) -> int:
        lowered = own - self._below[own % _PATTERN]
        return max(1, lowered) if self._positive else lowered

    def _ask(self, own: int) -> int:
        raised = own + self._above[own % _PATTERN]
        return max(2, raised) if self._positive else raised


def _pattern(noise: bytes) -> tuple[list[int], list[int]]:
    """Groups of two ticks, some of three: the lowest of a group is the bid, the highest the ask.

    Bid and ask so never cross, are a tick or two apart, and each price within a group is at or between them.
    """
    below: list[int] = []
    above: list[int] = []
    for byte in noise:
        group = 3 if byte < 64 else 2
        left = _PATTERN - len(below)
        group = left if left <= 3 else 2 if left == 4 else group
        below += range(group)
        above += reversed(range(group))
        if len(below) == _PATTERN:
            break
    return below, above
