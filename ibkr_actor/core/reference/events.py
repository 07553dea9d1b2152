"""Events that answer questions of reference: option parameters, rules, exchanges, news, scans.

Shapes only; values are plain as in `core.events`. What bears no req_id on the wire is told apart by what it is.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.core.events import ReferenceEvent
from ibkr_actor.schema.instruments import Contract


class OptionParameters(ReferenceEvent, frozen=True):
    """The options of one exchange and trading class; expirations are YYYYMMDD, both lists ascending."""

    req_id: int
    exchange: str
    under_con_id: int
    trading_class: str
    multiplier: str
    expirations: tuple[str, ...]
    strikes: tuple[float, ...]


class OptionParametersEnd(ReferenceEvent, frozen=True):
    """There are no more."""

    req_id: int


class SmartComponent(Struct, frozen=True):
    """The exchange that a letter of `bid_exch` and `ask_exch` ticks means."""

    letter: str
    exchange: str
    bit_number: int


class SmartComponentMap(ReferenceEvent, frozen=True):
    """All letters, by bit number."""

    req_id: int
    components: tuple[SmartComponent, ...]


class PriceIncrement(Struct, frozen=True):
    """Prices from `low_edge` on are multiples of `increment`."""

    low_edge: float
    increment: float


class MarketRuleIncrements(ReferenceEvent, frozen=True):
    """A rule, lowest edge first."""

    rule_id: int
    increments: tuple[PriceIncrement, ...]


class DepthExchange(Struct, frozen=True):
    """Where there are order books of a type of security; `agg_group` None when IB does not say."""

    exchange: str
    sec_type: str
    listing_exchange: str
    service_data_type: str
    agg_group: int | None


class DepthExchangeList(ReferenceEvent, frozen=True):
    """All of them."""

    exchanges: tuple[DepthExchange, ...]


class NewsProvider(Struct, frozen=True):
    """One provider that the login is subscribed to."""

    code: str
    name: str


class NewsProviderList(ReferenceEvent, frozen=True):
    """All of them."""

    providers: tuple[NewsProvider, ...]


class Headline(ReferenceEvent, frozen=True):
    """One headline; `time` is IB's own text in UTC."""

    req_id: int
    time: str
    provider: str
    article_id: str
    headline: str


class HeadlinesEnd(ReferenceEvent, frozen=True):
    """There are no more, or `has_more` beyond the count asked for."""

    req_id: int
    has_more: bool


class ArticleText(ReferenceEvent, frozen=True):
    """`article_type` 0 is text or HTML, 1 binary in base 64."""

    req_id: int
    article_type: int
    text: str


class ScannerXml(ReferenceEvent, frozen=True):
    """The parameters of all scans."""

    xml: str


class ScanRow(ReferenceEvent, frozen=True):
    """One contract that a scan ranks, 0 the best."""

    req_id: int
    rank: int
    contract: Contract
    distance: str
    benchmark: str
    projection: str
    legs: str = ""


class ScanEnd(ReferenceEvent, frozen=True):
    """The ranking is complete for now."""

    req_id: int
    received_ns: int = 0


class NewsBulletin(ReferenceEvent, frozen=True):
    """One of IB's bulletins; `bulletin_type` 1 news, 2 an exchange is gone, 3 it is back. It is of no request."""

    received_ns: int
    bulletin_id: int
    bulletin_type: int
    text: str
    exchange: str
