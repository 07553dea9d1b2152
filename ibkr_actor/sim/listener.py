"""Owns the listening socket: opening it, closing it and opening it again on the same port.

Must not know what is served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc


class Listener:
    """`port` is the free port found when 0 was asked for; it stays the same over `close` and `open`."""

    def __init__(self, host: str, port: int, serve: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> None:
        self.port = port
        self._host = host
        self._serve = serve
        self._scope: anyio.CancelScope | None = None
        self._closed = anyio.Event()

    async def open(self, tasks: anyio.abc.TaskGroup) -> None:
        """Listen; does nothing when it does already. Raises: OSError when the port cannot be had."""
        if self._scope is not None:
            return
        listener = await anyio.create_tcp_listener(local_host=self._host, local_port=self.port)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()
        tasks.start_soon(self._accept, listener, self._scope, tasks)

    async def close(self) -> None:
        """Stop listening; connections already made stay."""
        if self._scope is not None:
            self._scope.cancel()
            await self._closed.wait()

    async def _accept(
        self,
        listener: anyio.abc.Listener[anyio.abc.SocketStream],
        scope: anyio.CancelScope,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        try:
            with scope:
                await listener.serve(self._serve, tasks)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
            self._scope = None
            self._closed.set()
