"""Owns what the official client sees, of any release from 9.81 to 10.5x, used as its samples do: run() on a thread.

Must not import anything newer than ibapi 9.81 has, nor the project; see `asked` for the call and the answer.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ibapi.client import EClient
from ibapi.contract import Contract

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

LEVEL1, BAR, DEPTH, SMART_DEPTH, FIRST_TICK = 10, 11, 12, 13, 20
_PRICES = {1: "bid", 2: "ask", 4: "last"}


class Wrapper:
    """Takes every callback of whichever release: those with a method here into the facts, the others into nothing."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.changed = threading.Condition()
        self.ended: set[int] = set()
        self.rounds = 0
        self.greeted = False
        self.data = 0

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        handler = getattr(self, f"_{name}", None)

        def callback(*values: Any) -> None:
            if handler is not None:
                with self.changed:
                    handler(*values)
                    self.changed.notify_all()

        return callback

    def wait(self, found: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(found, PATIENCE_S)

    def _error(self, req_id: int, *values: Any) -> None:
        """9.81: code, text; 10.3x: time, code, text, advanced reject."""
        text = next(index for index, value in enumerate(values) if isinstance(value, str))
        self.facts.error(req_id, values[text - 1], values[text])

    def _nextValidId(self, order_id: int) -> None:
        self.greeted = order_id > 0

    def _managedAccounts(self, accounts: str) -> None:
        self.facts.accounts = accounts

    def _currentTime(self, _: int) -> None:
        self.rounds += 1

    def _contractDetails(self, req_id: int, details: Any) -> None:
        self.facts.contracts[CONTRACTS[req_id][0]] = {
            "con_id": details.contract.conId,
            "min_tick": details.minTick,
            "long_name": details.longName,
            "hours": details.tradingHours,
        }

    def _contractDetailsEnd(self, req_id: int) -> None:
        self.ended.add(req_id)

    def _tickPrice(self, req_id: int, tick_type: int, price: float, _: Any) -> None:
        self.data += 1
        if tick_type in _PRICES:
            self.facts.level1[_PRICES[tick_type]] = price

    def _tickSize(self, req_id: int, tick_type: int, size: Any) -> None:
        self.data += 1
        if tick_type == 0:
            self.facts.level1["bid_size"] = float(size)

    def _tickString(self, req_id: int, tick_type: int, value: str) -> None:
        self.data += 1
        if tick_type == 48:
            self.facts.level1["rt_volume"] = float(value.split(";")[3])

    def _tick(self, req_id: int, *values: Any) -> None:
        self.data += 1
        self.facts.ticks.setdefault(TICK_BY_TICK[req_id - FIRST_TICK], [float(value) for value in values])

    def _tickByTickAllLast(self, req_id: int, tick_type: int, time_s: int, price: float, size: Any, *_: Any) -> None:
        self._tick(req_id, tick_type, time_s, price, size)

    def _tickByTickBidAsk(self, req_id: int, time_s: int, bid: float, ask: float, *values: Any) -> None:
        self._tick(req_id, time_s, bid, ask, *values[:2])

    def _tickByTickMidPoint(self, req_id: int, time_s: int, mid: float) -> None:
        self._tick(req_id, time_s, mid)

    def _realtimeBar(self, req_id: int, *values: Any) -> None:
        self.data += 1
        self.facts.bar = [float(value) for value in values[:5]]

    def _updateMktDepth(self, req_id: int, position: int, operation: int, side: int, price: float, _: Any) -> None:
        self.data += 1
        self.facts.book_row(self.facts.depth, side, position, price)

    def _updateMktDepthL2(
        self, req_id: int, position: int, maker: str, operation: int, side: int, price: float, *_: Any
    ) -> None:
        self.data += 1
        self.facts.book_row(self.facts.smart_depth, side, position, price)


def contract_of(symbol: str, sec_type: str, exchange: str, currency: str) -> Any:
    contract: Any = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, sec_type, exchange, currency
    return contract


def subscribe(client: Any, symbols: list[str]) -> None:
    apple = contract_of(*CONTRACTS[0])
    stocks = [contract_of(symbol, "STK", "SMART", "USD") for symbol in symbols]
    client.reqMktData(LEVEL1, apple, "233", False, False, [])
    client.reqRealTimeBars(BAR, apple, 5, "TRADES", False, [])
    client.reqMktDepth(DEPTH, stocks[0], DEPTH_ROWS, False, [])
    client.reqMktDepth(SMART_DEPTH, stocks[1], DEPTH_ROWS, True, [])
    for number, kind in enumerate(TICK_BY_TICK):
        client.reqTickByTickData(FIRST_TICK + number, stocks[number], kind, 0, False)


def cancel(client: Any) -> None:
    client.cancelMktData(LEVEL1)
    client.cancelRealTimeBars(BAR)
    client.cancelMktDepth(DEPTH, False)
    client.cancelMktDepth(SMART_DEPTH, True)
    for number in range(len(TICK_BY_TICK)):
        client.cancelTickByTickData(FIRST_TICK + number)


def converse(client: Any, wrapper: Wrapper, symbols: list[str]) -> None:
    """Everything asked of a client, in order; a step that fails leaves its facts empty."""
    facts = wrapper.facts
    wrapper.wait(lambda: wrapper.greeted and bool(facts.accounts))
    for req_id, parts in enumerate(CONTRACTS):
        client.reqContractDetails(req_id, contract_of(*parts))
    wrapper.wait(lambda: len(wrapper.ended) == len(CONTRACTS))
    subscribe(client, symbols)
    wrapper.wait(facts.complete)
    cancel(client)
    client.reqCurrentTime()
    if wrapper.wait(lambda: wrapper.rounds > 0):
        before = wrapper.data
        time.sleep(SILENCE_S)
        facts.late = wrapper.data - before


def probe(port: int, client_id: int, symbols: list[str]) -> Facts:
    """Connect, converse, leave."""
    facts = Facts(port)
    wrapper = Wrapper(facts)
    client: Any = EClient(wrapper)
    client.connect(HOST, port, client_id)
    facts.version = client.serverVersion() or 0
    if not facts.version:
        return facts
    running = threading.Thread(target=client.run)
    running.start()
    try:
        converse(client, wrapper, symbols)
    finally:
        client.disconnect()
        running.join()
    return facts


def main(argv: list[str]) -> None:
    """One thread for each port, as a program with several connections has them."""
    client_id, symbols, ports = arguments(argv)
    threads = [threading.Thread(target=lambda port=port: probe(port, client_id, symbols).print()) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv)
