"""Owns what a gateway can say: one Struct for each message the simulator sends.

Must not know versions or bytes; `responses` turns these into frames.
"""

from __future__ import annotations

import msgspec

from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.wire.frames import Size


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`req_id` is filled in for each request a message is sent to."""

    req_id: int = 0


class TickPrice(Message, frozen=True, kw_only=True):
    """`attrib_mask`: bit 0 canAutoExecute, 1 pastLimit, 2 preOpen. None values are sent as unset."""

    tick_type: int
    price: float | None
    size: Size = None
    attrib_mask: int | None = 0


class TickSize(Message, frozen=True, kw_only=True):
    tick_type: int
    size: Size


class TickString(Message, frozen=True, kw_only=True):
    tick_type: int
    value: str


class TickGeneric(Message, frozen=True, kw_only=True):
    tick_type: int
    value: float


class TickOptionComputation(Message, frozen=True, kw_only=True):
    """Greeks; None means not computed (-1 or -2 in text, absent in protobuf)."""

    tick_type: int
    tick_attrib: int | None = 0
    implied_vol: float | None = None
    delta: float | None = None
    opt_price: float | None = None
    pv_dividend: float | None = None
    gamma: float | None = None
    vega: float | None = None
    theta: float | None = None
    und_price: float | None = None


class TickEfp(Message, frozen=True, kw_only=True):
    """Exchange for physical; has no protobuf form, so it is text at every version."""

    tick_type: int
    basis_points: float
    formatted_basis_points: str
    implied_future: float
    hold_days: int
    future_last_trade_date: str
    dividend_impact: float
    dividends_to_last_trade_date: float


class TickReqParams(Message, frozen=True, kw_only=True):
    min_tick: str | None
    bbo_exchange: str
    snapshot_permissions: int | None
    last_price_precision: str | None = None
    last_size_precision: str | None = None


class MarketDataType(Message, frozen=True, kw_only=True):
    """1 live, 2 frozen, 3 delayed, 4 delayed and frozen."""

    market_data_type: int


class TickSnapshotEnd(Message, frozen=True, kw_only=True):
    pass


class TickNews(Message, frozen=True, kw_only=True):
    """`time` in milliseconds since 1970."""

    time: int
    provider_code: str
    article_id: str
    headline: str
    extra_data: str = ""


class TickByTickLast(Message, frozen=True, kw_only=True):
    """`tick_type` 1 Last or 2 AllLast; `time` in seconds since 1970."""

    tick_type: int
    time: int
    price: float
    size: Size
    past_limit: bool = False
    unreported: bool = False
    exchange: str = ""
    special_conditions: str = ""


class TickByTickBidAsk(Message, frozen=True, kw_only=True):
    time: int
    bid_price: float
    ask_price: float
    bid_size: Size
    ask_size: Size
    bid_past_low: bool = False
    ask_past_high: bool = False


class TickByTickMidPoint(Message, frozen=True, kw_only=True):
    time: int
    mid_point: float


class RealTimeBar(Message, frozen=True, kw_only=True):
    """A 5 s bar; `time` is its start in seconds since 1970."""

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: Size
    wap: Size
    count: int | None


class MarketDepth(Message, frozen=True, kw_only=True):
    """`operation` 0 insert, 1 update, 2 delete; `side` 0 ask, 1 bid."""

    position: int
    operation: int
    side: int
    price: float
    size: Size


class MarketDepthL2(Message, frozen=True, kw_only=True):
    position: int
    market_maker: str
    operation: int
    side: int
    price: float
    size: Size
    is_smart_depth: bool = False


class RerouteMarketData(Message, frozen=True, kw_only=True):
    """Ask for this contract's market data instead: a CFD's come from its underlying."""

    con_id: int
    exchange: str


class RerouteMarketDepth(Message, frozen=True, kw_only=True):
    """Ask for this contract's depth instead."""

    con_id: int
    exchange: str


class UserInfo(Message, frozen=True, kw_only=True):
    white_branding_id: str = ""


class DeltaNeutralValidation(Message, frozen=True, kw_only=True):
    """Has no protobuf form, so it is text at every version."""

    con_id: int
    delta: float
    price: float


class ContractData(Message, frozen=True, kw_only=True):
    """One contract as seen on `exchange`; hours are IB's text, in the instrument's own zone."""

    instrument: Instrument
    exchange: str
    trading_hours: str
    liquid_hours: str


class SymbolSamples(Message, frozen=True, kw_only=True):
    instruments: tuple[Instrument, ...]


class ContractDataEnd(Message, frozen=True, kw_only=True):
    pass


class ErrorMessage(Message, frozen=True, kw_only=True):
    """An error of a request, or with req_id -1 a notice; `time_ms` since 1970."""

    code: int
    text: str
    advanced_order_reject: str = ""
    time_ms: int = 0


class NextValidId(Message, frozen=True, kw_only=True):
    order_id: int


class ManagedAccounts(Message, frozen=True, kw_only=True):
    accounts: tuple[str, ...]


class CurrentTime(Message, frozen=True, kw_only=True):
    time: int


class CurrentTimeInMillis(Message, frozen=True, kw_only=True):
    time_ms: int


class OpenOrderEnd(Message, frozen=True, kw_only=True):
    pass


class CompletedOrdersEnd(Message, frozen=True, kw_only=True):
    pass


class ExecutionDataEnd(Message, frozen=True, kw_only=True):
    pass


class PositionEnd(Message, frozen=True, kw_only=True):
    pass


class PositionMultiEnd(Message, frozen=True, kw_only=True):
    pass


class AccountDownloadEnd(Message, frozen=True, kw_only=True):
    account: str


class AccountUpdateMultiEnd(Message, frozen=True, kw_only=True):
    pass


class AccountSummaryEnd(Message, frozen=True, kw_only=True):
    pass


class SecDefOptParameterEnd(Message, frozen=True, kw_only=True):
    pass


def with_req_id(message: Message, req_id: int) -> Message:
    """The same message for another request."""
    return msgspec.structs.replace(message, req_id=req_id)
