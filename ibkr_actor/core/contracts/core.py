"""Owns resolution: from what a caller calls an instrument to the one contract IB means.

Holds no subscription and asks nothing itself (`core.contracts.lookups` does). A command whose instrument is settled
goes on to `core.subscriptions.core`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.contracts.cache import ContractCache
from ibkr_actor.core.contracts.lookups import Lookups
from ibkr_actor.core.contracts.match import asked_for, guessed, unaskable
from ibkr_actor.core.contracts.searches import Searches
from ibkr_actor.core.effects import (
    Announce,
    CommandRef,
    Effect,
    HolderWrite,
    Instant,
    Tell,
    WriteContracts,
    in_parts,
)
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, ErrorNotice, SymbolSamples
from ibkr_actor.core.messages import (
    CommandReceived,
    FarmChanged,
    ForgetContract,
    RedisForgot,
    RefreshContract,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    RestoreContracts,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
)
from ibkr_actor.core.passing import NAMING, passed_on, settled
from ibkr_actor.core.replies import expired, rejected
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.schema.commands import (
    AnyCommand,
    Rejection,
    Resolve,
    Search,
    StatusCommand,
    Unsubscribe,
)
from ibkr_actor.schema.instruments import (
    InstrumentQuery,
    InvalidInstrumentText,
)
from ibkr_actor.schema.records import System


class ContractsCore:
    """Resolves instruments, from the cache or by asking IB once for all who wait."""

    def __init__(self, config: ContractsConfig) -> None:
        self._cache = ContractCache(
            ttl_s=config.ttl_s, negative_ttl_s=config.negative_ttl_s, entries_max=config.cache_max
        )
        self._req_ids = ReqIds("contracts")
        self._searches = Searches(config, self._req_ids)
        self._lookups = Lookups(config, self._cache, self._req_ids)
        self._conn: int | None = None
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            CommandReceived: self._command,
            ContractDetails: self._lookups.details,
            ContractDetailsEnd: self._lookups.details_end,
            SymbolSamples: self._searches.found,
            ErrorNotice: self._error,
            RequestSent: self._nothing,
            RequestRefused: self._refused,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            FarmChanged: self._lookups.farm,
            RestoreContracts: self._restore,
            ForgetContract: self._forget,
            RefreshContract: self._lookups.refresh,
            RedisForgot: self._say_again,
            WakeUp: self._wake_up,
            Start: self._nothing,
            Stop: self._stop,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Resolves, or asks, or passes on."""
        return self._handlers[type(message)](message, now)

    def next_wakeup_s(self) -> float | None:
        """When the next look-up or command runs out of time."""
        times = (self._lookups.next_s(), self._searches.deadlines.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- commands

    def _command(self, message: CommandReceived, now: Instant) -> list[Effect]:
        ref, command = message.ref, message.command
        deadline_ns = None if command.deadline_ms is None else command.deadline_ms * 1_000_000
        if deadline_ns is not None and now.ns > deadline_ns:
            return [expired(ref)]
        if isinstance(command, StatusCommand):
            return [Tell("reference", StatusQuery(ref, {"contracts": self.status()}))]
        if isinstance(command, Search):
            return self._searches.command(ref, command, now)
        if not isinstance(command, NAMING) or command.instrument is None:
            left = self._lookups.leave(ref.client, command, None) if isinstance(command, Unsubscribe) else []
            return [*left, passed_on(ref, command, None)]
        try:
            query = asked_for(command.instrument)
        except InvalidInstrumentText as error:
            return [rejected(ref, Rejection("invalid_instrument", str(error)))]
        if isinstance(command, Unsubscribe):
            # From the cache however old, else what the name itself says: IB is not asked.
            contract = self._cache.find(query, now.ns, stale_too=True) or guessed(query)
            left = self._lookups.leave(ref.client, command, query)
            return [*left, Tell("subscriptions", ResolvedCommand(ref, command, contract))]
        return self._resolve(ref, command, query, now)

    def _resolve(self, ref: CommandRef, command: AnyCommand, query: InstrumentQuery, now: Instant) -> list[Effect]:
        if not (isinstance(command, Resolve) and command.refresh):
            # What was true a day ago is a better answer than none while IB cannot be asked.
            contract = self._cache.find(query, now.ns, stale_too=self._conn is None)
            if contract is not None:
                return [settled(ref, command, contract)]
            unknown = self._cache.find_unknown(query, now.ns)
            if unknown is not None:
                return [rejected(ref, Rejection("invalid_instrument", unknown.message, ib_code=unknown.ib_code))]
        if (reason := unaskable(query)) is not None:
            return [rejected(ref, Rejection("invalid_instrument", reason))]
        return self._lookups.wait(ref, command, query, now)

    # ---- what IB says, session and time

    def _error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        asking = self._searches if self._searches.owns(event.req_id) else self._lookups
        return asking.error(event, now)

    def _refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        if self._searches.owns(message.req_id):
            return self._searches.refused(message, now)
        return self._lookups.refused(message)

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        self._conn = message.conn
        return self._lookups.session_up(message.conn) + self._searches.session(message.conn)

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        self._conn = None
        self._lookups.session_down()
        return self._searches.session(None)

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        return self._searches.wake_up(now) + self._lookups.wake_up(now)

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        return self._lookups.stop() + self._searches.stop()

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []

    # ---- the cache

    def _restore(self, message: RestoreContracts, now: Instant) -> list[Effect]:
        effects, unreadable = self._cache.restore(message.fields, now.ns)
        if unreadable:
            text = f"{len(unreadable)} fields of the contracts hash cannot be read, such as {unreadable[0]!r}."
            effects.append(Announce(System(0, 0, now.ns, "command", "contracts_unreadable", "contracts", text)))
        return effects

    def _say_again(self, message: RedisForgot, now: Instant) -> list[Effect]:
        writes = tuple(HolderWrite(field, value) for field, value in self._cache.fields().items())
        return [WriteContracts(part) for part in in_parts(writes)]

    def _forget(self, message: ForgetContract, now: Instant) -> list[Effect]:
        return self._cache.forget(message.con_id, message.exchange)

    def status(self) -> dict[str, object]:
        """This core's part of the status."""
        return {
            **self._cache.sizes(),
            **self._lookups.status(),
            "searches": len(self._searches),
        }
