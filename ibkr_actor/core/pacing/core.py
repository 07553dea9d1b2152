"""Owns when a request may leave: as soon as every limit allows, fairly, from one bounded queue.

Decides nothing about what is asked; keeps no contract and no subscription.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Announce, Answer, Effect, Instant, Send, Tell, WritePacing
from ibkr_actor.core.events import owner_of
from ibkr_actor.core.messages import (
    ClearCooldowns,
    Enqueue,
    Forecasted,
    ForecastQuery,
    PacingViolated,
    RateExceeded,
    RedisForgot,
    RequestEnded,
    RequestRefused,
    RequestSent,
    RestorePacing,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.pacing import forecast as pacing_forecast
from ibkr_actor.core.pacing.cooldowns import Cooldowns
from ibkr_actor.core.pacing.fair_queue import Waiting
from ibkr_actor.core.pacing.limits import (
    SMALL_BARS_LIMIT,
    SWITCHED_MESSAGES,
    Limit,
    OpenLimit,
    limits_of,
    messages_of,
    open_limits_of,
)
from ibkr_actor.core.pacing.memory import MemoryUnreadable, PacingMemory, restore
from ibkr_actor.core.pacing.open_requests import OpenRequests
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.pacing.waiting_room import WaitingRoom
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.records import System

# Of how many sent requests it is remembered what they counted as, for a complaint that comes after their end.
_RECENT_MAX: Final = 4096


class PacingCore:
    """Releases requests as soon as every limit allows. A request held by its own limit holds up no other.

    Within one limit a heavy request whose turn it is keeps room that lighter ones behind it could use, or it would
    wait for ever; nothing else that all its limits allow is held.
    """

    def __init__(
        self,
        config: PacingConfig,
        limits: tuple[Limit, ...] | None = None,
        open_limits: tuple[OpenLimit, ...] | None = None,
    ) -> None:
        self._config = config
        rows = limits_of(config) if limits is None else limits
        self._whole = tuple(Window(limit) for limit in rows if limit.scope is None)
        self._open = OpenRequests(config, open_limits_of(config) if open_limits is None else open_limits)
        self._room = WaitingRoom(rows, self._open, config.lower_priority_every)
        self._cooldowns = Cooldowns(config)
        self._memory = PacingMemory(config, self._room, self._cooldowns)
        # Set by Stop until the last cancel has left.
        self._stopping = False
        # req_id -> (limit that rests if IB complains, when it was sent), oldest first.
        self._recent: OrderedDict[int, tuple[str, float]] = OrderedDict()
        # Requests that wait and take several messages.
        self._longer: set[int] = set()
        self._conn: int | None = None
        self._paused_until_s = 0.0
        # When the connection's own limits allow the next message; None when nothing waits for them.
        self._held_until_s: float | None = None
        self._full = False
        self._sent_total = 0
        self._refused_total = 0
        self._stale_total = 0
        self._violations_total = 0
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            Enqueue: self._enqueue,
            Withdraw: self._withdraw,
            RequestEnded: self._ended,
            RateExceeded: self._rate_exceeded,
            PacingViolated: self._violated,
            ClearCooldowns: self._clear_cooldowns,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            RestorePacing: self._restore,
            RedisForgot: self._say_again,
            WakeUp: self._nothing,
            Start: self._nothing,
            Stop: self._stop,
            StatusQuery: self._status_query,
            ForecastQuery: self._forecast_query,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Takes the message in and releases what may go now. What is to be written goes before what is sent."""
        effects = self._end_cooldowns(now) + self._handlers[type(message)](message, now)
        self._open.forget_abandoned(now.s)
        if self._conn is not None:
            effects = effects + self._pump(now)
        value = self._memory.due(now)
        if value is not None:
            effects = [WritePacing(value), *effects]
        if self._stopping and not self._open.cancels:
            # The last cancel has left: now the connection may go.
            self._stopping = False
            effects = [*effects, Tell("session", Stop())]
        return effects

    def next_wakeup_s(self) -> float | None:
        """When the next request may go, or something is to be written or announced."""
        times = (
            # While the connection itself may not send, no other limit is worth a look.
            self._room.next_s() if self._held_until_s is None else self._held_until_s,
            self._memory.next_s(),
            self._cooldowns.next_s(),
            self._open.next_s(),
        )
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- requests

    def _enqueue(self, message: Enqueue, now: Instant) -> list[Effect]:
        if self._conn is None or message.conn not in (0, self._conn):
            # Its owner has yet to hear that the connection is gone, and asks again on the next.
            self._stale_total += 1
            return []
        waiting = len(self._room.waiting)
        if waiting >= self._config.queue_max:
            return self._refuse(message.request, now)
        self._full = self._full and waiting * 2 >= self._config.queue_max
        if messages_of(message.request) > 1:
            self._longer.add(message.request.req_id)
        self._room.add(message.request, priority=message.priority, client=message.client, now_s=now.s)
        return []

    def _refuse(self, request: AnyRequest, now: Instant) -> list[Effect]:
        self._refused_total += 1
        reason = f"{self._config.queue_max} requests are waiting for IB already"
        effects: list[Effect] = [
            Tell(owner_of(request.req_id), RequestRefused(request.req_id, reason, self._drain_s(now.s)))
        ]
        if not self._full:
            self._full = True
            effects.append(_announce("queue_full", "queue", f"Refusing: {reason}.", now))
        return effects

    def _withdraw(self, message: Withdraw, now: Instant) -> list[Effect]:
        if not self._room.drop(message.req_id, now.s):
            self._open.withdraw(message.req_id, now.s)
        return []

    def _ended(self, message: RequestEnded, now: Instant) -> list[Effect]:
        if not self._room.drop(message.req_id, now.s):
            self._open.ended(message.req_id, now.s)
        return []

    def _rate_exceeded(self, message: RateExceeded, now: Instant) -> list[Effect]:
        self._paused_until_s = now.s + self._config.rate_pause_s
        return []

    # ---- cooldowns

    def _violated(self, message: PacingViolated, now: Instant) -> list[Effect]:
        """IB ended the request; the limit it counts against rests. What cannot be told apart counts as small bars."""
        self._violations_total += 1
        self._open.ended(message.req_id, now.s)
        resting = self._cooling_scopes()
        if not resting:
            return []
        scope, sent_s = self._recent.get(message.req_id, (resting[0], now.s))
        cooldown = self._cooldowns.begin(scope, sent_s, now.s)
        if cooldown is None:
            return []
        self._room.shared[scope].blocked_until_s = cooldown.until_s
        self._memory.changed()
        text = f"IB says that {scope} were asked too fast: nothing more for {cooldown.until_s - now.s:.1f} s."
        return [_announce("cooldown_started", scope, text, now)]

    def _cooling_scopes(self) -> list[str]:
        """The limits that rest when IB says that they were broken."""
        return [name for name, window in self._room.shared.items() if window.limit.cools]

    def _clear_cooldowns(self, message: ClearCooldowns, now: Instant) -> list[Effect]:
        scopes = self._cooling_scopes()
        if message.scope and message.scope not in scopes:
            text = f"no cooldown has the scope {message.scope!r}; there are {', '.join(scopes)}"
            return [rejected(message.ref, Rejection("validation_error", text))]
        ended = self._open_again(self._cooldowns.clear(message.scope))
        reply = Reply(message.ref.id, message.ref.op, "result", result={"cleared": len(ended), "scopes": ended})
        effects: list[Effect] = [Answer(message.ref, reply)]
        if ended:
            self._memory.changed()
        return effects + [_announce("cooldown_cleared", scope, "Cleared by a command.", now) for scope in ended]

    def _end_cooldowns(self, now: Instant) -> list[Effect]:
        ended = self._open_again(self._cooldowns.due(now.s))
        return [_announce("cooldown_ended", scope, f"Asking for {scope} again.", now) for scope in ended]

    def _open_again(self, scopes: list[str]) -> list[str]:
        for scope in scopes:
            self._room.shared[scope].blocked_until_s = float("-inf")
        return scopes

    # ---- session

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

    def _forget_requests(self) -> None:
        """Drops whatever waits or is open; the windows stay, since IB goes on counting."""
        self._room.clear()
        self._open.clear()
        self._held_until_s = None

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        self._room.clear()
        self._held_until_s = None
        self._stopping = True
        value = self._memory.last(now)
        return [] if value is None else [WritePacing(value)]

    def _restore(self, message: RestorePacing, now: Instant) -> list[Effect]:
        if not message.value:
            return []
        try:
            restore(message.value, self._room, self._cooldowns, now)
        except MemoryUnreadable as error:
            text = f"What was sent before the restart is not known, and not counted: {error}."
            return [_announce("memory_unreadable", "memory", text, now)]
        return []

    def _say_again(self, message: RedisForgot, now: Instant) -> list[Effect]:
        self._memory.changed()
        return []

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []

    # ---- releasing

    def _pump(self, now: Instant) -> list[Effect]:
        """Releases everything that all limits allow now."""
        effects: list[Effect] = []
        self._room.rest()
        while True:
            self._held_until_s = None
            if not self._open.cancels and not self._room.stirs(now.s):
                return effects
            # Whichever request is next, its messages leave together.
            self._longer = {req_id for req_id in self._longer if req_id in self._room.waiting}
            messages = SWITCHED_MESSAGES if self._longer else 1
            free_s = max((window.free_at(now.s, messages) for window in self._whole), default=now.s)
            free_s = max(free_s, self._paused_until_s)
            if free_s > now.s:
                self._held_until_s = free_s
                self._room.rest()
                return effects
            if self._open.cancels:
                self._count_message(now.s)
                effects.append(Send(self._open.next_cancel()))
                continue
            waiting = self._room.take(now.s)
            if waiting is None:
                return effects
            effects += self._release(waiting, now)

    def _release(self, waiting: Waiting, now: Instant) -> list[Effect]:
        request = waiting.request
        self._count_message(now.s, messages_of(request))
        self._open.add(request, waiting.opens, now.s)
        self._memory.note(waiting)
        for name, _ in waiting.shared:
            if self._room.shared[name].limit.cools:
                self._recent[request.req_id] = (name, now.s)
                if len(self._recent) > _RECENT_MAX:
                    self._recent.popitem(last=False)
        return [Send(request), Tell(owner_of(request.req_id), RequestSent(request.req_id, now.s))]

    def _count_message(self, now_s: float, messages: int = 1) -> None:
        self._sent_total += messages
        for window in self._whole:
            window.add(now_s, messages)

    # ---- what is told

    def forecast(self, now_s: float) -> list[pacing_forecast.Forecast]:
        """When each waiting request may go, the soonest first. O(n log n) for n that wait: not for a loop."""
        return pacing_forecast.forecast(
            self._room, self._open, self._whole, self._open.cancels, self._paused_until_s, now_s
        )

    def eta_s(self, req_id: int, now_s: float) -> float | None:
        """In how many seconds a waiting request may go, as things stand; None when it does not wait."""
        found = (row.at_s for row in self.forecast(now_s) if row.waiting.request.req_id == req_id)
        at_s = next(found, None)
        return None if at_s is None else max(0.0, at_s - now_s)

    def _forecast_query(self, message: ForecastQuery, now: Instant) -> list[Effect]:
        window = self._room.shared.get(SMALL_BARS_LIMIT)
        free_s = max(self._paused_until_s, now.s if window is None else window.free_at(now.s, 1))
        rests = [rest.until_s for rest in self._cooldowns.running() if rest.scope == SMALL_BARS_LIMIT]
        return [Tell("history", Forecasted(max(free_s, now.s, *rests) - now.s))]

    def _drain_s(self, now_s: float) -> float:
        count = len(self._room.waiting) + self._open.cancels
        return max([1.0, *(window.full_turns_at(now_s, count) - now_s for window in self._whole)])

    def _status_query(self, message: StatusQuery, now: Instant) -> list[Effect]:
        return [Tell("session", StatusQuery(message.ref, {**message.parts, "pacing": self.status(now)}))]

    def figures(self, now: Instant) -> dict[str, object]:
        """What costs little to tell, for a look every second: no forecast."""
        return {
            "waiting": len(self._room.waiting),
            "open": len(self._open),
            "open_limits": pacing_forecast.open_rows(self._open),
            "sent": self._sent_total,
            "refused": self._refused_total,
            "pacing_violations": self._violations_total,
            "paused_s": round(max(0.0, self._paused_until_s - now.s), 2),
            "cooldowns": len(pacing_forecast.cooldown_rows(self._cooldowns, now.s)),
            "windows": pacing_forecast.window_rows(self._room, self._whole, now.s),
        }

    def status(self, now: Instant) -> dict[str, object]:
        """Pacing's part of the status: what waits, for which limit, and for how long."""
        rows = self.forecast(now.s)
        waiting_for: dict[str, int] = {}
        for row in rows:
            waiting_for[row.limit] = waiting_for.get(row.limit, 0) + 1
        return {
            "waiting": len(rows),
            "held_by_a_limit": len(rows) - waiting_for.get("messages", 0),
            "waiting_for": waiting_for,
            "drained_in_s": round(max((row.at_s for row in rows), default=now.s) - now.s, 2),
            "cancels_waiting": self._open.cancels,
            "open": len(self._open),
            "open_limits": pacing_forecast.open_rows(self._open),
            "sent": self._sent_total,
            "refused": self._refused_total,
            "dropped_stale": self._stale_total,
            "pacing_violations": self._violations_total,
            "paused_s": round(max(0.0, self._paused_until_s - now.s), 2),
            "cooldowns": pacing_forecast.cooldown_rows(self._cooldowns, now.s),
            "windows": pacing_forecast.window_rows(self._room, self._whole, now.s),
            "lanes": pacing_forecast.lane_rows(self._room, now.s),
            "next": pacing_forecast.waiting_rows(rows, now.s),
        }


def _announce(event: str, subject: str, text: str, now: Instant) -> Announce:
    return Announce(System(0, 0, now.ns, "pacing", event, subject, text))
