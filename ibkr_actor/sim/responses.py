"""Owns how each message looks on the wire at each server version: text fields or protobuf, by the gate of its kind.

Must not decide whether a message is sent; one row of LAYOUTS is all there is to a message's form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ibapi.protobuf import (
    AccountDataEnd_pb2,
    AccountSummaryEnd_pb2,
    AccountUpdateMultiEnd_pb2,
    CompletedOrdersEnd_pb2,
    ContractDataEnd_pb2,
    CurrentTime_pb2,
    CurrentTimeInMillis_pb2,
    ErrorMessage_pb2,
    ExecutionDetailsEnd_pb2,
    HistoricalTick_pb2,
    HistoricalTickBidAsk_pb2,
    HistoricalTickLast_pb2,
    ManagedAccounts_pb2,
    MarketDataType_pb2,
    MarketDepth_pb2,
    MarketDepthData_pb2,
    MarketDepthL2_pb2,
    NextValidId_pb2,
    OpenOrdersEnd_pb2,
    PositionEnd_pb2,
    PositionMultiEnd_pb2,
    RealTimeBarTick_pb2,
    SecDefOptParameterEnd_pb2,
    TickAttribBidAsk_pb2,
    TickAttribLast_pb2,
    TickByTickData_pb2,
    TickGeneric_pb2,
    TickNews_pb2,
    TickOptionComputation_pb2,
    TickPrice_pb2,
    TickReqParams_pb2,
    TickSize_pb2,
    TickSnapshotEnd_pb2,
    TickString_pb2,
)

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.contract_layout import (
    contract_data_fields,
    contract_data_protobuf,
    symbol_samples_fields,
    symbol_samples_protobuf,
)
from ibkr_actor.sim.wire import escape, number_text, protobuf_frame, size_text, text_frame

# First server version at which a family of answers is protobuf.
# Source: ibapi.server_versions MIN_SERVER_VER_PROTOBUF*; the answer side is inferred from the request gates.
ERRORS_FROM = 201
COMPLETED_ORDERS_FROM = 204
CONTRACTS_FROM = 205
MARKET_DATA_FROM = 206
ACCOUNTS_FROM = 207
HISTORICAL_FROM = 208
NEWS_FROM = 209
REST_2_FROM = 212
REST_3_FROM = 213
NEVER = 1 << 31


class Layout(NamedTuple):
    """Message id, first version as protobuf, and the two forms. The message's type is the key in LAYOUTS."""

    message_id: int
    protobuf_from: int
    text: Callable[[Any, int], Sequence[str]]
    protobuf: Callable[[Any, int], Any] | None


class Encoder:
    """Makes frames for one negotiated server version."""

    def __init__(self, server_version: int, *, managed_accounts_proto_from: int = REST_3_FROM) -> None:
        self.server_version = server_version
        self._managed_accounts_from = managed_accounts_proto_from

    def encode(self, message: m.Message) -> bytes:
        """The whole frame, length included.

        Raises: KeyError for a type that is no message of the gateway.
        """
        kind = type(message)
        layout = LAYOUTS[kind]
        gate = self._managed_accounts_from if kind is m.ManagedAccounts else layout.protobuf_from
        if layout.protobuf is not None and self.server_version >= gate:
            body: bytes = layout.protobuf(message, self.server_version).SerializeToString()
            return protobuf_frame(layout.message_id, body)
        return text_frame(layout.message_id, layout.text(message, self.server_version), self.server_version)


def _whole(size: str | None, server_version: int) -> str:
    """A size as a text field; before 163 a gateway has whole sizes only. Source: ibapi FRACTIONAL_SIZE_SUPPORT."""
    if size is None:
        return ""
    return size.partition(".")[0] if server_version < 163 else size


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _mask(*bits: bool) -> str:
    return str(sum(1 << place for place, bit in enumerate(bits) if bit))


def _versioned(version: int) -> Callable[[m.Message, int], list[str]]:
    """Text layout of the messages that carry nothing but a version and a req_id."""
    return lambda message, _: [str(version), str(message.req_id)]


