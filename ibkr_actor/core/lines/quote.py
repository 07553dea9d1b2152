"""Owns the merged top of book of one instrument, as IB's price and size messages change it.

Publishes nothing: `core.lines.line` turns each change into a record.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.events import TickPrice, TickSize
from ibkr_actor.core.lines.tick_types import TickType

# The level-1 numbers as plain ints: comparing enum members costs more than the whole merge.
_BID: Final = frozenset({int(TickType.BID), int(TickType.DELAYED_BID)})
_ASK: Final = frozenset({int(TickType.ASK), int(TickType.DELAYED_ASK)})
_BID_SIZE: Final = frozenset({int(TickType.BID_SIZE), int(TickType.DELAYED_BID_SIZE)})
_ASK_SIZE: Final = frozenset({int(TickType.ASK_SIZE), int(TickType.DELAYED_ASK_SIZE)})
_LAST_SIZE: Final = frozenset({int(TickType.LAST_SIZE), int(TickType.DELAYED_LAST_SIZE)})

# What IB sends as a price where there is none, of a bid or ask as of a high, low or close, with size 0 or -1.
# Source: IBKR, TWS API, "Receiving Market Data" and EWrapper.tickPrice; for the low of a day vnpy/vnpy_ib#59.
_NO_PRICE: Final = -1.0
NO_SIZE: Final = "-1"


_VALUES: Final = ("bid", "ask", "last", "bid_size", "ask_size", "last_size", "volume")


def is_no_price(price: float | None, size: str | None) -> bool:
    """Whether IB says that there is no price. Zero and negative prices are prices; -1 is one with a size only."""
    return price is None or (price == _NO_PRICE and (size is None or size in ("0", NO_SIZE)))


class TopOfBook:
    """Bid, ask, last, their sizes and the volume; None is unknown. Built anew for every request to IB."""

    __slots__ = ("ask", "ask_size", "bid", "bid_size", "changed", "gone", "last", "last_size", "received_ns", "volume")

    def __init__(self) -> None:
        self.bid: float | None = None
        self.ask: float | None = None
        self.last: float | None = None
        self.bid_size: str | None = None
        self.ask_size: str | None = None
        self.last_size: str | None = None
        self.volume: str | None = None
        # The prices of which IB said at some time that there is none.
        self.gone: set[str] = set()
        # The tick type and time of the last message merged; None before the first.
        self.changed: int | None = None
        self.received_ns = 0

    def tells_no_more_than(self, before: TopOfBook) -> bool:
        """Whether something was told, and nothing else than what was known before."""
        if self.changed is None or any(getattr(before, name) is not None for name in self.gone):
            return False
        known = ((getattr(self, name), getattr(before, name)) for name in _VALUES)
        return all(now is None or now == then for now, then in known)

    def merge_price(self, event: TickPrice) -> None:
        """Takes in a price of `QUOTE_PRICES`, with its size when the message carries one.

        Zero and negative prices are prices; see `is_no_price`.
        """
        price, size = event.price, event.size
        tick_type = event.tick_type
        no_price = is_no_price(price, size)
        if no_price:
            price = None
            self.gone.add("bid" if tick_type in _BID else "ask" if tick_type in _ASK else "last")
            if size == NO_SIZE:
                size = None
        if tick_type in _BID:
            self.bid = price
            if size is not None or no_price:
                self.bid_size = size
        elif tick_type in _ASK:
            self.ask = price
            if size is not None or no_price:
                self.ask_size = size
        else:
            self.last = price
            if size is not None or no_price:
                self.last_size = size
        self.changed = tick_type
        self.received_ns = event.received_ns

    def merge_size(self, event: TickSize) -> None:
        """Takes in a size of `QUOTE_SIZES`."""
        tick_type = event.tick_type
        size = None if event.size == NO_SIZE else event.size
        if tick_type in _BID_SIZE:
            self.bid_size = size
        elif tick_type in _ASK_SIZE:
            self.ask_size = size
        elif tick_type in _LAST_SIZE:
            self.last_size = size
        else:
            self.volume = size
        self.changed = tick_type
        self.received_ns = event.received_ns
