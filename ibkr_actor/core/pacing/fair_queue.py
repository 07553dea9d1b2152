"""Owns the order in which waiting requests go: priority, then clients in turn, then first come.

Knows nothing of limits or time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from ibkr_actor.core.pacing.limits import ScopeKey
from ibkr_actor.core.requests import AnyRequest

# The limit's name and the scope within it.
Lane = tuple[str, ScopeKey]
# The session's own messages (heartbeats) never wait for a turn.
ALWAYS_FIRST = 0


class Waiting:
    """One request that waits. `turn` is its place by arrival; `queue` where it stands.

    `lane` is the narrow limit and scope that last held it; `shared` its weight in each window of its channel.
    """

    __slots__ = ("client", "lane", "narrow", "opens", "priority", "queue", "request", "shared", "since_s", "turn")

    def __init__(self, request: AnyRequest, *, priority: int, client: str, since_s: float, turn: int = 0) -> None:
        self.request = request
        self.priority = priority
        self.client = client
        self.since_s = since_s
        self.turn = turn
        self.queue: FairQueue | None = None
        self.lane: Lane | None = None
        self.narrow: tuple[tuple[Lane, int], ...] = ()
        self.shared: tuple[tuple[str, int], ...] = ()
        self.opens: tuple[str, ...] = ()


class _Flow:
    """What one client waits for at one priority. `served` is the turn at which it last got something here."""

    __slots__ = ("count", "requests", "served")

    def __init__(self) -> None:
        self.requests: list[tuple[int, Waiting]] = []
        self.count = 0
        self.served = -1


class _Level:
    """One priority: clients by turn. `passed` counts how often another priority went first while something waited."""

    __slots__ = ("count", "flows", "heap", "passed")

    def __init__(self) -> None:
        self.flows: dict[str, _Flow] = {}
        # (turn, client); an entry whose turn is not the client's any more is stale.
        self.heap: list[tuple[int, str]] = []
        self.count = 0
        self.passed = 0


class FairQueue:
    """Requests by priority and client. Every operation costs O(log n) however many wait.

    The client that waited longest since it came or was last served here is next. `turns` gives arrivals and services
    one order, over all queues; one turn in `lower_every` is a lower priority's, however much of a higher one waits.
    """

    def __init__(self, turns: Iterator[int], lower_every: int) -> None:
        self._turns = turns
        self._lower_every = lower_every
        self._levels: dict[int, _Level] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, waiting: Waiting) -> None:
        """Puts a request in its place by arrival among those of its client and priority."""
        level = self._levels.get(waiting.priority)
        if level is None:
            level = self._levels[waiting.priority] = _Level()
        flow = level.flows.get(waiting.client)
        if flow is None:
            flow = level.flows[waiting.client] = _Flow()
        heapq.heappush(flow.requests, (waiting.turn, waiting))
        flow.count += 1
        level.count += 1
        self._count += 1
        waiting.queue = self
        if flow.requests[0][1] is waiting:
            self._place(level, waiting.client, flow)

    def peek(self) -> Waiting:
        """The request whose turn it is. The queue must not be empty."""
        level = self._next_level()
        while True:
            turn, client = level.heap[0]
            flow = level.flows.get(client)
            if flow is None or not flow.count or turn != _turn_of(flow):
                heapq.heappop(level.heap)
                continue
            return flow.requests[0][1]

    def next_turn(self) -> tuple[int, int]:
        """(priority, turn) of the request whose turn it is, to compare queues by. The queue must not be empty."""
        waiting = self.peek()
        flow = self._levels[waiting.priority].flows[waiting.client]
        return waiting.priority, _turn_of(flow)

    def serve(self, waiting: Waiting) -> None:
        """Takes the request whose turn it is; its client then goes behind the others."""
        level = self._levels[waiting.priority]
        flow = level.flows[waiting.client]
        flow.served = next(self._turns)
        for priority, other in self._levels.items():
            if priority > waiting.priority:
                other.passed += 1
        level.passed = 0
        self.remove(waiting)

    def remove(self, waiting: Waiting) -> None:
        """Takes a request out, wherever it stands; one that was not next must not come back."""
        level = self._levels[waiting.priority]
        flow = level.flows[waiting.client]
        waiting.queue = None
        flow.count -= 1
        level.count -= 1
        self._count -= 1
        while flow.requests and flow.requests[0][1].queue is not self:
            heapq.heappop(flow.requests)
        if not level.count:
            del self._levels[waiting.priority]
        elif flow.count:
            self._place(level, waiting.client, flow)
        elif len(level.flows) > 64 + 2 * level.count:
            level.flows = {client: flow for client, flow in level.flows.items() if flow.count}

    def _place(self, level: _Level, client: str, flow: _Flow) -> None:
        heapq.heappush(level.heap, (_turn_of(flow), client))
        if len(level.heap) > 64 + 4 * len(level.flows):
            level.heap = [(_turn_of(flow), client) for client, flow in level.flows.items() if flow.count]
            heapq.heapify(level.heap)

    def _next_level(self) -> _Level:
        first = min(self._levels)
        if first != ALWAYS_FIRST and len(self._levels) > 1:
            passed = max(self._levels.values(), key=lambda level: level.passed)
            if passed.passed >= self._lower_every - 1:
                return passed
        return self._levels[first]


def _turn_of(flow: _Flow) -> int:
    return max(flow.served, flow.requests[0][0])


def in_fair_order(waiting: Iterable[Waiting]) -> Iterator[Waiting]:
    """Requests about as they will go, when nothing else comes: by priority, then clients in turn, then first come."""
    levels: dict[int, dict[str, list[Waiting]]] = {}
    for one in sorted(waiting, key=lambda one: one.turn):
        levels.setdefault(one.priority, {}).setdefault(one.client, []).append(one)
    for priority in sorted(levels):
        turns = [iter(requests) for requests in levels[priority].values()]
        while turns:
            left = []
            for turn in turns:
                one_more = next(turn, None)
                if one_more is not None:
                    yield one_more
                    left.append(turn)
            turns = left
