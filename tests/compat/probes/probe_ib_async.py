"""Owns what ib_insync and ib_async see: two releases of one text-only client, used as their notebooks do.

Must not import ibapi or the project; see `asked` for the call and the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import importlib
import sys
from collections.abc import Awaitable
from typing import Any

from .asked import (
    ASKED,
    BARS,
    CHAINS,
    CONTRACTS,
    DEPTH_ROWS,
    HOST,
    LEVEL1,
    PATIENCE_S,
    SCHEDULE_VERSION,
    SILENCE_S,
    TICK_BY_TICK,
    TICKS,
    Facts,
    arguments,
)

# Not asked, for the answer would be waited for in vain: the decoders of both read a bond's coupon as a whole number,
# and a date without a year as one with it, and drop the message.
NOT_ASKED = ("BOND", "bars without year")


def library() -> Any:
    """Whichever of the two this environment has."""
    try:
        return importlib.import_module("ib_async")
    except ModuleNotFoundError:
        return importlib.import_module("ib_insync")


def when(date: Any) -> str:
    """A date as IB writes it: seconds since 1970, or YYYYMMDD for a day."""
    return str(int(date.timestamp())) if isinstance(date, datetime.datetime) else f"{date:%Y%m%d}"


def numbers(values: Any) -> bool:
    return all(value is not None and value == value for value in values)


class Watch:
    """Copies what the tickers hold into the facts at every update."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.complete = asyncio.Event()
        self.updates = 0

    def level1(self, name: str, ticker: Any) -> None:
        for tick_type, price in ((1, ticker.bid), (2, ticker.ask), (4, ticker.last)):
            if price == price:
                self.facts.price(name, tick_type, price)
        if name == "STK":
            found = {
                "size": [ticker.bidSize],
                "string": [ticker.rtVolume],
                "generic": [ticker.tradeCount],
                "parameters": [ticker.minTick, ticker.bboExchange],
            }
            for kind, values in found.items():
                if numbers(values) and values[-1] != "":
                    self.facts.first(kind, values if len(values) > 1 else values[0])
        greeks = ticker.modelGreeks
        if greeks is not None:
            values = [greeks.impliedVol, greeks.delta, greeks.optPrice, greeks.gamma, greeks.vega, greeks.theta]
            if numbers([*values, greeks.undPrice]):
                self.facts.first(f"option {name}", [*values, greeks.undPrice])
        self._updated()

    def news(self, tick: Any) -> None:
        self.facts.first("news", [tick.timeStamp, tick.providerCode, tick.articleId, tick.headline])
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
            self.facts.first(kind, [float(value) for value in values])
        self._updated()

    def book(self, book: dict[str, dict[str, float]], ticker: Any) -> None:
        for side, rows in ((1, ticker.domBids), (0, ticker.domAsks)):
            for position, row in enumerate(rows):
                self.facts.book_row(book, side, position, row.price)
        self._updated()

    def bar(self, bars: Any, _: bool) -> None:
        bar = bars[-1]
        self.facts.first("5 s bar", [bar.time.timestamp(), bar.open_, bar.high, bar.low, bar.close])
        self._updated()

    def kept(self, bars: Any, _: bool) -> None:
        bar = bars[-1]
        self.facts.updates += 1
        self.facts.first("update", [when(bar.date), bar.open, bar.high, bar.low, bar.close])
        self._updated()

    def _updated(self) -> None:
        self.updates += 1
        if self.facts.complete():
            self.complete.set()


