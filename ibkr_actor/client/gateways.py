"""Who publishes in a Redis, by the heartbeats that stand there: for errors that name the gateways there are.

Reads keys only, and only when something is wrong.
"""

from __future__ import annotations

import re
from typing import Any, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ibkr_actor.schema.keys import Keys

# A Redis may hold millions of keys that are not ours: what is not found in this time is not named.
_LOOK_S: Final = 1.0
_SCAN_COUNT: Final = 1_000
_NAMED_MAX: Final = 8
_HEARTBEAT: Final = re.compile(r"(?P<prefix>.*):\{(?P<gateway>[^{}]*)\}:heartbeat")


async def others(redis: Redis, keys: Keys) -> list[Keys]:
    """The gateways that somebody publishes for now, without that of `keys`; none where SCAN is not allowed.

    Raises:
        redis.RedisError: the server is away.
    """
    found: set[Keys] = set()
    with anyio.move_on_after(_LOOK_S):
        try:
            async for key in redis.scan_iter(match="*}:heartbeat", count=_SCAN_COUNT):
                if name := _HEARTBEAT.fullmatch(_text(key)):
                    found.add(Keys(name["prefix"], name["gateway"]))
        except ResponseError:
            return []
    return sorted(found - {keys}, key=lambda one: (one.prefix != keys.prefix, one.root))


async def is_known(redis: Redis, keys: Keys) -> bool:
    """Whether somebody publishes for this gateway, or ever has. Raises: redis.RedisError."""
    return bool(await redis.exists(keys.heartbeat, keys.epoch))


async def nobody(redis: Redis, keys: Keys) -> str:
    """`no sidecar publishes for ...`, and what to do about it. Raises: redis.RedisError."""
    return told(keys, await others(redis, keys))


def told(keys: Keys, there: list[Keys]) -> str:
    """The same, from what there is."""
    text = f"no sidecar publishes for {keys.root} (no heartbeat)"
    if not there:
        return f"{text}: start one with `ibkr-actor run`"
    return f"{text}; there is one for {named(keys, there)}: is the gateway name right?"


def named(keys: Keys, there: list[Keys]) -> str:
    """`gateway 'g1', gateway 'live' with the prefix 'x'`, as one seen from `keys` would set it."""
    names = [_name(one, keys) for one in there[:_NAMED_MAX]]
    return ", ".join(names + ["..."] * (len(there) > _NAMED_MAX))


def _name(one: Keys, wanted: Keys) -> str:
    return f"gateway {one.gateway!r}" + ("" if one.prefix == wanted.prefix else f" with the prefix {one.prefix!r}")


def _text(key: Any) -> str:
    """A key as it is: its reader may decode, and it may be no text at all."""
    return key if isinstance(key, str) else bytes(key).decode(errors="replace")
