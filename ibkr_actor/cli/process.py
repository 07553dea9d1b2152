"""What the long-running commands share: logs on standard error, and the two signals that end a process.

Knows nothing of what runs.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import anyio

from ibkr_actor.errors import ConfigurationError

LOG_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s %(message)s"
LOG_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S"
EXIT_AT_ONCE = 130
# Objects made anew before the youngest are looked through; Python's 700 is met a dozen times a second.
GC_THRESHOLD = 5_000


def log_to_stderr(level: str) -> None:
    """One line per event, UTC."""
    formatter = logging.Formatter(LOG_FORMAT, LOG_TIME_FORMAT)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def spare_the_collector() -> None:
    """What is there now stays as long as the process: modules, classes, settings. Call it when all is built.

    The collector looks through everything again and again otherwise, and the event loop stands still for 30 to 80 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


class Hangup:
    """What SIGHUP does, once somebody has said it; before that nothing."""

    def __init__(self) -> None:
        self.does: Callable[[], object] | None = None


async def until_signal(serve: Callable[[anyio.Event], Awaitable[None]], hangup: Hangup | None = None) -> None:
    """Runs `serve(stopping)`; the first SIGINT or SIGTERM sets `stopping`, the second ends the process at once.

    With `hangup` SIGHUP does what that says, and an error of it is logged; without, it ends the process.

    A failure in `serve` comes out as itself, not wrapped in a group.
    """
    stopping = anyio.Event()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch_signals, stopping)
            if hangup is not None and hasattr(signal, "SIGHUP"):
                tasks.start_soon(_watch_hangup, hangup)
            await serve(stopping)
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _only(group) from None


async def _watch_signals(stopping: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stopping.is_set():
                logging.getLogger(__name__).warning("second %s: ending at once", signal.Signals(number).name)
                sys.stderr.flush()
                os._exit(EXIT_AT_ONCE)
            logging.getLogger(__name__).info("%s: stopping; once more ends at once", signal.Signals(number).name)
            stopping.set()


async def _watch_hangup(hangup: Hangup) -> None:
    with anyio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            try:
                if hangup.does is not None:
                    hangup.does()
            except ConfigurationError as error:
                logging.getLogger(__name__).error("SIGHUP: the settings are as before: %s", error)


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one failure inside nested groups, or the group when there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
