"""Commands for option chains, what options are worth, and what IB answers once: parameters, rules, news, scans.

Holds shapes and defaults only: what a command does is decided in `core`.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType, field

from ibkr_actor.schema.command_base import Command
from ibkr_actor.schema.instruments import InstrumentQuery


class Chain(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="chain"):
    """Adds the client as a holder of a chain of options on the underlying `instrument`.

    `expiry` is `nearest`, `all`, a day as YYYYMMDD, a list of days, or how many of the next expiries. The window of
    strikes reaches `moneyness_range` to either side of the underlying's price (0.2 is 20 %) and follows it, or is the
    fixed `strike_range`, or with both what lies in both; with neither it is 0.2. `exchange` and `trading_class` are
    the options', empty for IB's own choice and all. `lines` is how many market data lines it may take.
    """

    instrument: str | InstrumentQuery
    expiry: str | int | list[str] = "nearest"
    strike_range: tuple[float, float] | None = None
    moneyness_range: float | None = None
    right: Literal["C", "P", "both"] = "both"
    exchange: str = ""
    trading_class: str = ""
    lines: int | None = None
    lease_s: float | UnsetType = UNSET


class OptionParams(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="option_params"
):
    """Answers which options there are on an underlying: expiries and strikes for each exchange and trading class."""

    instrument: str | InstrumentQuery
    exchange: str = ""


class CalcIv(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="calc_iv"):
    """Answers the volatility at which an option is worth `option_price` while its underlying is `underlying_price`."""

    instrument: str | InstrumentQuery
    option_price: float
    underlying_price: float


class CalcPrice(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="calc_price"):
    """Answers what an option is worth at a `volatility` (0.2 is 20 %) while its underlying is `underlying_price`."""

    instrument: str | InstrumentQuery
    volatility: float
    underlying_price: float


class SmartComponents(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="smart_components"
):
    """Answers which exchange each letter of a `bid_exch` or `ask_exch` tick means; a snapshot tells `bbo_exchange`."""

    bbo_exchange: str


class MarketRule(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="market_rule"):
    """Answers the price increments of a rule, each from a price on; a contract's `market_rule_ids` name its rules."""

    rule_id: int


class DepthExchanges(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="depth_exchanges"
):
    """Answers where there are order books of what."""


class NewsProviders(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="news_providers"
):
    """Answers the providers of news that the login is subscribed to."""


class NewsHeadlines(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="news_headlines"
):
    """Answers headlines about an instrument, newest first, between `start` and `end` (ISO 8601, empty: no bound)."""

    instrument: str | InstrumentQuery
    providers: list[str]
    start: str = ""
    end: str = ""
    count: int = 50


class NewsArticle(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="news_article"
):
    """Answers the text behind a headline."""

    provider: str
    article_id: str


class ScannerParams(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="scanner_params"
):
    """Answers what scans there are, as IB's own XML."""


class ScanWish(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is to be ranked. The codes, and the names of `filters`, are those of `scanner_params`."""

    scan_code: str
    scan_instrument: str = "STK"
    location: str = "STK.US.MAJOR"
    rows: int = 50
    above_price: float | None = None
    below_price: float | None = None
    above_volume: int | None = None
    filters: dict[str, str] = field(default_factory=dict)


class Scan(ScanWish, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="scanner"):
    """Answers what a scan of the market ranks now, best first, at most 50. The codes are those of `scanner_params`."""


class HoldScan(ScanWish, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="scan"):
    """Adds the client as a holder of the stream of what a scan ranks, each time that IB ranks anew."""

    lease_s: float | UnsetType = UNSET


class HoldBulletins(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="bulletins"
):
    """Adds the client as a holder of the stream of IB's bulletins: its own news, and exchanges that come and go."""

    lease_s: float | UnsetType = UNSET


# What one question to IB answers, or the first word of a scan.
ReferenceCommand = (
    OptionParams
    | SmartComponents
    | MarketRule
    | DepthExchanges
    | NewsProviders
    | NewsHeadlines
    | NewsArticle
    | ScannerParams
    | Scan
)
CalcCommand = CalcIv | CalcPrice
# What holds a stream that is of no instrument.
BoardCommand = HoldScan | HoldBulletins
