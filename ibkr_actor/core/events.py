"""Events: what IB told us, as frozen Structs. Each base class names the actor that owns its events.

Values are already plain: sentinels and empty fields are None, sizes are the shortest plain decimal text, times are UTC
nanoseconds. `received_ns` is when the bytes left the socket. `conn` is the number of the connection, 1 for the first.
A req_id is never used twice in one process, and its last digit names its owner (`owner_of`).
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.schema.instruments import Contract

Owner = Literal["session", "contracts", "reference", "subscriptions", "history"]

# req_id = n * 10 + digit: an error for a request can be routed without asking anyone, and late ones find their owner.
REQ_ID_DIGIT: Final[dict[Owner, int]] = {
    "session": 0,
    "contracts": 1,
    "subscriptions": 2,
    "history": 3,
    "reference": 4,
}
_OWNER_BY_DIGIT: Final[dict[int, Owner]] = {digit: owner for owner, digit in REQ_ID_DIGIT.items()}


def owner_of(req_id: int) -> Owner:
    """The actor that made the request; session notices (-1) and foreign ids belong to the session."""
    return _OWNER_BY_DIGIT.get(req_id % 10, "session") if req_id >= 0 else "session"


class Event(Struct, frozen=True, gc=False):
    """Something that happened at the gateway."""


class SessionEvent(Event, frozen=True, gc=False):
    """Owned by the session actor."""


class ContractsEvent(Event, frozen=True):
    """Owned by the contracts actor."""


class ReferenceEvent(Event, frozen=True):
    """Owned by the reference actor: an answer to a question, or a part of one."""


class MarketDataEvent(Event, frozen=True, gc=False):
    """Owned by the subscriptions actor; many of these a second."""

    req_id: int
    received_ns: int


# ---- session


class Connected(SessionEvent, frozen=True, gc=False):
    """The handshake is done and startApi is sent. `connection_time` is the gateway's own text."""

    conn: int
    at_ns: int
    server_version: int
    connection_time: str


class ConnectFailed(SessionEvent, frozen=True, gc=False):
    """No connection came about: refused, timed out, or (`taken`) the gateway took it and did not greet."""

    conn: int
    at_ns: int
    reason: str
    taken: bool = False


class ConnectionLost(SessionEvent, frozen=True, gc=False):
    """A connection that was up is gone: closed by the peer, broken, corrupt, or closed by us (`wanted`)."""

    conn: int
    at_ns: int
    reason: str
    wanted: bool = False


class Heard(SessionEvent, frozen=True, gc=False):
    """Frames came over the connection: it is alive, whatever else it does not answer. Told about once a second."""

    conn: int


class NextValidId(SessionEvent, frozen=True, gc=False):
    """IB's sign that the API is ready."""

    conn: int
    order_id: int


class ManagedAccounts(SessionEvent, frozen=True, gc=False):
    """How many accounts the login has; their numbers are not kept."""

    conn: int
    accounts: int


class CurrentTime(SessionEvent, frozen=True, gc=False):
    """The gateway's clock in UTC nanoseconds (whole seconds, or milliseconds where it can)."""

    conn: int
    received_ns: int
    time_ns: int


class DecodeFailed(SessionEvent, frozen=True, gc=False):
    """`frames` frames of one kind in one batch could not be decoded and are lost; the frames around them are not.

    `message_id` is IB's incoming id, above 200 for protobuf.
    """

    conn: int
    received_ns: int
    message_id: int
    frames: int
    reason: str


class ErrorNotice(Event, frozen=True, gc=False):
    """An IB error or notice. Routed by `owner_of(req_id)`; what it means stands in `core.codes.meaning`."""

    conn: int
    received_ns: int
    req_id: int
    code: int
    message: str


# ---- contracts


class ContractDetails(ContractsEvent, frozen=True):
    """One contract that matches a request; `instrument` is still empty."""

    req_id: int
    contract: Contract


