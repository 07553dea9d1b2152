"""Owns the walk through an instrument's events from any time on, with the figures of the trade date along the way.

Must not know subscribers or the clock; where it stands is where its caller put it.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from ibkr_actor.sim.market.bars import Quote, Trade
from ibkr_actor.sim.market.calendar import Segment
from ibkr_actor.sim.market.leaves import Leaf, Slot, sizes_at_end
from ibkr_actor.sim.market.path import LEAF_S

if TYPE_CHECKING:
    from ibkr_actor.sim.market.tape import Tape


class Runner:
    """What holds after the events so far.

    `next_s` is when the next one happens, None when there never is one. `open`, `high`, `low`, `volume` and `vwap` are
    those of `trade_date`, `close` is that of the one before. Without trades they follow the price between the quotes.
    """

    def __init__(self, tape: Tape, time_s: float) -> None:
        """Begin before the first event at or after `time_s`."""
        self.tape = tape
        self.trade_date = datetime.date.min
        self.bid = self.ask = self.last = 0.0
        self.bid_size = self.ask_size = self.last_size = Decimal(0)
        self.last_time_s = 0.0
        self.open = self.high = self.low = self.close = 0.0
        self.volume = Decimal(0)
        self.next_s: float | None = None
        self._units = 0
        self._value = 0.0
        self._segment: Segment | None = None
        # The five seconds and the time that were sought last.
        self._sought_s = 0
        self._stands_s = 0.0
        self._leaf: Leaf
        self._position = 0
        self._quotes = 0
        self.seek(time_s)

    @property
    def vwap(self) -> float:
        return self._value / self._units if self._units else self.last

    def seek(self, time_s: float) -> None:
        """Stand before the first event at or after `time_s`, be it forward or back."""
        segment = self.tape.segment_from(time_s)
        start_s = int(time_s // LEAF_S) * LEAF_S
        self._sought_s, self._stands_s = start_s, time_s
        self._recall(start_s)
        self._segment = segment
        if segment is None or start_s < segment.start_s:
            self._begin_day(self.tape.leaf_before(start_s)[1], start_s)
            self._enter(start_s)
            return
        self._begin_day(segment.trade_date, start_s)
        self._enter(start_s)
        while self.next_s is not None and self.next_s < time_s:
            self.step()

    def go_on(self, time_s: float) -> bool:
        """Seek a time at or after the one that was sought last; False when it is not in the same five seconds."""
        if time_s < self._stands_s or int(time_s // LEAF_S) * LEAF_S != self._sought_s:
            return False
        self._stands_s = time_s
        while self.next_s is not None and self.next_s < time_s:
            self.step()
        return True

    def step(self) -> Quote | Trade:
        """The next event, and what holds after it; only while `next_s` is not None."""
        assert self.next_s is not None
        assert self._segment is not None
        if self._position == 0:
            # The vwap is then the same, wherever the walk began.
            self._begin_day(self._segment.trade_date, self._leaf.start_s)
        slot = self._leaf.slots[self._position]
        event = self._trade(slot, self.next_s) if slot.trade else self._quote(slot, self.next_s)
        self._position += 1
        if self._position < len(self._leaf.slots):
            self.next_s = self._leaf.start_s + self._leaf.slots[self._position].after_s
        else:
            self._enter(self._leaf.start_s + LEAF_S)
        return event

    def _recall(self, start_s: int) -> None:
        """Set what holds when the leaf at `start_s` begins."""
        tape = self.tape
        before_s, day = tape.leaf_before(start_s)
        leaf, ticks = tape.leaves.leaf(before_s), tape.last_ticks(before_s)
        self.last = tape.quoting.price(ticks, day)
        self.last_size = tape.size(leaf.units[-1])
        self.last_time_s = before_s + leaf.slots[-1].after_s
        self.bid, self.ask = tape.quoting.prices("BID", day)[ticks], tape.quoting.prices("ASK", day)[ticks]
        if tape.instrument.quotes:
            bid, ask = sizes_at_end(leaf)
            self.bid_size, self.ask_size = tape.lots(bid), tape.lots(ask)

    def _enter(self, start_s: int) -> None:
        """Go on with the leaf at `start_s`, or the first of the next segment; a day begins with its first event."""
        if self._segment is None or start_s >= self._segment.end_s:
            self._segment = self.tape.segment_from(start_s)
        if self._segment is None:
            self.next_s = None
            return
        start_s = max(start_s, self._segment.start_s)
        self._leaf = self.tape.leaves.leaf(start_s)
        self._position = self._quotes = 0
        self.next_s = start_s + self._leaf.slots[0].after_s

    def _begin_day(self, day: datetime.date, start_s: int) -> None:
        """Take the figures of a trade date as they are at the start of a leaf."""
        if day != self.trade_date:
            quoting = self.tape.quoting
            self._lasts, self._bids, self._asks = (quoting.prices(view, day) for view in ("TRADES", "BID", "ASK"))
            self.close = self.tape.close_before(day)
        self.trade_date = day
        figures = self.tape.figures(day, start_s)
        self.open, self.high, self.low = figures.open, figures.high, figures.low
        self._units, self._value = figures.units, figures.value
        self.volume = self.tape.size(figures.units)

    def _quote(self, slot: Slot, time_s: float) -> Quote:
        tape, leaf, position = self.tape, self._leaf, self._quotes
        ticks = leaf.prices[slot.point]
        bid, ask = self._bids[ticks], self._asks[ticks]
        was = (self.bid, self.ask, self.bid_size, self.ask_size)
        if position == 0:
            self.bid_size, self.ask_size = tape.lots(leaf.sizes[0]), tape.lots(leaf.sizes[1])
        elif position % 2:
            self.bid_size = tape.lots(leaf.sizes[position + 1])
        else:
            self.ask_size = tape.lots(leaf.sizes[position + 1])
        self.bid, self.ask = bid, ask
        self._quotes = position + 1
        if not tape.instrument.trades:
            self._touch(self._lasts[ticks], time_s)
        return Quote(
            time_s=time_s,
            bid=bid,
            ask=ask,
            bid_size=self.bid_size,
            ask_size=self.ask_size,
            bid_moved=bid != was[0],
            ask_moved=ask != was[1],
            bid_resized=self.bid_size != was[2],
            ask_resized=self.ask_size != was[3],
        )

    def _trade(self, slot: Slot, time_s: float) -> Trade:
        leaf = self._leaf
        price, units = self._lasts[leaf.prices[slot.point]], leaf.units[slot.point]
        moved, new_high, new_low = price != self.last, price > self.high, price < self.low
        self._touch(price, time_s)
        self.last_size = self.tape.size(units)
        self.volume += self.last_size
        self._units += units
        self._value += price * units
        return Trade(
            time_s=time_s,
            price=price,
            size=self.last_size,
            exchange=self.tape.leaves.venue(leaf.start_s, slot.point),
            volume=self.volume,
            vwap=self.vwap,
            price_moved=moved,
            new_high=new_high,
            new_low=new_low,
        )

    def _touch(self, price: float, time_s: float) -> None:
        self.last, self.last_time_s = price, time_s
        self.high, self.low = max(self.high, price), min(self.low, price)
