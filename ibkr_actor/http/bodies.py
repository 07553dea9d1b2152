"""Owns what comes in and goes out as JSON: the bodies, queries and answers of every route, as Structs.

Validates shapes only; what is asked for is decided by the sidecar.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from ibkr_actor.schema.instruments import InstrumentQuery

SYMBOLS_MAX: Final = 200
Symbol = Annotated[str, Meta(min_length=1, max_length=100, description="AAPL, or a canonical id")]
Symbols = Annotated[list[Symbol], Meta(min_length=1, max_length=SYMBOLS_MAX)]
Exchange = Annotated[str, Meta(min_length=1, max_length=30)]
Currency = Annotated[str, Meta(min_length=1, max_length=10)]
Hz = Annotated[float, Meta(ge=0, le=100, description="most quotes of one instrument a second; 0 is all")]


class StreamQuotes(Struct, frozen=True, kw_only=True):
    """What quotes to stream. The first three are the replaced system's."""

    symbols: Symbols
    exchange: Exchange = "SMART"
    currency: Currency = "USD"
    hz: Hz | None = None
    hold: Annotated[bool, Meta(description="false: only look at what others hold, take no line and keep none")] = True


class StreamBars(Struct, frozen=True, kw_only=True):
    """What bars to stream. The first four are the replaced system's."""

    symbols: Symbols
    resolution: Annotated[str, Meta(min_length=1, max_length=20)] = "5s"
    exchange: Exchange = "SMART"
    currency: Currency = "USD"


class StreamRecords(Struct, frozen=True, kw_only=True):
    """Any kinds of stream, as records of docs/STREAMS.md."""

    symbols: Symbols
    kinds: Annotated[list[Annotated[str, Meta(min_length=1, max_length=40)]], Meta(min_length=1, max_length=20)]
    exchange: Exchange = "SMART"
    currency: Currency = "USD"
    hz: Hz | None = None


class HistoricalBars(Struct, frozen=True, kw_only=True):
    """Which bars: all that lie wholly in [start, end], of a day and more all that end in it.

    ISO 8601; a time without an offset is UTC.
    """

    symbol: Symbol
    start: Annotated[str, Meta(min_length=4, max_length=40)]
    end: Annotated[str, Meta(min_length=4, max_length=40)]
    resolution: Annotated[str, Meta(min_length=1, max_length=20)] = "1d"
    exchange: Exchange = "SMART"
    currency: Currency = "USD"
    use_rth: Annotated[bool, Meta(description="Regular trading hours only, as the replaced system had them")] = True


class IngestTick(Struct, frozen=True, kw_only=True):
    """A price from elsewhere."""

    symbol: Symbol
    price: float
    timestamp: Annotated[datetime, Meta(description="ISO 8601; without an offset it is UTC")]


class Health(Struct, frozen=True, kw_only=True):
    """Whether there is a gateway to get data from and a Redis to get them through."""

    status: Literal["healthy", "unhealthy"]
    version: str
    connected: bool
    state: str
    gateway: str
    reasons: list[str]


class Ready(Struct, frozen=True, kw_only=True):
    """Whether the data are fresh. `freshness` counts lines by their state."""

    status: Literal["ready", "not_ready"]
    reasons: list[str]
    freshness: dict[str, int]


class Bar(Struct, frozen=True, kw_only=True):
    """A bar as market-data-core has it. `ts` is its end."""

    symbol: str
    ts: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None
    resolution: str
    delayed: bool


class Hole(Struct, frozen=True, kw_only=True):
    """A part of the interval for which there is nothing, and why."""

    start: str
    end: str
    reason: str
    message: str


class Bars(Struct, frozen=True, kw_only=True):
    """All bars, oldest first. `outcome` is `complete`, or `incomplete` with `holes`."""

    bars: list[Bar]
    outcome: str
    holes: list[Hole]


class Ingested(Struct, frozen=True, kw_only=True):
    """The entry that was written, and where."""

    status: Literal["ok"]
    symbol: str
    message: str
    stream: str
    id: str


class Contracts(Struct, frozen=True, kw_only=True):
    """What a `search` answers."""

    contracts: list[dict[str, Any]]


class Subscriptions(Struct, frozen=True, kw_only=True):
    """What a `list` answers; `now_ns` is when."""

    subscriptions: list[dict[str, Any]]
    now_ns: str


class StatusAnswer(Struct, frozen=True, kw_only=True):
    """The sidecar's `status`, its heartbeat, and how this process and Redis are."""

    version: str
    now_ns: str
    heartbeat: dict[str, Any]
    status: dict[str, Any]
    redis: dict[str, Any]
    http: dict[str, Any]


class ErrorBody(Struct, frozen=True, kw_only=True):
    """Why a request was refused. Further fields: `ib_code`, `candidates`, `symbol`."""

    code: str
    message: str
    retryable: bool
    retry_after_s: float | None


class ErrorAnswer(Struct, frozen=True, kw_only=True):
    """Every answer that is no success."""

    error: ErrorBody


def instrument(symbol: str, exchange: str, currency: str) -> str | InstrumentQuery:
    """What a symbol means: a canonical id as it stands, a plain symbol as the stock there in that currency."""
    if "." in symbol or (exchange == "SMART" and currency == "USD"):
        return symbol
    return InstrumentQuery(symbol=symbol, sec_type="STK", exchange=exchange, currency=currency)