def _tick_price(tick: m.TickPrice, server_version: int) -> list[str]:
    size = _whole(size_text(tick.size), server_version)
    return ["6", str(tick.req_id), str(tick.tick_type), number_text(tick.price), size, number_text(tick.attrib_mask)]


def _tick_price_protobuf(tick: m.TickPrice, _: int) -> Any:
    return TickPrice_pb2.TickPrice(
        reqId=tick.req_id,
        tickType=tick.tick_type,
        price=tick.price,
        size=size_text(tick.size),
        attrMask=tick.attrib_mask,
    )


def _tick_size(tick: m.TickSize, server_version: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), _whole(size_text(tick.size), server_version)]


def _tick_size_protobuf(tick: m.TickSize, _: int) -> Any:
    return TickSize_pb2.TickSize(reqId=tick.req_id, tickType=tick.tick_type, size=size_text(tick.size))


def _tick_string(tick: m.TickString, server_version: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), _ascii(tick.value, server_version)]


def _tick_string_protobuf(tick: m.TickString, _: int) -> Any:
    return TickString_pb2.TickString(reqId=tick.req_id, tickType=tick.tick_type, value=tick.value)


def _ascii(text: str, server_version: int) -> str:
    """Free text: escaped from 153 on. Source: ibapi MIN_SERVER_VER_ENCODE_MSG_ASCII7."""
    return escape(text) if server_version >= 153 else text


def _tick_generic(tick: m.TickGeneric, _: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), number_text(tick.value)]


def _tick_generic_protobuf(tick: m.TickGeneric, _: int) -> Any:
    return TickGeneric_pb2.TickGeneric(reqId=tick.req_id, tickType=tick.tick_type, value=tick.value)


def _or(value: float | None, not_computed: float) -> str:
    return number_text(not_computed if value is None else value)


def _tick_option(tick: m.TickOptionComputation, _: int) -> list[str]:
    """All served versions are at or above 156, so without a version field and with the tick attribute."""
    return [
        str(tick.req_id),
        str(tick.tick_type),
        number_text(tick.tick_attrib),
        _or(tick.implied_vol, -1.0),
        _or(tick.delta, -2.0),
        _or(tick.opt_price, -1.0),
        _or(tick.pv_dividend, -1.0),
        _or(tick.gamma, -2.0),
        _or(tick.vega, -2.0),
        _or(tick.theta, -2.0),
        _or(tick.und_price, -1.0),
    ]


def _tick_option_protobuf(tick: m.TickOptionComputation, _: int) -> Any:
    return TickOptionComputation_pb2.TickOptionComputation(
        reqId=tick.req_id,
        tickType=tick.tick_type,
        tickAttrib=tick.tick_attrib,
        impliedVol=tick.implied_vol,
        delta=tick.delta,
        optPrice=tick.opt_price,
        pvDividend=tick.pv_dividend,
        gamma=tick.gamma,
        vega=tick.vega,
        theta=tick.theta,
        undPrice=tick.und_price,
    )


def _tick_efp(tick: m.TickEfp, _: int) -> list[str]:
    return [
        "1",
        str(tick.req_id),
        str(tick.tick_type),
        number_text(tick.basis_points),
        tick.formatted_basis_points,
        number_text(tick.implied_future),
        str(tick.hold_days),
        tick.future_last_trade_date,
        number_text(tick.dividend_impact),
        number_text(tick.dividends_to_last_trade_date),
    ]


def _tick_req_params(params: m.TickReqParams, _: int) -> list[str]:
    return [
        str(params.req_id),
        params.min_tick or "",
        params.bbo_exchange,
        number_text(params.snapshot_permissions),
    ]


def _tick_req_params_protobuf(params: m.TickReqParams, server_version: int) -> Any:
    precise = server_version >= 224
    return TickReqParams_pb2.TickReqParams(
        reqId=params.req_id,
        minTick=params.min_tick,
        bboExchange=params.bbo_exchange,
        snapshotPermissions=params.snapshot_permissions,
        lastPricePrecision=params.last_price_precision if precise else None,
        lastSizePrecision=params.last_size_precision if precise else None,
    )


def _market_data_type(message: m.MarketDataType, _: int) -> list[str]:
    return ["1", str(message.req_id), str(message.market_data_type)]


