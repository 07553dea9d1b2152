"""Owns the ending of tasks that read: surely, and from whatever task.

Starts none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

import anyio

# `asyncio.wait_for` of Python 3.11, through which redis-py sends, loses a cancellation that comes as it is done; then
# it is said again. Source: python/cpython#86296.
_AGAIN_S: Final = 0.2


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels the tasks; returns when they have ended, even where the caller is cancelled too."""
    left = {task for task in tasks if not task.done()}
    with anyio.CancelScope(shield=True):
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=_AGAIN_S)
