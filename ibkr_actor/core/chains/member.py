"""Owns what is known of one option of a chain while it has a line, and the record that says all of it.

Asks nothing; a member begins anew with each request.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core import events
from ibkr_actor.core.lines.quote import TopOfBook
from ibkr_actor.core.lines.tick_types import (
    DELAYED_TICKS,
    GREEKS_SOURCE_OF,
    HALTED_TICKS,
    QUOTE_PRICES,
    QUOTE_SIZES,
    TickType,
)
from ibkr_actor.core.lines.tick_values import price_of_tick, size_of_tick
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FEED_DELAYED, Computed, Option

# IB's generic tick "option open interest". Source: IBKR, TWS API, "Available Tick Types".
OPEN_INTEREST: Final = 101
_OPEN_INTEREST_OF: Final = {"C": int(TickType.OPTION_CALL_OPEN_INTEREST), "P": int(TickType.OPTION_PUT_OPEN_INTEREST)}
_FUTURES_OPEN_INTEREST: Final = int(TickType.FUTURES_OPEN_INTEREST)
_CLOSES: Final = frozenset({int(TickType.CLOSE), int(TickType.DELAYED_CLOSE)})
_NOTHING: Final = Computed(None, None, None, None, None, None, None, None)


class Values:
    """Prices of one contract as its level-1 line tells them: of a member, or of the underlying."""

    __slots__ = ("close", "feed", "halted", "received_ns", "top")

    def __init__(self, feed: int) -> None:
        self.top = TopOfBook()
        self.close: float | None = None
        self.feed = feed
        self.halted = False
        self.received_ns = 0

    def take(self, event: events.MarketDataEvent) -> bool:
        """Takes in what came; whether it is data of the contract."""
        match event:
            case events.TickPrice(tick_type=tick_type):
                self._note_feed(tick_type)
                if tick_type in QUOTE_PRICES:
                    self.top.merge_price(event)
                elif tick_type in _CLOSES:
                    self.close = price_of_tick(event)
            case events.TickSize(tick_type=tick_type):
                self._note_feed(tick_type)
                if tick_type in QUOTE_SIZES:
                    self.top.merge_size(event)
            case events.TickOptionComputation(tick_type=tick_type):
                self._note_feed(tick_type)
            case events.MarketDataType():
                self.feed = event.feed
                return False
            case events.TickGeneric(tick_type=tick_type) if tick_type in HALTED_TICKS:
                self.halted = (event.value or 0) > 0
                return False
            case _:
                return False
        self.received_ns = event.received_ns
        return True

    def _note_feed(self, tick_type: int) -> None:
        if self.feed < FEED_DELAYED and tick_type in DELAYED_TICKS:
            self.feed = FEED_DELAYED


def price_of(top: TopOfBook, close: float | None = None) -> float | None:
    """What the contract is worth now: the middle of bid and ask, else the last price, else the close."""
    if top.bid is not None and top.ask is not None:
        return (top.bid + top.ask) / 2
    return top.last if top.last is not None else close


class Member(Values):
    """One option with a line."""

    __slots__ = ("_by_source", "contract", "dirty", "heard", "open_interest", "req_id")

    def __init__(self, contract: Contract, req_id: int, feed: int) -> None:
        super().__init__(feed)
        self.contract = contract
        self.req_id = req_id
        self.open_interest: str | None = None
        self.heard = False
        # Whether something came since the last record.
        self.dirty = False
        self._by_source: dict[str, Computed] = {}

    @property
    def complete(self) -> bool:
        """Whether a turn has shown what it is for: a price, and the model's greeks."""
        known = self.top.bid is not None or self.top.ask is not None or self.top.last is not None
        return "model" in self._by_source and (known or self.close is not None)

    def take(self, event: events.MarketDataEvent) -> bool:
        """Takes in what came; whether it is data of the contract."""
        if not super().take(event):
            return False
        if isinstance(event, events.TickOptionComputation):
            source = GREEKS_SOURCE_OF.get(event.tick_type)
            if source is not None:
                self._by_source[source] = computed(event)
        elif isinstance(event, events.TickSize):
            tick_type = event.tick_type
            if tick_type in (_OPEN_INTEREST_OF[self.contract.right], _FUTURES_OPEN_INTEREST):
                self.open_interest = size_of_tick(event)
        self.dirty = True
        return True

    def record(self, *, on_line: bool) -> Option:
        """All that is known."""
        top, contract = self.top, self.contract
        model = self._by_source.get("model", _NOTHING)
        return Option(
            0, 0, contract.con_id, self.received_ns, None, self.feed, 0,
            contract.instrument, contract.last_trade_date, contract.right, contract.strike or 0.0,
            top.bid, top.ask, top.last, top.bid_size, top.ask_size, top.last_size, top.volume,
            self.open_interest, self.close,
            model.implied_vol, model.delta, model.gamma, model.vega, model.theta,
            model.option_price, model.pv_dividend, model.underlying_price,
            self._by_source.get("bid"), self._by_source.get("ask"), self._by_source.get("last"), on_line,
        )  # fmt: skip


def computed(event: events.TickOptionComputation) -> Computed:
    """What IB computed, without the rest of the message."""
    return Computed(
        event.implied_vol,
        event.delta,
        event.gamma,
        event.vega,
        event.theta,
        event.option_price,
        event.pv_dividend,
        event.underlying_price,
    )
