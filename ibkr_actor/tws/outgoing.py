"""One row per request: which official EClient method writes it, and with what.

A request that has no row cannot be sent. Decides nothing about when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ibkr_actor.core.requests import (
    CancelMktData,
    CancelRealTimeBars,
    CancelTickByTick,
    ReqContractDetails,
    ReqCurrentTime,
    ReqMarketDataType,
    ReqMktData,
    ReqRealTimeBars,
    ReqTickByTick,
    Request,
)
from ibkr_actor.tws.client import Client
from ibkr_actor.tws.contracts import to_ibapi

# The only size there is. Source: IBKR, reqRealTimeBars: "currently only 5 second bars are supported".
REAL_TIME_BAR_S: Final = 5


def _contract_details(client: Client, request: ReqContractDetails) -> None:
    client.reqContractDetails(request.req_id, to_ibapi(request.query))


def _mkt_data(client: Client, request: ReqMktData) -> None:
    client.reqMktData(
        request.req_id,
        to_ibapi(request.contract),
        ",".join(map(str, request.generic_ticks)),
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


# Any: each function takes the request type of its own row.
WRITERS: Final[dict[type[Request], Callable[[Client, Any], None]]] = {
    ReqContractDetails: _contract_details,
    ReqMktData: _mkt_data,
    CancelMktData: _cancel_mkt_data,
    ReqTickByTick: _tick_by_tick,
    CancelTickByTick: _cancel_tick_by_tick,
    ReqRealTimeBars: _real_time_bars,
    CancelRealTimeBars: _cancel_real_time_bars,
    ReqMarketDataType: _market_data_type,
    ReqCurrentTime: _current_time,
}
