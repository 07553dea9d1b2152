"""Owns what the official client sees, of any release from 9.81 to 10.5x, used as its samples do: run() on a thread.

Must not import anything newer than ibapi 9.81 has, nor the project; see `asked` for the call and the answer.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from ibapi.client import EClient
from ibapi.contract import ComboLeg, Contract
from ibapi.server_versions import MAX_CLIENT_VER

from .asked import (
    ASKED,
    BARS,
    CHAINS,
    CONTRACTS,
    DEPTH_ROWS,
    HOST,
    LEVEL1,
    SCHEDULE_VERSION,
    SILENCE_S,
    TICK_BY_TICK,
    TICKS,
    Facts,
    arguments,
)
from .ibapi_wrapper import (
    BAR,
    BARS_ID,
    CHAIN,
    DEPTH,
    HEAD,
    HISTOGRAM,
    KEPT,
    LEVEL1_ID,
    NAMES,
    SCHEDULE,
    SMART_DEPTH,
    STREAM_ID,
    SYMBOLS,
    TICKS_ID,
    Wrapper,
)

# 9.81 reads a bond's coupon as a whole number, and its run() ends with a ValueError at the first bond.
NOT_ASKED = ("BOND",) if MAX_CLIENT_VER <= 157 else ()


def contract_of(**fields: Any) -> Any:
    contract: Any = Contract()
    for name, value in fields.items():
        setattr(contract, name, value)
    return contract


def stock(symbol: str) -> Any:
    return contract_of(**(CONTRACTS["STK"] | {"symbol": symbol}))


def combination() -> Any:
    contract = contract_of(**(CONTRACTS["STK"] | {"secType": "BAG"}), comboLegs=[])
    for con_id, action in zip(ASKED["legs"], ("BUY", "SELL"), strict=True):
        leg: Any = ComboLeg()
        leg.conId, leg.ratio, leg.action, leg.exchange = con_id, 1, action, "SMART"
        contract.comboLegs.append(leg)
    return contract


def resolve(client: Any, wrapper: Wrapper) -> dict[str, Any]:
    """The option chain, then every contract; returns them by name, with the con_id where several matched."""
    for number, (symbol, (exchange, sec_type, con_id, _)) in enumerate(CHAINS.items()):
        client.reqSecDefOptParams(CHAIN + number, symbol, exchange, sec_type, con_id)
    client.reqMatchingSymbols(SYMBOLS, "AAPL")
    client.reqMarketRule(ASKED["market_rule"])
    chains = {CHAIN + number for number in range(len(CHAINS))}
    wrapper.wait(lambda: wrapper.ended >= chains and {"symbols", "market rule"} <= wrapper.facts.seen.keys())
    wanted = {name: contract_of(**fields) for name, fields in CONTRACTS.items()}
    expirations = wrapper.facts.seen.get("chain AAPL", [[""] * 3])[0]
    wanted[ASKED["expiry"]].lastTradeDateOrContractMonth = expirations[2]
    numbers = {NAMES.index(name) for name in NAMES if name not in NOT_ASKED}
    for req_id in sorted(numbers):
        client.reqContractDetails(req_id, wanted[NAMES[req_id]])
    wrapper.wait(lambda: wrapper.ended >= numbers)
    if "FUT" in wrapper.facts.contracts:
        wanted["FUT"].conId = wrapper.facts.contracts["FUT"]["con_id"]
    return wanted | {"BAG": combination()}


def past(client: Any, wrapper: Wrapper, apple: Any) -> None:
    """Everything historical that has an end."""
    for number, (duration, size, view, form) in enumerate(BARS.values()):
        client.reqHistoricalData(BARS_ID + number, apple, "", duration, size, view, 1, form, False, [])
    for number, view in enumerate(TICKS):
        client.reqHistoricalTicks(TICKS_ID + number, apple, "20260105-15:00:00", "", 10, view, 1, False, [])
    client.reqHeadTimeStamp(HEAD, apple, "TRADES", 1, 2)
    client.reqHistogramData(HISTOGRAM, apple, True, "3 days")
    wanted = {BARS_ID + number for number in range(len(BARS))} | {TICKS_ID + number for number in range(len(TICKS))}
    wanted |= {HEAD, HISTOGRAM}
    if wrapper.facts.version >= SCHEDULE_VERSION:
        client.reqHistoricalData(SCHEDULE, apple, "", "5 D", "1 day", "SCHEDULE", 1, 1, False, [])
        wanted.add(SCHEDULE)
    wrapper.wait(lambda: wrapper.ended >= wanted)
    client.cancelHeadTimeStamp(HEAD)


def subscribe(client: Any, contracts: dict[str, Any], symbols: list[str]) -> None:
    for number, (name, generic) in enumerate(LEVEL1.items()):
        client.reqMktData(LEVEL1_ID + number, contracts[name], generic, False, False, [])
    client.reqRealTimeBars(BAR, contracts["STK"], 5, "TRADES", False, [])
    client.reqMktDepth(DEPTH, stock(symbols[0]), DEPTH_ROWS, False, [])
    client.reqMktDepth(SMART_DEPTH, stock(symbols[1]), DEPTH_ROWS, True, [])
    for number, kind in enumerate(TICK_BY_TICK):
        client.reqTickByTickData(STREAM_ID + number, stock(symbols[number]), kind, 0, False)
    client.reqHistoricalData(KEPT, contracts["STK"], "", "1 D", "1 min", "TRADES", 0, 2, True, [])


def cancel(client: Any) -> None:
    for number in range(len(LEVEL1)):
        client.cancelMktData(LEVEL1_ID + number)
    client.cancelRealTimeBars(BAR)
    client.cancelMktDepth(DEPTH, False)
    client.cancelMktDepth(SMART_DEPTH, True)
    for number in range(len(TICK_BY_TICK)):
        client.cancelTickByTickData(STREAM_ID + number)
    client.cancelHistoricalData(KEPT)


def converse(client: Any, wrapper: Wrapper, symbols: list[str]) -> None:
    """Everything asked of a client, in order; a step that fails leaves its facts empty."""
    facts = wrapper.facts
    wrapper.wait(lambda: wrapper.greeted and bool(facts.accounts))
    contracts = resolve(client, wrapper)
    past(client, wrapper, contracts["STK"])
    subscribe(client, contracts, symbols)
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
    wrapper = Wrapper(facts, list(BARS))
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
