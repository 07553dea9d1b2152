"""Owns what every client under test is asked to do, and the shape of the facts its probe prints.

Must not import a client or the project: it runs in each client's own environment.

A probe is started as `PROBE CLIENT_ID SYMBOL,SYMBOL,SYMBOL,SYMBOL PORT...`. It does the same at every port, all ports
at once, and prints one JSON object a port: what the client told it, with nothing judged (`clients.py` does that).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

HOST = "127.0.0.1"
# Symbol, type, exchange, currency of what is resolved; the first is also watched at level 1 and as bars.
CONTRACTS = (
    ("AAPL", "STK", "SMART", "USD"),
    ("BMW", "STK", "SMART", "EUR"),
    ("EUR", "CASH", "IDEALPRO", "USD"),
)
TICK_BY_TICK = ("Last", "AllLast", "BidAsk", "MidPoint")
DEPTH_ROWS = 5
# A 5 s bar may begin right after it was asked for, and the machine may be busy.
PATIENCE_S = 20.0
# Long enough for several ticks of each subscription, had one been left open.
SILENCE_S = 0.5


@dataclasses.dataclass
class Facts:
    """What one client saw at one port. `level1` holds bid, ask, last, bid_size and rt_volume; `Last` and its like hold
    the first tick's values, `bar` time, open, high, low, close; a book holds side -> position -> price.
    `late` counts what came after everything was cancelled; `errors` are [req_id, code, text] without farm notices.
    """

    port: int
    version: int = 0
    accounts: str = ""
    contracts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    level1: dict[str, Any] = dataclasses.field(default_factory=dict)
    ticks: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    bar: list[float] = dataclasses.field(default_factory=list)
    depth: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    smart_depth: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    late: int = -1
    errors: list[list[Any]] = dataclasses.field(default_factory=list)

    def complete(self) -> bool:
        """Whether every subscription has shown all that is looked for."""
        books = [book.get(side, {}) for book in (self.depth, self.smart_depth) for side in ("ask", "bid")]
        return bool(
            len(self.level1) == 5
            and len(self.ticks) == len(TICK_BY_TICK)
            and self.bar
            and all(len(rows) == DEPTH_ROWS for rows in books)
        )

    def book_row(self, book: dict[str, dict[str, float]], side: int, position: int, price: float) -> None:
        """One row; `side` is IB's 0 ask, 1 bid."""
        book.setdefault("bid" if side == 1 else "ask", {})[str(position)] = price

    def error(self, req_id: int, code: int, text: str) -> None:
        """Keep an error that is no farm's good news."""
        if code not in (2104, 2106, 2158):
            self.errors.append([req_id, code, text])

    def print(self) -> None:
        """One line, written at once: other ports' threads print too."""
        sys.stdout.write(json.dumps(dataclasses.asdict(self)) + "\n")
        sys.stdout.flush()


def arguments(argv: list[str]) -> tuple[int, list[str], list[int]]:
    """Client id, the four tick-by-tick symbols, ports."""
    return int(argv[1]), argv[2].split(","), [int(port) for port in argv[3:]]
