"""Owns when each waiting request may go as things stand, and how pacing looks in the status.

Changes nothing; the times are estimates where answers must free room first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from msgspec import Struct

from ibkr_actor.core.pacing.cooldowns import Cooldowns
from ibkr_actor.core.pacing.fair_queue import Lane, Waiting, in_fair_order
from ibkr_actor.core.pacing.open_requests import OpenRequests
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.pacing.waiting_room import WaitingRoom

# How many rows each list in the status has at most.
_SHOWN_MAX = 20
# By number: the session's own messages, live data and questions, history that somebody waits for, and all other.
_PRIORITIES = ("session", "live", "interactive", "backfill")


class Forecast(Struct, frozen=True):
    """One waiting request: the limit that holds it longest, and the monotonic time at which it may go."""

    waiting: Waiting
    limit: str
    at_s: float


class _Line:
    """One window as it will fill up: what counts there and what is placed before the next request."""

    __slots__ = ("_blocked_until_s", "_limit", "_sent", "_used")

    def __init__(self, window: Window, now_s: float) -> None:
        window.prune(now_s)
        self._limit = window.limit
        self._blocked_until_s = window.blocked_until_s
        self._sent = list(window.entries())
        self._used = window.used

    def free_at(self, at_s: float, weight: int) -> float:
        """When `weight` fit, not before `at_s`. What must be over by then is forgotten: they are placed next."""
        at_s = max(at_s, self._blocked_until_s)
        while self._sent and self._used + weight > self._limit.count:
            sent_s, sent_weight = heapq.heappop(self._sent)
            self._used -= sent_weight
            at_s = max(at_s, sent_s + self._limit.span_s)
        return at_s

    def place(self, at_s: float, weight: int) -> None:
        heapq.heappush(self._sent, (at_s, weight))
        self._used += weight


def forecast(
    room: WaitingRoom, opens: OpenRequests, whole: Iterable[Window], cancels: int, paused_until_s: float, now_s: float
) -> list[Forecast]:
    """Every waiting request, the soonest first, if nothing else comes."""
    held = _held(room, opens, now_s)
    messages = [_Line(window, now_s) for window in whole]
    for _ in range(cancels):
        _place(messages, max(now_s, paused_until_s))
    rows: list[Forecast] = []
    for own_s, _, limit, one in sorted(held, key=lambda row: row[:2]):
        at_s = _place(messages, max(own_s, paused_until_s))
        rows.append(Forecast(one, limit if at_s <= own_s and own_s > now_s else "messages", at_s))
    return rows


def _place(messages: list[_Line], at_s: float) -> float:
    for line in messages:
        at_s = line.free_at(at_s, 1)
    for line in messages:
        line.place(at_s, 1)
    return at_s


def _held(room: WaitingRoom, opens: OpenRequests, now_s: float) -> list[tuple[float, int, str, Waiting]]:
    """(when its own limits allow, place, the limit that allows last, request)."""
    lines: dict[Lane, _Line] = {}
    opening = dict.fromkeys(opens.limits, 0)
    rows: list[tuple[float, int, str, Waiting]] = []
    for place, one in enumerate(in_fair_order(room.waiting.values())):
        at_s, last = now_s, ""
        for name in one.opens:
            opening[name] += 1
            free_s = _opens_at(opens, name, opening[name], now_s)
            at_s, last = (free_s, name) if free_s > at_s else (at_s, last)
        claims = [((name, ""), weight) for name, weight in one.shared] + list(one.narrow)
        for lane, weight in claims:
            if lane not in lines:
                lines[lane] = _Line(room.shared.get(lane[0]) or room.window_or_empty(lane), now_s)
            free_s = lines[lane].free_at(at_s, weight)
            at_s, last = (free_s, lane[0]) if free_s > at_s else (at_s, last)
        for lane, weight in claims:
            lines[lane].place(at_s, weight)
        rows.append((at_s, place, last, one))
    return rows


def _opens_at(opens: OpenRequests, name: str, count: int, now_s: float) -> float:
    """When `count` more may be open: as answers come at the rate seen, all slots in use."""
    limit = opens.limits[name]
    excess = opens.used(name) + count - limit.count
    return now_s if excess <= 0 else now_s + excess * opens.answer_s(name) / limit.count


def window_rows(room: WaitingRoom, whole: Iterable[Window], now_s: float) -> dict[str, object]:
    """Every limit with one key: how full it is, and in how many seconds there is room for one more."""
    rows: dict[str, object] = {}
    for window in [*whole, *room.shared.values()]:
        free_s = window.free_at(now_s, 1)
        rows[window.limit.name] = {
            "used": window.used,
            "count": window.limit.count,
            "window_s": window.limit.window_s,
            "frees_in_s": round(free_s - now_s, 2),
        }
    return rows


def lane_rows(room: WaitingRoom, now_s: float) -> list[dict[str, object]]:
    """The scopes of the other limits that are full or waited for, those that free last first."""
    found: list[tuple[float, str, dict[str, object]]] = []
    for lane in {*room.narrow, *room.parked}:
        window = room.window_or_empty(lane)
        free_s = window.free_at(now_s, 1)
        waiting = len(room.parked.get(lane, ()))
        if free_s <= now_s and not waiting:
            continue
        row: dict[str, object] = {
            "limit": lane[0],
            "scope": lane[1],
            "used": window.used,
            "count": window.limit.count,
            "waiting": waiting,
            "frees_in_s": round(free_s - now_s, 2),
        }
        found.append((free_s, f"{lane[0]}:{lane[1]}", row))
    return [row for _, _, row in heapq.nlargest(_SHOWN_MAX, found, key=lambda one: one[:2])]


def cooldown_rows(cooldowns: Cooldowns, now_s: float) -> list[dict[str, object]]:
    """The limits at rest after IB's pacing error, and for how long."""
    return [
        {"scope": one.scope, "remains_s": round(max(0.0, one.until_s - now_s), 2), "violations": one.strikes}
        for one in cooldowns.running()
    ]


def open_rows(opens: OpenRequests) -> dict[str, object]:
    """How many requests are unanswered under each limit on that."""
    return {
        name: {"open": opens.used(name), "count": limit.count, "answer_s": round(opens.answer_s(name), 2)}
        for name, limit in opens.limits.items()
    }


def waiting_rows(rows: list[Forecast], now_s: float) -> list[dict[str, object]]:
    """The next requests, each with its priority, the limit that holds it, and the seconds it still takes."""
    return [
        {
            "request": type(row.waiting.request).__name__,
            "client": row.waiting.client,
            "priority": _PRIORITIES[min(row.waiting.priority, len(_PRIORITIES) - 1)],
            "limit": row.limit,
            "eta_s": round(max(0.0, row.at_s - now_s), 2),
        }
        for row in rows[:_SHOWN_MAX]
    ]
