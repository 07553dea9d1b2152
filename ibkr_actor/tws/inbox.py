"""The bounded hand-over from the threads at the socket to the event loop, and the one lock of this room.

Never looks into a frame, and never drops one of a live connection: when it is full, the reader thread waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Final

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from ibkr_actor.core.events import Connected, ConnectionLost, Event

# What CPython needs for one frame beside its bytes: the object's header and its place in the list.
FRAME_OVERHEAD_BYTES = 48
# Frames given out at a time, 1 to 2 ms of work. A burst of megabytes would else keep the loop from everything behind it
# until the last frame is decoded: the first write to Redis was seen to wait for a second, the server idle meanwhile.
TURN_FRAMES: Final = 500
# Rounds of the loop between the turns of a burst. What Redis answers takes some rounds to become the next write; with a
# turn in each of them the server would stand idle for half of the time.
ROUNDS_BETWEEN_TURNS: Final = 4


class FrameBatch(Struct, frozen=True, gc=False):
    """All whole frames of one `recv` on connection `conn`, without their length, stamped once."""

    conn: int
    received_ns: int
    frames: list[bytes]


Item = FrameBatch | Event


class Inbox:
    """Frames and events in the order they happened; `get` drains them, in turns when they are many.

    Threads call `put_frames`, `connected`, `lost` and `put`; one task calls `get`. Connection numbers only grow.
    `max_bytes` bounds the memory of frames that wait; events are few and always accepted.
    """

    def __init__(self, max_bytes: int) -> None:
        self._lock = threading.Condition()
        self._max_bytes = max_bytes
        # What waits, each with its share of `_bytes`.
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        # The task in `get` while there is nothing for it; taken by the put that wakes it.
        self._waiter: tuple[asyncio.AbstractEventLoop, anyio.Event] | None = None
        # The connection that is up, 0 for none; and the highest number that is over and done with.
        self._up = 0
        self._over = 0
        self._batches = self._frames = self._frame_bytes = self._wakeups = 0
        self._bytes_high = self._stalls = self._late_frames = 0
        self._stalled_s = 0.0

    def put_frames(self, batch: FrameBatch, wire_bytes: int) -> bool:
        """Hands a batch over; waits while the inbox is full. False when the connection is over: stop reading."""
        size = wire_bytes + FRAME_OVERHEAD_BYTES * len(batch.frames)
        with self._lock:
            if self._full(size) and batch.conn > self._over:
                self._wait_for_room(batch.conn, size)
            if batch.conn <= self._over:
                self._late_frames += len(batch.frames)
                return False
            self._batches += 1
            self._frames += len(batch.frames)
            self._frame_bytes += wire_bytes
            self._bytes += size
            self._bytes_high = max(self._bytes_high, self._bytes)
            self._append(batch, size)
            return True

    def connected(self, event: Connected) -> bool:
        """Announces a connection. False when it was closed before it was up: there is nothing to announce."""
        with self._lock:
            if event.conn <= self._over:
                return False
            self._up = event.conn
            self._append(event)
            return True

    def lost(self, event: ConnectionLost) -> bool:
        """Ends a connection, and says so once if it was up. Wakes a reader that waits for room in vain."""
        with self._lock:
            was_up = self._end(event.conn)
            if was_up:
                self._append(event)
            return was_up

    def end(self, conn: int) -> bool:
        """As `lost`, for a caller on the loop that delivers the event itself."""
        with self._lock:
            return self._end(conn)

    def is_over(self, conn: int) -> bool:
        """Whether the connection was lost or closed."""
        return conn <= self._over

    def put(self, event: Event) -> None:
        """Hands an event over; never waits."""
        with self._lock:
            self._append(event)

    async def get(self) -> list[Item]:
        """What waits, in order, up to `TURN_FRAMES` frames; waits for the first item when there is none."""
        # A busy gateway would else keep the loop from all other tasks. Before taking, since a cancelled get takes none.
        for _ in range(ROUNDS_BETWEEN_TURNS if self._items else 1):
            await checkpoint()
        while True:
            with self._lock:
                if self._items:
                    items = self._take()
                    self._lock.notify_all()
                    return items
                event = anyio.Event()
                self._waiter = (asyncio.get_running_loop(), event)
            await event.wait()

    def counters(self) -> dict[str, int | float | str | None]:
        """Figures since the start, and the bytes that wait now."""
        with self._lock:
            return {
                "inbox_batches": self._batches,
                "inbox_frames": self._frames,
                "inbox_frame_bytes": self._frame_bytes,
                "inbox_wakeups": self._wakeups,
                "inbox_waiting_bytes": self._bytes,
                "inbox_waiting_bytes_high": self._bytes_high,
                "inbox_stalls": self._stalls,
                "inbox_stalled_s": self._stalled_s,
                "inbox_late_frames": self._late_frames,
            }

    def _full(self, size: int) -> bool:
        # One batch always fits into an empty inbox, however large it is.
        return self._bytes > 0 and self._bytes + size > self._max_bytes

    def _wait_for_room(self, conn: int, size: int) -> None:
        self._stalls += 1
        started = time.monotonic()
        while self._full(size) and conn > self._over:
            self._lock.wait()
        self._stalled_s += time.monotonic() - started

    def _end(self, conn: int) -> bool:
        was_up = self._up == conn > self._over
        self._over = max(self._over, conn)
        self._lock.notify_all()
        return was_up

    def _take(self) -> list[Item]:
        """The items of one turn; the batch at its end is cut where it is too long."""
        taken: list[Item] = []
        room = TURN_FRAMES
        while self._items and room > 0:
            item, size = self._items.popleft()
            if isinstance(item, FrameBatch):
                count = len(item.frames)
                if count > room:
                    part = size * room // count
                    rest = FrameBatch(item.conn, item.received_ns, item.frames[room:])
                    self._items.appendleft((rest, size - part))
                    item, size = FrameBatch(item.conn, item.received_ns, item.frames[:room]), part
                room -= min(count, room)
            self._bytes -= size
            taken.append(item)
        return taken

    def _append(self, item: Item, size: int = 0) -> None:
        self._items.append((item, size))
        if self._waiter is None:
            return
        loop, event = self._waiter
        self._waiter = None
        self._wakeups += 1
        try:
            loop.call_soon_threadsafe(event.set)
        except RuntimeError:
            # The loop is closed: nobody will read any more, and the thread must still end in good order.
            return
