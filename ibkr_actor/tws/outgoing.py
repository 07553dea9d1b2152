"""One row per request: which official EClient method writes it, and with what.

A request that has no row cannot be sent. Decides nothing about when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibapi.scanner import ScannerSubscription
from ibapi.tag_value import TagValue

from ibkr_actor.core.requests import (
    CalcImpliedVolatility,
    CalcOptionPrice,
    CancelCalcImpliedVolatility,
    CancelCalcOptionPrice,
    CancelHeadTimestamp,
    CancelHistogram,
    CancelHistoricalData,
    CancelMktData,
    CancelMktDepth,
    CancelNewsBulletins,
    CancelRealTimeBars,
    CancelScan,
    CancelTickByTick,
    ReqContractDetails,
    ReqCurrentTime,
    ReqDepthExchanges,
    ReqHeadTimestamp,
    ReqHistogram,
    ReqHistoricalData,
    ReqHistoricalNews,
    ReqHistoricalTicks,
    ReqMarketDataType,
    ReqMarketRule,
    ReqMatchingSymbols,
    ReqMktData,
    ReqMktDepth,
    ReqNewsArticle,
    ReqNewsBulletins,
    ReqNewsProviders,
    ReqOptionParams,
    ReqRealTimeBars,
    ReqScan,
    ReqScannerParams,
    ReqSmartComponents,
    ReqTickByTick,
    Request,
)
from ibkr_actor.tws.client import Client
from ibkr_actor.tws.contracts import to_ibapi

# The only size there is. Source: IBKR, reqRealTimeBars: "currently only 5 second bars are supported".
REAL_TIME_BAR_S: Final = 5
# formatDate: times as seconds since 1970; dates of daily bars come as yyyyMMdd all the same.
EPOCH_SECONDS: Final = 2


def _contract_details(client: Client, request: ReqContractDetails) -> None:
    client.reqContractDetails(request.req_id, to_ibapi(request.query))


def _matching_symbols(client: Client, request: ReqMatchingSymbols) -> None:
    client.reqMatchingSymbols(request.req_id, request.pattern)


def _mkt_data(client: Client, request: ReqMktData) -> None:
    if request.feed:
        client.reqMarketDataType(request.feed)
    try:
        _plain_mkt_data(client, request)
    finally:
        if request.feed:
            client.reqMarketDataType(request.feed_after)


def _plain_mkt_data(client: Client, request: ReqMktData) -> None:
    # A feed of news has no prices. Source: IBKR, TWS API, "BroadTape News": `mdoff,292`.
    no_data = ("mdoff",) if request.contract.sec_type == "NEWS" else ()
    client.reqMktData(
        request.req_id,
        to_ibapi(request.contract),
        ",".join(no_data + tuple(map(str, request.generic_ticks))),
        request.snapshot,
        request.regulatory_snapshot,
        [],
    )


def _cancel_mkt_data(client: Client, request: CancelMktData) -> None:
    client.cancelMktData(request.req_id)


def _tick_by_tick(client: Client, request: ReqTickByTick) -> None:
    client.reqTickByTickData(
        request.req_id,
        to_ibapi(request.contract),
        request.tick_type,
        request.number_of_ticks,
        request.ignore_size,
    )


def _cancel_tick_by_tick(client: Client, request: CancelTickByTick) -> None:
    client.cancelTickByTickData(request.req_id)


def _mkt_depth(client: Client, request: ReqMktDepth) -> None:
    client.reqMktDepth(request.req_id, to_ibapi(request.contract), request.rows, request.smart_depth, [])


def _cancel_mkt_depth(client: Client, request: CancelMktDepth) -> None:
    client.cancelMktDepth(request.req_id, request.smart_depth)


def _real_time_bars(client: Client, request: ReqRealTimeBars) -> None:
    client.reqRealTimeBars(
        request.req_id, to_ibapi(request.contract), REAL_TIME_BAR_S, request.what_to_show, request.use_rth, []
    )


def _cancel_real_time_bars(client: Client, request: CancelRealTimeBars) -> None:
    client.cancelRealTimeBars(request.req_id)


def _market_data_type(client: Client, request: ReqMarketDataType) -> None:
    client.reqMarketDataType(request.feed)


def _current_time(client: Client, request: ReqCurrentTime) -> None:
    # In whole seconds, which every gateway answers. Milliseconds (message 105) are too new to stake a connection on.
    client.reqCurrentTime()


def _historical_data(client: Client, request: ReqHistoricalData) -> None:
    client.reqHistoricalData(
        request.req_id,
        to_ibapi(request.contract),
        request.end,
        request.duration,
        request.bar_size,
        request.what_to_show,
        int(request.use_rth),
        EPOCH_SECONDS,
        request.keep_up_to_date,
        [],
    )


def _cancel_historical_data(client: Client, request: CancelHistoricalData) -> None:
    client.cancelHistoricalData(request.req_id)


def _historical_ticks(client: Client, request: ReqHistoricalTicks) -> None:
    client.reqHistoricalTicks(
        request.req_id,
        to_ibapi(request.contract),
        request.start,
        request.end,
        request.count,
        request.what_to_show,
        int(request.use_rth),
        request.ignore_size,
        [],
    )


def _head_timestamp(client: Client, request: ReqHeadTimestamp) -> None:
    client.reqHeadTimeStamp(
        request.req_id, to_ibapi(request.contract), request.what_to_show, int(request.use_rth), EPOCH_SECONDS
    )


def _cancel_head_timestamp(client: Client, request: CancelHeadTimestamp) -> None:
    client.cancelHeadTimeStamp(request.req_id)


def _histogram(client: Client, request: ReqHistogram) -> None:
    client.reqHistogramData(request.req_id, to_ibapi(request.contract), request.use_rth, request.period)


def _cancel_histogram(client: Client, request: CancelHistogram) -> None:
    client.cancelHistogramData(request.req_id)


def _option_params(client: Client, request: ReqOptionParams) -> None:
    it = request.contract
    client.reqSecDefOptParams(request.req_id, it.symbol, request.exchange, it.sec_type, it.con_id)


def _calc_implied_volatility(client: Client, request: CalcImpliedVolatility) -> None:
    client.calculateImpliedVolatility(
        request.req_id, to_ibapi(request.contract), request.option_price, request.underlying_price, []
    )


def _cancel_calc_implied_volatility(client: Client, request: CancelCalcImpliedVolatility) -> None:
    client.cancelCalculateImpliedVolatility(request.req_id)


def _calc_option_price(client: Client, request: CalcOptionPrice) -> None:
    client.calculateOptionPrice(
        request.req_id, to_ibapi(request.contract), request.volatility, request.underlying_price, []
    )


def _cancel_calc_option_price(client: Client, request: CancelCalcOptionPrice) -> None:
    client.cancelCalculateOptionPrice(request.req_id)


def _smart_components(client: Client, request: ReqSmartComponents) -> None:
    client.reqSmartComponents(request.req_id, request.bbo_exchange)


def _market_rule(client: Client, request: ReqMarketRule) -> None:
    client.reqMarketRule(request.rule_id)


def _depth_exchanges(client: Client, request: ReqDepthExchanges) -> None:
    client.reqMktDepthExchanges()


def _news_providers(client: Client, request: ReqNewsProviders) -> None:
    client.reqNewsProviders()


def _news_article(client: Client, request: ReqNewsArticle) -> None:
    client.reqNewsArticle(request.req_id, request.provider, request.article_id, [])


def _historical_news(client: Client, request: ReqHistoricalNews) -> None:
    client.reqHistoricalNews(
        request.req_id, request.con_id, request.providers, request.start, request.end, request.count, []
    )


def _scanner_params(client: Client, request: ReqScannerParams) -> None:
    client.reqScannerParameters()


def _scan(client: Client, request: ReqScan) -> None:
    wanted = ScannerSubscription()
    wanted.scanCode, wanted.instrument, wanted.locationCode = (
        request.scan_code,
        request.scan_instrument,
        request.location,
    )
    wanted.numberOfRows = request.rows
    if request.above_price is not None:
        wanted.abovePrice = request.above_price
    if request.below_price is not None:
        wanted.belowPrice = request.below_price
    if request.above_volume is not None:
        wanted.aboveVolume = request.above_volume
    filters = [TagValue(name, value) for name, value in request.filters]
    client.reqScannerSubscription(request.req_id, wanted, [], filters)


def _cancel_scan(client: Client, request: CancelScan) -> None:
    client.cancelScannerSubscription(request.req_id)


def _news_bulletins(client: Client, request: ReqNewsBulletins) -> None:
    client.reqNewsBulletins(request.all_of_today)


def _cancel_news_bulletins(client: Client, request: CancelNewsBulletins) -> None:
    client.cancelNewsBulletins()


# Any: each function takes the request type of its own row.
WRITERS: Final[dict[type[Request], Callable[[Client, Any], None]]] = {
    ReqContractDetails: _contract_details,
    ReqMatchingSymbols: _matching_symbols,
    ReqMktData: _mkt_data,
    CancelMktData: _cancel_mkt_data,
    ReqTickByTick: _tick_by_tick,
    CancelTickByTick: _cancel_tick_by_tick,
    ReqMktDepth: _mkt_depth,
    CancelMktDepth: _cancel_mkt_depth,
    ReqRealTimeBars: _real_time_bars,
    CancelRealTimeBars: _cancel_real_time_bars,
    ReqMarketDataType: _market_data_type,
    ReqCurrentTime: _current_time,
    ReqHistoricalData: _historical_data,
    CancelHistoricalData: _cancel_historical_data,
    ReqHistoricalTicks: _historical_ticks,
    ReqHeadTimestamp: _head_timestamp,
    CancelHeadTimestamp: _cancel_head_timestamp,
    ReqHistogram: _histogram,
    CancelHistogram: _cancel_histogram,
    ReqOptionParams: _option_params,
    CalcImpliedVolatility: _calc_implied_volatility,
    CancelCalcImpliedVolatility: _cancel_calc_implied_volatility,
    CalcOptionPrice: _calc_option_price,
    CancelCalcOptionPrice: _cancel_calc_option_price,
    ReqSmartComponents: _smart_components,
    ReqMarketRule: _market_rule,
    ReqDepthExchanges: _depth_exchanges,
    ReqNewsProviders: _news_providers,
    ReqNewsArticle: _news_article,
    ReqHistoricalNews: _historical_news,
    ReqScannerParams: _scanner_params,
    ReqScan: _scan,
    CancelScan: _cancel_scan,
    ReqNewsBulletins: _news_bulletins,
    CancelNewsBulletins: _cancel_news_bulletins,
}
