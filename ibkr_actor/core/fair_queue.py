"""Owns the order in which waiting requests go: priority, then clients in turn, then first come.

Knows nothing of limits or time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator

from ibkr_actor.core.requests import AnyRequest

Lane = tuple[str, Hashable]


class Waiting:
    """One request that waits. `queue` is where it stands; `lane` the limit and scope that last held it."""

    __slots__ = ("client", "lane", "priority", "queue", "request", "since_s")

    def __init__(self, request: AnyRequest, *, priority: int, client: str, since_s: float) -> None:
        self.request = request
        self.priority = priority
        self.client = client
        self.since_s = since_s
        self.queue: FairQueue | None = None
        self.lane: Lane | None = None


class FairQueue:
    """Requests by priority and client. Every operation costs the same however many wait."""

    def __init__(self) -> None:
        # priority -> client -> req_id -> request; empty ones are removed. The first client is the next to be served.
        self._levels: dict[int, OrderedDict[str, OrderedDict[int, Waiting]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, waiting: Waiting) -> None:
        """Puts a request last among those of its client and priority."""
        clients = self._levels.setdefault(waiting.priority, OrderedDict())
        clients.setdefault(waiting.client, OrderedDict())[waiting.request.req_id] = waiting
        waiting.queue = self
        self._count += 1

    def peek(self) -> Waiting:
        """The request that `pop` would give. The queue must not be empty."""
        clients = self._levels[min(self._levels)]
        return next(iter(next(iter(clients.values())).values()))

    def pop(self) -> Waiting:
        """Takes the next request; its client then goes behind the others. The queue must not be empty."""
        waiting = self.peek()
        self.remove(waiting)
        clients = self._levels.get(waiting.priority)
        if clients is not None and waiting.client in clients:
            clients.move_to_end(waiting.client)
        return waiting

    def remove(self, waiting: Waiting) -> None:
        """Takes a request out, wherever it stands."""
        clients = self._levels[waiting.priority]
        requests = clients[waiting.client]
        del requests[waiting.request.req_id]
        if not requests:
            del clients[waiting.client]
            if not clients:
                del self._levels[waiting.priority]
        waiting.queue = None
        self._count -= 1

    def in_order(self) -> Iterator[Waiting]:
        """All requests in the order in which `pop` would give them."""
        for priority in sorted(self._levels):
            turns = [iter(requests.values()) for requests in self._levels[priority].values()]
            while turns:
                left = []
                for turn in turns:
                    waiting = next(turn, None)
                    if waiting is not None:
                        yield waiting
                        left.append(turn)
                turns = left
