"""Owns what waits to be written to one client: bounded bytes, one writer, and the places where a fault can bite.

Must not know messages; a full outbox is reported, never waited for, except by `put_when_room`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc

from ibkr_actor.sim.clock import Clock

# A bulk sender waits while this much is queued, so that a slow client holds up nobody's memory.
_HIGH_WATER_BYTES = 1024 * 1024
# A slow line is written to at this interval, not byte by byte.
_PORTION_S = 0.1


class Gate:
    """Open or closed for all who wait at it; a stalled simulator is a closed gate."""

    def __init__(self, on_open: Callable[[], None] = lambda: None) -> None:
        self._on_open = on_open
        self._opened = anyio.Event()
        self._opened.set()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def close(self) -> None:
        if self._opened.is_set():
            self._opened = anyio.Event()

    def open(self) -> None:
        self._opened.set()
        self._on_open()

    async def wait(self) -> None:
        await self._opened.wait()


class Throttle:
    """How many bytes may go when at most `bytes_per_s` do. What an idle line did not use is not saved up."""

    def __init__(self, bytes_per_s: float, now_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._spent_until_s = now_s

    def take(self, wanted: int, now_s: float) -> int:
        """How many of `wanted` bytes may be written now."""
        allowed = min(wanted, int((now_s - self._spent_until_s) * self._bytes_per_s + 1e-6))
        self._spent_until_s = now_s if allowed == wanted else self._spent_until_s + allowed / self._bytes_per_s
        return allowed

    def free_s(self) -> float:
        """When the next byte, or the next tenth of a second's bytes, may be written."""
        return self._spent_until_s + max(1.0 / self._bytes_per_s, _PORTION_S)


class Outbox:
    """Bytes on their way to one client. `run` writes them in as few sends as possible."""

    def __init__(
        self,
        stream: anyio.abc.ByteSendStream,
        *,
        limit_bytes: int,
        gate: Gate,
        clock: Clock,
        sleep_until: Callable[[float], Awaitable[None]],
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._sleep_until = sleep_until
        self._throttle: Throttle | None = None
        self._resting: anyio.CancelScope | None = None
        self._limit_bytes = limit_bytes
        self._gate = gate
        self._parts: list[bytes] = []
        self._queued_bytes = 0
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._finished = False
        self._closed = False
        self._cut_after_bytes: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is taken."""
        return self._closed or self._finished

    def put(self, data: bytes) -> bool:
        """Queue bytes. False, and nothing queued, when the limit would be passed."""
        if self.is_over:
            return True
        if self._queued_bytes + len(data) > self._limit_bytes:
            return False
        self._parts.append(data)
        self._queued_bytes += len(data)
        self._wake.set()
        return True

    async def wait_for_room(self) -> bool:
        """Return once little is queued. False when the client is gone."""
        while self._queued_bytes > _HIGH_WATER_BYTES and not self._closed:
            self._room = anyio.Event()
            await self._room.wait()
        return not self._closed

    async def put_when_room(self, data: bytes) -> bool:
        """Queue bytes once little is queued. False when the client is gone."""
        return await self.wait_for_room() and self.put(data)

    def cut_after(self, count: int) -> None:
        """Let `run` end once `count` more bytes are written, in the middle of a frame if it falls there."""
        self._cut_after_bytes = count
        self._wake.set()

    def cut_within_next(self, count: int) -> None:
        """As `cut_after`, counted from the end of what is queued now."""
        self.cut_after(self._queued_bytes + count)

    def slow_down(self, bytes_per_s: float | None) -> None:
        """Write at most so much a second of simulated time; None writes as fast as the client reads."""
        self._throttle = None if bytes_per_s is None else Throttle(bytes_per_s, self._clock.now_s())
        if self._resting is not None:
            self._resting.cancel()

    def finish(self) -> None:
        """Let `run` end once everything queued is written; later bytes are dropped."""
        self._finished = True
        self._wake.set()

    def close(self) -> None:
        """Drop what is queued and free whoever waits for room."""
        self._closed = True
        self._parts.clear()
        self._room.set()
        self._wake.set()

    async def run(self) -> None:
        """Write until finished, closed or cut.

        Raises: anyio.BrokenResourceError, anyio.ClosedResourceError when the client is gone.
        """
        while not self._closed:
            if self._cut_after_bytes == 0:
                return
            if not self._parts:
                if self._finished:
                    return
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            await self._gate.wait()
            data = await self._portion()
            if self._cut_after_bytes is not None:
                data = data[: self._cut_after_bytes]
                self._cut_after_bytes -= len(data)
            await self._stream.send(data)
            self._queued_bytes = sum(map(len, self._parts))
            self._room.set()

    async def _portion(self) -> bytes:
        """What is written next: everything, or as much as a slow line takes, which is waited for."""
        while self._throttle is not None and not self._closed:
            data = b"".join(self._parts)
            allowed = self._throttle.take(len(data), self._clock.now_s())
            if allowed:
                self._parts = [data[allowed:]] if allowed < len(data) else []
                return data[:allowed]
            self._parts = [data]
            with anyio.CancelScope() as self._resting:
                await self._sleep_until(self._throttle.free_s())
            self._resting = None
        data = b"".join(self._parts)
        self._parts = []
        return data
