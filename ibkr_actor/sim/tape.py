"""Owns everything that ever happened to one instrument: its bars of every size, its ticks, its state at any time.

Must not keep running state; every answer depends on the seed, the instrument and the time alone.
"""

from __future__ import annotations

from ibkr_actor.sim.bars import Bar, BarSize, DaySoFar, Quote, State, Trade

__all__ = ["Bar", "BarSize", "DaySoFar", "Quote", "State", "Tape", "Trade"]


class Tape:
    """One instrument's past and future. Times are seconds since 1970; what lies before `head_s` or at or after `end_s`
    (the expiry) is empty.

    what_to_show: TRADES, BID, ASK, MIDPOINT, BID_ASK; `shows` has those that exist for the instrument.
    """

    head_s: int
    end_s: float
    shows: frozenset[str]

    def bars(
        self, start_s: float, end_s: float, size: BarSize, what_to_show: str = "TRADES", regular_only: bool = False
    ) -> list[Bar]:
        """Bars that start in [start_s, end_s), in order."""
        raise NotImplementedError

    def bar_so_far(
        self, now_s: float, size: BarSize, what_to_show: str = "TRADES", regular_only: bool = False
    ) -> Bar | None:
        """The bar in which `now_s` is, made of the whole 5 s before `now_s`; None when there are none yet."""
        raise NotImplementedError

    def ticks(self, start_s: float, end_s: float, regular_only: bool = False) -> list[Quote | Trade]:
        """What happened in [start_s, end_s), in order of time."""
        raise NotImplementedError

    def day_so_far(self, now_s: float) -> DaySoFar:
        """The figures of the trade date at `now_s`; when closed, those of the last one."""
        raise NotImplementedError

    def state_at(self, now_s: float) -> State:
        """What holds at `now_s`; when closed, what held at the close."""
        raise NotImplementedError
