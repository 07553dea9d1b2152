"""Owns which bars of 5 s of one line are news: IB tells some twice, above all when a request begins anew within a bar.

Publishes nothing: it is given IB's bars, and answers as which revision each is to be told.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ibkr_actor.core.events import RealTimeBar

# How many bars are remembered, so that one told again is known as such: more than eight minutes.
_REMEMBERED: Final = 100

_Values = tuple[float | None, float | None, float | None, float | None, str | None, str | None, int | None]


class RealTimeBars:
    """What was told of the newest bars; it outlives a request, as long as the line shows one contract."""

    __slots__ = ("_told", "newest_ns", "repeated")

    def __init__(self) -> None:
        # start_ns -> what was told of that bar, and its revision; the order is that of their coming.
        self._told: OrderedDict[int, tuple[_Values, int]] = OrderedDict()
        # Where the newest one begins, 0 before the first.
        self.newest_ns = 0
        # Bars that said what was told already.
        self.repeated = 0

    def of_another(self) -> RealTimeBars:
        """Those of the contract that the line shows from now on; what was counted goes on."""
        new = RealTimeBars()
        new.repeated = self.repeated
        return new

    def take(self, bar: RealTimeBar) -> int | None:
        """The bar's revision: 0 of one that is new, more of one that IB corrects; None when it says nothing new."""
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.wap, bar.count)
        known = self._told.get(bar.start_ns)
        if known is None:
            self._told[bar.start_ns] = values, 0
            if len(self._told) > _REMEMBERED:
                self._told.popitem(last=False)
            self.newest_ns = max(self.newest_ns, bar.start_ns)
            return 0
        if known[0] == values:
            self.repeated += 1
            return None
        revision = known[1] + 1
        self._told[bar.start_ns] = values, revision
        return revision
