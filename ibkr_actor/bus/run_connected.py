"""The one loop around a link: connect, work, and after trouble close, wait and connect again.

Judges no trouble: whoever works is told of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.health import Backoff

T = TypeVar("T")


async def run_connected(
    link: Link,
    backoff: Backoff,
    work: Callable[[], Awaitable[T]],
    *,
    on_trouble: Callable[[Unreachable | Refused], None],
) -> T:
    """Calls `work` with the link open, again after each trouble; what it returns at last. Most work never returns.

    `work` resets the backoff when it got somewhere. The link is closed before `on_trouble` and at the end.
    """
    try:
        while True:
            try:
                await link.open()
                return await work()
            except (Unreachable, Refused) as error:
                await link.close()
                on_trouble(error)
            await anyio.sleep(backoff.next_s())
    finally:
        await link.close()
