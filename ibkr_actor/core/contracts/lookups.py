"""Owns the look-ups under way: what IB is asked to find, who waits for it, and what becomes of both.

Takes no command apart and knows no answer from before: `core.contracts.core` does.
"""

from __future__ import annotations

from msgspec import Struct, field, structs

from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.contracts.cache import ContractCache
from ibkr_actor.core.contracts.match import choose, wire_query
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import CommandRef, Effect, Instant, Tell
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, ErrorNotice
from ibkr_actor.core.messages import (
    ContractRefreshed,
    Enqueue,
    FarmChanged,
    RateExceeded,
    RefreshContract,
    RequestRefused,
    Withdraw,
)
from ibkr_actor.core.passing import settled
from ibkr_actor.core.replies import expired, ib_text, rejected, rejection_of
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.core.session.farm_watch import FarmWatch
from ibkr_actor.schema.commands import AnyCommand, Rejection, Resolve, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import Contract, InstrumentQuery, instrument_id
from ibkr_actor.schema.keys import CHAIN
from ibkr_actor.schema.reference_commands import Chain


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


class Lookups:
    """All look-ups; who asks for the same meanwhile shares the answer. Caller: `ContractsCore`; fills its cache."""

    def __init__(self, config: ContractsConfig, cache: ContractCache, req_ids: ReqIds) -> None:
        self._config = config
        self._cache = cache
        self._req_ids = req_ids
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

    def next_s(self) -> float | None:
        """When the next look-up or command runs out of time."""
        times = (self._time_outs.next_s(), self._deadlines.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- who wants to know

    def wait(self, ref: CommandRef, command: AnyCommand, query: InstrumentQuery, now: Instant) -> list[Effect]:
        """Has a command wait for IB's answer."""
        if len(self._waiters) >= self._config.pending_max:
            text = f"{self._config.pending_max} commands are waiting for IB to name their contract"
            return [rejected(ref, Rejection("busy", text, retryable=True, retry_after_s=1.0))]
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

    def refresh(self, message: RefreshContract, now: Instant) -> list[Effect]:
        """A line holds what may be out of date; nobody waits for it."""
        query = InstrumentQuery(con_id=message.con_id, exchange=message.exchange)
        if query in self._lookups:
            self._lookups[query].refresh = True
            return []
        found = self._lookups[query] = Lookup(query, "", refresh=True)
        self._time_outs.set(query, now.s + self._config.timeout_s)
        return self._ask(found)

    def leave(self, client: str, command: Unsubscribe, query: InstrumentQuery | None) -> list[Effect]:
        """A client wants no more what still waits to be named: its commands are done in their order."""
        effects: list[Effect] = []
        for waiter in list(self._waiters.values()):
            if waiter.ref.client != client or (query is not None and waiter.query != query):
                continue
            left = _wanted_still(waiter.command, command)
            if left is None:
                text = "the client unsubscribed before IB had named the instrument"
                effects += self._drop(waiter, rejected(waiter.ref, Rejection("expired", text)))
            elif left is not waiter.command:
                changed = structs.replace(waiter, command=left)
                self._waiters[waiter.number] = self._lookups[waiter.query].waiters[waiter.number] = changed
        return effects

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

    def details(self, event: ContractDetails, now: Instant) -> list[Effect]:
        """One contract that matches."""
        asked = self._of(event.req_id)
        if asked is not None:
            if len(asked.matches) < self._config.matches_max:
                asked.matches.append(event.contract)
            else:
                asked.dropped += 1
        return []

    def details_end(self, event: ContractDetailsEnd, now: Instant) -> list[Effect]:
        """All matches are there: everyone who waits is answered or passed on."""
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

    def error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """IB's refusal, or its wish to be asked otherwise."""
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

    def refused(self, message: RequestRefused) -> list[Effect]:
        """Pacing had no room for the request."""
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

    def session_up(self, conn: int) -> list[Effect]:
        """Asks what could not be asked, or was not answered, on the new connection."""
        self._conn = conn
        self._asked.clear()
        return [effect for asked in self._lookups.values() for effect in self._ask(asked)]

    def session_down(self) -> None:
        """What IB was asked is over; who waits goes on waiting."""
        self._conn = None
        self._farms.clear()
        self._asked.clear()
        for asked in self._lookups.values():
            asked.req_id = None

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A farm of definitions went or is back: what has no answer yet is asked again then."""
        effects: list[Effect] = []
        for asked in list(self._lookups.values()) if self._farms.note(message) else ():
            effects += self._withdraw(asked)
            self._asked.pop(asked.req_id or 0, None)
            effects += self._ask(asked)
        return effects

    def wake_up(self, now: Instant) -> list[Effect]:
        """Ends what is out of time."""
        effects: list[Effect] = []
        for number in self._deadlines.due(now.s):
            waiter = self._waiters[number]
            effects += self._drop(waiter, expired(waiter.ref))
        for query in self._time_outs.due(now.s):
            effects += self._time_out(self._lookups[query])
        return effects

    def _drop(self, waiter: Waiter, answer: Effect) -> list[Effect]:
        """Answers one who waits; a look-up that nobody waits for any more is taken back."""
        asked = self._lookups[waiter.query]
        del asked.waiters[waiter.number], self._waiters[waiter.number]
        self._deadlines.clear(waiter.number)
        effects: list[Effect] = [answer]
        if not asked.waiters and not asked.refresh:
            effects += self._withdraw(asked)
            self._close(asked)
        return effects

    def _time_out(self, asked: Lookup) -> list[Effect]:
        rejection = self._farms.late("look-up", self._config.timeout_s, was_asked=asked.req_id is not None)
        return self._withdraw(asked) + self._reject(asked, rejection)

    def _withdraw(self, asked: Lookup) -> list[Effect]:
        return [] if asked.req_id is None else [Tell("pacing", Withdraw(asked.req_id))]

    def stop(self) -> list[Effect]:
        """Answers everyone who still waits."""
        rejection = Rejection("connection_failed", "the sidecar stops", None, True, 5.0)
        return [effect for asked in list(self._lookups.values()) for effect in self._reject(asked, rejection)]

    def status(self) -> dict[str, object]:
        """This part of the status."""
        return {
            "lookups": len(self._lookups),
            "commands_waiting": len(self._waiters),
            "asked": self._asks_total,
            "late_answers": self._late_total,
            "farms_away": self._farms.away,
        }


def _wanted_still(waiting: AnyCommand, command: Unsubscribe) -> AnyCommand | None:
    """What is left of a command that waits, after its client's `unsubscribe`; None when that is nothing."""
    everything = not (command.kinds or command.chain or command.scan)
    kinds = command.kinds or []
    if isinstance(waiting, Chain):
        return None if everything or CHAIN in kinds else waiting
    if not isinstance(waiting, Subscribe):
        return waiting
    left = [] if everything else [kind for kind in waiting.kinds if kind not in kinds]
    if len(left) == len(waiting.kinds):
        return waiting
    return structs.replace(waiting, kinds=left) if left else None
