"""Owns what is asked and said about the past: one Struct for each request and message of the history family.

Must not know versions or bytes; `history_wire` reads and writes these.
"""

from __future__ import annotations

import msgspec

from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire.frames import Size
from ibkr_actor.sim.wire.request_base import Request

# A price of a bar. IB has sent "?" for bars of some exchanges (erdewit/ib_insync#239); only text can carry that.
BarPrice = float | str


class ReqHistoricalData(Request, frozen=True, kw_only=True):
    """`format_date` is None when the client left it out, as only protobuf can."""

    contract: ContractSpec
    end_date_time: str = ""
    bar_size: str = ""
    duration: str = ""
    use_rth: bool = False
    what_to_show: str = ""
    format_date: int | None = 1
    keep_up_to_date: bool = False


class ReqHeadTimestamp(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    use_rth: bool = False
    what_to_show: str = ""
    format_date: int | None = 1


class ReqHistogramData(Request, frozen=True, kw_only=True):
    """`time_period` is like `3 days`."""

    contract: ContractSpec
    use_rth: bool = False
    time_period: str = ""


class ReqHistoricalTicks(Request, frozen=True, kw_only=True):
    contract: ContractSpec
    start_date_time: str = ""
    end_date_time: str = ""
    number_of_ticks: int = 0
    what_to_show: str = ""
    use_rth: bool = False
    ignore_size: bool = False


class HistoricalBar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar. `date` is text by formatDate; volume, wap and count are -1 where there are no trades."""

    date: str
    open: BarPrice
    high: BarPrice
    low: BarPrice
    close: BarPrice
    volume: Size
    wap: Size
    count: int


class HistoricalData(Message, frozen=True, kw_only=True):
    """Bars of one request. `start` and `end` are part of it below 196; from then on HistoricalDataEnd says them."""

    bars: tuple[HistoricalBar, ...]
    start: str = ""
    end: str = ""


class EncodedHistoricalData(Message, frozen=True, kw_only=True):
    """HistoricalData whose `count` bars are in the wire's form already, so that a long answer was made in turns."""

    count: int
    pieces: tuple[str | bytes, ...]
    start: str = ""
    end: str = ""


class HistoricalDataEnd(Message, frozen=True, kw_only=True):
    """Sent from 196 on only."""

    start: str
    end: str


class HistoricalDataUpdate(Message, frozen=True, kw_only=True):
    """The last bar of a request that is kept up to date, as it is now."""

    bar: HistoricalBar


class HeadTimestamp(Message, frozen=True, kw_only=True):
    head_timestamp: str


class HistogramEntry(msgspec.Struct, frozen=True):
    price: float
    size: Size


class HistogramData(Message, frozen=True, kw_only=True):
    entries: tuple[HistogramEntry, ...]


class HistoricalTick(msgspec.Struct, frozen=True, kw_only=True):
    """A midpoint; `time` in seconds since 1970."""

    time: int
    price: float
    size: Size = 0


class HistoricalTickBidAsk(msgspec.Struct, frozen=True, kw_only=True):
    time: int
    price_bid: float
    price_ask: float
    size_bid: Size
    size_ask: Size
    bid_past_low: bool = False
    ask_past_high: bool = False


class HistoricalTickLast(msgspec.Struct, frozen=True, kw_only=True):
    time: int
    price: float
    size: Size
    exchange: str = ""
    special_conditions: str = ""
    past_limit: bool = False
    unreported: bool = False


class HistoricalTicks(Message, frozen=True, kw_only=True):
    """Midpoints. `done` says that no more follow for this request."""

    ticks: tuple[HistoricalTick, ...]
    done: bool = True


class HistoricalTicksBidAsk(Message, frozen=True, kw_only=True):
    ticks: tuple[HistoricalTickBidAsk, ...]
    done: bool = True


class HistoricalTicksLast(Message, frozen=True, kw_only=True):
    ticks: tuple[HistoricalTickLast, ...]
    done: bool = True


class HistoricalSession(msgspec.Struct, frozen=True, kw_only=True):
    """Start and end as `yyyyMMdd-HH:mm:ss` in the schedule's zone; `ref_date` as yyyyMMdd."""

    start: str
    end: str
    ref_date: str


class HistoricalSchedule(Message, frozen=True, kw_only=True):
    start: str
    end: str
    time_zone: str
    sessions: tuple[HistoricalSession, ...]
