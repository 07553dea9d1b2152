"""Owns the wire form of everything that ticks: level 1, tick-by-tick, bars, depth and news, as text and protobuf.

Must not know at which version a form is used; `responses` has the gates.
"""

from __future__ import annotations

from typing import Any

from ibapi.protobuf import (
    HistoricalTick_pb2,
    HistoricalTickBidAsk_pb2,
    HistoricalTickLast_pb2,
    MarketDataType_pb2,
    MarketDepth_pb2,
    MarketDepthData_pb2,
    MarketDepthL2_pb2,
    RealTimeBarTick_pb2,
    RerouteMarketDataRequest_pb2,
    RerouteMarketDepthRequest_pb2,
    TickAttribBidAsk_pb2,
    TickAttribLast_pb2,
    TickByTickData_pb2,
    TickGeneric_pb2,
    TickNews_pb2,
    TickOptionComputation_pb2,
    TickPrice_pb2,
    TickReqParams_pb2,
    TickSize_pb2,
    TickString_pb2,
)

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.wire.frames import ascii_text, number_text, size_text


def _whole(size: str | None, server_version: int) -> str:
    """A size as a text field; before 163 a gateway has whole sizes only. Source: ibapi FRACTIONAL_SIZE_SUPPORT."""
    if size is None:
        return ""
    return size.partition(".")[0] if server_version < 163 else size


def _flag(value: bool) -> str:
    return "1" if value else "0"


def _mask(*bits: bool) -> str:
    return str(sum(1 << place for place, bit in enumerate(bits) if bit))


def tick_price(tick: m.TickPrice, server_version: int) -> list[str]:
    size = _whole(size_text(tick.size), server_version)
    return ["6", str(tick.req_id), str(tick.tick_type), number_text(tick.price), size, number_text(tick.attrib_mask)]


def tick_price_protobuf(tick: m.TickPrice, _: int) -> Any:
    return TickPrice_pb2.TickPrice(
        reqId=tick.req_id,
        tickType=tick.tick_type,
        price=tick.price,
        size=size_text(tick.size),
        attrMask=tick.attrib_mask,
    )


def tick_size(tick: m.TickSize, server_version: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), _whole(size_text(tick.size), server_version)]


def tick_size_protobuf(tick: m.TickSize, _: int) -> Any:
    return TickSize_pb2.TickSize(reqId=tick.req_id, tickType=tick.tick_type, size=size_text(tick.size))


def tick_string(tick: m.TickString, server_version: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), ascii_text(tick.value, server_version)]


def tick_string_protobuf(tick: m.TickString, _: int) -> Any:
    return TickString_pb2.TickString(reqId=tick.req_id, tickType=tick.tick_type, value=tick.value)


def tick_generic(tick: m.TickGeneric, _: int) -> list[str]:
    return ["6", str(tick.req_id), str(tick.tick_type), number_text(tick.value)]


def tick_generic_protobuf(tick: m.TickGeneric, _: int) -> Any:
    return TickGeneric_pb2.TickGeneric(reqId=tick.req_id, tickType=tick.tick_type, value=tick.value)


def _or(value: float | None, not_computed: float) -> str:
    return number_text(not_computed if value is None else value)


def tick_option(tick: m.TickOptionComputation, _: int) -> list[str]:
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


def tick_option_protobuf(tick: m.TickOptionComputation, _: int) -> Any:
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


def tick_efp(tick: m.TickEfp, _: int) -> list[str]:
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


def tick_req_params(params: m.TickReqParams, _: int) -> list[str]:
    return [
        str(params.req_id),
        params.min_tick or "",
        params.bbo_exchange,
        number_text(params.snapshot_permissions),
    ]


def tick_req_params_protobuf(params: m.TickReqParams, server_version: int) -> Any:
    precise = server_version >= 224
    return TickReqParams_pb2.TickReqParams(
        reqId=params.req_id,
        minTick=params.min_tick,
        bboExchange=params.bbo_exchange,
        snapshotPermissions=params.snapshot_permissions,
        lastPricePrecision=params.last_price_precision if precise else None,
        lastSizePrecision=params.last_size_precision if precise else None,
    )


def market_data_type(message: m.MarketDataType, _: int) -> list[str]:
    return ["1", str(message.req_id), str(message.market_data_type)]


