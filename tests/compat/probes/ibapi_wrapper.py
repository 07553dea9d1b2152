"""Owns the callbacks of the official client, of any release from 9.81 to 10.5x, and puts them into the facts.

Must not import the project or ask for anything.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from .asked import CHAINS, CONTRACTS, LEVEL1, PATIENCE_S, TICK_BY_TICK, TICKS, Facts

# Numbers of requests: the contracts from 0 on, then these.
NAMES = list(CONTRACTS)
LINES = list(LEVEL1)
LEVEL1_ID, BAR, DEPTH, SMART_DEPTH, STREAM_ID = 100, 120, 121, 122, 130
BARS_ID, TICKS_ID, KEPT, HEAD, HISTOGRAM, SCHEDULE, SYMBOLS, CHAIN = 200, 210, 220, 221, 222, 223, 224, 230


class Wrapper:
    """Takes every callback of whichever release: those with a method here into the facts, the others into nothing."""

    def __init__(self, facts: Facts, bars: list[str]) -> None:
        self.facts = facts
        self.changed = threading.Condition()
        self.ended: set[int] = set()
        self.rounds = 0
        self.greeted = False
        self.data = 0
        self._bars = bars

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

    # Contracts

    def _contractDetails(self, req_id: int, details: Any) -> None:
        hours = getattr(details, "tradingHours", "")
        name = details.longName or getattr(details, "descAppend", "")
        self.facts.contract(NAMES[req_id], details.contract.conId, details.minTick, name, hours)

    _bondContractDetails = _contractDetails

    def _contractDetailsEnd(self, req_id: int) -> None:
        self.ended.add(req_id)

    def _securityDefinitionOptionParameter(self, req_id: int, exchange: str, *values: Any) -> None:
        symbol, (_, __, con_id, wanted) = list(CHAINS.items())[req_id - CHAIN]
        if (values[0], exchange) == (con_id, wanted):
            self.facts.first(f"chain {symbol}", [sorted(values[3]), sorted(values[4])])

    def _securityDefinitionOptionParameterEnd(self, req_id: int) -> None:
        self.ended.add(req_id)

    def _symbolSamples(self, _: int, descriptions: Any) -> None:
        self.facts.first("symbols", [each.contract.conId for each in descriptions])

    def _marketRule(self, rule: int, increments: Any) -> None:
        self.facts.first("market rule", [rule, *([each.lowEdge, each.increment] for each in increments)])

    # Level 1

    def _tickPrice(self, req_id: int, tick_type: int, price: float, _: Any) -> None:
        self.data += 1
        self.facts.price(LINES[req_id - LEVEL1_ID], tick_type, price)

    def _tickSize(self, req_id: int, tick_type: int, size: Any) -> None:
        self.data += 1
        if tick_type == 0:
            self.facts.first("size", float(size))

    def _tickString(self, req_id: int, tick_type: int, value: str) -> None:
        self.data += 1
        if tick_type == 48:
            self.facts.first("string", float(value.split(";")[3]))

    def _tickGeneric(self, req_id: int, tick_type: int, value: float) -> None:
        self.data += 1
        if tick_type in (46, 54):
            self.facts.first("generic", value)

    def _tickReqParams(self, req_id: int, min_tick: float, bbo_exchange: str, _: int) -> None:
        if req_id == LEVEL1_ID:
            self.facts.first("parameters", [min_tick, bbo_exchange])

    def _tickOptionComputation(self, req_id: int, tick_type: int, *values: Any) -> None:
        """The last eight: implied volatility, delta, price, dividend, gamma, vega, theta, price of the underlying."""
        self.data += 1
        if tick_type == 13 and None not in values[-8:]:
            volatility, delta, price, _, gamma, vega, theta, underlying = values[-8:]
            self.facts.first(
                f"option {LINES[req_id - LEVEL1_ID]}", [volatility, delta, price, gamma, vega, theta, underlying]
            )

    def _tickNews(self, _: int, time_ms: int, provider: str, article: str, headline: str, *__: Any) -> None:
        self.facts.first("news", [time_ms, provider, article, headline])

    # Streams

    def _tick(self, req_id: int, *values: Any) -> None:
        self.data += 1
        self.facts.first(TICK_BY_TICK[req_id - STREAM_ID], [float(value) for value in values])

    def _tickByTickAllLast(self, req_id: int, tick_type: int, time_s: int, price: float, size: Any, *_: Any) -> None:
        self._tick(req_id, tick_type, time_s, price, size)

    def _tickByTickBidAsk(self, req_id: int, time_s: int, bid: float, ask: float, *values: Any) -> None:
        self._tick(req_id, time_s, bid, ask, *values[:2])

    def _tickByTickMidPoint(self, req_id: int, time_s: int, mid: float) -> None:
        self._tick(req_id, time_s, mid)

    def _realtimeBar(self, _: int, *values: Any) -> None:
        self.data += 1
        self.facts.first("5 s bar", [float(value) for value in values[:5]])

    def _updateMktDepth(self, _: int, position: int, __: int, side: int, price: float, ___: Any) -> None:
        self.data += 1
        self.facts.book_row(self.facts.depth, side, position, price)

    def _updateMktDepthL2(self, _: int, position: int, __: str, ___: int, side: int, price: float, *____: Any) -> None:
        self.data += 1
        self.facts.book_row(self.facts.smart_depth, side, position, price)

    # History

    def _historicalData(self, req_id: int, bar: Any) -> None:
        if req_id != KEPT:
            values = [bar.date, *(float(value) for value in (bar.open, bar.high, bar.low, bar.close, bar.volume))]
            self.facts.seen.setdefault(self._bars[req_id - BARS_ID], []).append(values)

    def _historicalDataEnd(self, req_id: int, *_: Any) -> None:
        self.ended.add(req_id)

    def _historicalDataUpdate(self, _: int, bar: Any) -> None:
        self.data += 1
        self.facts.updates += 1
        self.facts.first("update", [bar.date, bar.open, bar.high, bar.low, bar.close])

    def _historicalTicksLast(self, req_id: int, ticks: Any, _: bool) -> None:
        self._historical(req_id, [[each.time, each.price, float(each.size)] for each in ticks])

    def _historicalTicksBidAsk(self, req_id: int, ticks: Any, _: bool) -> None:
        self._historical(req_id, [[each.time, each.priceBid, each.priceAsk] for each in ticks])

    def _historicalTicks(self, req_id: int, ticks: Any, _: bool) -> None:
        self._historical(req_id, [[each.time, each.price] for each in ticks])

    def _historical(self, req_id: int, ticks: list[list[float]]) -> None:
        self.facts.first(f"ticks {TICKS[req_id - TICKS_ID]}", ticks)
        self.ended.add(req_id)

    def _headTimestamp(self, req_id: int, stamp: str) -> None:
        self.facts.first("head", stamp)
        self.ended.add(req_id)

    def _histogramData(self, req_id: int, items: Any) -> None:
        self.facts.first("histogram", [[each.price, float(getattr(each, "size", 0) or each.count)] for each in items])
        self.ended.add(req_id)

    def _historicalSchedule(self, req_id: int, _: str, __: str, zone: str, sessions: Any) -> None:
        self.facts.first("schedule", [zone, *(each.refDate for each in sessions)])
        self.ended.add(req_id)
