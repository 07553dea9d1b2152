"""Owns which ticks of the tape answer a request for historical ticks, in pieces small enough for one turn.

Must not know a session or a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ibkr_actor.sim.market.bars import Quote, Trade
from ibkr_actor.sim.market.calendar import Calendar, Segment
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.wire import history_messages as h

_PIECE_S = 60

Tick = h.HistoricalTick | h.HistoricalTickBidAsk | h.HistoricalTickLast


class TickAsk(NamedTuple):
    """`number` ticks from `start_s` on, or the last before `end_s`; one of the two is None."""

    what_to_show: str
    number: int
    start_s: float | None
    end_s: float | None
    regular_only: bool
    ignore_size: bool


class Picker:
    """Collects the ticks of one request; `pieces()` does it turn by turn, `ticks` is the answer afterwards.

    The second in which the number is reached is given whole, so that the next request can begin behind it.
    """

    def __init__(self, tape: Tape, calendar: Calendar, ask: TickAsk, now_s: float) -> None:
        self._tape = tape
        self._calendar = calendar
        self._ask = ask
        self._now_s = now_s
        self.ticks: list[Tick] = []

    def pieces(self) -> Iterator[None]:
        """One step a turn."""
        yield from self._forward(self._ask.start_s) if self._ask.start_s is not None else self._backward()

    def _forward(self, start_s: float) -> Iterator[None]:
        cursor_s = max(start_s, self._tape.head_s)
        end_s = min(self._now_s, self._tape.end_s)
        while cursor_s < end_s and len(self.ticks) < self._ask.number:
            segment = self._calendar.after(cursor_s)
            while self._passed_over(segment):
                segment = self._calendar.after(segment.end_s)
            cursor_s = max(cursor_s, segment.start_s)
            upper_s = min((cursor_s // _PIECE_S + 1) * _PIECE_S, segment.end_s, end_s)
            self.ticks += self._between(cursor_s, upper_s)
            cursor_s = upper_s
            yield
        if len(self.ticks) > self._ask.number:
            last_s = self.ticks[self._ask.number - 1].time
            self.ticks = [tick for tick in self.ticks if tick.time <= last_s]

    def _backward(self) -> Iterator[None]:
        cursor_s = min(self._ask.end_s or 0.0, self._now_s, self._tape.end_s)
        while cursor_s > self._tape.head_s and len(self.ticks) < self._ask.number:
            segment = self._calendar.before(cursor_s)
            while self._passed_over(segment):
                segment = self._calendar.before(segment.start_s)
            cursor_s = min(cursor_s, segment.end_s)
            lower_s = max((-(-cursor_s // _PIECE_S) - 1) * _PIECE_S, segment.start_s, self._tape.head_s)
            self.ticks = self._between(lower_s, cursor_s) + self.ticks
            cursor_s = lower_s
            yield
        if len(self.ticks) > self._ask.number:
            first_s = self.ticks[-self._ask.number].time
            self.ticks = [tick for tick in self.ticks if tick.time >= first_s]

    def _passed_over(self, segment: Segment) -> bool:
        return self._ask.regular_only and not segment.regular

    def _between(self, start_s: float, end_s: float) -> list[Tick]:
        found = self._tape.ticks(start_s, end_s, self._ask.regular_only)
        match self._ask.what_to_show:
            case "BID_ASK":
                return [_quote(tick) for tick in found if isinstance(tick, Quote) and self._counts(tick)]
            case "MIDPOINT":
                return [_mid(tick) for tick in found if isinstance(tick, Quote) and (tick.bid_moved or tick.ask_moved)]
            case _:
                return [_trade(tick) for tick in found if isinstance(tick, Trade)]

    def _counts(self, quote: Quote) -> bool:
        return not self._ask.ignore_size or quote.bid_moved or quote.ask_moved


def _quote(quote: Quote) -> Tick:
    return h.HistoricalTickBidAsk(
        time=int(quote.time_s),
        price_bid=quote.bid,
        price_ask=quote.ask,
        size_bid=quote.bid_size,
        size_ask=quote.ask_size,
    )


def _mid(quote: Quote) -> Tick:
    return h.HistoricalTick(time=int(quote.time_s), price=round((quote.bid + quote.ask) / 2, 10))


def _trade(trade: Trade) -> Tick:
    return h.HistoricalTickLast(time=int(trade.time_s), price=trade.price, size=trade.size, exchange=trade.exchange)
