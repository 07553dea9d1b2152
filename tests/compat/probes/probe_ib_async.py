"""Owns what ib_insync and ib_async see: two releases of one text-only client, used as their notebooks do.

Must not import ibapi or the project; see `asked` for the call and the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from typing import Any

from .asked import (
    CONTRACTS,
    DEPTH_ROWS,
    HOST,
    PATIENCE_S,
    SILENCE_S,
    TICK_BY_TICK,
    Facts,
    arguments,
)


def library() -> Any:
    """Whichever of the two this environment has."""
    try:
        return importlib.import_module("ib_async")
    except ModuleNotFoundError:
        return importlib.import_module("ib_insync")


class Watch:
    """Copies what the tickers hold into the facts at every update."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.complete = asyncio.Event()
        self.updates = 0

    def level1(self, ticker: Any) -> None:
        values = {
            "bid": ticker.bid,
            "ask": ticker.ask,
            "last": ticker.last,
            "bid_size": ticker.bidSize,
            "rt_volume": ticker.rtVolume,
        }
        self.facts.level1.update({name: float(value) for name, value in values.items() if value == value})
        self._updated()

    def tick(self, kind: str, ticker: Any) -> None:
        for tick in ticker.tickByTicks:
            time_s = tick.time.timestamp()
            if kind in ("Last", "AllLast"):
                values = [tick.tickType, time_s, tick.price, tick.size]
            elif kind == "BidAsk":
                values = [time_s, tick.bidPrice, tick.askPrice, tick.bidSize, tick.askSize]
            else:
                values = [time_s, tick.midPoint]
            self.facts.ticks.setdefault(kind, [float(value) for value in values])
        self._updated()

    def book(self, book: dict[str, dict[str, float]], ticker: Any) -> None:
        for side, rows in ((1, ticker.domBids), (0, ticker.domAsks)):
            for position, row in enumerate(rows):
                self.facts.book_row(book, side, position, row.price)
        self._updated()

    def bar(self, bars: Any, _: bool) -> None:
        bar = bars[-1]
        self.facts.bar = [bar.time.timestamp(), bar.open_, bar.high, bar.low, bar.close]
        self._updated()

    def _updated(self) -> None:
        self.updates += 1
        if self.facts.complete():
            self.complete.set()


async def resolve(ib: Any, lib: Any, facts: Facts) -> None:
    for symbol, sec_type, exchange, currency in CONTRACTS:
        wanted = lib.Contract(symbol=symbol, secType=sec_type, exchange=exchange, currency=currency)
        for details in await ib.reqContractDetailsAsync(wanted):
            facts.contracts[symbol] = {
                "con_id": details.contract.conId,
                "min_tick": details.minTick,
                "long_name": details.longName,
                "hours": details.tradingHours,
            }


async def stream(ib: Any, lib: Any, facts: Facts, symbols: list[str]) -> None:
    """Subscribe to everything, wait for it, cancel it, listen for what still comes."""
    watch = Watch(facts)
    apple, *stocks = [lib.Stock(symbol, "SMART", "USD") for symbol in ("AAPL", *symbols)]
    await ib.qualifyContractsAsync(apple, *stocks)
    ib.reqMktData(apple, "233", False, False).updateEvent += watch.level1
    bars = ib.reqRealTimeBars(apple, 5, "TRADES", False)
    bars.updateEvent += watch.bar
    ib.reqMktDepth(stocks[0], DEPTH_ROWS, False).updateEvent += lambda ticker: watch.book(facts.depth, ticker)
    ib.reqMktDepth(stocks[1], DEPTH_ROWS, True).updateEvent += lambda ticker: watch.book(facts.smart_depth, ticker)
    for kind, stock in zip(TICK_BY_TICK, stocks, strict=True):
        ticker = ib.reqTickByTickData(stock, kind)
        ticker.updateEvent += lambda ticker, kind=kind: watch.tick(kind, ticker)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(watch.complete.wait(), PATIENCE_S)
    ib.cancelMktData(apple)
    ib.cancelRealTimeBars(bars)
    ib.cancelMktDepth(stocks[0], False)
    ib.cancelMktDepth(stocks[1], True)
    for kind, stock in zip(TICK_BY_TICK, stocks, strict=True):
        ib.cancelTickByTickData(stock, kind)
    await asyncio.wait_for(ib.reqCurrentTimeAsync(), PATIENCE_S)
    before = watch.updates
    await asyncio.sleep(SILENCE_S)
    facts.late = watch.updates - before


async def probe(lib: Any, port: int, client_id: int, symbols: list[str]) -> None:
    """Connect, converse, leave."""
    facts = Facts(port)
    ib = lib.IB()
    ib.errorEvent += lambda req_id, code, text, *_: facts.error(req_id, code, text)
    try:
        await ib.connectAsync(HOST, port, clientId=client_id, timeout=PATIENCE_S)
        facts.version = ib.client.serverVersion()
        facts.accounts = ",".join(ib.managedAccounts())
        await resolve(ib, lib, facts)
        await stream(ib, lib, facts, symbols)
    finally:
        ib.disconnect()
        facts.print()


async def run(argv: list[str]) -> None:
    client_id, symbols, ports = arguments(argv)
    lib = library()
    await asyncio.gather(*(probe(lib, port, client_id, symbols) for port in ports))


if __name__ == "__main__":
    asyncio.run(run(sys.argv))
