"""Owns the rows of market depth: whose they are, all of a book at its start, and those that a quote changes.

Must not know permissions or limits.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Protocol

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.lines import Line
from ibkr_actor.sim.market.bars import Quote
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.venues import DEPTH_EXCHANGES

# Members of an exchange that names them.
_MEMBERS = ("NSDQ", "VIRT", "CDRG", "GSCO", "JPMS", "MSCO", "UBSS", "SSUS")
_SMART = "SMART"


class Book(Protocol):
    """What is read of an instrument's market."""

    def level(self, side: int, position: int) -> tuple[float, Decimal]:
        """Price and size of a row; `side` 0 ask, 1 bid."""


def venues(instrument: Instrument) -> list[str]:
    """The exchanges whose books a smart book is made of."""
    return [
        each.exchange
        for each in DEPTH_EXCHANGES
        if each.sec_type == instrument.sec_type and each.exchange in instrument.valid_exchanges.split(",")
    ]


def has_book(instrument: Instrument, exchange: str) -> bool:
    """Whether there is a book of the instrument at an exchange, or at SMART, where it is that of its home."""
    if not instrument.has_depth:
        return False
    known = [each for each in DEPTH_EXCHANGES if each.sec_type == instrument.sec_type]
    return exchange == _SMART or not known or any(each.exchange == exchange for each in known)


def owners(instrument: Instrument, exchange: str) -> tuple[str, ...]:
    """Whose rows a book of one exchange names: its members where it has Deep2, else nobody's."""
    named = any(
        each.service_data_type == "Deep2"
        for each in DEPTH_EXCHANGES
        if each.exchange == exchange and each.sec_type == instrument.sec_type
    )
    return _MEMBERS if named else ()


def first_rows(line: Line, book: Book) -> list[m.Message]:
    """The whole book, inserted row by row, bids first."""
    return _rows(line, book, 0, {1: line.rows, 0: line.rows})


def all_rows(line: Line, book: Book) -> list[m.Message]:
    """The whole book over the one that is there."""
    return _rows(line, book, 1, {1: line.rows, 0: line.rows})


def changed_rows(line: Line, book: Book, quote: Quote) -> list[m.Message]:
    """All rows of a side that moved, the best row of one that only has another size."""
    bids = line.rows if quote.bid_moved else int(quote.bid_resized)
    asks = line.rows if quote.ask_moved else int(quote.ask_resized)
    return _rows(line, book, 1, {1: bids, 0: asks})


def _rows(line: Line, book: Book, operation: int, counts: dict[int, int]) -> list[m.Message]:
    """The best `counts[side]` rows of each side as operation 0 (insert) or 1 (update)."""
    tick = float(line.instrument.min_tick)
    rows: list[m.Message] = []
    for side, count in counts.items():
        for position in range(count):
            price, size = book.level(side, position)
            if not line.owners:
                rows.append(m.MarketDepth(position=position, operation=operation, side=side, price=price, size=size))
                continue
            # Whoever owns a price keeps it while rows move.
            rows.append(
                m.MarketDepthL2(
                    position=position,
                    operation=operation,
                    side=side,
                    market_maker=line.owners[round(price / tick) % len(line.owners)],
                    price=price,
                    size=size,
                    is_smart_depth=line.smart_depth,
                )
            )
    return rows
