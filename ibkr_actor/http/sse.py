"""Server-sent events: the bytes of a stream to one client, as fast as it takes them, and its end when it has gone.

Knows nothing of what is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import anyio
import msgspec
from starlette.types import Message, Receive, Scope, Send

from ibkr_actor.http.outlet import Notice

HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # nginx collects what it passes on unless it is told not to.
    (b"x-accel-buffering", b"no"),
)
RETRY: Final = b"retry: 1000\n\n"
KEEP_ALIVE: Final = b": keep-alive\n\n"
_encode: Final = msgspec.json.Encoder().encode


def notice(event: Notice, position: str = "") -> bytes:
    """A notice as an event."""
    head = f"id: {position}\n".encode() if position else b""
    return head + b"event: %s\ndata: %s\n\n" % (event.event.encode(), _encode(event.data))


class EventStream:
    """An ASGI response. A client that takes nothing for `stall_s` is cut off; `held` is closed at the end, however."""

    def __init__(self, chunks: AsyncIterator[bytes], held: AsyncExitStack, *, stall_s: float) -> None:
        self._chunks = chunks
        self._held = held
        self._stall_s = stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_gone, receive, tasks.cancel_scope)
                await self._send_all(send)
                tasks.cancel_scope.cancel()
        finally:
            # Not the generator's: one that was never begun would give nothing back.
            with anyio.CancelScope(shield=True), anyio.move_on_after(1.0):
                await self._held.aclose()

    async def _send_all(self, send: Send) -> None:
        async for chunk in self._chunks:
            message: Message = {"type": "http.response.body", "body": chunk, "more_body": True}
            with anyio.move_on_after(self._stall_s) as patience:
                await send(message)
            if patience.cancelled_caught:
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()
