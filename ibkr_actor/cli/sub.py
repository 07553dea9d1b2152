"""`ibkr-actor sub INSTRUMENT...`: subscribes with a lease, prints what comes, and gives the lines back at its end.

The lease, its renewal and the reading are the client's.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import msgspec
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused as NoGo
from ibkr_actor.cli.asking import refuse, require_sidecar
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.cli.record_text import json_line, kinds_of, text_line
from ibkr_actor.client import Client, Item, MarketDataError, Missed, Refused
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.keys import CLIENT_PATTERN, Keys


def main(arguments: argparse.Namespace) -> int:
    """0 at Ctrl-C, SIGTERM, or the count; 1 when a stream was refused; 2 for what was wrong."""
    log_to_stderr("warning")  # a Redis that is away is waited for, and said
    return with_redis(_sub, arguments, follows=True)


async def _sub(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    kinds = kinds_of(arguments.kinds)
    name = arguments.client or f"sub-{os.getpid()}"
    if not CLIENT_PATTERN.fullmatch(name):
        raise ConfigurationError(f"--client {name!r}: 1 to 64 characters of [A-Za-z0-9_.-]")
    ticks = generic_ticks(arguments.generic_ticks)
    try:
        await require_sidecar(redis, keys)
        async with Client(
            redis, client=name, prefix=keys.prefix, gateway=keys.gateway, lease_s=arguments.lease,
            timeout_s=arguments.timeout,
        ) as client:  # fmt: skip
            feed = client.stream(
                kinds, *arguments.instruments, refused="yield", generic_ticks=ticks, backfill=arguments.backfill
            )
            many = len(kinds) * len(arguments.instruments) > 1
            return await _print(feed, arguments, many=many)
    except (NoGo, MarketDataError) as error:
        return refuse(error)


async def _print(feed: Any, arguments: argparse.Namespace, *, many: bool) -> int:
    shown = 0
    refused: set[str] = set()
    async for item in feed:
        print(line(item, as_json=arguments.json, many=many), flush=True)
        if isinstance(item.record, Refused):
            refused.add(item.stream.name)
            if refused == {stream.name for stream in feed.streams}:
                return EXIT_NO
        shown += 1
        if arguments.count and shown >= arguments.count:
            break
    return EXIT_NO if refused else 0


def generic_ticks(text: str | None) -> tuple[int, ...]:
    """`100,233` as numbers.

    Raises:
        ConfigurationError: one is none.
    """
    try:
        return tuple(int(part) for part in (text or "").split(",") if part)
    except ValueError:
        raise ConfigurationError(f"--generic-ticks {text}: whole numbers with commas between them") from None


def line(item: Item[Any], *, as_json: bool, many: bool) -> str:
    """One line for an item; what only a reader can know has the tags `missed` and `refused`."""
    record, name = item.record, item.stream.name
    if isinstance(record, Missed | Refused):
        value = notice(record)
        if as_json:
            return json.dumps({"stream": name, "id": item.id} | value, separators=(",", ":"))
        return f"{name} " + " ".join(f"{key}={each}" for key, each in value.items() if each is not None)
    if as_json:
        return json_line(name, item.id, record)
    return (f"{name:<28} " if many else "") + text_line(item.id, record)


def notice(record: Missed | Refused) -> dict[str, Any]:
    """As an object with a tag, without its stream."""
    if isinstance(record, Missed):
        value = msgspec.structs.asdict(record)
        del value["stream"]
        return {"tag": "missed"} | value
    return {"tag": "refused", "code": record.error.code, "message": str(record.error)}
