"""The official wrapper for messages that are not hot: one line per callback, each appends an event.

No callback decides anything; what has no callback here is received and goes no further.
"""

from __future__ import annotations

from typing import Any

from ibkr_actor.core.events import (
    ContractDetails,
    ContractDetailsEnd,
    CurrentTime,
    ErrorNotice,
    Event,
    ManagedAccounts,
    MarketDataType,
    NextValidId,
    Rerouted,
    SymbolSamples,
    TickNews,
    TickReqParams,
    TickSnapshotEnd,
)
from ibkr_actor.core.history.events import (
    HeadTimestamp,
    HistogramData,
    HistoricalBarsEnd,
    HistoricalSchedule,
    ScheduleSession,
)
from ibkr_actor.schema.records import FEED_DELAYED, FEED_DELAYED_FROZEN, FEED_FROZEN, FEED_LIVE
from ibkr_actor.tws.contracts import found_symbol, from_details
from ibkr_actor.tws.numbers import UNSET_INTEGER, plain_size, price_or_none
from ibkr_actor.tws.reference import ReferenceCallbacks
from ibkr_actor.tws.whole_text import whole_text

MILLISECOND_NS = 1_000_000
FEEDS = frozenset({FEED_LIVE, FEED_FROZEN, FEED_DELAYED, FEED_DELAYED_FROZEN})


class Wrapper(ReferenceCallbacks):
    """Callbacks of connection `conn`. `received_ns` and `events` are set by the decoder before each frame."""

    def __init__(self, conn: int) -> None:
        super().__init__()
        self.conn = conn
        self.received_ns = 0
        self.events: list[Event] = []

    def error(
        self, reqId: int, errorTime: int, errorCode: int, errorString: str, advancedOrderRejectJson: str = ""
    ) -> None:
        self.events.append(ErrorNotice(self.conn, self.received_ns, reqId, errorCode, whole_text(errorString)))

    def nextValidId(self, orderId: int) -> None:
        self.events.append(NextValidId(self.conn, orderId))

    def managedAccounts(self, accountsList: str) -> None:
        self.events.append(ManagedAccounts(self.conn, sum(1 for name in accountsList.split(",") if name.strip())))

    def currentTime(self, time: int) -> None:
        self.events.append(CurrentTime(self.conn, self.received_ns, time * 1000 * MILLISECOND_NS))

    def currentTimeInMillis(self, timeInMillis: int) -> None:
        self.events.append(CurrentTime(self.conn, self.received_ns, timeInMillis * MILLISECOND_NS))

    def contractDetails(self, reqId: int, contractDetails: Any) -> None:
        self.events.append(ContractDetails(reqId, from_details(contractDetails)))

    def bondContractDetails(self, reqId: int, contractDetails: Any) -> None:
        self.events.append(ContractDetails(reqId, from_details(contractDetails)))

    def contractDetailsEnd(self, reqId: int) -> None:
        self.events.append(ContractDetailsEnd(reqId))

    def symbolSamples(self, reqId: int, contractDescriptions: Any) -> None:
        self.events.append(SymbolSamples(reqId, tuple(map(found_symbol, contractDescriptions or ()))))

    def rerouteMktDataReq(self, reqId: int, conId: int, exchange: str) -> None:
        self.events.append(Rerouted(reqId, self.received_ns, conId, exchange))

    def rerouteMktDepthReq(self, reqId: int, conId: int, exchange: str) -> None:
        self.events.append(Rerouted(reqId, self.received_ns, conId, exchange))

    def marketDataType(self, reqId: int, marketDataType: int) -> None:
        # What is none of IB's four types says nothing: the feed stays what it was.
        if marketDataType in FEEDS:
            self.events.append(MarketDataType(reqId, self.received_ns, marketDataType))

    def tickReqParams(self, tickerId: int, minTick: float, bboExchange: str, snapshotPermissions: int) -> None:
        permissions = None if snapshotPermissions == UNSET_INTEGER else snapshotPermissions
        # No price moves by nothing: a zero is the official decoder's for an empty field.
        min_tick = price_or_none(minTick) or None
        self.events.append(TickReqParams(tickerId, self.received_ns, min_tick, bboExchange, permissions))

    def tickNews(
        self, tickerId: int, timeStamp: int, providerCode: str, articleId: str, headline: str, extraData: str
    ) -> None:
        at_ns = timeStamp * MILLISECOND_NS
        words = whole_text(headline), whole_text(extraData)
        self.events.append(TickNews(tickerId, self.received_ns, at_ns, providerCode, articleId, *words))

    def tickSnapshotEnd(self, reqId: int) -> None:
        self.events.append(TickSnapshotEnd(reqId, self.received_ns))

    def historicalDataEnd(self, reqId: int, start: str, end: str) -> None:
        self.events.append(HistoricalBarsEnd(reqId, self.received_ns))

    def headTimestamp(self, reqId: int, headTimestamp: str) -> None:
        self.events.append(HeadTimestamp(reqId, self.received_ns, headTimestamp))

    def histogramData(self, reqId: int, items: Any) -> None:
        rows = tuple((price_or_none(item.price), plain_size(str(item.size))) for item in items)
        self.events.append(HistogramData(reqId, self.received_ns, rows))

    def historicalSchedule(
        self, reqId: int, startDateTime: str, endDateTime: str, timeZone: str, sessions: Any
    ) -> None:
        found = tuple(ScheduleSession(each.startDateTime, each.endDateTime, each.refDate) for each in sessions)
        self.events.append(HistoricalSchedule(reqId, self.received_ns, timeZone, found))
