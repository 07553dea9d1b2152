"""Requests: what we may ask IB, all of them market data. A request that is not here cannot be sent.

Shapes only: when one may leave is decided by `core.pacing`, how it is written by `tws.gateway`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ibkr_actor.schema.instruments import Contract, InstrumentQuery

TickByTickType = Literal["Last", "AllLast", "BidAsk", "MidPoint"]


class Request(Struct, frozen=True):
    """One message to IB."""

    req_id: int


class ReqContractDetails(Request, frozen=True):
    query: InstrumentQuery


class ReqMktData(Request, frozen=True):
    """`generic_ticks` are IB's numbers, sent as a comma list."""

    contract: Contract
    generic_ticks: tuple[int, ...] = ()
    snapshot: bool = False
    regulatory_snapshot: bool = False


class CancelMktData(Request, frozen=True):
    pass


class ReqTickByTick(Request, frozen=True):
    contract: Contract
    tick_type: TickByTickType
    number_of_ticks: int = 0
    ignore_size: bool = False


class CancelTickByTick(Request, frozen=True):
    pass


class ReqRealTimeBars(Request, frozen=True):
    contract: Contract
    what_to_show: str
    use_rth: bool


class CancelRealTimeBars(Request, frozen=True):
    pass


class ReqMarketDataType(Request, frozen=True):
    """One switch for the whole connection: 1 live, 2 frozen, 3 delayed, 4 delayed-frozen. `req_id` is not sent."""

    feed: int


class ReqCurrentTime(Request, frozen=True):
    """The heartbeat; answered by `CurrentTime`. `req_id` is not sent."""


AnyRequest = (
    ReqContractDetails
    | ReqMktData
    | CancelMktData
    | ReqTickByTick
    | CancelTickByTick
    | ReqRealTimeBars
    | CancelRealTimeBars
    | ReqMarketDataType
    | ReqCurrentTime
)
AnyCancel = CancelMktData | CancelTickByTick | CancelRealTimeBars
# The cancel that ends each request; what has none ends by itself.
CANCEL_OF: dict[type[Request], type[AnyCancel]] = {
    ReqMktData: CancelMktData,
    ReqTickByTick: CancelTickByTick,
    ReqRealTimeBars: CancelRealTimeBars,
}
