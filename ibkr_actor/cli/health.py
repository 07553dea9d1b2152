"""`ibkr-actor health`: is the running sidecar there, with its gateway and its Redis? For container health checks."""

from __future__ import annotations

import argparse
import json

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import say_json
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.schema.keys import Keys


def main(arguments: argparse.Namespace) -> int:
    """Exit status 0 when the heartbeat says `ready`, else 1, with one line that says why."""
    return with_redis(_health, arguments)


async def _health(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    beat = await redis.get(keys.heartbeat)
    if beat is None:
        reason = f"no sidecar publishes for {keys.root}"
    else:
        state = str(json.loads(beat).get("state", "unknown"))
        reason = "" if state == "ready" else f"the sidecar runs, but is {state}"
    if arguments.json:
        say_json({"healthy": not reason, "reason": reason or None})
    else:
        print(f"unhealthy: {reason}" if reason else "healthy")
    return EXIT_NO if reason else 0