def market_data_type_protobuf(message: m.MarketDataType, _: int) -> Any:
    return MarketDataType_pb2.MarketDataType(reqId=message.req_id, marketDataType=message.market_data_type)


def tick_news(news: m.TickNews, _: int) -> list[str]:
    return [
        str(news.req_id),
        str(news.time),
        news.provider_code,
        news.article_id,
        news.headline,
        news.extra_data,
    ]


def tick_news_protobuf(news: m.TickNews, _: int) -> Any:
    return TickNews_pb2.TickNews(
        reqId=news.req_id,
        timestamp=news.time,
        providerCode=news.provider_code,
        articleId=news.article_id,
        headline=news.headline,
        extraData=news.extra_data,
    )


def last(tick: m.TickByTickLast, server_version: int) -> list[str]:
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


def last_protobuf(tick: m.TickByTickLast, _: int) -> Any:
    last = HistoricalTickLast_pb2.HistoricalTickLast(
        time=tick.time,
        tickAttribLast=TickAttribLast_pb2.TickAttribLast(pastLimit=tick.past_limit, unreported=tick.unreported),
        price=tick.price,
        size=size_text(tick.size),
        exchange=tick.exchange,
        specialConditions=tick.special_conditions,
    )
    return TickByTickData_pb2.TickByTickData(reqId=tick.req_id, tickType=tick.tick_type, historicalTickLast=last)


def bid_ask(tick: m.TickByTickBidAsk, server_version: int) -> list[str]:
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


def bid_ask_protobuf(tick: m.TickByTickBidAsk, _: int) -> Any:
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


def mid_point(tick: m.TickByTickMidPoint, _: int) -> list[str]:
    return [str(tick.req_id), "4", str(tick.time), number_text(tick.mid_point)]


def mid_point_protobuf(tick: m.TickByTickMidPoint, _: int) -> Any:
    mid = HistoricalTick_pb2.HistoricalTick(time=tick.time, price=tick.mid_point)
    return TickByTickData_pb2.TickByTickData(reqId=tick.req_id, tickType=4, historicalTickMidPoint=mid)


def bar(bar: m.RealTimeBar, server_version: int) -> list[str]:
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


def bar_protobuf(bar: m.RealTimeBar, _: int) -> Any:
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


def depth(row: m.MarketDepth, server_version: int) -> list[str]:
    size = _whole(size_text(row.size), server_version)
    place = [str(row.position), str(row.operation), str(row.side)]
    return ["1", str(row.req_id), *place, number_text(row.price), size]


def depth_protobuf(row: m.MarketDepth, _: int) -> Any:
    data = MarketDepthData_pb2.MarketDepthData(
        position=row.position, operation=row.operation, side=row.side, price=row.price, size=size_text(row.size)
    )
    return MarketDepth_pb2.MarketDepth(reqId=row.req_id, marketDepthData=data)


def depth_l2(row: m.MarketDepthL2, server_version: int) -> list[str]:
    size = _whole(size_text(row.size), server_version)
    place = [str(row.position), row.market_maker, str(row.operation), str(row.side)]
    return ["1", str(row.req_id), *place, number_text(row.price), size, _flag(row.is_smart_depth)]


def depth_l2_protobuf(row: m.MarketDepthL2, _: int) -> Any:
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


def delta_neutral(message: m.DeltaNeutralValidation, _: int) -> list[str]:
    return [
        "1",
        str(message.req_id),
        str(message.con_id),
        number_text(message.delta),
        number_text(message.price),
    ]


def reroute(message: m.RerouteMarketData | m.RerouteMarketDepth, _: int) -> list[str]:
    return [str(message.req_id), str(message.con_id), message.exchange]


def reroute_market_data_protobuf(message: m.RerouteMarketData, _: int) -> Any:
    return RerouteMarketDataRequest_pb2.RerouteMarketDataRequest(
        reqId=message.req_id, conId=message.con_id, exchange=message.exchange
    )


def reroute_market_depth_protobuf(message: m.RerouteMarketDepth, _: int) -> Any:
    return RerouteMarketDepthRequest_pb2.RerouteMarketDepthRequest(
        reqId=message.req_id, conId=message.con_id, exchange=message.exchange
    )
