"""Owns the listening socket: opening it, closing it and opening it again on the same port or another.

Must not know what is served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc


class Listener:
    """`port` is the free port found when 0 was asked for; it stays the same over `close` and `open`.

    `want` says at once whether connections are taken; `follow` makes the socket agree.
    """

    def __init__(self, host: str, port: int, serve: Callable[[anyio.abc.SocketStream], Awaitable[None]]) -> None:
        self.port = port
        self._host = host
        self._serve = serve
        self._tasks: anyio.abc.TaskGroup | None = None
        self._wanted = True
        self._changing = anyio.Lock()
        self._scope: anyio.CancelScope | None = None
        self._closed = anyio.Event()

    async def start(self, tasks: anyio.abc.TaskGroup) -> None:
        """Listen, from now on with connections served in `tasks`. Raises: OSError when the port cannot be had."""
        self._tasks = tasks
        await self.follow()

    def want(self, listening: bool) -> None:
        """From now on take connections, or hang up on whoever still gets in; call `follow` next."""
        self._wanted = listening

    async def follow(self) -> None:
        """Open or close the socket, whichever is wanted by then. Raises: OSError when the port cannot be had."""
        async with self._changing:
            if self._wanted and self._scope is None:
                await self._open()
            elif not self._wanted and self._scope is not None:
                await self._close(self._scope)

    async def move(self, port: int) -> None:
        """Listen on another port, 0 for a free one. Raises: OSError when it cannot be had; the old one is gone then."""
        async with self._changing:
            if self._scope is not None:
                await self._close(self._scope)
            self.port = port
            if self._wanted:
                await self._open()

    async def _open(self) -> None:
        if self._tasks is None:
            raise RuntimeError("the listener was not started")
        listener = await anyio.create_tcp_listener(local_host=self._host, local_port=self.port)
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self._scope = anyio.CancelScope()
        self._closed = anyio.Event()
        self._tasks.start_soon(self._accept, listener, self._scope, self._tasks)

    async def _close(self, scope: anyio.CancelScope) -> None:
        scope.cancel()
        await self._closed.wait()

    async def _greet(self, stream: anyio.abc.SocketStream) -> None:
        """A connection that got in while none is wanted is as good as refused."""
        if self._wanted:
            await self._serve(stream)
        else:
            await stream.aclose()

    async def _accept(
        self,
        listener: anyio.abc.Listener[anyio.abc.SocketStream],
        scope: anyio.CancelScope,
        tasks: anyio.abc.TaskGroup,
    ) -> None:
        try:
            with scope:
                await listener.serve(self._greet, tasks)
        finally:
            with anyio.CancelScope(shield=True):
                await listener.aclose()
            self._scope = None
            self._closed.set()
