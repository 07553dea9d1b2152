"""Owns the shapes the market is told in: bars and their sizes, quotes, trades, and the state between them.

Must not compute a price.
"""

from __future__ import annotations

import dataclasses
import datetime
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

Unit = Literal["second", "day", "week", "month"]


class BarSize(NamedTuple):
    """A size of bar; `seconds` is exact up to hours and nominal for days (86,400), weeks and months (30 days)."""

    text: str
    seconds: int
    unit: Unit

    @property
    def intraday(self) -> bool:
        return self.unit == "second"

    @classmethod
    def parse(cls, text: str) -> BarSize:
        """The size IB means by `5 secs`, `1 min`, `2 mins`, `1 hour`, `1 day`, `1W` or `1 month`.

        Raises: ValueError for what is not on IB's list. Source: the list in the text of the gateway's own error 321.
        """
        found = _SIZES.get(" ".join(text.split()).lower())
        if found is None:
            raise ValueError(f"bar size {text!r} is not one of {', '.join(BAR_SIZES)}")
        return found


class Bar(msgspec.Struct, frozen=True):
    """Prices from `start_s` to before `end_s` (seconds since 1970), of one trade date or, for weeks and months, the
    dates up to `trade_date`.

    `volume` and `count` are 0 for anything but trades. `wap` is the close where there is no volume.
    """

    start_s: int
    end_s: int
    trade_date: datetime.date
    open: float
    high: float
    low: float
    close: float
    volume: Decimal
    wap: float
    count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Quote:
    """A change of the best bid or ask; the flags say what differs from the quote before."""

    time_s: float
    bid: float
    ask: float
    bid_size: Decimal
    ask_size: Decimal
    bid_moved: bool
    ask_moved: bool
    bid_resized: bool
    ask_resized: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Trade:
    """A trade between bid and ask, with the trade date's figures after it; an index' has size 0."""

    time_s: float
    price: float
    size: Decimal
    exchange: str
    volume: Decimal
    vwap: float
    price_moved: bool
    new_high: bool
    new_low: bool


class State(NamedTuple):
    """What holds at a time: the last quote and the last trade before it."""

    time_s: float
    bid: float
    ask: float
    bid_size: Decimal
    ask_size: Decimal
    last: float
    last_size: Decimal
    last_time_s: float


class DaySoFar(NamedTuple):
    """A trade date up to a time; `close` is that of the regular hours of the trade date before."""

    trade_date: datetime.date
    open: float
    high: float
    low: float
    volume: Decimal
    vwap: float
    trades: int
    close: float


def _sizes() -> dict[str, BarSize]:
    rows: list[tuple[str, int, Unit, tuple[str, ...]]] = [("1 secs", 1, "second", ("1 sec", "1 second"))]
    rows += [(f"{n} secs", n, "second", (f"{n} sec", f"{n} seconds")) for n in (5, 10, 15, 30)]
    rows += [("1 min", 60, "second", ("1 mins", "1 minute"))]
    rows += [(f"{n} mins", 60 * n, "second", (f"{n} min", f"{n} minutes")) for n in (2, 3, 5, 10, 15, 20, 30)]
    rows += [("1 hour", 3600, "second", ("1 hours",))]
    rows += [(f"{n} hours", 3600 * n, "second", (f"{n} hour",)) for n in (2, 3, 4, 8)]
    rows += [("1 day", 86_400, "day", ("1 days", "1d")), ("1 week", 604_800, "week", ("1 weeks", "1w", "1 w"))]
    rows += [("1 month", 2_592_000, "month", ("1 months", "1m", "1 m"))]
    sizes = {}
    for text, seconds, unit, others in rows:
        size = BarSize(text, seconds, unit)
        sizes.update(dict.fromkeys((text, *others), size))
    return sizes


_SIZES = _sizes()
# The sizes as IB writes them.
BAR_SIZES: tuple[str, ...] = tuple(dict.fromkeys(size.text for size in _SIZES.values()))