def _market_data_type_protobuf(message: m.MarketDataType, _: int) -> Any:
    return MarketDataType_pb2.MarketDataType(reqId=message.req_id, marketDataType=message.market_data_type)


def _tick_news(news: m.TickNews, _: int) -> list[str]:
    return [
        str(news.req_id),
        str(news.time),
        news.provider_code,
        news.article_id,
        news.headline,
        news.extra_data,
    ]


def _tick_news_protobuf(news: m.TickNews, _: int) -> Any:
    return TickNews_pb2.TickNews(
        reqId=news.req_id,
        timestamp=news.time,
        providerCode=news.provider_code,
        articleId=news.article_id,
        headline=news.headline,
        extraData=news.extra_data,
    )


def _last(tick: m.TickByTickLast, server_version: int) -> list[str]:
    return [
        str(tick.req_id),
        str(tick.tick_type),
        str(tick.time),
        number_text(tick.price),
        _whole(size_text(tick.size), server_version),
        _mask(tick.past_limit, tick.unreported),
        tick.exchange,
        tick.special_conditions,
    ]


def _last_protobuf(tick: m.TickByTickLast, _: int) -> Any:
    last = HistoricalTickLast_pb2.HistoricalTickLast(
        time=tick.time,
        tickAttribLast=TickAttribLast_pb2.TickAttribLast(pastLimit=tick.past_limit, unreported=tick.unreported),
        price=tick.price,
        size=size_text(tick.size),
        exchange=tick.exchange,
        specialConditions=tick.special_conditions,
    )
    return TickByTickData_pb2.TickByTickData(reqId=tick.req_id, tickType=tick.tick_type, historicalTickLast=last)


def _bid_ask(tick: m.TickByTickBidAsk, server_version: int) -> list[str]:
    return [
        str(tick.req_id),
        "3",
        str(tick.time),
        number_text(tick.bid_price),
        number_text(tick.ask_price),
        _whole(size_text(tick.bid_size), server_version),
        _whole(size_text(tick.ask_size), server_version),
        _mask(tick.bid_past_low, tick.ask_past_high),
    ]


def _bid_ask_protobuf(tick: m.TickByTickBidAsk, _: int) -> Any:
    bid_ask = HistoricalTickBidAsk_pb2.HistoricalTickBidAsk(
        time=tick.time,
        tickAttribBidAsk=TickAttribBidAsk_pb2.TickAttribBidAsk(
            bidPastLow=tick.bid_past_low, askPastHigh=tick.ask_past_high
        ),
        priceBid=tick.bid_price,
        priceAsk=tick.ask_price,
        sizeBid=size_text(tick.bid_size),
        sizeAsk=size_text(tick.ask_size),
    )
    return TickByTickData_pb2.TickByTickData(reqId=tick.req_id, tickType=3, historicalTickBidAsk=bid_ask)


def _mid_point(tick: m.TickByTickMidPoint, _: int) -> list[str]:
    return [str(tick.req_id), "4", str(tick.time), number_text(tick.mid_point)]


def _mid_point_protobuf(tick: m.TickByTickMidPoint, _: int) -> Any:
    mid = HistoricalTick_pb2.HistoricalTick(time=tick.time, price=tick.mid_point)
    return TickByTickData_pb2.TickByTickData(reqId=tick.req_id, tickType=4, historicalTickMidPoint=mid)


def _bar(bar: m.RealTimeBar, server_version: int) -> list[str]:
    return [
        "3",
        str(bar.req_id),
        str(bar.time),
        number_text(bar.open),
        number_text(bar.high),
        number_text(bar.low),
        number_text(bar.close),
        _whole(size_text(bar.volume), server_version),
        size_text(bar.wap) or "",
        number_text(bar.count),
    ]


def _bar_protobuf(bar: m.RealTimeBar, _: int) -> Any:
    return RealTimeBarTick_pb2.RealTimeBarTick(
        reqId=bar.req_id,
        time=bar.time,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=size_text(bar.volume),
        WAP=size_text(bar.wap),
        count=bar.count,
    )


