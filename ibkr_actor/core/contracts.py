"""Owns resolution: from what a caller calls an instrument to the one contract IB means, and the look-ups under way.

Holds no subscription; a command whose instrument is settled goes on to `core.subscriptions`.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field, structs

from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.contract_cache import ContractCache
from ibkr_actor.core.contract_match import asked_for, choose, guessed, unaskable, wire_query
from ibkr_actor.core.deadlines import Deadlines
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
from ibkr_actor.core.farm_watch import FarmWatch
from ibkr_actor.core.ib_codes import lookup
from ibkr_actor.core.messages import (
    CommandReceived,
    ContractRefreshed,
    Enqueue,
    FarmChanged,
    ForgetContract,
    RateExceeded,
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
    Withdraw,
)
from ibkr_actor.core.passing import NAMING, passed_on, settled
from ibkr_actor.core.replies import expired, ib_text, rejected, rejection_of
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.core.searches import Searches
from ibkr_actor.schema.commands import (
    AnyCommand,
    Rejection,
    Resolve,
    Search,
    StatusCommand,
    Unsubscribe,
)
from ibkr_actor.schema.instruments import (
    Contract,
    InstrumentQuery,
    InvalidInstrumentText,
    instrument_id,
)
from ibkr_actor.schema.records import System


class Waiter(Struct, frozen=True):
    """A command that waits for its instrument."""

    number: int
    ref: CommandRef
    command: AnyCommand
    query: InstrumentQuery


class Lookup(Struct):
    """One query on its way to IB, for those who wait, or for lines (`refresh`). `req_id` None while it is not asked."""

    query: InstrumentQuery
    client: str
    req_id: int | None = None
    asks: int = 0
    waiters: dict[int, Waiter] = field(default_factory=dict)
    matches: list[Contract] = field(default_factory=list)
    dropped: int = 0
    refresh: bool = False


class ContractsCore:
    """Resolves instruments, from the cache or by asking IB once for all who wait."""

    def __init__(self, config: ContractsConfig) -> None:
        self._config = config
        self._cache = ContractCache(
            ttl_s=config.ttl_s, negative_ttl_s=config.negative_ttl_s, entries_max=config.cache_max
        )
        self._req_ids = ReqIds("contracts")
        self._searches = Searches(config, self._req_ids)
        self._conn: int | None = None
        self._farms = FarmWatch()
        # query -> look-up; cleared when answered, refused or timed out.
        self._lookups: dict[InstrumentQuery, Lookup] = {}
        # req_id -> query of a look-up that IB was asked; cleared with the look-up or the session.
        self._asked: dict[int, InstrumentQuery] = {}
        # number -> waiter, for those whose command has a deadline of its own, and all for the bound.
        self._waiters: dict[int, Waiter] = {}
        self._waiter_count = 0
        self._time_outs = Deadlines[InstrumentQuery]()
        self._deadlines = Deadlines[int]()
        self._asks_total = 0
        self._late_total = 0
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            CommandReceived: self._command,
            ContractDetails: self._details,
            ContractDetailsEnd: self._details_end,
            SymbolSamples: self._searches.found,
            ErrorNotice: self._error,
            RequestSent: self._nothing,
            RequestRefused: self._refused,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            FarmChanged: self._farm,
            RestoreContracts: self._restore,
            ForgetContract: self._forget,
            RefreshContract: self._refresh,
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
        times = (self._time_outs.next_s(), self._deadlines.next_s(), self._searches.deadlines.next_s())
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
            return [passed_on(ref, command, None)]
        try:
            query = asked_for(command.instrument)
        except InvalidInstrumentText as error:
            return [rejected(ref, Rejection("invalid_instrument", str(error)))]
        if isinstance(command, Unsubscribe):
            # From the cache however old, else what the name itself says: IB is not asked.
            contract = self._cache.find(query, now.ns, stale_too=True) or guessed(query)
            return [Tell("subscriptions", ResolvedCommand(ref, command, contract))]
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
        if len(self._waiters) >= self._config.pending_max:
            text = f"{self._config.pending_max} commands are waiting for IB to name their contract"
            return [rejected(ref, Rejection("busy", text, retryable=True, retry_after_s=1.0))]
        return self._wait(ref, command, query, now)

    def _wait(self, ref: CommandRef, command: AnyCommand, query: InstrumentQuery, now: Instant) -> list[Effect]:
        self._waiter_count += 1
        waiter = Waiter(self._waiter_count, ref, command, query)
        self._waiters[waiter.number] = waiter
        if command.deadline_ms is not None:
            left_s = (command.deadline_ms * 1_000_000 - now.ns) / 1e9
            self._deadlines.set(waiter.number, now.s + left_s)
        found = self._lookups.get(query)
        if found is not None:
            found.waiters[waiter.number] = waiter
            return []
        refresh = isinstance(command, Resolve) and command.refresh
        found = self._lookups[query] = Lookup(query, ref.client, waiters={waiter.number: waiter}, refresh=refresh)
        self._time_outs.set(query, now.s + self._config.timeout_s)
        return self._ask(found)

    def _refresh(self, message: RefreshContract, now: Instant) -> list[Effect]:
        """A line holds what may be out of date; nobody waits for it."""
        query = InstrumentQuery(con_id=message.con_id, exchange=message.exchange)
        if query in self._lookups:
            self._lookups[query].refresh = True
            return []
        found = self._lookups[query] = Lookup(query, "", refresh=True)
        self._time_outs.set(query, now.s + self._config.timeout_s)
        return self._ask(found)

    # ---- asking

    def _ask(self, asked: Lookup) -> list[Effect]:
        if self._conn is None or self._farms.none_there:
            return []
        asked.req_id = self._req_ids.next()
        asked.asks += 1
        asked.matches, asked.dropped = [], 0
        self._asked[asked.req_id] = asked.query
        self._asks_total += 1
        request = ReqContractDetails(asked.req_id, wire_query(asked.query))
        return [Tell("pacing", Enqueue(request, client=asked.client, conn=self._conn))]

    def _of(self, req_id: int) -> Lookup | None:
        query = self._asked.get(req_id)
        if query is None:
            self._late_total += 1
            return None
        return self._lookups[query]

    def _details(self, event: ContractDetails, now: Instant) -> list[Effect]:
        asked = self._of(event.req_id)
        if asked is not None:
            if len(asked.matches) < self._config.matches_max:
                asked.matches.append(event.contract)
            else:
                asked.dropped += 1
        return []

    def _details_end(self, event: ContractDetailsEnd, now: Instant) -> list[Effect]:
        asked = self._of(event.req_id)
        if asked is None:
            return []
        choice = choose(asked.query, asked.matches, self._cache.owns_its_id)
        if choice.contract is not None:
            contract, effects = self._cache.put(asked.query, choice.contract, now.ns)
            effects += [Tell("subscriptions", ContractRefreshed(contract))] if asked.refresh else []
            passed = [settled(waiter.ref, waiter.command, contract) for waiter in self._close(asked)]
            return effects + passed
        if choice.candidates:
            return self._reject(asked, self._ambiguous(asked, choice.candidates))
        text = "IB knows no such contract"
        if asked.matches:
            text = f"IB answers with {self._cache.name(asked.matches[0])}, which is not what the instrument says"
        effects = self._cache.put_unknown(asked.query, text, None, now.ns)
        return effects + self._reject(asked, Rejection("invalid_instrument", text))

    def _ambiguous(self, asked: Lookup, candidates: tuple[Contract, ...]) -> Rejection:
        names = [self._cache.name(contract) for contract in candidates]
        shown = [
            structs.replace(
                contract, instrument=name if names.count(name) == 1 else instrument_id(contract, with_con_id=True)
            )
            for contract, name in list(zip(candidates, names, strict=True))[: self._config.candidates_max]
        ]
        total = len(candidates) + asked.dropped
        text = f"{total} contracts match; say more, or name one by its con_id"
        if total > len(shown):
            text += f" (the first {len(shown)} are listed)"
        return Rejection("ambiguous_instrument", text, candidates=shown)

    def _error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        if self._searches.owns(event.req_id):
            return self._searches.error(event, now)
        asked = self._of(event.req_id)
        if asked is None:
            return []
        row = lookup(event.code, event.req_id)
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        if row.effect in ("new_id", "slow_down") and asked.asks < self._config.max_asks:
            del self._asked[event.req_id]
            return effects + self._ask(asked)
        if row.effect == "retry":
            # The request never left: asked again on the next connection, within its time.
            del self._asked[event.req_id]
            asked.req_id = None
            return []
        if not row.ends_request and row.effect != "slow_down":
            return []
        if row.kind == "invalid_contract":
            effects += self._cache.put_unknown(asked.query, ib_text(row, event), event.code, now.ns)
        return effects + self._reject(asked, rejection_of(row, event))

    def _refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        if self._searches.owns(message.req_id):
            return self._searches.refused(message, now)
        asked = self._of(message.req_id)
        if asked is None:
            return []
        return self._reject(asked, Rejection("busy", message.reason, None, True, message.retry_after_s))

    def _reject(self, asked: Lookup, rejection: Rejection) -> list[Effect]:
        return [rejected(waiter.ref, rejection) for waiter in self._close(asked)]

    def _close(self, asked: Lookup) -> list[Waiter]:
        """Ends a look-up; returns who waited, in the order they came."""
        del self._lookups[asked.query]
        self._time_outs.clear(asked.query)
        if asked.req_id is not None:
            self._asked.pop(asked.req_id, None)
        for number in asked.waiters:
            del self._waiters[number]
            self._deadlines.clear(number)
        return list(asked.waiters.values())

    # ---- session and time

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        self._conn = message.conn
        self._asked.clear()
        effects = [effect for asked in self._lookups.values() for effect in self._ask(asked)]
        return effects + self._searches.session(message.conn)

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        self._conn = None
        self._farms.clear()
        self._asked.clear()
        for asked in self._lookups.values():
            asked.req_id = None
        return self._searches.session(None)

    def _farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A farm of definitions went or is back: what has no answer yet is asked again then."""
        effects: list[Effect] = []
        for asked in list(self._lookups.values()) if self._farms.note(message) else ():
            effects += self._withdraw(asked)
            self._asked.pop(asked.req_id or 0, None)
            effects += self._ask(asked)
        return effects

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        effects = self._searches.wake_up(now)
        for number in self._deadlines.due(now.s):
            effects += self._expire(self._waiters[number])
        for query in self._time_outs.due(now.s):
            effects += self._time_out(self._lookups[query])
        return effects

    def _expire(self, waiter: Waiter) -> list[Effect]:
        asked = self._lookups[waiter.query]
        del asked.waiters[waiter.number], self._waiters[waiter.number]
        effects: list[Effect] = [expired(waiter.ref)]
        if not asked.waiters:
            effects += self._withdraw(asked)
            self._close(asked)
        return effects

    def _time_out(self, asked: Lookup) -> list[Effect]:
        rejection = self._farms.late("look-up", self._config.timeout_s, was_asked=asked.req_id is not None)
        return self._withdraw(asked) + self._reject(asked, rejection)

    def _withdraw(self, asked: Lookup) -> list[Effect]:
        return [] if asked.req_id is None else [Tell("pacing", Withdraw(asked.req_id))]

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        """Answers everyone who still waits."""
        rejection = Rejection("connection_failed", "the sidecar stops", None, True, 5.0)
        effects = [effect for asked in list(self._lookups.values()) for effect in self._reject(asked, rejection)]
        return effects + self._searches.stop()

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
            "lookups": len(self._lookups),
            "searches": len(self._searches),
            "commands_waiting": len(self._waiters),
            "asked": self._asks_total,
            "late_answers": self._late_total,
            "farms_away": self._farms.away,
        }
