"""Owns what every client under test is asked to do (asked.json), and the shape of the facts its probe prints.

Must not import a client or the project: it runs in each client's own environment.

A probe is started as `PROBE CLIENT_ID SYMBOL,SYMBOL,SYMBOL,SYMBOL PORT...`. It does the same at every port, all ports
at once, and prints one JSON object a port: what the client told it, with nothing judged (`judging.py` does that).
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

ASKED: dict[str, Any] = json.loads(Path(__file__).with_name("asked.json").read_text())
HOST = "127.0.0.1"
CONTRACTS: dict[str, dict[str, Any]] = ASKED["contracts"]
# Contract -> generic ticks. The stock is also watched as 5 s bars.
LEVEL1: dict[str, str] = ASKED["level1"]
# What the lines of level 1 are looked at for, beside the price of each contract.
KINDS = ("size", "string", "generic", "parameters", "option OPT", "option FOP", "news")
PRICES = {1: "bid", 2: "ask", 4: "last"}
TICK_BY_TICK: list[str] = ASKED["tick_by_tick"]
# Symbol -> exchange asked, type and con_id of the underlying, exchange looked at.
CHAINS: dict[str, list[Any]] = ASKED["chains"]
# Name -> duration, bar size, whatToShow, formatDate.
BARS: dict[str, list[Any]] = ASKED["bars"]
TICKS: list[str] = ASKED["ticks"]
DEPTH_ROWS: int = ASKED["depth_rows"]
# A 5 s bar may begin right after it was asked for, and the machine may be busy.
PATIENCE_S: float = ASKED["patience_s"]
# Long enough for several ticks of each subscription, had one been left open.
SILENCE_S: float = ASKED["silence_s"]
# The first version with SCHEDULE.
SCHEDULE_VERSION = 165


@dataclasses.dataclass
class Facts:
    """What one client saw at one port.

    `contracts`: name -> con_id, min_tick, long_name, hours, and how many matched. `prices`: contract -> bid, ask, last
    of its line. `seen`: everything else by name, each as it first came. A book: side -> position -> price. `updates`
    counts bars kept up to date, `late` what came after everything was cancelled; `errors` are [req_id, code, text]
    without farm notices.
    """

    port: int
    version: int = 0
    accounts: str = ""
    contracts: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    prices: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    seen: dict[str, Any] = dataclasses.field(default_factory=dict)
    depth: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    smart_depth: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    updates: int = 0
    late: int = -1
    errors: list[list[Any]] = dataclasses.field(default_factory=list)

    def first(self, name: str, value: Any) -> None:
        """Keep what came first of its kind."""
        self.seen.setdefault(name, value)

    def price(self, name: str, tick_type: int, price: float) -> None:
        """One price of a line; types other than bid, ask and last are left."""
        if tick_type in PRICES:
            self.prices.setdefault(name, {})[PRICES[tick_type]] = price

    def contract(self, name: str, con_id: int, min_tick: float, long_name: str, hours: str) -> None:
        """One match of a contract; the first is kept, all are counted."""
        found = self.contracts.setdefault(
            name, {"con_id": con_id, "min_tick": min_tick, "long_name": long_name, "hours": hours, "count": 0}
        )
        found["count"] += 1

    def complete(self) -> bool:
        """Whether every subscription has shown all that is looked for."""
        books = [book.get(side, {}) for book in (self.depth, self.smart_depth) for side in ("ask", "bid")]
        return bool(
            all(name in self.seen for name in (*KINDS, *TICK_BY_TICK, "5 s bar"))
            and all(name in self.prices for name in LEVEL1)
            and len(self.prices["STK"]) == len(PRICES)
            and self.updates >= ASKED["updates"]
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
