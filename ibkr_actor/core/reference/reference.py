"""Owns questions of reference: which request each command becomes, and what is answered of IB's words.

Keeps no answer and resolves no instrument; waiting is `core.reference.questions`'.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec
from msgspec import Struct

from ibkr_actor.core.boards.scans import check_text, in_order, read_scan, refusal_of
from ibkr_actor.core.effects import CommandRef, Effect, Instant
from ibkr_actor.core.reference import events as e
from ibkr_actor.core.reference.questions import CommandAsker, Make, Questions, Traits
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.requests import (
    ReqDepthExchanges,
    ReqHistoricalNews,
    ReqMarketRule,
    ReqNewsArticle,
    ReqNewsProviders,
    ReqOptionParams,
    ReqScannerParams,
    ReqSmartComponents,
)
from ibkr_actor.schema import reference_commands as c
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract

# Source: IBKR, TWS API, "Historical News Headlines": 300.
_HEADLINES_MAX: Final = 300
_NEWS_TIME: Final = "%Y-%m-%d %H:%M:%S.0"
# What has options, and for which of them the exchange matters. Source: IBKR, TWS API, reqSecDefOptParams.
_WITH_OPTIONS: Final = frozenset({"STK", "IND", "FUT", "CASH", "ETF", "CRYPTO"})

# What the farm of definitions answers; and what bears no req_id, neither answer nor refusal.
DEFINED: Final = Traits(needs_farm=True)
_ANONYMOUS: Final = Traits(anonymous=True)
_SCAN: Final = Traits(refusal=refusal_of)


class Asked(Struct, frozen=True):
    """What a command asks: the key says what is the same question."""

    key: Hashable
    make: Make
    traits: Traits = Traits()


def question(command: c.ReferenceCommand, contract: Contract | None) -> Asked:
    """The question of a command whose instrument, if it names one, is `contract`.

    Raises:
        ValueError: a field is out of range; the message says which.
    """
    match command:
        case c.OptionParams():
            assert contract is not None
            return option_params(contract, command.exchange)
        case c.SmartComponents(bbo_exchange=place):
            check_text("bbo_exchange", place)
            return Asked(("components", place), lambda req_id: ReqSmartComponents(req_id, place))
        case c.MarketRule(rule_id=rule_id):
            if not 0 < rule_id < 2**31:
                raise ValueError("rule_id is one of IB's numbers, such as 26")
            return Asked(("rule", rule_id), lambda req_id: ReqMarketRule(req_id, rule_id), _ANONYMOUS)
        case c.DepthExchanges():
            return Asked(("depth",), ReqDepthExchanges, _ANONYMOUS)
        case c.NewsProviders():
            return Asked(("providers",), ReqNewsProviders, _ANONYMOUS)
        case c.ScannerParams():
            return Asked(("scans",), ReqScannerParams, _ANONYMOUS)
        case c.NewsArticle(provider=provider, article_id=article):
            check_text("provider", provider)
            check_text("article_id", article)
            return Asked(("article", provider, article), lambda req_id: ReqNewsArticle(req_id, provider, article))
        case c.NewsHeadlines():
            assert contract is not None
            return _headlines(command, contract)
        case c.Scan():
            return _scan(command)


def option_params(contract: Contract, exchange: str) -> Asked:
    """Which options there are on an underlying; IB wants to be told the exchange of a future's.

    Raises:
        ValueError: there can be none.
    """
    if contract.sec_type not in _WITH_OPTIONS:
        raise ValueError(f"there are no options on {contract.instrument or contract.sec_type}")
    # Source: IBKR, TWS API: futFopExchange is for options of futures, and empty for those of anything else.
    place = (exchange or contract.exchange) if contract.sec_type == "FUT" else ""
    return Asked(("options", contract.con_id, place), lambda req_id: ReqOptionParams(req_id, contract, place), DEFINED)


def _headlines(command: c.NewsHeadlines, contract: Contract) -> Asked:
    if not command.providers or any(not code or "+" in code for code in command.providers):
        raise ValueError("providers are one or more codes of news_providers")
    for code in command.providers:
        check_text("providers", code)
    if not 0 < command.count <= _HEADLINES_MAX:
        raise ValueError(f"count is 1 to {_HEADLINES_MAX}")
    codes, start, end = "+".join(command.providers), _moment("start", command.start), _moment("end", command.end)
    con_id, count = contract.con_id, command.count
    return Asked(
        ("headlines", con_id, codes, start, end, count),
        lambda req_id: ReqHistoricalNews(req_id, con_id, codes, start, end, count),
    )


def _scan(command: c.Scan) -> Asked:
    spec = read_scan(command)
    return Asked(("scan", spec), spec.request, _SCAN)


def _moment(name: str, text: str) -> str:
    """A time in ISO 8601 as IB wants it, in UTC; one without an offset is UTC."""
    if not text:
        return ""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is a time in ISO 8601, such as 2026-01-05T14:30:00") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(datetime.UTC)
    return moment.strftime(_NEWS_TIME)


class Reference:
    """Commands that one question answers. Caller: `ContractsCore` only."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self.handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            e.OptionParameters: self._part,
            e.Headline: self._part,
            e.ScanRow: self._part,
            e.OptionParametersEnd: self._option_parameters,
            e.HeadlinesEnd: self._headlines,
            e.ScanEnd: self._scan,
            e.SmartComponentMap: self._components,
            e.ArticleText: self._article,
            e.MarketRuleIncrements: self._rule,
            e.DepthExchangeList: self._depth,
            e.NewsProviderList: self._providers,
            e.ScannerXml: self._scans,
        }

    def command(
        self, ref: CommandRef, command: c.ReferenceCommand, contract: Contract | None, now: Instant
    ) -> list[Effect]:
        """Asks, or refuses what cannot be asked."""
        try:
            asked = question(command, contract)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        left_s = None if command.deadline_ms is None else (command.deadline_ms * 1_000_000 - now.ns) / 1e9
        return self._questions.ask(
            asked.key, asked.make, CommandAsker(ref), now, client=ref.client, left_s=left_s, traits=asked.traits
        )

    # ---- answers

    def _part(self, event: Any, now: Instant) -> list[Effect]:
        self._questions.part(event.req_id, event)
        return []

    def _option_parameters(self, event: e.OptionParametersEnd, now: Instant) -> list[Effect]:
        rows: list[e.OptionParameters] = self._questions.parts(event.req_id)
        result = {
            "underlying_con_id": rows[0].under_con_id if rows else None,
            "rows": [
                {
                    "exchange": row.exchange,
                    "trading_class": row.trading_class,
                    "multiplier": row.multiplier,
                    "expirations": list(row.expirations),
                    "strikes": list(row.strikes),
                }
                for row in rows
            ],
        }
        return self._questions.answered(event.req_id, result)

    def _headlines(self, event: e.HeadlinesEnd, now: Instant) -> list[Effect]:
        rows = [
            {
                "time_ns": news_time_ns(row.time),
                "provider": row.provider,
                "article_id": row.article_id,
                "headline": row.headline,
            }
            for row in self._questions.parts(event.req_id)
        ]
        rows.sort(key=lambda row: row["time_ns"] or "", reverse=True)
        return self._questions.answered(event.req_id, {"headlines": rows, "has_more": event.has_more})

    def _scan(self, event: e.ScanEnd, now: Instant) -> list[Effect]:
        return self.ranked(event.req_id)

    def is_scan(self, req_id: int) -> bool:
        """Whether the request is a scan under way."""
        key = self._questions.key_of(req_id)
        return isinstance(key, tuple) and key[0] == "scan"

    def ranked(self, req_id: int) -> list[Effect]:
        """Answers a scan with the rows that have come."""
        rows = [
            {
                "rank": row.rank,
                "con_id": row.contract.con_id,
                "symbol": row.contract.symbol,
                "sec_type": row.contract.sec_type,
                "exchange": row.contract.exchange,
                "currency": row.contract.currency,
                "distance": row.distance,
                "benchmark": row.benchmark,
                "projection": row.projection,
            }
            for row in in_order(self._questions.parts(req_id))
        ]
        return self._questions.answered(req_id, {"rows": rows})

    def _components(self, event: e.SmartComponentMap, now: Instant) -> list[Effect]:
        key = self._questions.key_of(event.req_id)
        place = key[1] if isinstance(key, tuple) else None
        result = {"bbo_exchange": place, "components": [msgspec.to_builtins(row) for row in event.components]}
        return self._questions.answered(event.req_id, result)

    def _article(self, event: e.ArticleText, now: Instant) -> list[Effect]:
        return self._questions.answered(event.req_id, {"article_type": event.article_type, "text": event.text})

    def _rule(self, event: e.MarketRuleIncrements, now: Instant) -> list[Effect]:
        result = {"rule_id": event.rule_id, "increments": [msgspec.to_builtins(row) for row in event.increments]}
        return self._questions.answered_key(("rule", event.rule_id), result)

    def _depth(self, event: e.DepthExchangeList, now: Instant) -> list[Effect]:
        return self._questions.answered_key(
            ("depth",), {"exchanges": [msgspec.to_builtins(row) for row in event.exchanges]}
        )

    def _providers(self, event: e.NewsProviderList, now: Instant) -> list[Effect]:
        return self._questions.answered_key(
            ("providers",), {"providers": [msgspec.to_builtins(row) for row in event.providers]}
        )

    def _scans(self, event: e.ScannerXml, now: Instant) -> list[Effect]:
        return self._questions.answered_key(("scans",), {"xml": event.xml})


def news_time_ns(text: str) -> str | None:
    """IB's time of a headline, `2026-01-05 14:30:00.0` in UTC, as nanoseconds in text; None when it is no time."""
    for form in ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S"):
        try:
            moment = datetime.datetime.strptime(text.strip(), form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        return str(int(moment.timestamp()) * 1_000_000_000)
    return None