class ContractDetailsEnd(ContractsEvent, frozen=True, gc=False):
    """No more matches for the request."""

    req_id: int


class FoundSymbol(Struct, frozen=True):
    """One row of a search. `con_id` is 0 where IB names an issuer instead, whose bonds `issuer_id` stands for."""

    con_id: int
    symbol: str
    sec_type: str
    primary_exchange: str
    currency: str
    derivative_sec_types: tuple[str, ...] = ()
    description: str = ""
    issuer_id: str = ""


class SymbolSamples(ContractsEvent, frozen=True):
    """All that a search has found."""

    req_id: int
    symbols: tuple[FoundSymbol, ...]


# ---- subscriptions


class TickPrice(MarketDataEvent, frozen=True, gc=False):
    """`size` is None when the message carried none. `attribs`: 1 can auto-execute, 2 past limit, 4 pre-open."""

    tick_type: int
    price: float | None
    size: str | None
    attribs: int


class TickSize(MarketDataEvent, frozen=True, gc=False):
    tick_type: int
    size: str | None


class TickGeneric(MarketDataEvent, frozen=True, gc=False):
    tick_type: int
    value: float | None


class TickString(MarketDataEvent, frozen=True, gc=False):
    tick_type: int
    value: str


class TickOptionComputation(MarketDataEvent, frozen=True, gc=False):
    """`tick_attrib` 0 return based, 1 price based, None when the server is too old to say."""

    tick_type: int
    tick_attrib: int | None
    implied_vol: float | None
    delta: float | None
    option_price: float | None
    pv_dividend: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    underlying_price: float | None


class TickNews(MarketDataEvent, frozen=True, gc=False):
    """A headline about the instrument."""

    time_ns: int
    provider: str
    article_id: str
    headline: str
    extra: str


class TickByTickLast(MarketDataEvent, frozen=True, gc=False):
    """Last (`all_last` False) or AllLast."""

    all_last: bool
    time_ns: int
    price: float | None
    size: str | None
    past_limit: bool
    unreported: bool
    exchange: str
    conditions: str


class TickByTickBidAsk(MarketDataEvent, frozen=True, gc=False):
    time_ns: int
    bid: float | None
    ask: float | None
    bid_size: str | None
    ask_size: str | None
    bid_past_low: bool
    ask_past_high: bool


class TickByTickMidPoint(MarketDataEvent, frozen=True, gc=False):
    time_ns: int
    price: float | None


class RealTimeBar(MarketDataEvent, frozen=True, gc=False):
    """A 5-second bar; `start_ns` is its start."""

    start_ns: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None
    wap: str | None
    count: int | None


class HistoricalBarUpdate(MarketDataEvent, frozen=True, gc=False):
    """A keep-up-to-date bar. `date` is IB's own text (epoch seconds, or yyyyMMdd for daily bars)."""

    date: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None
    wap: str | None
    count: int | None


class DepthUpdate(MarketDataEvent, frozen=True, gc=False):
    """`operation` 0 insert, 1 update, 2 delete; `side` 0 ask, 1 bid; `market_maker` only for L2 messages."""

    position: int
    operation: int
    side: int
    price: float | None
    size: str | None
    market_maker: str | None
    smart: bool


class Rerouted(MarketDataEvent, frozen=True, gc=False):
    """The data of a CFD is that of another contract, which is to be asked for instead; this request is over."""

    con_id: int
    exchange: str


class MarketDataType(MarketDataEvent, frozen=True, gc=False):
    """The feed from here on: 1 live, 2 frozen, 3 delayed, 4 delayed-frozen."""

    feed: int


class TickReqParams(MarketDataEvent, frozen=True, gc=False):
    min_tick: float | None
    bbo_exchange: str
    snapshot_permissions: int | None


class TickSnapshotEnd(MarketDataEvent, frozen=True, gc=False):
    """A snapshot is complete."""
