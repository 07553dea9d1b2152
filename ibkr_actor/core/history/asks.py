"""Owns the requests of history that are on their way: asked once for all who want the same, repeated when they must be.

Knows no job and reads no bar: who waits is told what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field, structs

from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.history.events import HistoricalBar, HistoricalTick
from ibkr_actor.core.messages import Enqueue, FarmChanged, RequestEnded, Withdraw
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.core.session.farm_watch import FARM_RETRY_S, FarmWatch

# A priority of pacing each: what a person waits for goes first, live data before either.
INTERACTIVE: Final = 2
BACKFILL: Final = 3
# Of the usual time for an answer, what is left to a request that was asked while a farm was away.
_GRACE: Final = 0.1
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
    # IB was silent while a farm was away: `parked` until it is back. What was asked before that is `doubtful`.
    parked: bool = False
    doubtful: bool = False
    # What came of an answer that goes on.
    bars: list[HistoricalBar] = field(default_factory=list)
    ticks: list[HistoricalTick] = field(default_factory=list)

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
        self.farms = FarmWatch()
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

    def waits_for_farm(self, ask: Ask) -> bool:
        """Whether it will be asked when a farm is back."""
        return ask.parked or (self.farms.none_there and not ask.asked)

    def waits(self, waiter: str) -> bool:
        """Whether something is asked for it, so that an answer may be expected."""
        return any(ask.asked and any(name == waiter for name, _ in ask.waiters) for ask in self)

    def held_jobs(self) -> set[str]:
        """Who waits for a farm."""
        return {name for ask in self if self.waits_for_farm(ask) for name, _ in ask.waiters}

    def status(self) -> dict[str, object]:
        """What is asked, and what waits for a farm."""
        waiting = sum(1 for ask in self if self.waits_for_farm(ask))
        return {"asked": len(self), "sent": self.sent, "farms_away": self.farms.away, "waiting_for_farm": waiting}

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
        ask.bars, ask.ticks, ask.doubtful = [], [], False
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
        self.farms.clear()
        for ask in self._by_key.values():
            if ask.asked:
                self._forget(ask)
            ask.bars, ask.ticks = [], []

    def farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        """A history farm went or is back: what waited for it is asked, and what was asked meanwhile has little time."""
        return self._back(now) if self.farms.note(message) else []

    def upstream(self, lost: bool, now: Instant) -> list[Effect]:
        """The same of TWS and IB: what was asked before may have been lost on the way."""
        return self._back(now) if self.farms.note_upstream(lost) else []

    def _back(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for ask in self:
            if ask.parked:
                ask.parked = False
                self._retries.clear(ask.key)
            if not ask.asked and ask.key not in self._retries:
                effects += self._send(ask)
            elif (at_s := self._time_outs.at(ask.request.req_id)) is not None:
                ask.doubtful = True
                self._time_outs.set(ask.request.req_id, min(at_s, now.s + self._timeout_s * _GRACE))
        return effects

    def excused(self, ask: Ask, now: Instant) -> list[Effect] | None:
        """What becomes of an ask that IB did not answer, if a farm is the likely reason, or None."""
        if self.farms.excuses_silence:
            return self.park(ask, now, ended=False)
        return self.again(ask, now, ended=False) if ask.doubtful else None

    def park(self, ask: Ask, now: Instant, *, ended: bool = True) -> list[Effect]:
        """A farm is away: asked again when one is back, or when IB may have forgotten to say so. No failure."""
        ask.parked = True
        after_s = self._timeout_s if self.farms.excuses_silence else FARM_RETRY_S
        return self.again(ask, now, after_s=after_s, ended=ended)

    def due(self, now: Instant) -> tuple[list[Effect], list[Ask]]:
        """Asks again what is due for it; and what IB did not answer in time."""
        effects: list[Effect] = []
        for key in self._retries.due(now.s):
            ask = self._by_key.get(key)
            if ask is not None and not ask.asked:
                ask.parked = False
                effects += self._send(ask)
        silent = [self._by_req_id[req_id] for req_id in self._time_outs.due(now.s) if req_id in self._by_req_id]
        return effects, silent

    # ---- inside

    def _send(self, ask: Ask) -> list[Effect]:
        if self._conn is None or self.farms.none_there:
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
