"""Requests: what we may ask IB, all of them market data. A request that is not here cannot be sent.

Shapes only: when one may leave is decided by `core.pacing.core`, how it is written by `tws.gateway`.
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


class ReqMatchingSymbols(Request, frozen=True):
    """Contracts by the beginning of their symbol or a part of their name; answered once."""

    pattern: str


class ReqMktData(Request, frozen=True):
    """`generic_ticks` are IB's numbers, sent as a comma list.

    With a `feed` (1 to 4) the connection is switched to that market data type for this request and to `feed_after`
    behind it: three messages, with nothing in between.
    """

    contract: Contract
    generic_ticks: tuple[int, ...] = ()
    snapshot: bool = False
    regulatory_snapshot: bool = False
    feed: int = 0
    feed_after: int = 0


class CancelMktData(Request, frozen=True):
    pass


class ReqTickByTick(Request, frozen=True):
    contract: Contract
    tick_type: TickByTickType
    number_of_ticks: int = 0
    ignore_size: bool = False


class CancelTickByTick(Request, frozen=True):
    pass


class ReqMktDepth(Request, frozen=True):
    """The order book, `rows` deep on each side; `smart_depth` is that of all exchanges together."""

    contract: Contract
    rows: int
    smart_depth: bool = False


class CancelMktDepth(Request, frozen=True):
    """`smart_depth` as it was asked for."""

    smart_depth: bool = False


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


class ReqHistoricalData(Request, frozen=True):
    """Bars that end at `end` (`yyyyMMdd-HH:mm:ss` in UTC, "" for now) and reach back `duration` (`1 D`, `3600 S`).

    With `keep_up_to_date` news of the last bar follows until it is cancelled; `end` is then "".
    `what_to_show` "SCHEDULE" asks for trading sessions instead and goes with the bar size `1 day`.
    """

    contract: Contract
    end: str
    duration: str
    bar_size: str
    what_to_show: str
    use_rth: bool
    keep_up_to_date: bool = False


class CancelHistoricalData(Request, frozen=True):
    pass


class ReqHistoricalTicks(Request, frozen=True):
    """At most `count` (1,000 at most) ticks from `start` on or up to `end`; exactly one of them is given, in UTC."""

    contract: Contract
    start: str
    end: str
    count: int
    what_to_show: str
    use_rth: bool
    ignore_size: bool = False


class ReqHeadTimestamp(Request, frozen=True):
    """The earliest time there is data of; IB counts it as open until it is cancelled."""

    contract: Contract
    what_to_show: str
    use_rth: bool


class CancelHeadTimestamp(Request, frozen=True):
    pass


class ReqHistogram(Request, frozen=True):
    """How much traded at which price over the last `period` (`3 days`)."""

    contract: Contract
    use_rth: bool
    period: str


class CancelHistogram(Request, frozen=True):
    pass


class ReqOptionParams(Request, frozen=True):
    """Which options there are on an underlying; `exchange` only for those of a future, empty for all."""

    contract: Contract
    exchange: str = ""


class CalcImpliedVolatility(Request, frozen=True):
    contract: Contract
    option_price: float
    underlying_price: float


class CancelCalcImpliedVolatility(Request, frozen=True):
    pass


class CalcOptionPrice(Request, frozen=True):
    """`volatility` 0.2 is 20 %."""

    contract: Contract
    volatility: float
    underlying_price: float


class CancelCalcOptionPrice(Request, frozen=True):
    pass


class ReqSmartComponents(Request, frozen=True):
    bbo_exchange: str


class ReqMarketRule(Request, frozen=True):
    """`req_id` is not sent, nor is it in the next three; their answers are told apart by what they are."""

    rule_id: int


class ReqDepthExchanges(Request, frozen=True):
    pass


class ReqNewsProviders(Request, frozen=True):
    pass


class ReqScannerParams(Request, frozen=True):
    pass


class ReqNewsArticle(Request, frozen=True):
    provider: str
    article_id: str


class ReqHistoricalNews(Request, frozen=True):
    """`start` and `end` are `yyyy-MM-dd HH:mm:ss.0` in UTC, or empty; providers are joined by `+`."""

    con_id: int
    providers: str
    start: str
    end: str
    count: int


class ReqScan(Request, frozen=True):
    """What a scan ranks, again and again until it is cancelled."""

    scan_code: str
    scan_instrument: str
    location: str
    rows: int
    above_price: float | None = None
    below_price: float | None = None
    above_volume: int | None = None
    filters: tuple[tuple[str, str], ...] = ()


class CancelScan(Request, frozen=True):
    pass


class ReqNewsBulletins(Request, frozen=True):
    """IB's bulletins from now on, or with `all_of_today` those of the day before them. `req_id` is not sent."""

    all_of_today: bool


class CancelNewsBulletins(Request, frozen=True):
    """`req_id` is not sent."""


AnyRequest = (
    ReqContractDetails
    | ReqMatchingSymbols
    | ReqMktData
    | CancelMktData
    | ReqTickByTick
    | CancelTickByTick
    | ReqMktDepth
    | CancelMktDepth
    | ReqRealTimeBars
    | CancelRealTimeBars
    | ReqMarketDataType
    | ReqCurrentTime
    | ReqHistoricalData
    | CancelHistoricalData
    | ReqHistoricalTicks
    | ReqHeadTimestamp
    | CancelHeadTimestamp
    | ReqHistogram
    | CancelHistogram
    | ReqOptionParams
    | CalcImpliedVolatility
    | CancelCalcImpliedVolatility
    | CalcOptionPrice
    | CancelCalcOptionPrice
    | ReqSmartComponents
    | ReqMarketRule
    | ReqDepthExchanges
    | ReqNewsProviders
    | ReqScannerParams
    | ReqNewsArticle
    | ReqHistoricalNews
    | ReqScan
    | CancelScan
    | ReqNewsBulletins
    | CancelNewsBulletins
)
AnyCancel = (
    CancelMktData
    | CancelTickByTick
    | CancelMktDepth
    | CancelRealTimeBars
    | CancelHistoricalData
    | CancelHeadTimestamp
    | CancelHistogram
    | CancelCalcImpliedVolatility
    | CancelCalcOptionPrice
    | CancelScan
    | CancelNewsBulletins
)
# The cancel that ends each request; what has none ends by itself.
CANCEL_OF: dict[type[Request], type[AnyCancel]] = {
    ReqMktData: CancelMktData,
    ReqTickByTick: CancelTickByTick,
    ReqMktDepth: CancelMktDepth,
    ReqRealTimeBars: CancelRealTimeBars,
    ReqHistoricalData: CancelHistoricalData,
    ReqHeadTimestamp: CancelHeadTimestamp,
    ReqHistogram: CancelHistogram,
    CalcImpliedVolatility: CancelCalcImpliedVolatility,
    CalcOptionPrice: CancelCalcOptionPrice,
    ReqScan: CancelScan,
    ReqNewsBulletins: CancelNewsBulletins,
}


def cancel_of(request: AnyRequest) -> AnyCancel | None:
    """The message that ends the request; None when it ends by itself."""
    if isinstance(request, ReqMktDepth):
        return CancelMktDepth(request.req_id, request.smart_depth)
    cancel = CANCEL_OF.get(type(request))
    return None if cancel is None else cancel(request.req_id)