async def patient(answer: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(answer, PATIENCE_S)


async def resolve(ib: Any, lib: Any, facts: Facts) -> dict[str, Any]:
    """The option chain, then every contract; returns the first match of each."""
    for symbol, (exchange, sec_type, con_id, venue) in CHAINS.items():
        for chain in await patient(ib.reqSecDefOptParamsAsync(symbol, exchange, sec_type, con_id)):
            if (int(chain.underlyingConId), chain.exchange) == (con_id, venue):
                facts.first(f"chain {symbol}", [sorted(chain.expirations), sorted(chain.strikes)])
    samples = await patient(ib.reqMatchingSymbolsAsync("AAPL"))
    facts.first("symbols", [each.contract.conId for each in samples])
    rule = await patient(ib.reqMarketRuleAsync(ASKED["market_rule"]))
    facts.first("market rule", [ASKED["market_rule"], *([each.lowEdge, each.increment] for each in rule)])
    contracts: dict[str, Any] = {}
    for name, fields in CONTRACTS.items():
        if name in NOT_ASKED:
            continue
        wanted = lib.Contract(**fields)
        if name == ASKED["expiry"]:
            wanted.lastTradeDateOrContractMonth = facts.seen["chain AAPL"][0][2]
        for each in await patient(ib.reqContractDetailsAsync(wanted)):
            contracts.setdefault(name, each.contract)
            facts.contract(name, each.contract.conId, each.minTick, each.longName, each.tradingHours)
    legs = [
        lib.ComboLeg(conId=con_id, ratio=1, action=action, exchange="SMART")
        for con_id, action in zip(ASKED["legs"], ("BUY", "SELL"), strict=True)
    ]
    contracts["BAG"] = lib.Contract(**(CONTRACTS["STK"] | {"secType": "BAG"}), comboLegs=legs)
    return contracts


async def past(ib: Any, facts: Facts, apple: Any) -> None:
    """Everything historical that has an end."""
    for name, (duration, size, view, form) in BARS.items():
        if name not in NOT_ASKED:
            bars = await patient(ib.reqHistoricalDataAsync(apple, "", duration, size, view, True, form))
            rows = [[when(bar.date), bar.open, bar.high, bar.low, bar.close, float(bar.volume)] for bar in bars]
            facts.first(name, rows)
    for view in TICKS:
        ticks = await patient(ib.reqHistoricalTicksAsync(apple, "20260105-15:00:00", "", 10, view, True))
        fields = {"TRADES": ("price", "size"), "BID_ASK": ("priceBid", "priceAsk"), "MIDPOINT": ("price",)}[view]
        facts.first(f"ticks {view}", [[t.time.timestamp(), *(float(getattr(t, f)) for f in fields)] for t in ticks])
    facts.first("head", when(await patient(ib.reqHeadTimeStampAsync(apple, "TRADES", True, 2))))
    histogram = await patient(ib.reqHistogramDataAsync(apple, True, "3 days"))
    facts.first("histogram", [[each.price, float(each.count)] for each in histogram])
    if facts.version >= SCHEDULE_VERSION:
        schedule = await patient(ib.reqHistoricalScheduleAsync(apple, 5))
        facts.first("schedule", [schedule.timeZone, *(each.refDate for each in schedule.sessions)])


async def stream(ib: Any, facts: Facts, contracts: dict[str, Any], stocks: list[Any]) -> None:
    """Subscribe to everything, wait for it, cancel it, listen for what still comes."""
    watch = Watch(facts)
    apple = contracts["STK"]
    ib.tickNewsEvent += watch.news
    for name, generic in LEVEL1.items():
        ticker = ib.reqMktData(contracts[name], generic, False, False)
        ticker.updateEvent += lambda ticker, name=name: watch.level1(name, ticker)
    bars = ib.reqRealTimeBars(apple, 5, "TRADES", False)
    bars.updateEvent += watch.bar
    kept = await patient(ib.reqHistoricalDataAsync(apple, "", "1 D", "1 min", "TRADES", False, 2, True))
    kept.updateEvent += watch.kept
    ib.reqMktDepth(stocks[0], DEPTH_ROWS, False).updateEvent += lambda ticker: watch.book(facts.depth, ticker)
    ib.reqMktDepth(stocks[1], DEPTH_ROWS, True).updateEvent += lambda ticker: watch.book(facts.smart_depth, ticker)
    for kind, stock in zip(TICK_BY_TICK, stocks, strict=True):
        ticker = ib.reqTickByTickData(stock, kind)
        ticker.updateEvent += lambda ticker, kind=kind: watch.tick(kind, ticker)
    with contextlib.suppress(asyncio.TimeoutError):
        await patient(watch.complete.wait())
    for name in LEVEL1:
        ib.cancelMktData(contracts[name])
    ib.cancelRealTimeBars(bars)
    ib.cancelHistoricalData(kept)
    ib.cancelMktDepth(stocks[0], False)
    ib.cancelMktDepth(stocks[1], True)
    for kind, stock in zip(TICK_BY_TICK, stocks, strict=True):
        ib.cancelTickByTickData(stock, kind)
    await patient(ib.reqCurrentTimeAsync())
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
        contracts = await resolve(ib, lib, facts)
        await past(ib, facts, contracts["STK"])
        stocks = [lib.Stock(symbol, "SMART", "USD") for symbol in symbols]
        await patient(ib.qualifyContractsAsync(*stocks))
        await stream(ib, facts, contracts, stocks)
    except (TimeoutError, KeyError) as failed:
        facts.error(-1, 0, f"{type(failed).__name__}: {failed}")
    finally:
        ib.disconnect()
        facts.print()


async def run(argv: list[str]) -> None:
    client_id, symbols, ports = arguments(argv)
    lib = library()
    await asyncio.gather(*(probe(lib, port, client_id, symbols) for port in ports))


if __name__ == "__main__":
    asyncio.run(run(sys.argv))
