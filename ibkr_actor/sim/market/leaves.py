"""Owns what happens within five seconds: which trades and quotes there are, when, and of what size.

Must not know the day's figures or what came before the five seconds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.path import LEAF_S, Path, noise_of, shares
from ibkr_actor.sim.market.volume import Volumes

_US_VENUES = ("NASDAQ", "ARCA", "BATS", "EDGX", "IEX", "DRCTEDGE")
# Of the events of an instrument that trades and is quoted, two in five are trades.
_TRADES_SHARE = 0.4
# Fewer trades than this cannot have an open, a high, a low and a close of their own.
_FEWEST = 4
# Units of a trade by security type, on average; for the others as many as a stock's.
_UNITS = {
    "STK": 60.0, "FUT": 4.0, "CONTFUT": 4.0, "OPT": 6.0, "FOP": 3.0, "CRYPTO": 0.3, "BOND": 20_000.0, "BAG": 3.0,
    "WAR": 500.0, "FUND": 10.0,
}  # fmt: skip
_CACHED = 64


class Rhythm(NamedTuple):
    """How much happens in five seconds: `points` prices, and `events` quotes and trades in all."""

    points: int
    events: int

    @property
    def dense(self) -> bool:
        return self.points >= _FEWEST


def rhythm_of(instrument: Instrument, ticks_per_s: float) -> Rhythm:
    """`ticks_per_s` 0 is as if 4. At least one trade and one quote happen in five seconds."""
    events = max(1, round((ticks_per_s or 4.0) * LEAF_S))
    points = round(events * _TRADES_SHARE)
    if points < _FEWEST:
        return Rhythm(1, events)
    return Rhythm(points if instrument.quotes else events, events)


def unit_of(instrument: Instrument) -> Decimal:
    """The smallest size of a trade; sizes are whole numbers of it."""
    return Decimal(instrument.size_increment)


def unit_mean_of(instrument: Instrument) -> float:
    """How many units a trade has on average."""
    return max(1.0, _UNITS.get(instrument.sec_type, 60.0) / float(unit_of(instrument)))


class Slot(NamedTuple):
    """A place in the five seconds: `after_s` their start the quote of point `point` shows, or its trade happens."""

    after_s: float
    trade: bool
    point: int


class Leaf(NamedTuple):
    """Five seconds laid out: path prices and units of each point, and the slots in order.

    `sizes` are lots for the quotes: the first quote slot sets the bid's to the first and the ask's to the second, each
    one after it takes the next, for the bid and the ask in turn.
    """

    start_s: int
    prices: list[int]
    units: list[int]
    slots: list[Slot]
    sizes: list[int]


class Leaves:
    """The five seconds of one instrument, from its path and its volumes."""

    def __init__(self, instrument: Instrument, name: str, path: Path, volumes: Volumes, rhythm: Rhythm) -> None:
        self._instrument = instrument
        self._path = path
        self._volumes = volumes
        self._rhythm = rhythm
        self._noise = noise_of(f"{name}:leaf")
        self._phase = self._noise(1, 0)[0] / 256
        self._layouts: dict[int, list[Slot]] = {}
        self._cache: dict[int, Leaf] = {}
        self.venues = venues_of(instrument)

    def leaf(self, start_s: int) -> Leaf:
        """The five seconds from `start_s`, a multiple of 5."""
        found = self._cache.get(start_s)
        if found is None:
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            found = self._cache[start_s] = self._make(start_s)
        return found

    def venue(self, start_s: int, point: int) -> str:
        """Where a trade happened."""
        return self.venues[(start_s // LEAF_S * 7 + point * point * 5 + point) % len(self.venues)]

    def _make(self, start_s: int) -> Leaf:
        count = self._volumes.trades(LEAF_S, start_s)
        slots = self._layouts.get(count)
        if slots is None:
            slots = self._layouts[count] = self._layout(count)
        total = self._volumes.cell(LEAF_S, start_s)
        noise = hashlib.shake_128(self._noise(0, start_s)).digest(count + len(slots) + 1)
        units = [1 + more for more in shares(total - count, [byte * byte // 16 + 1 for byte in noise[:count]])]
        return Leaf(start_s, self._path.points(start_s, count), units, slots, _sizes(noise[count:], start_s))

    def _layout(self, count: int) -> list[Slot]:
        it = self._instrument
        if not it.quotes:
            return [Slot((each + self._phase) * LEAF_S / count, True, each) for each in range(count)]
        events = max(self._rhythm.events, count)
        step_s = LEAF_S / events
        if not it.trades:
            return [Slot((k + self._phase) * step_s, False, k * count // events) for k in range(events)]
        slots: list[Slot] = []
        point = 0
        for number in range(events):
            at_s = (number + self._phase) * step_s
            if number < (point + 1) * events // count - 1:
                slots.append(Slot(at_s, False, point))
                continue
            if not slots or slots[-1].trade:
                slots.append(Slot(at_s, False, point))
            slots.append(Slot(at_s, True, point))
            point += 1
        return slots


def venues_of(instrument: Instrument) -> Sequence[str]:
    """Where it trades, as trades name it."""
    listed = [each for each in instrument.valid_exchanges.split(",") if each not in ("", "SMART")]
    if instrument.sec_type == "STK" and "ARCA" in listed:
        return _US_VENUES
    return listed[:6] or [instrument.primary_exchange or instrument.exchange]


def sizes_at_end(leaf: Leaf) -> tuple[int, int]:
    """The lots of bid and ask after a leaf that has quotes."""
    last = sum(not slot.trade for slot in leaf.slots)
    pair = leaf.sizes[last - 1], leaf.sizes[last]
    return pair if last % 2 else (pair[1], pair[0])


def _sizes(noise: bytes, start_s: int) -> list[int]:
    """Never the size before on the same side: odd and even alternate between leaves, and a repeat is bumped."""
    parity = start_s // LEAF_S % 2
    sizes: list[int] = []
    for number, byte in enumerate(noise):
        size = 2 * (1 + byte % 15) + parity
        if number >= 2 and size == sizes[number - 2]:
            size += 2
        sizes.append(size)
    return sizes
