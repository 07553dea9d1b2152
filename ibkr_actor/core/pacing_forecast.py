"""Owns when each waiting request may go as things stand, and how pacing looks in the status.

Changes nothing; the times are estimates where answers must free room first.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable

from msgspec import Struct

from ibkr_actor.core.cooldowns import Cooldowns
from ibkr_actor.core.fair_queue import Lane, Waiting, in_fair_order
from ibkr_actor.core.open_requests import OpenRequests
from ibkr_actor.core.rolling_window import Window
from ibkr_actor.core.waiting_room import WaitingRoom

# How many rows each list in the status has at most.
_SHOWN_MAX = 20


class Forecast(Struct, frozen=True):
    """One waiting request: the limit that holds it longest, and the monotonic time at which it may go."""

    waiting: Waiting
    limit: str
    at_s: float


class _Line:
    """What stands before a request under one limit. Weights that do not divide its count leave a rest unused."""

    def __init__(self, count: int, at: Callable[[int], float]) -> None:
        self._count = count
        self._at = at
        self._weight = 0

    def add(self, weight: int) -> float:
        """When one more request of `weight` may go."""
        rest = self._weight % self._count
        if rest and rest + weight > self._count:
            self._weight += self._count - rest
        self._weight += weight
        return self._at(self._weight)


def forecast(
    room: WaitingRoom, opens: OpenRequests, whole: Iterable[Window], cancels: int, paused_until_s: float, now_s: float
) -> list[Forecast]:
    """Every waiting request, the soonest first, if nothing else comes."""
    held = _held(room, opens, now_s)
    windows = list(whole)
    lines = [_MessageLine(window, now_s) for window in windows]
    for _ in range(cancels):
        _send_at(lines, max(now_s, paused_until_s))
    rows: list[Forecast] = []
    for own_s, _, limit, one in sorted(held, key=lambda row: row[:2]):
        at_s = _send_at(lines, max(own_s, paused_until_s))
        rows.append(Forecast(one, limit if at_s <= own_s and own_s > now_s else "messages", at_s))
    return rows


def _held(room: WaitingRoom, opens: OpenRequests, now_s: float) -> list[tuple[float, int, str, Waiting]]:
    """(when its own limits allow, place, the limit that allows last, request)."""
    lines: dict[Lane, _Line] = {}

    def line(lane: Lane, window: Window) -> _Line:
        found = lines.get(lane)
        if found is None:
            found = lines[lane] = _Line(window.limit.count, lambda weight: window.full_turns_at(now_s, weight))
        return found

    def open_line(name: str) -> _Line:
        found = lines.get((name, ""))
        if found is None:
            found = lines[(name, "")] = _Line(1, lambda count: _opens_at(opens, name, count, now_s))
        return found

    rows: list[tuple[float, int, str, Waiting]] = []
    for place, one in enumerate(in_fair_order(room.waiting.values())):
        last = (now_s, "")
        for name, weight in one.shared:
            last = max(last, (line((name, ""), room.shared[name]).add(weight), name))
        for lane, weight in one.narrow:
            last = max(last, (line(lane, room.window_or_empty(lane)).add(weight), lane[0]))
        for name in one.opens:
            last = max(last, (open_line(name).add(1), name))
        rows.append((last[0], place, last[1], one))
    return rows


def _opens_at(opens: OpenRequests, name: str, count: int, now_s: float) -> float:
    """When `count` more may be open: as answers come at the rate seen, all slots in use."""
    limit = opens.limits[name]
    excess = opens.used(name) + count - limit.count
    return now_s if excess <= 0 else now_s + excess * opens.answer_s(name) / limit.count


class _MessageLine:
    """The last messages of a whole-connection limit, to place further ones after them."""

    def __init__(self, window: Window, now_s: float) -> None:
        window.prune(now_s)
        self._span_s = window.limit.span_s
        self._sent = deque((at_s for at_s, _ in window.entries()), maxlen=window.limit.count)

    def free_at(self, at_s: float) -> float:
        full = len(self._sent) == self._sent.maxlen
        return max(at_s, self._sent[0] + self._span_s) if full else at_s

    def add(self, at_s: float) -> None:
        self._sent.append(at_s)


def _send_at(lines: list[_MessageLine], at_s: float) -> float:
    for line in lines:
        at_s = max(at_s, line.free_at(at_s))
    for line in lines:
        line.add(at_s)
    return at_s


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
    """The next requests, with the limit that holds each and the seconds it still takes."""
    return [
        {
            "request": type(row.waiting.request).__name__,
            "client": row.waiting.client,
            "limit": row.limit,
            "eta_s": round(max(0.0, row.at_s - now_s), 2),
        }
        for row in rows[:_SHOWN_MAX]
    ]
