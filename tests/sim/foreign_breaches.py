"""Owns the list of breaches: for each rule of the simulator, what the official client does and what it is told.

Must not assert anything but what a breach needs on its way; `test_rules_foreign` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ibapi.contract import Contract
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel
from ibapi.scanner import ScannerSubscription

from ibkr_actor.sim import Rule
from tests.sim.foreign_client import Meeting, combination, contract, test_stock

AAPL = contract("AAPL")
_BOTH = (178, 226)


class Breach(NamedTuple):
    """`answers`: (req_id, code) of all that the client is told, each counted once as a breach of `rule`."""

    rule: Rule
    name: str
    commit: Callable[[Meeting], None]
    answers: tuple[tuple[int, int], ...]
    settings: dict[str, Any] = {}  # noqa: RUF012 - read only
    versions: tuple[int, ...] = _BOTH


def _rate(met: Meeting) -> None:
    for _ in range(11):
        met.client.reqCurrentTime()


def _lines(met: Meeting) -> None:
    for number in range(4):
        met.client.reqMktData(number, test_stock(number), "", False, False, [])


def _lines_of_bars(met: Meeting) -> None:
    for number in range(3):
        met.client.reqMktData(number, test_stock(number), "", False, False, [])
    met.client.reqRealTimeBars(3, test_stock(3), 5, "TRADES", False, [])


def _duplicate(met: Meeting) -> None:
    met.client.reqMktData(1, AAPL, "", False, False, [])
    met.client.reqMktData(1, contract("MSFT"), "", False, False, [])


def _duplicates(met: Meeting) -> None:
    """Of every kind, and across kinds."""
    scan = ScannerSubscription()
    scan.instrument, scan.locationCode, scan.scanCode = "STK", "STK.US.MAJOR", "TOP_PERC_GAIN"
    for symbol in ("AAPL", "MSFT"):
        met.client.reqTickByTickData(1, contract(symbol), "Last", 0, False)
        met.client.reqMktDepth(2, contract(symbol), 5, True, [])
        met.client.reqRealTimeBars(3, contract(symbol), 5, "TRADES", False, [])
        met.client.reqScannerSubscription(4, scan, [], [])


def _late_cancels(met: Meeting) -> None:
    met.client.reqMktData(1, AAPL, "", False, False, [])
    met.client.cancelMktData(1)
    met.client.cancelMktData(1)
    met.client.cancelTickByTickData(2)
    met.client.cancelRealTimeBars(3)
    met.client.cancelMktDepth(4, False)
    met.client.cancelScannerSubscription(5)


def _books(met: Meeting) -> None:
    for number in range(4):
        met.client.reqMktDepth(number, test_stock(number), 5, True, [])


def _orders(met: Meeting) -> None:
    order = Order()
    order.action, order.orderType, order.totalQuantity, order.lmtPrice = "BUY", "LMT", 1, 100.0
    met.client.placeOrder(5, AAPL, order)
    met.client.cancelOrder(6, OrderCancel())
    met.client.exerciseOptions(7, AAPL, 1, 1, "DU1234567", 0, "", "", "")
    met.client.reqGlobalCancel(OrderCancel())


def _real_time_bars(met: Meeting) -> None:
    for number in range(61):
        met.client.reqRealTimeBars(number, test_stock(number), 5, "TRADES", False, [])


def _streams(met: Meeting) -> None:
    for number in range(6):
        met.client.reqTickByTickData(number, test_stock(number), "Last", 0, False)


def _same_stream(met: Meeting) -> None:
    met.client.reqTickByTickData(1, AAPL, "Last", 0, False)
    met.client.cancelTickByTickData(1)
    met.settle()
    met.sim.advance(13.0)
    met.client.reqTickByTickData(2, AAPL, "BidAsk", 0, False)
    met.wait_for_errors(1)
    met.sim.advance(2.0)
    met.client.reqTickByTickData(3, AAPL, "BidAsk", 0, False)
    met.settle()


def _spelling(met: Meeting) -> None:
    met.client.reqTickByTickData(1, AAPL, "last", 0, False)


def _unreadable(met: Meeting) -> None:
    crooked = contract("AAPL")
    crooked.strike = "high"
    met.client.reqMktData(1, crooked, "", False, False, [])


def _same_query(met: Meeting) -> None:
    met.bars(1, AAPL)
    met.bars(1, contract("MSFT"))


def _many_queries(met: Meeting) -> None:
    for number in range(51):
        met.bars(number, test_stock(number), duration="1 D", size="1 hour")


def _many_heads(met: Meeting) -> None:
    """Answered, and open until they are cancelled."""
    for number in range(51):
        met.client.reqHeadTimeStamp(number, test_stock(number), "TRADES", 0, 1)


def _late_history_cancels(met: Meeting) -> None:
    met.bars_answered(1, AAPL)
    met.client.cancelHistoricalData(1)
    met.client.cancelHeadTimeStamp(2)
    met.client.cancelHistogramData(3)


def _late_cancel_of_ticks(met: Meeting) -> None:
    met.client.cancelHistoricalTicks(4)


def _sixty(met: Meeting) -> None:
    for number in range(60):
        met.bars_answered(number, test_stock(number))
    met.bars(60, test_stock(60))


def _sixty_of_all_kinds(met: Meeting) -> None:
    for number in range(20):
        met.client.reqRealTimeBars(number, test_stock(number), 5, "TRADES", False, [])
    for number in range(20, 40):
        met.client.reqHeadTimeStamp(number, test_stock(number), "TRADES", 0, 1)
    for number in range(40, 60):
        met.bars_answered(number, test_stock(number), size="30 secs")
    met.bars(60, test_stock(60))
    met.bars_answered(61, test_stock(61), duration="1 D", size="1 min")


def _thirty_twice(met: Meeting) -> None:
    for number in range(30):
        met.bars_answered(number, test_stock(number), view="BID_ASK")
    met.bars(30, test_stock(30))


def _identical(met: Meeting) -> None:
    met.bars_answered(1, AAPL)
    met.sim.advance(14.0)
    met.bars(2, AAPL)
    met.wait_for_errors(1)
    met.sim.advance(1.0)
    met.bars_answered(3, AAPL)


def _burst(met: Meeting) -> None:
    for number in range(6):
        met.bars(number, AAPL, duration=f"{30 + number} S")
    met.bars(6, AAPL, view="MIDPOINT")
    met.wait_for_errors(1)
    met.sim.advance(2.0)
    met.bars_answered(7, AAPL, duration="40 S")


def _burst_twice(met: Meeting) -> None:
    for number in range(3):
        met.bars(number, AAPL, view="BID_ASK", duration=f"{30 + number} S")


def _asked(what: Contract = AAPL, **fields: Any) -> Callable[[Meeting], None]:
    return lambda met: met.bars(1, what, **fields)


def _durations(met: Meeting) -> None:
    for number, duration in enumerate(("1 X", "86401 S", "366 D", "53 W", "13 M", "69 Y")):
        met.bars(number, AAPL, duration=duration, size="1 day")


def _updates(met: Meeting) -> None:
    met.bars(1, AAPL, keep=True, end="20231114-15:00:00")
    met.bars(2, AAPL, keep=True, view="BID_ASK")
    met.bars(3, AAPL, keep=True, size="1 secs")
    met.bars(4, combination(265598, 272093), keep=True, view="MIDPOINT")


def _ticks(met: Meeting) -> None:
    start, end = "20231114-15:00:00", "20231114-16:00:00"
    asked = ((start, "", 0, "TRADES"), (start, "", 1001, "TRADES"), (start, "", 10, "BID"), (start, end, 10, "TRADES"))
    for number, (first, last, count, view) in enumerate((*asked, ("", "", 10, "TRADES"))):
        met.client.reqHistoricalTicks(number, AAPL, first, last, count, view, 0, False, [])


def _odd_head(met: Meeting) -> None:
    met.client.reqHeadTimeStamp(1, AAPL, "PRICES", 0, 1)


def _odd_histogram(met: Meeting) -> None:
    met.client.reqHistogramData(1, AAPL, True, "3 fortnights")


def _odd_ticks(met: Meeting) -> None:
    start, legs = "20231114-15:00:00", combination(265598, 272093)
    met.client.reqHistoricalTicks(1, legs, start, "", 10, "TRADES", 0, False, [])
    met.client.reqHistoricalTicks(2, AAPL, start, "", 10, "", 0, False, [])


def _expired(met: Meeting) -> None:
    stock = contract("AAPL")
    stock.includeExpired = True
    met.bars(1, stock)


_WINDOW = {"lines": 200}
_LATE = {"history_latency_s": 30.0}
_CRYPTO, _FUTURE = contract("BTC", "CRYPTO", "PAXOS"), contract("ES", "CONTFUT", "CME")
_END = "20231114-15:00:00"

BREACHES: tuple[Breach, ...] = (
    Breach(Rule.MESSAGE_RATE, "eleven of ten", _rate, ((-1, 100),), {"lines": 20, "enforce_message_rate": True}),
    Breach(Rule.LINES, "level 1", _lines, ((3, 101),), {"lines": 3}),
    Breach(Rule.LINES, "5 s bars", _lines_of_bars, ((3, 101),), {"lines": 3}),
    Breach(Rule.DUPLICATE_ID, "level 1", _duplicate, ((1, 102),)),
    Breach(Rule.DUPLICATE_ID, "other kinds", _duplicates, ((1, 102), (2, 102), (3, 102), (4, 385))),
    Breach(Rule.LATE_CANCEL, "all kinds", _late_cancels, ((1, 300), (2, 300), (3, 300), (4, 310), (5, 365))),
    Breach(Rule.DEPTH_LINES, "fourth book", _books, ((3, 309),)),
    Breach(Rule.ORDER, "place, cancel, exercise", _orders, ((5, 321), (6, 321), (7, 321), (-1, 321))),
    Breach(Rule.REAL_TIME_BARS_RATE, "61 in 600 s", _real_time_bars, ((60, 420),), _WINDOW),
    Breach(Rule.TICK_BY_TICK_LINES, "six of 100 lines", _streams, ((5, 10190),)),
    Breach(Rule.TICK_BY_TICK_INTERVAL, "again after 13 s", _same_stream, ((2, 10190),)),
    Breach(Rule.TICK_TYPE, "lower case", _spelling, ((1, 321),)),
    # Above 201 the official client cannot write such a field.
    Breach(Rule.BAD_REQUEST, "a strike of words", _unreadable, ((1, 320),), versions=(178,)),
    Breach(Rule.HISTORY_DUPLICATE_ID, "bars", _same_query, ((1, 322),), _LATE),
    Breach(Rule.HISTORY_OPEN, "51 queries", _many_queries, ((50, 322),), _LATE),
    Breach(Rule.HISTORY_OPEN, "51 head timestamps", _many_heads, ((50, 322),)),
    Breach(Rule.HISTORY_LATE_CANCEL, "of three kinds", _late_history_cancels, ((1, 366), (2, 366), (3, 366))),
    Breach(Rule.HISTORY_LATE_CANCEL, "ticks", _late_cancel_of_ticks, ((4, 366),), versions=(226,)),
    Breach(Rule.HISTORY_RATE, "61 in 600 s", _sixty, ((60, 162),)),
    Breach(Rule.HISTORY_RATE, "all kinds together", _sixty_of_all_kinds, ((60, 162),)),
    Breach(Rule.HISTORY_RATE, "BID_ASK twice", _thirty_twice, ((30, 162),)),
    Breach(Rule.HISTORY_IDENTICAL, "after 14 s", _identical, ((2, 162),)),
    Breach(Rule.HISTORY_BURST, "six in 2 s", _burst, ((5, 162),)),
    Breach(Rule.HISTORY_BURST, "BID_ASK twice", _burst_twice, ((2, 162),)),
    Breach(Rule.HISTORY_STEP, "1 secs over a day", _asked(duration="1 D", size="1 secs"), ((1, 162),)),
    Breach(Rule.HISTORY_STEP, "too many 1 secs", _asked(duration="2001 S", size="1 secs"), ((1, 162),)),
    Breach(Rule.HISTORY_DURATION, "no unit, too long", _durations, tuple((number, 321) for number in range(6))),
    Breach(Rule.HISTORY_BAR_SIZE, "7 mins", _asked(size="7 mins"), ((1, 321),)),
    Breach(Rule.HISTORY_VIEW, "unknown", _asked(view="PRICES"), ((1, 321),)),
    Breach(Rule.HISTORY_VIEW, "adjusted weeks", _asked(view="ADJUSTED_LAST", duration="1 Y", size="1W"), ((1, 321),)),
    Breach(Rule.HISTORY_VIEW, "head timestamp", _odd_head, ((1, 321),)),
    Breach(Rule.HISTORY_DURATION, "histogram", _odd_histogram, ((1, 321),)),
    Breach(Rule.HISTORY_TICKS, "combination, empty view", _odd_ticks, ((1, 321), (2, 321))),
    Breach(Rule.HISTORY_VIEW, "hourly schedule", _asked(view="SCHEDULE", size="1 hour"), ((1, 10295),)),
    Breach(Rule.HISTORY_VIEW, "trades of crypto", _asked(_CRYPTO, size="1 min"), ((1, 10299),)),
    Breach(Rule.HISTORY_FORMAT, "4", _asked(form=4), ((1, 321),)),
    Breach(Rule.HISTORY_UPDATES, "all four", _updates, tuple((number, 321) for number in range(1, 5))),
    Breach(Rule.HISTORY_TICKS, "all five", _ticks, tuple((number, 321) for number in range(5))),
    Breach(Rule.HISTORY_END, "adjusted", _asked(view="ADJUSTED_LAST", end=_END, size="1 min"), ((1, 321),)),
    Breach(Rule.HISTORY_END, "continuous future", _asked(_FUTURE, end=_END, size="1 min"), ((1, 10339),)),
    Breach(Rule.HISTORY_DATE, "words", _asked(end="yesterday"), ((1, 10314),)),
    Breach(Rule.HISTORY_EXPIRED, "a stock", _expired, ((1, 166),)),
)
