"""`ibkr-actor bulletins`: IB's bulletins, those of the day first, then as they come.

Says nothing while there are none.
"""

from __future__ import annotations

import argparse
import os

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused as NoGo
from ibkr_actor.cli.asking import refuse, require_sidecar
from ibkr_actor.cli.following import follow
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.client import Client, MarketDataError
from ibkr_actor.schema.keys import Keys


def main(arguments: argparse.Namespace) -> int:
    """0 at Ctrl-C or the count; 1 when it was refused."""
    log_to_stderr("warning")  # a Redis that is away is waited for, and said
    return with_redis(_bulletins, arguments, follows=True)


async def _bulletins(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        await require_sidecar(redis, keys)
        async with Client(redis, client=f"bulletins-{os.getpid()}", prefix=keys.prefix, gateway=keys.gateway) as client:
            return await follow(client.bulletins(), as_json=arguments.json, count=arguments.count)
    except (NoGo, MarketDataError) as error:
        return refuse(error)
