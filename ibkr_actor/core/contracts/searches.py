"""Owns searches for symbols: who waits for which pattern, and what of it IB is asked.

Resolves no instrument: a search answers what there is, `core.contracts.core` what is meant.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Answer, CommandRef, Effect, Instant, Tell
from ibkr_actor.core.events import ErrorNotice, SymbolSamples
from ibkr_actor.core.messages import Enqueue, RateExceeded, RequestRefused, Withdraw
from ibkr_actor.core.replies import expired, rejected, rejection_of
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import ReqMatchingSymbols
from ibkr_actor.schema.commands import Rejection, Reply, Search

_PATTERN_MAX = 100


class Waiter(Struct, frozen=True):
    """A command that waits; `own_deadline` when it is its own deadline that ends the wait."""

    ref: CommandRef
    pattern: str
    own_deadline: bool


class Asked(Struct):
    """One pattern, with the numbers of those who wait for it. `req_id` None while it cannot be asked."""

    pattern: str
    client: str
    req_id: int | None = None
    asks: int = 0
    waiters: list[int] = field(default_factory=list)


class Searches:
    """The searches under way; who asks for the same pattern meanwhile shares the answer. Caller: `ContractsCore`."""

    def __init__(self, config: ContractsConfig, req_ids: ReqIds) -> None:
        self._config = config
        self._req_ids = req_ids
        self._conn: int | None = None
        # pattern -> search, and the same by req_id while IB is asked.
        self._asked: dict[str, Asked] = {}
        self._by_req: dict[int, Asked] = {}
        # number -> waiter; cleared when answered.
        self._waiters: dict[int, Waiter] = {}
        self._count = 0
        self.deadlines = Deadlines[int]()

    def __len__(self) -> int:
        return len(self._asked)

    def owns(self, req_id: int) -> bool:
        """Whether the request is a search under way."""
        return req_id in self._by_req

    def command(self, ref: CommandRef, command: Search, now: Instant) -> list[Effect]:
        """Asks IB, or waits for the answer to the same question."""
        pattern = command.pattern.strip()
        if not 0 < len(pattern) <= _PATTERN_MAX:
            text = f"pattern is 1 to {_PATTERN_MAX} characters of a symbol or a name"
            return [rejected(ref, Rejection("validation_error", text))]
        if len(self._waiters) >= self._config.pending_max:
            text = f"{self._config.pending_max} searches are waiting for IB"
            return [rejected(ref, Rejection("busy", text, None, True, 1.0))]
        left_s = self._config.timeout_s
        if command.deadline_ms is not None:
            left_s = min(left_s, (command.deadline_ms * 1_000_000 - now.ns) / 1e9)
        self._count += 1
        self._waiters[self._count] = Waiter(ref, pattern, left_s < self._config.timeout_s)
        self.deadlines.set(self._count, now.s + left_s)
        asked = self._asked.get(pattern)
        if asked is not None:
            asked.waiters.append(self._count)
            return []
        asked = self._asked[pattern] = Asked(pattern, ref.client, waiters=[self._count])
        return self._ask(asked)

    def _ask(self, asked: Asked) -> list[Effect]:
        if self._conn is None:
            return []
        asked.req_id = self._req_ids.next()
        asked.asks += 1
        self._by_req[asked.req_id] = asked
        request = ReqMatchingSymbols(asked.req_id, asked.pattern)
        return [Tell("pacing", Enqueue(request, client=asked.client, conn=self._conn))]

    # ---- answers

    def found(self, event: SymbolSamples, now: Instant) -> list[Effect]:
        """IB answers once; nothing found is an answer too."""
        asked = self._by_req.get(event.req_id)
        if asked is None:
            return []
        rows = [
            {**msgspec.structs.asdict(symbol), "derivative_sec_types": list(symbol.derivative_sec_types)}
            for symbol in event.symbols
        ]
        result = {"contracts": rows}
        return [
            Answer(waiter.ref, Reply(waiter.ref.id, waiter.ref.op, "result", result=result))
            for waiter in self._close(asked)
        ]

    def error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """What IB says of a search under way."""
        asked = self._by_req[event.req_id]
        row = lookup(event.code, event.req_id)
        effects: list[Effect] = [Tell("pacing", RateExceeded(event.code))] if row.effect == "slow_down" else []
        if row.effect in ("new_id", "slow_down") and asked.asks < self._config.max_asks:
            del self._by_req[event.req_id]
            return effects + self._ask(asked)
        if row.effect == "retry":
            # The request never left: asked again on the next connection, within its time.
            del self._by_req[event.req_id]
            asked.req_id = None
            return []
        if not row.ends_request and row.effect != "slow_down":
            return []
        return effects + self._reject(asked, rejection_of(row, event))

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing had no room for the request."""
        asked = self._by_req[message.req_id]
        return self._reject(asked, Rejection("busy", message.reason, None, True, message.retry_after_s))

    def _reject(self, asked: Asked, rejection: Rejection) -> list[Effect]:
        return [rejected(waiter.ref, rejection) for waiter in self._close(asked)]

    def _close(self, asked: Asked) -> list[Waiter]:
        """Ends a search; returns who waited, in the order they came."""
        del self._asked[asked.pattern]
        if asked.req_id is not None:
            self._by_req.pop(asked.req_id, None)
        for number in asked.waiters:
            self.deadlines.clear(number)
        return [self._waiters.pop(number) for number in asked.waiters]

    # ---- session and time

    def session(self, conn: int | None) -> list[Effect]:
        """There is a session, in which everything is asked anew, or none."""
        self._conn = conn
        self._by_req.clear()
        for asked in self._asked.values():
            asked.req_id = None
        return [effect for asked in self._asked.values() for effect in self._ask(asked)]

    def wake_up(self, now: Instant) -> list[Effect]:
        """Answers those whose time is over."""
        effects: list[Effect] = []
        for number in self.deadlines.due(now.s):
            waiter = self._waiters.pop(number)
            asked = self._asked[waiter.pattern]
            asked.waiters.remove(number)
            effects.append(expired(waiter.ref) if waiter.own_deadline else self._timed_out(waiter, asked))
            if not asked.waiters:
                if asked.req_id is not None:
                    effects.append(Tell("pacing", Withdraw(asked.req_id)))
                self._close(asked)
        return effects

    def _timed_out(self, waiter: Waiter, asked: Asked) -> Effect:
        seconds = f"{self._config.timeout_s:g} s"
        if asked.req_id is None:
            text = f"there was no connection to IB for {seconds}"
            return rejected(waiter.ref, Rejection("connection_failed", text, None, True, 5.0))
        text = f"IB did not answer the search within {seconds}"
        return rejected(waiter.ref, Rejection("farm_transient", text, None, True, 5.0))

    def stop(self) -> list[Effect]:
        """Answers everyone who still waits."""
        rejection = Rejection("connection_failed", "the sidecar stops", None, True, 5.0)
        return [effect for asked in list(self._asked.values()) for effect in self._reject(asked, rejection)]
