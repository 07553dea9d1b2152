"""Owns computations on options asked for by command: what IB makes of a price or a volatility of the caller's.

Holds no line; waiting is `core.reference.questions`'.
"""

from __future__ import annotations

import math
from typing import Final

from ibkr_actor.core import events
from ibkr_actor.core.chains.member import computed
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import CommandRef, Effect, Instant
from ibkr_actor.core.reference.questions import CommandAsker, Make, Questions, Traits
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import CalcImpliedVolatility, CalcOptionPrice
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import WITH_STRIKE, Contract
from ibkr_actor.schema.reference_commands import CalcCommand, CalcIv

_PENDING_MAX: Final = 1000
# IB computes with what the market data farms tell it.
_PRICED: Final = Traits(needs_farm=True)


class Calcs:
    """The computations under way. Caller: `SubscriptionsCore` only, since the answers come as market data."""

    def __init__(self, config: SubscriptionsConfig, req_ids: ReqIds) -> None:
        self.questions = Questions(
            req_ids, timeout_s=config.snapshot_timeout_s, pending_max=_PENDING_MAX, asks_max=config.max_asks
        )

    def command(self, ref: CommandRef, command: CalcCommand, contract: Contract, now: Instant) -> list[Effect]:
        """Asks, or refuses what cannot be asked."""
        if contract.sec_type not in WITH_STRIKE:
            return [rejected(ref, Rejection("unsupported", f"{contract.instrument} is no option"))]
        given = command.option_price if isinstance(command, CalcIv) else command.volatility
        under = command.underlying_price
        if not (math.isfinite(given) and math.isfinite(under) and given > 0 and under > 0):
            name = "option_price" if isinstance(command, CalcIv) else "volatility"
            text = f"{name} and underlying_price are greater than 0"
            return [rejected(ref, Rejection("validation_error", text))]
        make: Make = (
            (lambda req_id: CalcImpliedVolatility(req_id, contract, given, under))
            if isinstance(command, CalcIv)
            else (lambda req_id: CalcOptionPrice(req_id, contract, given, under))
        )
        key = (contract.instrument, ref.op, given, under)
        left_s = None if command.deadline_ms is None else (command.deadline_ms * 1_000_000 - now.ns) / 1e9
        asker = CommandAsker(ref)
        return self.questions.ask(key, make, asker, now, client=ref.client, left_s=left_s, traits=_PRICED)

    def owns(self, req_id: int) -> bool:
        """Whether the request is a computation under way."""
        return self.questions.owns(req_id)

    def take(self, event: events.MarketDataEvent) -> list[Effect]:
        """The answer, if it is one."""
        if not isinstance(event, events.TickOptionComputation):
            return []
        key = self.questions.key_of(event.req_id)
        name = key[0] if isinstance(key, tuple) else ""
        figures = computed(event)
        result = {"instrument": name} | {field: getattr(figures, field) for field in figures.__struct_fields__}
        return self.questions.answered(event.req_id, result)
