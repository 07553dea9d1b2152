"""Owns what is expected of a client in each capability; a judge gives the reason why not, or nothing.

Must not run anything; `clients` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.compat.probes.asked import BARS, CHAINS, CONTRACTS, LEVEL1, SCHEDULE_VERSION, TICKS

Facts = dict[str, Any]
Judge = Callable[[Facts], str]

# con_id (0: any), min tick, and the name as text or, by clients that leave it so, as the escape it travels in.
EXPECTED: dict[str, tuple[int, float, tuple[str, ...]]] = {
    "STK": (265598, 0.01, ("APPLE INC",)),
    "STK in EUR": (14094, 0.02, ("BAYERISCHE MOTOREN WERKE, München", "BAYERISCHE MOTOREN WERKE, M\\xfcnchen")),
    "CASH": (12087792, 0.00005, ("EUR/USD spot",)),
    "FUT": (0, 0.25, ("E-mini S&P 500",)),
    "CONTFUT": (0, 0.25, ("E-mini S&P 500",)),
    "OPT": (0, 0.01, ("APPLE INC",)),
    "FOP": (0, 0.05, ("E-mini S&P 500",)),
    "CRYPTO": (479624278, 0.25, ("Bitcoin cryptocurrency",)),
    "IND": (416904, 0.01, ("S&P 500 Stock Index",)),
    "BOND": (0, 0.001, ("AAPL 3.85 05/04/43",)),
    "CFD": (111987422, 0.01, ("US 500",)),
    "CMDTY": (69067924, 0.01, ("London Gold",)),
    "WAR": (0, 0.01, ("BAYERISCHE MOTOREN WERKE Warrant",)),
    "FUND": (0, 0.01, ("Vanguard Institutional Index Fund Institutional Shares",)),
}
# How many match where it is more than one: the months of a future, the strikes of a warrant.
SEVERAL = ("FUT", "WAR")
# Bars of each kind: the least number, and how their dates look, as text or as what a client made of it.
_SECONDS, _DAY = r"1[67]\d{8}", r"20\d{6}"
_CLOCK = r" \d\d:\d\d:\d\d [A-Z]\w+/\w+"
BAR_DATES = {
    "bars": (5, rf"{_DAY}{_CLOCK}|{_SECONDS}"),
    "bars in UTC seconds": (5, _SECONDS),
    "bars without year": (5, rf"\d{{4}}{_CLOCK}"),
    "daily bars": (15, _DAY),
}


def connects(facts: Facts) -> str:
    return "" if facts["accounts"] == "DU1234567" else f"accounts are {facts['accounts']!r}"


def resolves(name: str) -> Judge:
    con_id, min_tick, names = EXPECTED[name]

    def judge(facts: Facts) -> str:
        seen = facts["contracts"].get(name)
        if seen is None:
            return "not found"
        right = con_id in (0, seen["con_id"]) and seen["min_tick"] == min_tick and seen["long_name"] in names
        # Bonds have hours since server version 188.
        hours = ";" in seen["hours"] or name == "BOND"
        return "" if right and hours and (seen["count"] > 1) == (name in SEVERAL) else f"it is {seen}"

    return judge


def prices(name: str) -> Judge:
    def judge(facts: Facts) -> str:
        seen = facts["prices"].get(name)
        if not seen:
            return "no price"
        if name != "BAG" and min(seen.values()) <= 0:
            return f"prices are {seen}"
        crossed = "bid" in seen and "ask" in seen and seen["bid"] >= seen["ask"]
        missing = {"IND": {"last"}, "CASH": {"bid", "ask"}}.get(name, {"bid", "ask", "last"}) - seen.keys()
        return f"prices are {seen}" if crossed or missing else ""

    return judge


def holds(name: str, good: Callable[[Any], bool]) -> Judge:
    """Something of this name was seen, and it is good."""

    def judge(facts: Facts) -> str:
        if name not in facts["seen"]:
            return "not seen"
        return "" if good(facts["seen"][name]) else f"it is {str(facts['seen'][name])[:200]}"

    return judge


def _option(values: Any) -> bool:
    volatility, delta, price, gamma, vega, theta, underlying = values
    return bool(0 < volatility < 5 and 0 < delta < 1 and gamma > 0 and vega > 0 > theta and 0 < price < underlying)


def _tick(count: int) -> Callable[[Any], bool]:
    return lambda values: len(values) == count and all(value > 0 for value in values)


def _candle(values: Any) -> bool:
    opened, high, low, closed = values[1:5]
    return bool(low <= min(opened, closed) <= max(opened, closed) <= high and low > 0)


def _bars(name: str) -> Callable[[Any], bool]:
    least, dates = BAR_DATES[name]
    volumes = BARS[name][2] == "TRADES"
    return lambda rows: (
        len(rows) >= least
        and all(re.fullmatch(dates, str(row[0])) and _candle(row) for row in rows)
        and all((row[5] > 0) == volumes for row in rows)
        and [row[0] for row in rows] == sorted(row[0] for row in rows)
    )


def _ticks(rows: Any) -> bool:
    """From 10:00 in New York on, in order, with all of their values."""
    times = [row[0] for row in rows]
    return len(rows) >= 10 and times[0] >= 1767625200 and times == sorted(times) and all(min(row) > 0 for row in rows)


def _chain(symbol: str) -> Callable[[Any], bool]:
    """The classes of a future have an expiry or two each, a stock has weeks and months of them."""
    least, strike = {"AAPL": (6, 230), "ES": (1, 6500)}[symbol]
    return lambda values: (
        len(values[0]) >= least and all(re.fullmatch(_DAY, each) for each in values[0]) and strike in values[1]
    )


def keeps_up(facts: Facts) -> str:
    if facts["updates"] < 2:
        return f"{facts['updates']} updates"
    update = facts["seen"].get("update")
    good = update and re.fullmatch(_SECONDS, str(update[0])) and _candle(update)
    return "" if good else f"an update is {update}"


def schedules(facts: Facts) -> str:
    if facts["version"] < SCHEDULE_VERSION:
        return ""
    expected = ["US/Eastern", "20251230", "20251231", "20260102", "20260105", "20260106"]
    return holds("schedule", lambda values: values == expected)(facts)


def shows_book(name: str) -> Judge:
    def judge(facts: Facts) -> str:
        book = facts[name]
        rows = {side: list(book.get(side, {}).values()) for side in ("bid", "ask")}
        if [len(rows["bid"]), len(rows["ask"])] != [5, 5]:
            return f"{len(rows['bid'])} bids and {len(rows['ask'])} asks of 5"
        return "" if max(rows["bid"]) < min(rows["ask"]) else f"the sides cross: {rows}"

    return judge


def _cancelled(error: list[Any]) -> bool:
    """What a gateway says when history kept up to date is cancelled."""
    return error[1] == 162 and "query cancelled" in error[2]


def cancels(facts: Facts) -> str:
    """Everything cancelled stays silent, and history kept up to date says that it ended."""
    if facts["late"]:
        return "no answer" if facts["late"] < 0 else f"{facts['late']} ticks after the cancel"
    return "" if any(_cancelled(error) for error in facts["errors"]) else "no 162 of history kept up to date"


def without_errors(facts: Facts) -> str:
    """Nothing asked on the way was answered with an error."""
    return "; ".join(f"error {code} {text}" for _, code, text in [e for e in facts["errors"] if not _cancelled(e)][:3])


CAPABILITIES: dict[str, Judge] = {
    "connect": connects,
    **{f"resolve {name}": resolves(name) for name in CONTRACTS},
    **{f"option chain of {symbol}": holds(f"chain {symbol}", _chain(symbol)) for symbol in CHAINS},
    "matching symbols": holds("symbols", lambda values: 265598 in values),
    "market rule": holds("market rule", lambda values: values == [26, [0, 0.01]]),
    **{f"price of {name}": prices(name) for name in LEVEL1},
    "size": holds("size", lambda value: value > 0),
    "string (RTVolume)": holds("string", lambda value: value > 0),
    "generic": holds("generic", lambda value: value > 0),
    # @stoqey/ib reads the tick of 0.01 as a whole number.
    "request parameters": holds("parameters", lambda values: values[0] in (0.01, 0) and bool(values[1])),
    **{f"computation of {name}": holds(f"option {name}", _option) for name in ("OPT", "FOP")},
    "news": holds("news", lambda values: values[0] > 1767711600000 and all(values)),
    "tick Last": holds("Last", _tick(4)),
    "tick AllLast": holds("AllLast", _tick(4)),
    "tick BidAsk": holds("BidAsk", _tick(5)),
    "tick MidPoint": holds("MidPoint", _tick(2)),
    "5 s bars": holds("5 s bar", lambda values: values[0] % 5 == 0 and _candle(values)),
    "depth": shows_book("depth"),
    "smart depth": shows_book("smart_depth"),
    **{name: holds(name, _bars(name)) for name in BARS},
    **{f"past {name}": holds(f"ticks {name}", _ticks) for name in TICKS},
    "kept up to date": keeps_up,
    "head timestamp": holds("head", lambda value: str(value) == "1074868200"),
    "histogram": holds("histogram", lambda rows: len(rows) > 5 and all(min(row) > 0 for row in rows)),
    "schedule": schedules,
    "cancel of each": cancels,
    "no error": without_errors,
}
