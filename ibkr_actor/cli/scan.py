"""`ibkr-actor scan CODE`: what a scan of the market ranks, as a table of what it ranks now or as records as they come.

Which scans there are is IB's to say; IB is told at the end that nobody wants this one any more.
"""

from __future__ import annotations

import argparse
import os
from typing import Final

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused as NoGo
from ibkr_actor.cli.asking import refuse, require_sidecar, table
from ibkr_actor.cli.following import follow
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.client import Client, Feed, MarketDataError
from ibkr_actor.client.items import Notice
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Ranked, Ranking

HEAD: Final = ("rank", "symbol", "type", "exchange", "currency", "con_id", "distance", "projection")


def main(arguments: argparse.Namespace) -> int:
    """0 at Ctrl-C, the count, or a table; 1 when it was refused or nothing came; 2 for what was wrong."""
    log_to_stderr("warning")  # a Redis that is away is waited for, and said
    return with_redis(_scan, arguments, follows=True)


async def _scan(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    filters = filters_of(arguments.filter)
    try:
        await require_sidecar(redis, keys)
        async with Client(
            redis, client=f"scan-{os.getpid()}", prefix=keys.prefix, gateway=keys.gateway, timeout_s=arguments.timeout
        ) as client:
            feed = client.scan(
                arguments.code,
                scan_instrument=arguments.instrument,
                location=arguments.location,
                rows=arguments.rows,
                above_price=arguments.above_price,
                below_price=arguments.below_price,
                above_volume=arguments.above_volume,
                filters=filters,
            )
            if arguments.follow or arguments.json:
                return await follow(feed, as_json=arguments.json, count=arguments.count)
            return await _once(feed, arguments)
    except (NoGo, MarketDataError) as error:
        return refuse(error)


async def _once(feed: Feed[Ranking | Notice], arguments: argparse.Namespace) -> int:
    with anyio.move_on_after(arguments.timeout):
        async for item in feed:
            if isinstance(item.record, Ranking):
                print("\n".join(text(item.record)), flush=True)
                return 0
    raise NoGo(f"{arguments.code}: no ranking within {arguments.timeout:g} s")


def text(ranking: Ranking) -> list[str]:
    """A row for each that it ranks."""
    if not ranking.rows:
        return ["nothing fits"]
    return table(HEAD, [_cells(row) for row in ranking.rows])


def _cells(row: Ranked) -> tuple[str, ...]:
    name = row.local_symbol if row.sec_type != "STK" and row.local_symbol else row.symbol
    cells = (str(row.rank + 1), name, row.sec_type, row.exchange, row.currency, str(row.con_id))
    return (*cells, row.distance or "-", row.projection or "-")


def filters_of(given: list[str]) -> dict[str, str]:
    """`NAME=VALUE`, each.

    Raises:
        ConfigurationError: one is not.
    """
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise ConfigurationError(f"--filter {each}: NAME=VALUE, such as marketCapAbove1e6=1000")
        found[name] = value
    return found
