"""One plain form for what both decoders say: the official callbacks and our events, each as tuples.

Written against the official client's conventions, without any of our decoding code.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

from ibapi.wrapper import EWrapper

from ibkr_actor.core import events as ev

UNSET_INTEGER = 2**31 - 1
UNSET_DOUBLE = 1.7976931348623157e308
# The official decoder knows four of these in text and none in protobuf; they mean the same in both.
UNSET_DECIMALS = [
    Decimal(2**127 - 1),
    Decimal(2147483647),
    Decimal(9223372036854775807),
    Decimal(-9223372036854775808),
    Decimal("1.7976931348623157E308"),
]
SIZE_TYPE_OF_PRICE = {1: 0, 2: 3, 4: 5, 66: 69, 67: 70, 68: 71}
PLAIN_SIZE = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?")
SECOND_NS = 1_000_000_000

Form = tuple[Any, ...]


def number(value: Any) -> float | None:
    if value is None or value == UNSET_DOUBLE or not math.isfinite(value):
        return None
    return float(value)


def whole(value: Any) -> int | None:
    return None if value is None or value == UNSET_INTEGER else int(value)


def decimal(value: Decimal) -> Decimal | None:
    return None if not value.is_finite() or value in UNSET_DECIMALS else value


def our_size(text: str | None) -> Decimal | None:
    if text is None:
        return None
    assert PLAIN_SIZE.fullmatch(text), text
    return Decimal(text)


class OfficialForms(EWrapper):
    """Records the callbacks for hot kinds, normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def tickPrice(self, reqId: int, tickType: int, price: float, attrib: Any) -> None:
        attribs = (attrib.canAutoExecute, attrib.pastLimit, attrib.preOpen)
        self.forms.append(("price", reqId, tickType, number(price), attribs))

    def tickSize(self, reqId: int, tickType: int, size: Decimal) -> None:
        self.forms.append(("size", reqId, tickType, decimal(size)))

    def tickGeneric(self, reqId: int, tickType: int, value: float) -> None:
        self.forms.append(("generic", reqId, tickType, number(value)))

    def tickString(self, reqId: int, tickType: int, value: str) -> None:
        self.forms.append(("string", reqId, tickType, value))

    def tickOptionComputation(self, reqId: int, tickType: int, tickAttrib: Any, *values: Any) -> None:
        self.forms.append(("option", reqId, tickType, whole(tickAttrib), *map(number, values)))

    def tickByTickAllLast(
        self,
        reqId: int,
        tickType: int,
        time: int,
        price: float,
        size: Decimal,
        tickAttribLast: Any,
        exchange: str,
        specialConditions: str,
    ) -> None:
        flags = (tickAttribLast.pastLimit, tickAttribLast.unreported)
        what = (number(price), decimal(size), flags, exchange, specialConditions)
        self.forms.append(("last", reqId, tickType == 2, time * SECOND_NS, *what))

    def tickByTickBidAsk(
        self,
        reqId: int,
        time: int,
        bidPrice: float,
        askPrice: float,
        bidSize: Decimal,
        askSize: Decimal,
        tickAttribBidAsk: Any,
    ) -> None:
        flags = (tickAttribBidAsk.bidPastLow, tickAttribBidAsk.askPastHigh)
        what = (number(bidPrice), number(askPrice), decimal(bidSize), decimal(askSize), flags)
        self.forms.append(("bidask", reqId, time * SECOND_NS, *what))

    def tickByTickMidPoint(self, reqId: int, time: int, midPoint: float) -> None:
        self.forms.append(("midpoint", reqId, time * SECOND_NS, number(midPoint)))

    def realtimeBar(
        self,
        reqId: int,
        time: int,
        open_: float,
        high: float,
        low: float,
        close: float,
        volume: Decimal,
        wap: Decimal,
        count: int,
    ) -> None:
        prices = (number(open_), number(high), number(low), number(close))
        self.forms.append(("bar", reqId, time * SECOND_NS, *prices, decimal(volume), decimal(wap), whole(count)))

    def historicalDataUpdate(self, reqId: int, bar: Any) -> None:
        prices = (number(bar.open), number(bar.high), number(bar.low), number(bar.close))
        what = (decimal(bar.volume), decimal(bar.wap), whole(bar.barCount))
        self.forms.append(("update", reqId, bar.date, *prices, *what))

    def updateMktDepth(self, reqId: int, position: int, operation: int, side: int, price: float, size: Decimal) -> None:
        self.forms.append(("depth", reqId, position, operation, side, number(price), decimal(size), None, False))

    def updateMktDepthL2(
        self,
        reqId: int,
        position: int,
        marketMaker: str,
        operation: int,
        side: int,
        price: float,
        size: Decimal,
        isSmartDepth: bool,
    ) -> None:
        what = (number(price), decimal(size), marketMaker, isSmartDepth)
        self.forms.append(("depth", reqId, position, operation, side, *what))


def forms_of(event: ev.Event) -> list[Form]:
    """What the official client would have called for one of our events."""
    match event:
        case ev.TickPrice(req_id=req_id, tick_type=kind, price=price, size=size, attribs=attribs):
            flags = (attribs & 1 != 0, attribs & 2 != 0, attribs & 4 != 0)
            forms: list[Form] = [("price", req_id, kind, price, flags)]
            if kind in SIZE_TYPE_OF_PRICE:
                forms.append(("size", req_id, SIZE_TYPE_OF_PRICE[kind], our_size(size)))
            return forms
        case ev.TickSize():
            return [("size", event.req_id, event.tick_type, our_size(event.size))]
        case ev.TickGeneric():
            return [("generic", event.req_id, event.tick_type, event.value)]
        case ev.TickString():
            return [("string", event.req_id, event.tick_type, event.value)]
        case ev.TickOptionComputation():
            greeks = (event.implied_vol, event.delta, event.option_price, event.pv_dividend)
            more = (event.gamma, event.vega, event.theta, event.underlying_price)
            return [("option", event.req_id, event.tick_type, event.tick_attrib, *greeks, *more)]
        case ev.TickByTickLast():
            flags2 = (event.past_limit, event.unreported)
            what = (event.price, our_size(event.size), flags2, event.exchange, event.conditions)
            return [("last", event.req_id, event.all_last, event.time_ns, *what)]
        case ev.TickByTickBidAsk():
            flags2 = (event.bid_past_low, event.ask_past_high)
            both = (event.bid, event.ask, our_size(event.bid_size), our_size(event.ask_size))
            return [("bidask", event.req_id, event.time_ns, *both, flags2)]
        case ev.TickByTickMidPoint():
            return [("midpoint", event.req_id, event.time_ns, event.price)]
        case ev.RealTimeBar():
            prices = (event.open, event.high, event.low, event.close)
            rest = (our_size(event.volume), our_size(event.wap), event.count)
            return [("bar", event.req_id, event.start_ns, *prices, *rest)]
        case ev.HistoricalBarUpdate():
            prices = (event.open, event.high, event.low, event.close)
            rest = (our_size(event.volume), our_size(event.wap), event.count)
            return [("update", event.req_id, event.date, *prices, *rest)]
        case ev.DepthUpdate():
            where = (event.position, event.operation, event.side)
            row = (event.price, our_size(event.size), event.market_maker, event.smart)
            return [("depth", event.req_id, *where, *row)]
    raise AssertionError(f"no hot kind: {event}")
