"""Callbacks of the official wrapper that answer questions of reference: one line each, each appends an event.

No callback decides anything.
"""

from __future__ import annotations

from typing import Any

from ibapi.wrapper import EWrapper

from ibkr_actor.core.events import Event
from ibkr_actor.core.reference.events import (
    ArticleText,
    DepthExchange,
    DepthExchangeList,
    Headline,
    HeadlinesEnd,
    MarketRuleIncrements,
    NewsBulletin,
    NewsProvider,
    NewsProviderList,
    OptionParameters,
    OptionParametersEnd,
    PriceIncrement,
    ScanEnd,
    ScannerXml,
    ScanRow,
    SmartComponent,
    SmartComponentMap,
)
from ibkr_actor.tws.contracts import from_details
from ibkr_actor.tws.numbers import UNSET_INTEGER
from ibkr_actor.tws.whole_text import whole_text


class ReferenceCallbacks(EWrapper):
    """A part of `tws.wrapper.Wrapper`, which sets `events` and `received_ns`."""

    events: list[Event]
    received_ns: int

    def securityDefinitionOptionParameter(
        self,
        reqId: int,
        exchange: str,
        underlyingConId: int,
        tradingClass: str,
        multiplier: str,
        expirations: Any,
        strikes: Any,
    ) -> None:
        self.events.append(
            OptionParameters(
                reqId,
                exchange,
                underlyingConId,
                tradingClass,
                multiplier,
                tuple(sorted(expirations)),
                tuple(sorted(strikes)),
            )
        )

    def securityDefinitionOptionParameterEnd(self, reqId: int) -> None:
        self.events.append(OptionParametersEnd(reqId))

    def smartComponents(self, reqId: int, smartComponentMap: Any) -> None:
        # A list of objects from text, and a dict of pairs from protobuf. Source: ibapi.decoder, ibapi.decoder_utils.
        if isinstance(smartComponentMap, dict):
            rows = [SmartComponent(letter, place, bit) for bit, (place, letter) in smartComponentMap.items()]
        else:
            rows = [SmartComponent(each.exchangeLetter, each.exchange, each.bitNumber) for each in smartComponentMap]
        self.events.append(SmartComponentMap(reqId, tuple(sorted(rows, key=lambda row: row.bit_number))))

    def marketRule(self, marketRuleId: int, priceIncrements: Any) -> None:
        rows = (PriceIncrement(float(each.lowEdge), float(each.increment)) for each in priceIncrements)
        self.events.append(MarketRuleIncrements(marketRuleId, tuple(sorted(rows, key=lambda row: row.low_edge))))

    def mktDepthExchanges(self, depthMktDataDescriptions: Any) -> None:
        rows = (
            DepthExchange(
                each.exchange,
                each.secType,
                each.listingExch,
                each.serviceDataType,
                None if each.aggGroup == UNSET_INTEGER else each.aggGroup,
            )
            for each in depthMktDataDescriptions
        )
        self.events.append(DepthExchangeList(tuple(rows)))

    def newsProviders(self, newsProviders: Any) -> None:
        self.events.append(NewsProviderList(tuple(NewsProvider(each.code, each.name) for each in newsProviders)))

    def newsArticle(self, requestId: int, articleType: int, articleText: str) -> None:
        self.events.append(ArticleText(requestId, articleType, whole_text(articleText)))

    def historicalNews(self, requestId: int, time: str, providerCode: str, articleId: str, headline: str) -> None:
        self.events.append(Headline(requestId, time, providerCode, articleId, whole_text(headline)))

    def historicalNewsEnd(self, requestId: int, hasMore: bool) -> None:
        self.events.append(HeadlinesEnd(requestId, bool(hasMore)))

    def scannerParameters(self, xml: str) -> None:
        self.events.append(ScannerXml(xml))

    def scannerData(
        self,
        reqId: int,
        rank: int,
        contractDetails: Any,
        distance: str,
        benchmark: str,
        projection: str,
        legsStr: str,
    ) -> None:
        contract = from_details(contractDetails)
        self.events.append(ScanRow(reqId, rank, contract, distance, benchmark, projection, legsStr))

    def scannerDataEnd(self, reqId: int) -> None:
        self.events.append(ScanEnd(reqId, self.received_ns))

    def updateNewsBulletin(self, msgId: int, msgType: int, newsMessage: str, originExch: str) -> None:
        self.events.append(NewsBulletin(self.received_ns, msgId, msgType, whole_text(newsMessage), originExch))
