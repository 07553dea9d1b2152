"""Owns the way of one price through all time, in whole ticks: any stretch of it, at any size, in any order.

Must not know instruments, sessions, trades or money; a path never sleeps, whoever looks decides when to.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Lengths of cells, each a whole number of the next; all begin at multiples of their length since 1970.
LEVELS = (14_400, 1_800, 300, 60, 5)
TOP_S, LEAF_S = LEVELS[0], LEVELS[-1]
_PARENT = {1_800: 14_400, 300: 1_800, 60: 300, 5: 60}
_CACHED = {14_400: 8_192, 1_800: 4_096, 300: 2_048, 60: 1_024}
# The price returns to the start: no bridge is wider than this many top cells (43 days), and no arc of it wider than
# that many (3.7 years).
_WIDEST_SWING, _LONGEST_ARC = 256, 8_192
# So many ticks a price moves at least within a cell: that is more than there are between bid and ask, so that quotes
# move every few seconds also where a tick is much.
_LEAST = 3
_CACHED_NODES = 32_768
# No price gets lower than this many ticks, so that there is always room for a bid.
LOWEST = 4
_BYTE = 255.0


class Cell(NamedTuple):
    """The prices of a stretch of time in ticks; the open is the close of the stretch before."""

    open: int
    high: int
    low: int
    close: int


Noise = Callable[[int, int], bytes]


def noise_of(name: str) -> Noise:
    """A function of (kind, number) to 64 bytes, the same on every machine."""
    key = hashlib.blake2b(name.encode(), digest_size=32).digest()
    pack = struct.Struct("<iq").pack
    blake = hashlib.blake2b

    def noise(kind: int, number: int) -> bytes:
        return blake(pack(kind, number), key=key).digest()

    return noise


class Wander:
    """Where a price of its own stands every four hours: start x exp(noise over octaves of time); bounded, no drift.

    `volatility` is of a year. The noise is a bridge halved again and again, so a value costs its way down only.
    """

    def __init__(self, name: str, start_ticks: float, volatility: float) -> None:
        self._noise = noise_of(name)
        self._start = start_ticks
        self._step = volatility * math.sqrt(TOP_S / (365 * 86_400))
        self._nodes: dict[int, float] = {}
        # How far a price goes in one top cell, in ticks; also for a price of few ticks something happens.
        self.swing = max(8.0, self._start * self._step)

    def ticks(self, index: int) -> int:
        """The price at the start of top cell `index`."""
        return max(LOWEST, round(self._start * math.exp(self._log(index))))

    def _log(self, index: int) -> float:
        found = self._nodes.get(index)
        if found is not None:
            return found
        half = index & -index
        chance = int.from_bytes(self._noise(0, index)[:6], "little") / (1 << 47) - 1.0
        width = self._step * math.sqrt(1.5 * min(half or _LONGEST_ARC, _WIDEST_SWING))
        if index % _LONGEST_ARC == 0:
            value = chance * width
        else:
            value = 0.5 * (self._log(index - half) + self._log(index + half)) + chance * width
        if len(self._nodes) >= _CACHED_NODES:
            self._nodes.clear()
        self._nodes[index] = value
        return value


class Path:
    """A price in ticks. `anchor(index)` is where top cell `index` starts, `swing` the ticks it moves in one.

    With `dense` the cells of 5 s have four prices each as all others have; without, a price each: there is then time
    for one trade only.
    """

    def __init__(
        self, name: str, anchor: Callable[[int], int], swing: float, *, dense: bool = True, lowest: int | None = LOWEST
    ) -> None:
        self._noise = noise_of(f"{name}:path")
        self._anchor = anchor
        self._swing = swing
        self._dense = dense
        self._lowest = lowest
        self._tops: dict[int, Cell] = {}
        self._blocks: dict[int, dict[int, list[Cell]]] = {level: {} for level in LEVELS[:-1]}

    def cell(self, level: int, start_s: int) -> Cell:
        """The cell of `level` seconds at `start_s`, which is a multiple of it."""
        if level == TOP_S:
            return self._top(start_s // TOP_S)
        parent = _PARENT[level]
        return self.block(parent, start_s - start_s % parent)[start_s % parent // level]

    def block(self, parent: int, start_s: int) -> list[Cell]:
        """The cells of the next smaller level that make up the cell of `parent` seconds at `start_s`."""
        cache = self._blocks[parent]
        found = cache.get(start_s)
        if found is None:
            if len(cache) >= _CACHED[parent]:
                cache.clear()
            found = cache[start_s] = self._divide(parent, start_s)
        return found

    def value(self, time_s: int) -> int:
        """The price at a multiple of 5 s."""
        level = next(level for level in LEVELS if time_s % level == 0)
        return self.cell(level, time_s).open

    def points(self, start_s: int, count: int) -> list[int]:
        """The cell of 5 s at `start_s` as `count` prices that have its open, high, low and close.

        `count` is 4 or more; 1 where the path is not dense.
        """
        cell = self.cell(LEAF_S, start_s)
        if count == 1:
            return [cell.open]
        noise = self._noise(2, start_s)
        return _points(cell, count, noise)

    def _top(self, index: int) -> Cell:
        found = self._tops.get(index)
        if found is None:
            if len(self._tops) >= _CACHED[TOP_S]:
                self._tops.clear()
            found = self._tops[index] = self._make_top(index)
        return found

    def _make_top(self, index: int) -> Cell:
        opens, closes = self._anchor(index), self._anchor(index + 1)
        noise = self._noise(1, index)
        up, down = ((1.0 + 4.0 * (byte / _BYTE) ** 2) * self._swing / 4.0 for byte in noise[:2])
        low = min(opens, closes) - round(down)
        if self._lowest is not None:
            low = max(self._lowest, low)
        return Cell(opens, max(opens, closes) + round(up), low, closes)

    def _divide(self, parent: int, start_s: int) -> list[Cell]:
        whole = self.cell(parent, start_s)
        level = LEVELS[LEVELS.index(parent) + 1]
        count = parent // level
        noise = self._noise(parent, start_s)
        if level == LEAF_S and not self._dense:
            return _single(whole, self.between(whole, start_s, level, count, noise), noise)
        return _divided(whole, self.between(whole, start_s, level, count, noise), noise)

    def between(self, whole: Cell, start_s: int, level: int, count: int, noise: bytes) -> list[int]:
        """The prices at the borders of the `count` parts of a cell, its own open and close included."""
        opens, high, low, closes = whole
        walk = list(itertools.accumulate(noise[:count]))
        mean = walk[-1] / count
        # The sum of n even bytes wanders 74 sqrt(n); a free path's range is 1.6 of that.
        scale = (high - low) / (118.0 * math.sqrt(count))
        drift = (closes - opens) / count - mean * scale
        borders = [opens]
        for position, far in enumerate(walk[:-1], 1):
            price = round(opens + position * drift + far * scale)
            borders.append(high if price > high else low if price < low else price)
        borders.append(closes)
        return borders


def _divided(whole: Cell, borders: list[int], noise: bytes) -> list[Cell]:
    """Parts between the borders; one reaches the high of the whole, one its low. Narrow parts are of a narrow whole."""
    _, top, bottom, _ = whole
    count = len(borders) - 1
    spread = top - bottom
    if spread == 0:
        return [whole] * count
    highs, lows = [], []
    opens = borders[0]
    for closes, up, down in zip(borders[1:], noise[12:], noise[24:], strict=False):
        high, low = (opens, closes) if opens > closes else (closes, opens)
        # On average a ninth of the whole's range is added on either side.
        high += (up * up * spread + 98_000) // 195_075
        low -= (down * down * spread + 98_000) // 195_075
        if high - low < _LEAST:
            low = max(bottom, high - _LEAST) if up & 1 else low
            high = min(top, max(high, low + _LEAST))
            low = max(bottom, min(low, high - _LEAST))
        highs.append(top if high > top else high)
        lows.append(bottom if low < bottom else low)
        opens = closes
    highs[highs.index(max(highs))] = top
    lows[lows.index(min(lows))] = bottom
    return list(map(Cell, borders, highs, lows, borders[1:]))


def _single(whole: Cell, borders: list[int], noise: bytes) -> list[Cell]:
    """Twelve parts of one price each, open first and close last, high and low somewhere between."""
    prices = [*borders[:-2], whole.close]
    prices[0] = whole.open
    up = 1 + noise[60] % 10
    down = 1 + (up - 1 + 1 + noise[61] % 9) % 10
    prices[up], prices[down] = whole.high, whole.low
    return [Cell(price, price, price, price) for price in prices]


def _points(cell: Cell, count: int, noise: bytes) -> list[int]:
    """Straight lines through the four prices, roughened by a tick; high or low may come first."""
    opens, high, low, closes = cell
    if high == low:
        return [opens] * count
    first = 1 + noise[0] * (count - 3) // 256
    second = first + 1 + noise[1] * (count - 2 - first) // 256
    turns = [(0, opens), (first, high if noise[2] & 1 else low), (second, low if noise[2] & 1 else high)]
    turns.append((count - 1, closes))
    prices: list[int] = []
    for (left, price), (right, target) in itertools.pairwise(turns):
        prices.append(price)
        for position in range(left + 1, right):
            step = price + (target - price) * (position - left) // (right - left) + noise[position & 63] % 3 - 1
            prices.append(high if step > high else low if step < low else step)
    prices.append(closes)
    return prices


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole parts in proportion to the weights; their sum is exactly `total`."""
    whole = sum(weights)
    given = 0
    reached = 0
    parts = []
    for weight in weights:
        reached += weight
        upto = total * reached // whole
        parts.append(upto - given)
        given = upto
    return parts