def _depth(row: m.MarketDepth, server_version: int) -> list[str]:
    size = _whole(size_text(row.size), server_version)
    place = [str(row.position), str(row.operation), str(row.side)]
    return ["1", str(row.req_id), *place, number_text(row.price), size]


def _depth_protobuf(row: m.MarketDepth, _: int) -> Any:
    data = MarketDepthData_pb2.MarketDepthData(
        position=row.position, operation=row.operation, side=row.side, price=row.price, size=size_text(row.size)
    )
    return MarketDepth_pb2.MarketDepth(reqId=row.req_id, marketDepthData=data)


def _depth_l2(row: m.MarketDepthL2, server_version: int) -> list[str]:
    size = _whole(size_text(row.size), server_version)
    place = [str(row.position), row.market_maker, str(row.operation), str(row.side)]
    return ["1", str(row.req_id), *place, number_text(row.price), size, _flag(row.is_smart_depth)]


def _depth_l2_protobuf(row: m.MarketDepthL2, _: int) -> Any:
    data = MarketDepthData_pb2.MarketDepthData(
        position=row.position,
        operation=row.operation,
        side=row.side,
        price=row.price,
        size=size_text(row.size),
        marketMaker=row.market_maker,
        isSmartDepth=row.is_smart_depth,
    )
    return MarketDepthL2_pb2.MarketDepthL2(reqId=row.req_id, marketDepthData=data)


def _delta_neutral(message: m.DeltaNeutralValidation, _: int) -> list[str]:
    return [
        "1",
        str(message.req_id),
        str(message.con_id),
        number_text(message.delta),
        number_text(message.price),
    ]


def _error(error: m.ErrorMessage, server_version: int) -> list[str]:
    """Three layouts: version first below 194, the advanced reject from 166, the time from 194."""
    fields = [str(error.req_id), str(error.code), _ascii(error.text, server_version)]
    if server_version < 194:
        fields.insert(0, "2")
    if server_version >= 166:
        fields.append(escape(error.advanced_order_reject))
    if server_version >= 194:
        fields.append(str(error.time_ms))
    return fields


def _error_protobuf(error: m.ErrorMessage, _: int) -> Any:
    return ErrorMessage_pb2.ErrorMessage(
        id=error.req_id,
        errorTime=error.time_ms,
        errorCode=error.code,
        errorMsg=error.text,
        advancedOrderRejectJson=error.advanced_order_reject or None,
    )


