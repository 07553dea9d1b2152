"""A Redis connection fit for reading streams.

Owns the settings of redis-py that reading depends on; never retries by itself.
"""

from __future__ import annotations

from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

# Longest BLOCK a reader here uses; the socket time-out stays well above it. Source: docs/STREAMS.md, "Readers".
BLOCK_MS_MAX: Final = 2_000


def connect(url: str) -> Redis:
    """A client for `redis://`, `rediss://` or `unix://`. It connects with the first command.

    redis-py's default of repeating a failed command is off: it doubles `XADD *` and makes `XREADGROUP >` skip entries.
    """
    options: dict[str, Any] = {
        "socket_timeout": 10.0,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "ibkr-actor-client",
    }
    if not url.startswith("unix://"):
        options |= {"socket_connect_timeout": 5.0, "socket_keepalive": True}
    client: Redis = Redis.from_url(url, **options)
    return client
