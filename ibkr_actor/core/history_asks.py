"""Owns the requests of history that are on their way: asked once for all who want the same, repeated when they must be.

Knows no job and reads no bar: who waits is told what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field, structs

from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.events import HistoricalBar
from ibkr_actor.core.messages import Enqueue, RequestEnded, Withdraw
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import AnyRequest

# A priority of pacing each: what a person waits for goes first, live data before either.
INTERACTIVE: Final = 2
BACKFILL: Final = 3
# Who waits: a job, and which of its parts.
Waiter = tuple[str, int]


class Ask(Struct):
    """One request. `request.req_id` is its present id; 0 while it is not asked."""

    request: AnyRequest
    client: str
    priority: int
    waiters: list[Waiter] = field(default_factory=list)
    asked: bool = False
    # How often IB did not answer it or had to be asked anew; a new connection is no failure.
    failures: int = 0
    unclear: int = 0
    bars: list[HistoricalBar] = field(default_factory=list)

    @property
    def key(self) -> AnyRequest:
        """The same for requests that ask for the same."""
        return structs.replace(self.request, req_id=0)


class Asks:
    """What is asked, by what it asks for and by req_id. `timeout_s` is how long IB may take once it was sent."""

    def __init__(self, req_ids: ReqIds, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._req_ids = req_ids
        self._conn: int | None = None
        # what is asked for -> the ask; set by `add`, cleared by `close` and when nobody waits any more.
        self._by_key: dict[AnyRequest, Ask] = {}
        # present req_id -> the ask; cleared when it is asked again, closed, or the session ends.
        self._by_req_id: dict[int, Ask] = {}
        self._time_outs = Deadlines[int]()
        # what is asked for -> when it may be asked again.
        self._retries = Deadlines[AnyRequest]()
        self.sent = 0

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Ask]:
        return iter(list(self._by_key.values()))

    def next_wakeup_s(self) -> float | None:
        times = [at_s for at_s in (self._time_outs.next_s(), self._retries.next_s()) if at_s is not None]
        return min(times, default=None)

    def add(self, request: AnyRequest, waiter: Waiter, *, client: str, priority: int) -> list[Effect]:
        """Asks, or waits for the same that is asked already; a waiter in more of a hurry moves it forward."""
        key = structs.replace(request, req_id=0)
        ask = self._by_key.get(key)
        if ask is None:
            ask = self._by_key[key] = Ask(key, client, priority, [waiter])
            return self._send(ask)
        ask.waiters.append(waiter)
        if priority < ask.priority:
            ask.priority, ask.client = priority, client
            if ask.asked and ask.request.req_id not in self._time_outs:
                # It still waits in pacing, among those that are in less of a hurry.
                return [*self._unsend(ask), *self._send(ask)]
        return []

    def of(self, req_id: int) -> Ask | None:
        """The ask an event belongs to; None for one that is over."""
        return self._by_req_id.get(req_id)

    def was_sent(self, req_id: int, now: Instant) -> None:
        """Pacing let it go: IB's time runs."""
        if req_id in self._by_req_id:
            self.sent += 1
            self._time_outs.set(req_id, now.s + self._timeout_s)

    def goes_on(self, req_id: int, now: Instant) -> None:
        """A part of the answer came."""
        if req_id in self._time_outs:
            self._time_outs.set(req_id, now.s + self._timeout_s)

    def close(self, ask: Ask, *, ended: bool = True) -> list[Effect]:
        """The ask is over; `ended` when IB knows that too."""
        self._by_key.pop(ask.key, None)
        self._retries.clear(ask.key)
        if not ask.asked:
            return []
        req_id = ask.request.req_id
        effects: list[Effect] = [Tell("pacing", RequestEnded(req_id) if ended else Withdraw(req_id))]
        self._forget(ask)
        return effects

    def again(self, ask: Ask, now: Instant, *, after_s: float = 0.0, ended: bool = True) -> list[Effect]:
        """Asks again under another id, now or later."""
        effects = self._unsend(ask, ended=ended)
        ask.bars = []
        if after_s > 0:
            self._retries.set(ask.key, now.s + after_s)
            return effects
        return [*effects, *self._send(ask)]

    def leave(self, job: str) -> list[Effect]:
        """A job wants nothing more; what nobody else waits for is taken back."""
        effects: list[Effect] = []
        for ask in list(self._by_key.values()):
            ask.waiters = [waiter for waiter in ask.waiters if waiter[0] != job]
            if not ask.waiters:
                effects += self.close(ask, ended=False)
        return effects

    def session_up(self, conn: int) -> list[Effect]:
        """Everything is asked for on the new connection."""
        self._conn = conn
        return [
            effect for ask in list(self._by_key.values()) if ask.key not in self._retries for effect in self._send(ask)
        ]

    def session_down(self) -> None:
        """What was asked is gone with the connection."""
        self._conn = None
        for ask in self._by_key.values():
            if ask.asked:
                self._forget(ask)
            ask.bars = []

    def due(self, now: Instant) -> tuple[list[Effect], list[Ask]]:
        """Asks again what is due for it; and what IB did not answer in time."""
        effects: list[Effect] = []
        for key in self._retries.due(now.s):
            ask = self._by_key.get(key)
            if ask is not None and not ask.asked:
                effects += self._send(ask)
        silent = [self._by_req_id[req_id] for req_id in self._time_outs.due(now.s) if req_id in self._by_req_id]
        return effects, silent

    # ---- inside

    def _send(self, ask: Ask) -> list[Effect]:
        if self._conn is None:
            return []
        ask.request = structs.replace(ask.request, req_id=self._req_ids.next())
        ask.asked = True
        self._by_req_id[ask.request.req_id] = ask
        return [Tell("pacing", Enqueue(ask.request, ask.priority, ask.client, self._conn))]

    def _unsend(self, ask: Ask, *, ended: bool = False) -> list[Effect]:
        if not ask.asked:
            return []
        req_id = ask.request.req_id
        self._forget(ask)
        return [Tell("pacing", RequestEnded(req_id) if ended else Withdraw(req_id))]

    def _forget(self, ask: Ask) -> None:
        self._by_req_id.pop(ask.request.req_id, None)
        self._time_outs.clear(ask.request.req_id)
        ask.asked = False