# What follows is ordered by message id. Messages without a req_id carry only their version in text.
LAYOUTS: dict[type[m.Message], Layout] = {
    m.TickPrice: Layout(1, MARKET_DATA_FROM, _tick_price, _tick_price_protobuf),
    m.TickSize: Layout(2, MARKET_DATA_FROM, _tick_size, _tick_size_protobuf),
    m.ErrorMessage: Layout(4, ERRORS_FROM, _error, _error_protobuf),
    m.NextValidId: Layout(
        9,
        REST_3_FROM,
        lambda message, _: ["1", str(message.order_id)],
        lambda message, _: NextValidId_pb2.NextValidId(orderId=message.order_id),
    ),
    m.ContractData: Layout(10, CONTRACTS_FROM, contract_data_fields, contract_data_protobuf),
    m.MarketDepth: Layout(12, MARKET_DATA_FROM, _depth, _depth_protobuf),
    m.MarketDepthL2: Layout(13, MARKET_DATA_FROM, _depth_l2, _depth_l2_protobuf),
    m.ManagedAccounts: Layout(
        15,
        REST_3_FROM,
        lambda message, _: ["1", ",".join(message.accounts)],
        lambda message, _: ManagedAccounts_pb2.ManagedAccounts(accountsList=",".join(message.accounts)),
    ),
    m.TickOptionComputation: Layout(21, MARKET_DATA_FROM, _tick_option, _tick_option_protobuf),
    m.TickGeneric: Layout(45, MARKET_DATA_FROM, _tick_generic, _tick_generic_protobuf),
    m.TickString: Layout(46, MARKET_DATA_FROM, _tick_string, _tick_string_protobuf),
    m.TickEfp: Layout(47, NEVER, _tick_efp, None),
    m.CurrentTime: Layout(
        49,
        REST_3_FROM,
        lambda message, _: ["1", str(message.time)],
        lambda message, _: CurrentTime_pb2.CurrentTime(currentTime=message.time),
    ),
    m.RealTimeBar: Layout(50, HISTORICAL_FROM, _bar, _bar_protobuf),
    m.ContractDataEnd: Layout(
        52,
        CONTRACTS_FROM,
        _versioned(1),
        lambda message, _: ContractDataEnd_pb2.ContractDataEnd(reqId=message.req_id),
    ),
    m.OpenOrderEnd: Layout(
        53, COMPLETED_ORDERS_FROM, lambda message, _: ["1"], lambda message, _: OpenOrdersEnd_pb2.OpenOrdersEnd()
    ),
    m.AccountDownloadEnd: Layout(
        54,
        ACCOUNTS_FROM,
        lambda message, _: ["1", message.account],
        lambda message, _: AccountDataEnd_pb2.AccountDataEnd(accountName=message.account),
    ),
    m.ExecutionDataEnd: Layout(
        55,
        ERRORS_FROM,
        _versioned(1),
        lambda message, _: ExecutionDetailsEnd_pb2.ExecutionDetailsEnd(reqId=message.req_id),
    ),
    m.DeltaNeutralValidation: Layout(56, NEVER, _delta_neutral, None),
    m.TickSnapshotEnd: Layout(
        57,
        MARKET_DATA_FROM,
        _versioned(1),
        lambda message, _: TickSnapshotEnd_pb2.TickSnapshotEnd(reqId=message.req_id),
    ),
    m.MarketDataType: Layout(58, MARKET_DATA_FROM, _market_data_type, _market_data_type_protobuf),
    m.PositionEnd: Layout(
        62, ACCOUNTS_FROM, lambda message, _: ["1"], lambda message, _: PositionEnd_pb2.PositionEnd()
    ),
    m.AccountSummaryEnd: Layout(
        64,
        ACCOUNTS_FROM,
        _versioned(1),
        lambda message, _: AccountSummaryEnd_pb2.AccountSummaryEnd(reqId=message.req_id),
    ),
    m.PositionMultiEnd: Layout(
        72,
        ACCOUNTS_FROM,
        _versioned(1),
        lambda message, _: PositionMultiEnd_pb2.PositionMultiEnd(reqId=message.req_id),
    ),
    m.AccountUpdateMultiEnd: Layout(
        74,
        ACCOUNTS_FROM,
        _versioned(1),
        lambda message, _: AccountUpdateMultiEnd_pb2.AccountUpdateMultiEnd(reqId=message.req_id),
    ),
    m.SecDefOptParameterEnd: Layout(
        76,
        REST_2_FROM,
        lambda message, _: [str(message.req_id)],
        lambda message, _: SecDefOptParameterEnd_pb2.SecDefOptParameterEnd(reqId=message.req_id),
    ),
    m.SymbolSamples: Layout(79, REST_2_FROM, symbol_samples_fields, symbol_samples_protobuf),
    m.TickReqParams: Layout(81, MARKET_DATA_FROM, _tick_req_params, _tick_req_params_protobuf),
    m.TickNews: Layout(84, MARKET_DATA_FROM, _tick_news, _tick_news_protobuf),
    m.TickByTickLast: Layout(99, HISTORICAL_FROM, _last, _last_protobuf),
    m.TickByTickBidAsk: Layout(99, HISTORICAL_FROM, _bid_ask, _bid_ask_protobuf),
    m.TickByTickMidPoint: Layout(99, HISTORICAL_FROM, _mid_point, _mid_point_protobuf),
    m.CompletedOrdersEnd: Layout(
        102,
        COMPLETED_ORDERS_FROM,
        lambda message, _: [],
        lambda message, _: CompletedOrdersEnd_pb2.CompletedOrdersEnd(),
    ),
    m.CurrentTimeInMillis: Layout(
        109,
        REST_3_FROM,
        lambda message, _: [str(message.time_ms)],
        lambda message, _: CurrentTimeInMillis_pb2.CurrentTimeInMillis(currentTimeInMillis=message.time_ms),
    ),
}
