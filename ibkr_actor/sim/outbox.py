"""Owns what waits to be written to one client: bounded bytes, one writer, and the places where a fault can bite.

Must not know messages; a full outbox is reported, never waited for, except by `put_when_room`.
"""

from __future__ import annotations

import anyio
import anyio.abc

# A bulk sender waits while this much is queued, so that a slow client holds up nobody's memory.
_HIGH_WATER_BYTES = 1024 * 1024


class Gate:
    """Open or closed for all who wait at it; a stalled simulator is a closed gate."""

    def __init__(self) -> None:
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

    async def wait(self) -> None:
        await self._opened.wait()


class Outbox:
    """Bytes on their way to one client. `run` writes them in as few sends as possible."""

    def __init__(self, stream: anyio.abc.ByteSendStream, *, limit_bytes: int, gate: Gate) -> None:
        self._stream = stream
        self._limit_bytes = limit_bytes
        self._gate = gate
        self._parts: list[bytes] = []
        self._queued_bytes = 0
        self._wake = anyio.Event()
        self._room = anyio.Event()
        self._finished = False
        self._closed = False
        self._cut_after_bytes: int | None = None

    def put(self, data: bytes) -> bool:
        """Queue bytes. False, and nothing queued, when the limit would be passed."""
        if self._closed or self._finished:
            return True
        if self._queued_bytes + len(data) > self._limit_bytes:
            return False
        self._parts.append(data)
        self._queued_bytes += len(data)
        self._wake.set()
        return True

    async def put_when_room(self, data: bytes) -> bool:
        """Queue bytes once little is queued. False when the client is gone."""
        while self._queued_bytes > _HIGH_WATER_BYTES and not self._closed:
            self._room = anyio.Event()
            await self._room.wait()
        if self._closed:
            return False
        return self.put(data)

    def cut_after(self, count: int) -> None:
        """Let `run` end once `count` more bytes are written, in the middle of a frame if it falls there."""
        self._cut_after_bytes = count
        self._wake.set()

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
            data = b"".join(self._parts)
            self._parts = []
            if self._cut_after_bytes is not None:
                data = data[: self._cut_after_bytes]
                self._cut_after_bytes -= len(data)
            await self._stream.send(data)
            self._queued_bytes = sum(map(len, self._parts))
            self._room.set()
