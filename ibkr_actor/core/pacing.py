"""Owns when a request may leave: IB's limits as rolling windows, priorities, fairness, one bounded queue.

Decides nothing about what is asked; keeps no contract and no subscription.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Announce, Effect, Instant, Send, Tell
from ibkr_actor.core.events import owner_of
from ibkr_actor.core.fair_queue import FairQueue, Lane, Waiting
from ibkr_actor.core.limits import Limit, Window, limits_of
from ibkr_actor.core.messages import (
    Enqueue,
    RateExceeded,
    RequestEnded,
    RequestRefused,
    RequestSent,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.requests import CANCEL_OF, AnyCancel, AnyRequest
from ibkr_actor.schema.records import System

# How many waiting requests the status shows.
_SHOWN_MAX: Final = 20
# Below this many windows it is not worth looking for empty ones.
_WINDOWS_TIDY_MIN: Final = 256


class PacingCore:
    """Releases requests as soon as every limit allows. A request held by its own limit holds up no other."""

    def __init__(self, config: PacingConfig, limits: tuple[Limit, ...] | None = None) -> None:
        self._config = config
        rows = limits_of(config) if limits is None else limits
        self._whole = tuple(Window(limit) for limit in rows if limit.scope is None)
        self._scoped = tuple(limit for limit in rows if limit.scope is not None)
        # Set by Stop until the last cancel has left.
        self._stopping = False
        # (limit, scope key) -> what was sent; kept over reconnects, since IB remembers too; removed when empty.
        self._windows: dict[Lane, Window] = {}
        self._tidy_at = _WINDOWS_TIDY_MIN
        # req_id -> request that waits; set by Enqueue, cleared when sent, withdrawn or the session ends.
        self._waiting: dict[int, Waiting] = {}
        # Requests that may go as far as is known, and those that wait for one limit and scope, with the time it frees.
        self._ready = FairQueue()
        self._parked: dict[Lane, FairQueue] = {}
        self._unpark = Deadlines[Lane]()
        # req_id -> what would cancel it; set when sent, cleared when cancelled, ended, or the session ends.
        self._open: dict[int, type[AnyCancel]] = {}
        self._cancels: deque[AnyCancel] = deque()
        self._conn: int | None = None
        self._paused_until_s = 0.0
        # When the connection's own limits allow the next message; None when nothing waits for them.
        self._held_until_s: float | None = None
        self._full = False
        self._sent_total = 0
        self._refused_total = 0
        self._stale_total = 0
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            Enqueue: self._enqueue,
            Withdraw: self._withdraw,
            RequestEnded: self._ended,
            RateExceeded: self._rate_exceeded,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            WakeUp: self._wake_up,
            Start: self._nothing,
            Stop: self._stop,
            StatusQuery: self._status_query,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Takes the message in and releases what may go now."""
        effects = self._handlers[type(message)](message, now)
        if self._conn is not None:
            effects = effects + self._pump(now)
        if self._stopping and not self._cancels:
            # The last cancel has left: now the connection may go.
            self._stopping = False
            effects = [*effects, Tell("session", Stop())]
        return effects

    def next_wakeup_s(self) -> float | None:
        """When the next request may go."""
        times = [at_s for at_s in (self._held_until_s, self._unpark.next_s()) if at_s is not None]
        return min(times, default=None)

    # ---- messages

    def _enqueue(self, message: Enqueue, now: Instant) -> list[Effect]:
        if self._conn is None or message.conn not in (0, self._conn):
            # Its owner has yet to hear that the connection is gone, and asks again on the next.
            self._stale_total += 1
            return []
        request = message.request
        if len(self._waiting) >= self._config.queue_max:
            return self._refuse(request, now)
        self._full = self._full and len(self._waiting) * 2 >= self._config.queue_max
        waiting = Waiting(request, priority=message.priority, client=message.client, since_s=now.s)
        self._waiting[request.req_id] = waiting
        lane = next((lane for lane, _ in self._lanes(request) if lane in self._parked), None)
        if lane is None:
            self._ready.push(waiting)
        else:
            # Others wait for the same limit already: behind them, or it would overtake when the limit frees.
            waiting.lane = lane
            self._parked[lane].push(waiting)
        return []

    def _refuse(self, request: AnyRequest, now: Instant) -> list[Effect]:
        self._refused_total += 1
        reason = f"{self._config.queue_max} requests are waiting for IB already"
        effects: list[Effect] = [
            Tell(owner_of(request.req_id), RequestRefused(request.req_id, reason, self._drain_s(now.s)))
        ]
        if not self._full:
            self._full = True
            effects.append(Announce(System(0, 0, now.ns, "pacing", "queue_full", "queue", f"Refusing: {reason}.")))
        return effects

    def _withdraw(self, message: Withdraw, now: Instant) -> list[Effect]:
        if self._drop_waiting(message.req_id, now):
            return []
        cancel = self._open.pop(message.req_id, None)
        if cancel is not None:
            self._cancels.append(cancel(message.req_id))
        return []

    def _ended(self, message: RequestEnded, now: Instant) -> list[Effect]:
        self._drop_waiting(message.req_id, now)
        self._open.pop(message.req_id, None)
        return []

    def _rate_exceeded(self, message: RateExceeded, now: Instant) -> list[Effect]:
        self._paused_until_s = now.s + self._config.rate_pause_s
        return []

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        self._forget_requests()
        self._conn = message.conn
        # startApi left without asking here, and IB counts it.
        for window in self._whole:
            window.add(now.s, 1)
        return []

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        self._forget_requests()
        self._conn = None
        return []

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        self._drop_all_waiting()
        self._stopping = True
        return []

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        return []

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []

    def _status_query(self, message: StatusQuery, now: Instant) -> list[Effect]:
        return [Tell("session", StatusQuery(message.ref, {**message.parts, "pacing": self.status(now)}))]

    def _forget_requests(self) -> None:
        """Drops whatever waits or is open; the windows stay, since IB goes on counting."""
        self._drop_all_waiting()
        self._open = {}
        self._cancels = deque()

    def _drop_all_waiting(self) -> None:
        self._waiting = {}
        self._ready = FairQueue()
        self._parked = {}
        self._unpark = Deadlines[Lane]()
        self._held_until_s = None

    def _drop_waiting(self, req_id: int, now: Instant) -> bool:
        waiting = self._waiting.pop(req_id, None)
        if waiting is None:
            return False
        queue, lane = waiting.queue, waiting.lane
        assert queue is not None
        queue.remove(waiting)
        if lane is not None:
            self._look_again(lane, now.s)
        return True

    # ---- releasing

    def _pump(self, now: Instant) -> list[Effect]:
        """Releases everything that all limits allow now."""
        effects: list[Effect] = []
        while True:
            self._unpark_due(now.s)
            self._held_until_s = None
            if not self._cancels and not self._ready:
                return effects
            free_s = max((window.free_at(now.s, 1) for window in self._whole), default=now.s)
            free_s = max(free_s, self._paused_until_s)
            if free_s > now.s:
                self._held_until_s = free_s
                return effects
            if self._cancels:
                self._count_message(now.s)
                effects.append(Send(self._cancels.popleft()))
                continue
            waiting = self._ready.pop()
            blocked = self._blocking_lane(waiting.request, now.s)
            if blocked is not None:
                self._park(waiting, *blocked, now.s)
                continue
            effects += self._release(waiting, now)

    def _release(self, waiting: Waiting, now: Instant) -> list[Effect]:
        request = waiting.request
        del self._waiting[request.req_id]
        self._count_message(now.s)
        for lane, limit in self._lanes(request):
            self._window(lane, limit, now.s).add(now.s, limit.weight(request))
        cancel = CANCEL_OF.get(type(request))
        if cancel is not None:
            self._open[request.req_id] = cancel
        return [Send(request), Tell(owner_of(request.req_id), RequestSent(request.req_id, now.s))]

    def _count_message(self, now_s: float) -> None:
        self._sent_total += 1
        for window in self._whole:
            window.add(now_s, 1)

    def _lanes(self, request: AnyRequest) -> Iterator[tuple[Lane, Limit]]:
        for limit in self._scoped:
            assert limit.scope is not None
            key = limit.scope(request)
            if key is not None:
                yield (limit.name, key), limit

    def _blocking_lane(self, request: AnyRequest, now_s: float) -> tuple[Lane, float] | None:
        """The lane that frees last among those that hold the request now, and when."""
        latest: tuple[Lane, float] | None = None
        for lane, limit in self._lanes(request):
            window = self._windows.get(lane)
            if window is None:
                continue
            free_s = window.free_at(now_s, limit.weight(request))
            if free_s > now_s and (latest is None or free_s > latest[1]):
                latest = (lane, free_s)
        return latest

    def _park(self, waiting: Waiting, lane: Lane, free_s: float, now_s: float) -> None:
        came_from, waiting.lane = waiting.lane, lane
        self._parked.setdefault(lane, FairQueue()).push(waiting)
        known_s = self._unpark.at(lane)
        if known_s is None or known_s > free_s:
            self._unpark.set(lane, free_s)
        if came_from is not None and came_from != lane:
            # It held room in the lane it came from; the next one there may have it.
            self._look_again(came_from, now_s)

    def _look_again(self, lane: Lane, now_s: float) -> None:
        queue = self._parked.get(lane)
        if queue is None:
            return
        if queue:
            self._unpark.set(lane, now_s)
        else:
            del self._parked[lane]
            self._unpark.clear(lane)

    def _unpark_due(self, now_s: float) -> None:
        """Moves as many requests back to the ready ones as their limit has room for."""
        for lane in self._unpark.due(now_s):
            queue = self._parked[lane]
            window = self._windows[lane]
            weight = 0
            while queue:
                head = queue.peek()
                weight += window.limit.weight(head.request)
                free_s = window.free_at(now_s, weight)
                if weight > window.limit.count or free_s > now_s:
                    self._unpark.set(lane, free_s if free_s > now_s else now_s + window.limit.span_s)
                    break
                self._ready.push(queue.pop())
            if not queue:
                del self._parked[lane]

    def _window(self, lane: Lane, limit: Limit, now_s: float) -> Window:
        window = self._windows.get(lane)
        if window is None:
            if len(self._windows) >= self._tidy_at:
                self._tidy(now_s)
            window = self._windows[lane] = Window(limit)
        return window

    def _tidy(self, now_s: float) -> None:
        """Removes windows that count nothing and hold nobody, so that they do not grow with the instruments seen."""
        for window in self._windows.values():
            window.prune(now_s)
        self._windows = {lane: window for lane, window in self._windows.items() if window.used or lane in self._parked}
        self._tidy_at = max(_WINDOWS_TIDY_MIN, 2 * len(self._windows))

    # ---- what is told

    def eta_s(self, req_id: int, now_s: float) -> float | None:
        """In how many seconds a waiting request may go at the earliest, as things stand; None when it does not wait."""
        waiting = self._waiting.get(req_id)
        if waiting is None or waiting.queue is None:
            return None
        ahead = 1
        for other in waiting.queue.in_order():
            if other is waiting:
                break
            ahead += 1
        return max(0.0, self._free_s(waiting, ahead, now_s) - now_s)

    def _free_s(self, waiting: Waiting, ahead: int, now_s: float) -> float:
        whole_s = max((window.free_at(now_s, 1) for window in self._whole), default=now_s)
        if waiting.queue is self._ready or waiting.lane is None:
            turns_s = [_nth_free_s(window, len(self._cancels) + ahead, now_s) for window in self._whole]
            return max([self._paused_until_s, whole_s, *turns_s])
        return max(self._paused_until_s, whole_s, _nth_free_s(self._windows[waiting.lane], ahead, now_s))

    def _drain_s(self, now_s: float) -> float:
        count = len(self._waiting) + len(self._cancels)
        return max([1.0, *(_nth_free_s(window, count, now_s) - now_s for window in self._whole)])

    def status(self, now: Instant) -> dict[str, object]:
        """Pacing's part of the status: what waits, for which limit, and for how long."""
        for window in self._whole:
            window.prune(now.s)
        return {
            "waiting": len(self._waiting),
            "held_by_a_limit": sum(len(queue) for queue in self._parked.values()),
            "cancels_waiting": len(self._cancels),
            "open": len(self._open),
            "sent": self._sent_total,
            "refused": self._refused_total,
            "dropped_stale": self._stale_total,
            "paused_s": round(max(0.0, self._paused_until_s - now.s), 2),
            "windows": {
                window.limit.name: {
                    "used": window.used,
                    "count": window.limit.count,
                    "window_s": window.limit.window_s,
                }
                for window in self._whole
            },
            "next": self._shown(now.s),
        }

    def _shown(self, now_s: float) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        for queue in (self._ready, *self._parked.values()):
            for ahead, waiting in enumerate(queue.in_order(), 1):
                if len(rows) == _SHOWN_MAX:
                    return rows
                rows.append(
                    {
                        "request": type(waiting.request).__name__,
                        "client": waiting.client,
                        "limit": waiting.lane[0] if waiting.queue is not self._ready and waiting.lane else "messages",
                        "eta_s": round(max(0.0, self._free_s(waiting, ahead, now_s) - now_s), 2),
                    }
                )
        return rows


def _nth_free_s(window: Window, count: int, now_s: float) -> float:
    """When the last of `count` further messages fits, if they go as soon as they can."""
    whole_turns, rest = divmod(count - 1, window.limit.count)
    return window.free_at(now_s, rest + 1) + whole_turns * window.limit.span_s
