"""Redis connections fit for reading streams, and waiting for a server that is away.

Owns the settings of redis-py that reading depends on. Never repeats a command by itself: who asks for that says so.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from weakref import WeakSet

import anyio
import anyio.lowlevel
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# What a command may end in when the server is away, or refuses.
SERVER_ERRORS: Final = (RedisError, OSError)
# Longest BLOCK a reader here uses; the socket time-out stays well above it. Source: docs/STREAMS.md, "Readers".
BLOCK_MS_MAX: Final = 2_000
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0
# Commands of one client that are on their way at once; more wait for their turn.
POOL_MAX: Final = 8

_ANSWER_SHAPES: Final = frozenset({"protocol", "legacy_responses"})
_REFUSALS: Final = (AuthenticationError, AuthorizationError)
_log = logging.getLogger(__name__)
T = TypeVar("T")


class Heedful(Redis):
    """A client whose commands end when their task is cancelled, at the latest with their answer.

    redis-py writes with `asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes in the moment in
    which all is written. Source: https://github.com/python/cpython/issues/86296. A scope of anyio cancels again and
    again; `Task.cancel()`, and with it Ctrl-C, does so once.
    """

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        execute: Any = super().execute_command  # untyped there
        try:
            answer = await execute(*args, **options)
        except Exception:
            await _heed(task, before)
            raise
        await _heed(task, before)
        return answer


async def _heed(task: asyncio.Task[Any], before: int) -> None:
    if task.cancelling() > before:
        await anyio.lowlevel.checkpoint_if_cancelled()  # it was a scope of anyio, which knows its own errors only
        raise asyncio.CancelledError


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`. It connects with the first command.

    redis-py's default of repeating a failed command is off: it doubles `XADD *` and makes `XREADGROUP >` skip entries.
    """
    client: Redis = Heedful.from_pool(ConnectionPool(**_options_of(url)))
    return client


def pooled(redis: str | Redis, connections: int = POOL_MAX) -> Redis:
    """A client of its own for a URL, or for the address and login of another; commands wait for a free connection."""
    if isinstance(redis, str):
        options = _options_of(redis) | {"max_connections": connections, "timeout": None}
        pool = BlockingConnectionPool(**options)
    else:
        theirs = redis.connection_pool
        given = dict(theirs.connection_kwargs)
        options = given | _options(unix="path" in given)
        pool = BlockingConnectionPool(connections, timeout=None, connection_class=theirs.connection_class, **options)
    client: Redis = Heedful.from_pool(pool)
    return client


def _options_of(url: str) -> dict[str, Any]:
    """Address, login and options of a URL, but for those that shape answers or the waiting for them.

    With `from_url` options in the URL would take the place of ours.
    """
    address: dict[str, Any] = {name: value for name, value in parse_url(url).items() if name not in _ANSWER_SHAPES}
    return address | _options(unix="path" in address)


def _options(*, unix: bool) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_timeout": 10.0,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_timeout": False,
        "decode_responses": False,
        "client_name": "ibkr-actor-client",
    }
    return options if unix else options | {"socket_connect_timeout": 5.0, "socket_keepalive": True}


def is_away(error: BaseException) -> bool:
    """Whether the server may come back by itself; a wrong password never gets right."""
    # redis-py wraps what fails while it connects.
    if isinstance(error, _REFUSALS) or isinstance(error.__cause__, _REFUSALS):
        return False
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError)


# Those that wait now; who ends while it waits is forgotten with it.
_waiting: WeakSet[Backoff] = WeakSet()


class Backoff:
    """How long to wait before the next try: twice as long each time, up to two seconds, with jitter. Says so once."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._wait_s = 0.0

    @property
    def is_away(self) -> bool:
        return self._wait_s > 0

    async def failed(self, error: BaseException) -> None:
        """Waits before the next try."""
        if not self.is_away:
            # All that wait in one process wait for the same: the first says so.
            _log.log(logging.DEBUG if _waiting else logging.WARNING, "redis_away who=%s error=%s", self._who, error)
            _waiting.add(self)
        self._wait_s = min(BACKOFF_MAX_S, max(BACKOFF_MIN_S, self._wait_s * 2))
        await anyio.sleep(self._wait_s * random.uniform(0.5, 1.0))

    def worked(self) -> bool:
        """The server answered; True when it had been away."""
        if not self.is_away:
            return False
        _waiting.discard(self)
        _log.log(logging.DEBUG if _waiting else logging.INFO, "redis_back who=%s", self._who)
        self._wait_s = 0.0
        return True


async def patiently(ask: Callable[[], Awaitable[T]], who: str) -> T:
    """The answer to a command that may be asked again without harm, once the server is there.

    Raises:
        redis.RedisError: the server refuses it.
    """
    backoff = Backoff(who)
    while True:
        try:
            answer = await ask()
        except SERVER_ERRORS as error:
            if not is_away(error):
                raise
            await backoff.failed(error)
        else:
            backoff.worked()
            return answer
