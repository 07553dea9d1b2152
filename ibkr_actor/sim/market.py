"""Owns the price process of each instrument: a seeded random walk of quotes and trades, and the bars made of them.

Must not know subscribers or messages; it turns time into events.
"""

from __future__ import annotations

import dataclasses
import random
from decimal import Decimal

from ibkr_actor.sim.instruments import Instrument

BAR_S = 5
_VENUES = ("NASDAQ", "ARCA", "BATS", "EDGX", "IEX", "DRCTEDGE")


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
    """A trade at the bid or the ask, with the day's figures after it."""

    time_s: float
    price: float
    size: Decimal
    exchange: str
    volume: Decimal
    vwap: float
    price_moved: bool
    new_high: bool
    new_low: bool


@dataclasses.dataclass(slots=True)
class Bar:
    """Five seconds of one view (trades, bid, ask or midpoint), still growing until its end."""

    open: float
    high: float
    low: float
    close: float
    volume: Decimal = Decimal(0)
    value: float = 0.0
    count: int = 0

    def add(self, price: float, size: Decimal = Decimal(0)) -> None:
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += size
        self.value += price * float(size)
        self.count += 1

    @property
    def wap(self) -> float:
        return self.value / float(self.volume) if self.volume else self.close


class InstrumentMarket:
    """One instrument's quotes and trades. The same seed and the same number of steps give the same events."""

    def __init__(self, instrument: Instrument, seed: int) -> None:
        self.instrument = instrument
        self._random = random.Random(f"{seed}:{instrument.con_id}")
        self._tick = float(instrument.min_tick)
        self._decimals = max(instrument.decimals, 1)
        self._bid_ticks = round(instrument.start_price / self._tick)
        self._ask_ticks = self._bid_ticks + 1
        self.bid_size = self._size()
        self.ask_size = self._size()
        self.close = self._price(self._bid_ticks - self._random.randint(-40, 40))
        self.open = self._price(self._bid_ticks - self._random.randint(-8, 8))
        self.last = self.bid
        self.last_size = self._trade_size()
        self.last_time_s = 0.0
        self.high = max(self.open, self.last) + self._tick * self._random.randint(0, 5)
        self.low = min(self.open, self.last) - self._tick * self._random.randint(0, 5)
        self.high, self.low = self._round(self.high), self._round(self.low)
        self.volume = Decimal(self._random.randint(1_000, 50_000) * 100) if instrument.trades else Decimal(0)
        self.value = float(self.volume) * self.last
        self.bars = self._new_bars()

    @property
    def bid(self) -> float:
        return self._price(self._bid_ticks)

    @property
    def ask(self) -> float:
        return self._price(self._ask_ticks)

    @property
    def mid(self) -> float:
        return round((self.bid + self.ask) / 2, self._decimals + 1)

    @property
    def vwap(self) -> float:
        return self.value / float(self.volume) if self.volume else self.last

    def level(self, side: int, position: int) -> tuple[float, Decimal]:
        """Price and size of row `position` of the book; `side` 0 ask, 1 bid. Row 0 is the best quote."""
        if position == 0:
            return (self.bid, self.bid_size) if side == 1 else (self.ask, self.ask_size)
        ticks = max(1, self._bid_ticks - position) if side == 1 else self._ask_ticks + position
        return self._price(ticks), Decimal(self.instrument.lot * (1 + ticks * 7 % 40))

    def step(self, now_s: float) -> Quote | Trade:
        """The next event, at `now_s`."""
        if self.instrument.trades and self._random.random() < 0.4:
            return self._trade(now_s)
        return self._quote(now_s)

    def finish_bars(self) -> dict[str, Bar]:
        """The four finished bars by what_to_show; new ones begin at the present prices."""
        finished, self.bars = self.bars, self._new_bars()
        return finished

    def _new_bars(self) -> dict[str, Bar]:
        now = {"TRADES": self.last, "BID": self.bid, "ASK": self.ask, "MIDPOINT": self.mid}
        return {show: Bar(price, price, price, price) for show, price in now.items()}

    def _quote(self, now_s: float) -> Quote:
        was_bid, was_ask = self._bid_ticks, self._ask_ticks
        was_sizes = (self.bid_size, self.ask_size)
        chance = self._random.random()
        if chance < 0.45:
            self._shift(self._random.choice((-1, 1)))
        elif chance < 0.6:
            self._ask_ticks = self._bid_ticks + self._random.randint(1, 3)
        if chance >= 0.3 or (self._bid_ticks, self._ask_ticks) == (was_bid, was_ask):
            self._resize()
        self.bars["BID"].add(self.bid)
        self.bars["ASK"].add(self.ask)
        self.bars["MIDPOINT"].add(self.mid)
        return Quote(
            time_s=now_s,
            bid=self.bid,
            ask=self.ask,
            bid_size=self.bid_size,
            ask_size=self.ask_size,
            bid_moved=self._bid_ticks != was_bid,
            ask_moved=self._ask_ticks != was_ask,
            bid_resized=self.bid_size != was_sizes[0],
            ask_resized=self.ask_size != was_sizes[1],
        )

    def _shift(self, ticks: int) -> None:
        if self._bid_ticks + ticks < 2:
            ticks = 1
        self._bid_ticks += ticks
        self._ask_ticks += ticks

    def _resize(self) -> None:
        """Give one side a size other than it had."""
        change = self.instrument.lot * self._random.randint(1, 9)
        if self._random.random() < 0.5:
            self.bid_size = self.bid_size - change if self.bid_size > change else self.bid_size + change
        else:
            self.ask_size = self.ask_size - change if self.ask_size > change else self.ask_size + change

    def _trade(self, now_s: float) -> Trade:
        price = self.bid if self._random.random() < 0.5 else self.ask
        moved = price != self.last
        self.last, self.last_size, self.last_time_s = price, self._trade_size(), now_s
        self.volume += self.last_size
        self.value += price * float(self.last_size)
        new_high, new_low = price > self.high, price < self.low
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.bars["TRADES"].add(price, self.last_size)
        return Trade(
            time_s=now_s,
            price=price,
            size=self.last_size,
            exchange=self._random.choice(_VENUES),
            volume=self.volume,
            vwap=self.vwap,
            price_moved=moved,
            new_high=new_high,
            new_low=new_low,
        )

    def _trade_size(self) -> Decimal:
        if self.instrument.fractional and self._random.random() < 0.3:
            return Decimal(self._random.randint(1, 9999)) / Decimal(10000)
        return Decimal(self._random.randint(1, 300))

    def _size(self) -> Decimal:
        return Decimal(self.instrument.lot * self._random.randint(1, 30))

    def _price(self, ticks: int) -> float:
        return round(ticks * self._tick, self._decimals)

    def _round(self, price: float) -> float:
        return round(price, self._decimals)
