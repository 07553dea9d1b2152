"""Owns what waits for one HTTP client: conflated quotes, a bounded queue of all else, the notice that it is too slow.

Sends nothing and never makes the reader wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import anyio
from msgspec import Struct

from ibkr_actor.http.items import START, Item, Position


class Notice(Struct, frozen=True):
    """Something that is no record: an event by name and its data. `last` ends the stream behind it."""

    event: str
    data: dict[str, Any]
    last: bool = False


class Outlet:
    """The waiting room of one client. `hz` 0 is without conflation.

    `positions` is how far the client has been sent each stream's entries, kept by the sender: a resume goes on there.
    """

    def __init__(self, keys: Sequence[str], *, hz: float, queue_max: int) -> None:
        self.hz = hz
        self.positions: dict[str, str] = dict.fromkeys(keys, "0-0")
        self.dropped = 0
        self.over = False
        self._queue_max = queue_max
        self._offered: dict[str, Position] = dict.fromkeys(keys, START)
        self._pending: dict[str, Item] = {}
        self._queue: deque[tuple[str, Item] | Notice] = deque()
        self._wake: anyio.Event | None = None
        self._due_s = 0.0

    def start(self, key: str, entry_id: str, position: Position) -> None:
        """The client has everything up to this entry."""
        self.positions[key] = entry_id
        self._offered[key] = position

    def starts_after(self, key: str) -> Position:
        """Up to which entry the client was offered the stream."""
        return self._offered[key]

    def offer(self, key: str, items: Sequence[Item]) -> None:
        """Takes entries of one stream in order; those it had already are passed over."""
        if self.over:
            return
        after = self._offered[key]
        for item in items:
            if item.position <= after:
                continue
            after = item.position
            if self.hz and item.is_quote:
                self._pending[key] = item
                continue
            waiting = self._pending.pop(key, None)
            if waiting is not None:
                self._queue.append((key, waiting))
            self._queue.append((key, item))
        self._offered[key] = after
        if len(self._queue) > self._queue_max:
            self._give_up()
        self._notify()

    def say(self, notice: Notice) -> None:
        """A notice behind everything that waits in the queue."""
        if not self.over:
            self._queue.append(notice)
            self.over = notice.last
            self._notify()

    async def next(self, keep_alive_s: float) -> list[tuple[str, Item] | Notice]:
        """What is to be sent now; empty when there was nothing for `keep_alive_s`."""
        with anyio.move_on_after(keep_alive_s):
            while not self._queue:
                if self._pending:
                    wait_s = self._due_s - anyio.current_time()
                    if wait_s <= 0:
                        break
                    # Only what is not conflated is sent before its time.
                    with anyio.move_on_after(wait_s):
                        await self._woken()
                else:
                    await self._woken()
        return self._taken()

    def _taken(self) -> list[tuple[str, Item] | Notice]:
        out = list(self._queue)
        self._queue.clear()
        if self._pending and not self.over and anyio.current_time() >= self._due_s:
            out += self._pending.items()
            self._pending.clear()
            self._due_s = anyio.current_time() + 1 / self.hz
        return out

    async def _woken(self) -> None:
        self._wake = anyio.Event()
        await self._wake.wait()

    def _notify(self) -> None:
        # A wait for the next turn of conflated quotes is not cut short by one more quote.
        if self._wake is not None and (self._queue or (self._pending and anyio.current_time() >= self._due_s)):
            self._wake.set()
            self._wake = None

    def _give_up(self) -> None:
        """The client reads too slowly: what waits is given up, and it is told how much and where it can go on."""
        self.dropped = len(self._queue) + len(self._pending)
        self._queue.clear()
        self._pending.clear()
        message = "this client reads too slowly: go on from Last-Event-ID, or ask for fewer streams or a lower hz"
        self.say(Notice("dropped", {"reason": "slow_client", "unsent": self.dropped, "message": message}, last=True))
