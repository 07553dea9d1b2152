"""`ibkr-actor search TEXT`: contracts whose symbol begins with the text or whose name holds it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused, ask, refuse, say_json, table
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.schema.commands import Search
from ibkr_actor.schema.keys import Keys

HEAD = ("con_id", "symbol", "type", "exchange", "currency", "description", "and also")


def main(arguments: argparse.Namespace) -> int:
    """Exit status 1 when there is none."""
    return with_redis(_search, arguments)


async def _search(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        reply = await ask(redis, keys, Search(client="cli", pattern=arguments.pattern), arguments.timeout)
    except Refused as error:
        return refuse(error)
    result: Any = reply.result or {}
    found = result.get("contracts") or []
    if not found:
        print(f"ibkr-actor: IB knows nothing that {arguments.pattern!r} fits", file=sys.stderr)
        return EXIT_NO
    if arguments.json:
        for row in found:
            say_json(row)
    else:
        print("\n".join(table(HEAD, [_cells(row) for row in found])))
    return 0


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    names = ("con_id", "symbol", "sec_type", "primary_exchange", "currency", "description")
    return (*(str(row.get(name) or "-") for name in names), " ".join(row.get("derivative_sec_types") or []))
