"""Owns how many of the spare market data lines each chain may have.

Takes no line and gives none back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from ibkr_actor.core.chains.chain import Chain
from ibkr_actor.core.effects import Instant

# How long fewer lines are taken after IB said that there are no more (101).
_CEILING_S: Final = 60.0


class LineShares:
    """Equal parts of what is left over. Caller: `ChainFeed` only."""

    def __init__(self) -> None:
        self._ceiling: int | None = None
        self._ceiling_until_s = 0.0

    def limit(self, lines: int, now: Instant) -> None:
        """IB has no more lines than these for chains, for a while."""
        self._ceiling, self._ceiling_until_s = max(0, lines), now.s + _CEILING_S

    def of(
        self, chains: Iterable[Chain], free: int, has_price: Callable[[Chain], bool], now: Instant
    ) -> list[tuple[Chain, int]]:
        """How many members of each chain may have a line of the `free` ones: in equal parts, the modest first.

        A chain whose underlying's price nobody else has needs a line for that too.
        """
        if self._ceiling is not None:
            if now.s < self._ceiling_until_s:
                free = min(free, self._ceiling)
            else:
                self._ceiling = None
        wishes: list[tuple[int, int, Chain]] = []
        for chain in chains:
            spot = 0 if has_price(chain) else 1
            wishes.append((min(chain.budget, len(chain.turns)) + spot, spot, chain))
        wishes.sort(key=lambda wish: wish[0])
        out: list[tuple[Chain, int]] = []
        for at, (wish, spot, chain) in enumerate(wishes):
            share = min(wish, free // (len(wishes) - at))
            free -= share
            out.append((chain, max(0, share - spot)))
        return out
