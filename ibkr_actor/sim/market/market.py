"""Owns an instrument's market as subscribers see it now: its tape played from a time on, and the rows of its book.

Must not know subscribers or messages.
"""

from __future__ import annotations

from decimal import Decimal

from ibkr_actor.sim.market.bars import Bar, Quote, Trade
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.runner import Runner
from ibkr_actor.sim.market.tape import Tape

__all__ = ["BAR_S", "Bar", "InstrumentMarket", "Quote", "Trade"]

# The length of real-time bars. Source: reqRealTimeBars.
BAR_S = 5


class InstrumentMarket(Runner):
    """What holds, and `step()` by `step()` what happens next, from the time it is made for."""

    def __init__(self, tape: Tape, now_s: float) -> None:
        super().__init__(tape, now_s)
        self._tick = float(self.instrument.min_tick)

    @property
    def instrument(self) -> Instrument:
        return self.tape.instrument

    @property
    def mid(self) -> float:
        return round((self.bid + self.ask) / 2, max(self.instrument.decimals, 1) + 1)

    def level(self, side: int, position: int) -> tuple[float, Decimal]:
        """Price and size of row `position` of the book; `side` 0 ask, 1 bid. Row 0 is the best quote."""
        if position == 0:
            return (self.bid, self.bid_size) if side == 1 else (self.ask, self.ask_size)
        ticks = round((self.bid if side == 1 else self.ask) / self._tick) + (-position if side == 1 else position)
        if self.instrument.price_model != "legs":
            ticks = max(1, ticks)
        return self.tape.quoting.money(ticks), self.tape.lots(1 + ticks * 7 % 40)
