"""Owns the cells a bar is made of: prices of a path, units and trades of a volume, over any stretch of time.

Must not know prices in money or where bars begin.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ibkr_actor.sim.market.path import LEAF_S, LEVELS, Cell, Path
from ibkr_actor.sim.market.quoting import Prices
from ibkr_actor.sim.market.volume import Volumes


class Part(NamedTuple):
    """Cells in order, with the units and trades of each; those are empty where nobody asked for them."""

    cells: Sequence[Cell]
    units: Sequence[int]
    counts: Sequence[int]

    @property
    def whole(self) -> Cell:
        """All of it as one cell."""
        cells = self.cells
        if len(cells) == 1:
            return cells[0]
        high, low = max([cell[1] for cell in cells]), min([cell[2] for cell in cells])
        return Cell(cells[0].open, high, low, cells[-1].close)

    def value(self, prices: Prices) -> float:
        """Sum over the cells of their mean price times their units."""
        return sum(
            (prices[opens] + prices[high] + prices[low] + prices[closes]) / 4 * number
            for (opens, high, low, closes), number in zip(self.cells, self.units, strict=True)
        )

    def mean(self, prices: Prices) -> float:
        """Mean of the cells' mean prices."""
        return sum(prices[ticks] for cell in self.cells for ticks in cell) / (4 * len(self.cells))

    def slice(self, start: int, stop: int) -> Part:
        return Part(self.cells[start:stop], self.units[start:stop], self.counts[start:stop])


class Cells:
    """The cells of one instrument."""

    def __init__(self, path: Path, volumes: Volumes) -> None:
        self._path = path
        self._volumes = volumes

    def cover(self, spans: Iterable[tuple[int, int]], *, with_units: bool) -> Part:
        """As few cells as make up the spans, whose borders are multiples of 5 s."""
        part: tuple[list[Cell], list[int], list[int]] = [], [], []
        cells, units, counts = part
        for start_s, end_s in spans:
            time_s = start_s
            while time_s < end_s:
                level = next(each for each in LEVELS if time_s % each == 0 and time_s + each <= end_s)
                cells.append(self._path.cell(level, time_s))
                if with_units:
                    units.append(self._volumes.cell(level, time_s))
                    counts.append(self._volumes.trades(level, time_s))
                time_s += level
        return Part(*part)

    def row(self, level: int, start_s: int, end_s: int, *, with_units: bool) -> Part:
        """Cells of one level; start and end are multiples of it."""
        parent = LEVELS[LEVELS.index(level) - 1]
        cells: list[Cell] = []
        units: list[int] = []
        for block_s in range(start_s - start_s % parent, end_s, parent):
            cells += self._path.block(parent, block_s)
            if with_units:
                units += self._volumes.block(parent, block_s)
        first = start_s % parent // level
        last = first + (end_s - start_s) // level
        counts = self._counts(level, start_s, end_s) if with_units else []
        return Part(cells[first:last], units[first:last], counts)

    def _counts(self, level: int, start_s: int, end_s: int) -> list[int]:
        if level != LEAF_S:
            return [self._volumes.whole(level)] * ((end_s - start_s) // level)
        counts: list[int] = []
        for minute_s in range(start_s - start_s % 60, end_s, 60):
            counts += self._volumes.leaf_trades(minute_s)
        first = start_s % 60 // LEAF_S
        return counts[first : first + (end_s - start_s) // LEAF_S]
