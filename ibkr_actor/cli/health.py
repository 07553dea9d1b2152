"""`ibkr-actor health`: is the running sidecar there, with its gateway and its Redis? For container health checks."""

from __future__ import annotations

import argparse

from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import say_json
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.overview import beat_of
from ibkr_actor.client.gateways import nobody
from ibkr_actor.schema.keys import Keys


def main(arguments: argparse.Namespace) -> int:
    """Exit status 0 when the heartbeat says `ready`, else 1, with one line that says why."""
    return with_redis(_health, arguments)


async def _health(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        reason = await _reason(redis, keys)
    except (RedisError, OSError) as error:
        if not arguments.json:
            raise  # one line on standard error, as from every command
        reason = f"Redis does not answer: {error}"
    if arguments.json:
        say_json({"healthy": not reason, "reason": reason or None})
    else:
        print(f"unhealthy: {reason}" if reason else "healthy")
    return EXIT_NO if reason else 0


async def _reason(redis: Redis, keys: Keys) -> str:
    """Why not; empty when all is well. Raises: RedisError."""
    raw = await redis.get(keys.heartbeat)
    if raw is None:
        return await nobody(redis, keys)
    beat = beat_of(raw)
    state = beat.state if beat is not None else "unknown"
    return "" if state == "ready" else f"the sidecar runs, but is {state}"
