"""Owns the task that reads for one loop of a caller, so that the loop may be left anywhere and by anybody.

A generator that is dropped is closed from another task than the one it ran in: what must be closed where it was opened
(task groups, subscriptions) therefore lives in this task, and the generator holds only its end of a queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeVar

import anyio
from market_data_core import MarketDataError

from ibkr_actor.provider.errors import handle_ib_error
from ibkr_actor.provider.session import IBKRSessionManager
from ibkr_actor.provider.tasks import cancelled

T = TypeVar("T")
# Batches read ahead of the loop; what a slow loop leaves unread stays in Redis.
_AHEAD = 2


class Pump(Generic[T]):
    """Runs `source()` in a task of its own and hands its batches over; errors come out as canonical ones."""

    def __init__(self, session: IBKRSessionManager, source: Callable[[], AsyncIterator[list[T]]]) -> None:
        self._session = session
        self._source = source
        self._send, self._receive = anyio.create_memory_object_stream[list[T]](_AHEAD)
        self._error: MarketDataError | None = None
        self._task: asyncio.Task[None] | None = None

    async def batches(self) -> AsyncGenerator[list[T]]:
        """What the source gives, until it ends, fails, or the connection fails for good."""
        self._session.readers.add(self)
        self._task = asyncio.create_task(self._run(), name="ibkr-actor provider's stream")
        try:
            with self._receive:
                async for batch in self._receive:
                    yield batch
            if self._error is not None:
                raise self._error
        finally:
            self._session.readers.discard(self)
            await self.stop()

    async def _run(self) -> None:
        source = self._source()
        try:
            async for batch in source:
                await self._send.send(batch)
        except anyio.BrokenResourceError:
            pass  # the loop was left
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the loop's to see
            self._error = self._error or _canonical(error)
        finally:
            # Here, where it ran, and not whenever it is collected.
            if isinstance(source, AsyncGenerator):
                await source.aclose()
            self._send.close()

    def fail(self, error: MarketDataError) -> None:
        """Ends the loop with an error."""
        self._error = self._error or error
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Ends the loop; returns when its lines are given back."""
        if self._task is not None:
            await cancelled([self._task])


def _canonical(error: BaseException) -> MarketDataError:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return handle_ib_error(error)
