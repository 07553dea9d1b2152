"""Owns the way from a chain's wish to the contracts it consists of: IB's parameters, then one question per expiry.

Holds no chain and keeps no answer.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final

from msgspec import Struct, field, structs

from ibkr_actor.core.chains.messages import ChainFound, ChainNotFound, FindChain
from ibkr_actor.core.chains.window import choose_expiries, today
from ibkr_actor.core.config import ReferenceConfig
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.reference.questions import Make, Questions
from ibkr_actor.core.reference.reference import DEFINED, option_params
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract, InstrumentQuery, instrument_id

_OPTION_TYPES: Final = ("OPT", "FOP")
_RETRYABLE: Final = ("connection_failed", "farm_transient", "busy", "pacing_violation")


class Finding(Struct):
    """One chain that is looked up. `now` is of the latest message."""

    wish: FindChain
    exchange: str = ""
    expiries: deque[str] = field(default_factory=deque)
    running: int = 0
    found: list[Contract] = field(default_factory=list)
    refusal: Rejection | None = None
    over: bool = False


class ParamsAsker(Struct, frozen=True):
    """Waits for the option parameters of a chain."""

    finder: Any
    finding: Finding

    def answered(self, result: Any) -> list[Effect]:
        """Asks for the expiries."""
        found: list[Effect] = self.finder.params(self.finding, result["rows"])
        return found

    def refused(self, rejection: Rejection) -> list[Effect]:
        """Gives up."""
        found: list[Effect] = self.finder.give_up(self.finding, rejection)
        return found

    def expired(self) -> list[Effect]:
        """Never: it has no deadline of its own."""
        return []


class ExpiryAsker(Struct, frozen=True):
    """Waits for the contracts of one expiry."""

    finder: Any
    finding: Finding

    def answered(self, result: Any) -> list[Effect]:
        """Takes them in."""
        found: list[Effect] = self.finder.expiry(self.finding, result, None)
        return found

    def refused(self, rejection: Rejection) -> list[Effect]:
        """An expiry without contracts is none; what may pass ends the look-up."""
        found: list[Effect] = self.finder.expiry(self.finding, (), rejection)
        return found

    def expired(self) -> list[Effect]:
        """Never: it has no deadline of its own."""
        return []


class ChainFinder:
    """Look-ups of chains under way. Caller: `ReferenceCore` only."""

    def __init__(self, config: ReferenceConfig, questions: Questions) -> None:
        self._config = config
        self._questions = questions
        self._now = Instant(0.0, 0)

    def find(self, wish: FindChain, now: Instant) -> list[Effect]:
        """Begins with the parameters."""
        self._now = now
        finding = Finding(wish)
        try:
            asked = option_params(wish.underlying, wish.spec.exchange)
        except ValueError as error:
            return self.give_up(finding, Rejection("unsupported", str(error)))
        asker = ParamsAsker(self, finding)
        return self._questions.ask(asked.key, asked.make, asker, now, client=wish.client, traits=asked.traits)

    def at(self, now: Instant) -> None:
        """The time of the message at hand, for what is asked next."""
        self._now = now

    def params(self, finding: Finding, rows: list[dict[str, Any]]) -> list[Effect]:
        """Chooses exchange and expiries, and asks for the first of them."""
        spec, under = finding.wish.spec, finding.wish.underlying
        if spec.trading_class:
            rows = [row for row in rows if row["trading_class"] == spec.trading_class]
        places = {row["exchange"] for row in rows}
        wanted = (spec.exchange, "SMART", under.exchange) if not spec.exchange else (spec.exchange,)
        finding.exchange = next((place for place in wanted if place in places), "")
        if not finding.exchange and places and not spec.exchange:
            finding.exchange = min(places)
        listed = {day for row in rows if row["exchange"] == finding.exchange for day in row["expirations"]}
        finding.expiries.extend(choose_expiries(spec.expiry, listed, today(self._now.ns)))
        if not finding.expiries:
            if not listed:
                text = f"IB lists no options on {under.instrument} that fit"
            else:
                text = f"IB lists no such expiry of {under.instrument}; the next are {', '.join(sorted(listed)[:10])}"
            return self.give_up(finding, Rejection("invalid_instrument", text))
        return self._ask_more(finding)

    def _ask_more(self, finding: Finding) -> list[Effect]:
        effects: list[Effect] = []
        while finding.expiries and finding.running < self._config.at_a_time and not finding.over:
            if len(finding.found) >= self._config.members_max:
                finding.expiries.clear()
                break
            query = _query(finding, finding.expiries.popleft())
            finding.running += 1
            effects += self._questions.ask(
                ("expiry", query),
                _details_of(query),
                ExpiryAsker(self, finding),
                self._now,
                client=finding.wish.client,
                timeout_s=self._config.listing_timeout_s,
                traits=DEFINED,
            )
        if finding.running == 0 and not finding.over:
            effects += self._finish(finding)
        return effects

    def expiry(self, finding: Finding, contracts: Any, refusal: Rejection | None) -> list[Effect]:
        """The contracts of one expiry, or why there are none."""
        finding.running -= 1
        if finding.over:
            return []
        if refusal is not None:
            finding.refusal = refusal
            if refusal.retryable or refusal.code in _RETRYABLE:
                return self.give_up(finding, refusal)
        finding.found += [each for each in contracts if _fits(finding, each)]
        return self._ask_more(finding)

    def give_up(self, finding: Finding, rejection: Rejection) -> list[Effect]:
        """There is nothing, or not now."""
        finding.over = True
        return [Tell("subscriptions", ChainNotFound(finding.wish.name, rejection))]

    def _finish(self, finding: Finding) -> list[Effect]:
        if not finding.found:
            text = f"IB lists no options on {finding.wish.underlying.instrument} that fit"
            return self.give_up(finding, finding.refusal or Rejection("invalid_instrument", text))
        finding.over = True
        market = next((each for each in finding.found if each.trading_hours), None)
        return [Tell("subscriptions", ChainFound(finding.wish.name, named(finding.found), market))]


def _details_of(query: InstrumentQuery) -> Make:
    return lambda req_id: ReqContractDetails(req_id, query)


def _query(finding: Finding, expiry: str) -> InstrumentQuery:
    spec, under = finding.wish.spec, finding.wish.underlying
    return InstrumentQuery(
        symbol=under.symbol,
        sec_type="FOP" if under.sec_type == "FUT" else "OPT",
        exchange=finding.exchange,
        currency=under.currency,
        trading_class=spec.trading_class or None,
        last_trade_date=expiry,
        right="" if spec.right == "both" else spec.right,
    )


def _fits(finding: Finding, contract: Contract) -> bool:
    """Whether it is what was asked for: of a future's options those that are written on this very future."""
    spec, under = finding.wish.spec, finding.wish.underlying
    return (
        contract.sec_type in _OPTION_TYPES
        and contract.right in spec.rights
        and contract.strike is not None
        and (under.sec_type != "FUT" or contract.under_con_id in (0, under.con_id))
        and (spec.strike_range is None or spec.strike_range[0] <= contract.strike <= spec.strike_range[1])
    )


def named(contracts: list[Contract]) -> tuple[Contract, ...]:
    """The contracts, each once and under a name of its own, without what only trading needs."""
    unique = list({contract.con_id: contract for contract in contracts}.values())
    names = [instrument_id(contract) for contract in unique]
    counts = Counter(names)
    return tuple(
        structs.replace(
            contract,
            instrument=name if counts[name] == 1 else instrument_id(contract, with_con_id=True),
            long_name="",
            valid_exchanges="",
            market_rule_ids="",
            trading_hours="",
            liquid_hours="",
        )
        for contract, name in zip(unique, names, strict=True)
    )
