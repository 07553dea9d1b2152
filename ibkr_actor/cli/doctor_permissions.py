"""The doctor's look at what the login may see: the answer to one snapshot of a stock.

Asks nothing itself, and knows no socket: `doctor_gateway` asks on the connection of its handshake.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.cli.doctor_findings import Finding, ok, warn
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.codes.row import ENDING
from ibkr_actor.core.events import ErrorNotice, Event, MarketDataType, TickPrice, TickSize, TickSnapshotEnd
from ibkr_actor.core.requests import AnyRequest, ReqMarketDataType, ReqMktData
from ibkr_actor.schema.instruments import Contract

# Of the subscriptions to exchanges that IB sells, most logins have that of the stocks of the United States first.
STOCK: Final = Contract(0, "AAPL", "STK", "SMART", "USD")
_REQ_ID: Final = 2
_LIVE: Final = 1
# The rest of the data comes all the same. Source: IBKR's message codes.
_IN_PART: Final = 10090
_FEEDS: Final = {1: "live", 2: "frozen", 3: "delayed", 4: "delayed-frozen"}
_SUBSCRIBE: Final = "subscribe to the data in IB's Client Portal (Market Data Subscriptions)"


def questions(feed: int) -> list[AnyRequest]:
    """What to send: a snapshot of the market data type that is set. It costs nothing, and a line while it lasts."""
    switch: list[AnyRequest] = [ReqMarketDataType(1, feed)] if feed != _LIVE else []
    return [*switch, ReqMktData(_REQ_ID, STOCK, snapshot=True)]


def is_answered(event: Event) -> bool:
    """Whether nothing that follows would change the finding."""
    if isinstance(event, ErrorNotice):
        silences = lookup(event.code, event.req_id).effect in ENDING | {"starve"}
        return event.req_id == _REQ_ID and (silences or _is_refusal(event))
    return isinstance(event, TickPrice | TickSize | TickSnapshotEnd) and event.req_id == _REQ_ID


def judged(heard: list[Event], timeout_s: float) -> Finding:
    """The finding; the newest answer counts."""
    feed = next((event.feed for event in reversed(heard) if isinstance(event, MarketDataType)), _LIVE)
    answer = next((event for event in reversed(heard) if is_answered(event)), None)
    refusal = next((event for event in heard if isinstance(event, ErrorNotice) and _is_refusal(event)), None)
    if refusal is not None:
        return warn("permissions", _said(refusal), f"{_SUBSCRIBE}, or set IBKR_MARKET_DATA_TYPE=3 for delayed data")
    if isinstance(answer, ErrorNotice):
        return warn("permissions", f"not known, {_said(answer)}", "try again when what it names is over")
    if answer is None:
        advice = "look at the market data farms; what a running sidecar was refused stands in ibkr-actor tail system"
        return warn(
            "permissions", f"not known: no answer to a snapshot of {STOCK.symbol} within {timeout_s:g} s", advice
        )
    if isinstance(answer, TickSnapshotEnd):
        return ok("permissions", f"{STOCK.symbol} is not refused, and has no data now")
    return ok("permissions", f"{STOCK.symbol} comes, {_FEEDS.get(feed, str(feed))}")


def _is_refusal(notice: ErrorNotice) -> bool:
    row = lookup(notice.code, notice.req_id)
    return notice.req_id == _REQ_ID and (row.rejection == "permissions_missing" or notice.code == _IN_PART)


def _said(notice: ErrorNotice) -> str:
    return f"IB says of {STOCK.symbol} ({notice.code}): {notice.message}"
