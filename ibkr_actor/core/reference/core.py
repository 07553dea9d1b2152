"""Owns the reference actor: one-off questions to IB, for commands and for chains.

Holds no subscription and resolves no instrument.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ibkr_actor.core.boards.scans import NOTHING_FOUND, SETTLE_S
from ibkr_actor.core.chains.finder import ChainFinder
from ibkr_actor.core.chains.messages import FindChain
from ibkr_actor.core.config import ReferenceConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, ErrorNotice
from ibkr_actor.core.messages import (
    FarmChanged,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
)
from ibkr_actor.core.reference.questions import Questions
from ibkr_actor.core.reference.reference import Reference
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.reference_commands import ReferenceCommand


class ReferenceCore:
    """Asks, and answers with what IB says."""

    def __init__(self, config: ReferenceConfig) -> None:
        self._questions = Questions(
            ReqIds("reference"), timeout_s=config.timeout_s, pending_max=config.pending_max, asks_max=config.max_asks
        )
        self._reference = Reference(self._questions)
        # When a scan that found nothing is answered, though its ranking does not end: IB may leave that out.
        self._settling = Deadlines[int]()
        self._finder = ChainFinder(config, self._questions)
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            **self._reference.handlers,
            ResolvedCommand: self._command,
            FindChain: self._finder.find,
            ContractDetails: self._details,
            ContractDetailsEnd: self._details_end,
            ErrorNotice: self._error,
            RequestRefused: self._refused,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            WakeUp: self._wake_up,
            RequestSent: self._sent,
            FarmChanged: self._farm,
            StatusQuery: self._status_query,
            Start: self._nothing,
            Stop: self._stop,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Asks, or answers."""
        self._finder.at(now)
        return self._handlers[type(message)](message, now)

    def next_wakeup_s(self) -> float | None:
        """When somebody's time is over."""
        times = (self._questions.deadlines.next_s(), self._settling.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    def _command(self, message: ResolvedCommand, now: Instant) -> list[Effect]:
        command = message.command
        if not isinstance(command, ReferenceCommand):
            text = f"{type(command).__name__} is not served here"
            return [rejected(message.ref, Rejection("unsupported", text))]
        return self._reference.command(message.ref, command, message.contract, now)

    def _details(self, message: ContractDetails, now: Instant) -> list[Effect]:
        self._questions.part(message.req_id, message.contract)
        return []

    def _details_end(self, message: ContractDetailsEnd, now: Instant) -> list[Effect]:
        return self._questions.answered(message.req_id, tuple(self._questions.parts(message.req_id)))

    def _error(self, message: ErrorNotice, now: Instant) -> list[Effect]:
        if message.req_id < 0:
            return self._questions.stray(message)
        if message.code == NOTHING_FOUND and self._reference.is_scan(message.req_id):
            self._settling.set(message.req_id, now.s + SETTLE_S)
            return []
        return self._questions.error(message) if self._questions.owns(message.req_id) else []

    def _sent(self, message: RequestSent, now: Instant) -> list[Effect]:
        self._questions.sent(message.req_id)
        return []

    def _farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        return self._questions.farm(message)

    def _refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        return self._questions.refused(message) if self._questions.owns(message.req_id) else []

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        return self._questions.session(message.conn)

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        return self._questions.session(None)

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        effects = [effect for req_id in self._settling.due(now.s) for effect in self._reference.ranked(req_id)]
        return effects + self._questions.wake_up(now)

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        return self._questions.stop()

    def _status_query(self, message: StatusQuery, now: Instant) -> list[Effect]:
        own = {"questions": len(self._questions), "farms_away": self._questions.farms_away}
        return [Tell("subscriptions", StatusQuery(message.ref, {**message.parts, "reference": own}))]

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []
