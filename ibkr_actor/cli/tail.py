"""`ibkr-actor tail KIND INSTRUMENT...`: the records of streams, as text or as JSON lines, without subscribing.

Subscribes to nothing: what nobody holds stays silent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.record_text import StreamEntry, canonical, kinds_of, printed, record_of
from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.keys import Keys

# Without --count: how many of the records already there are shown before those to come.
PRESENT_SHOWN = 10
_SYSTEM = "system"
_READ_COUNT = 500


def main(arguments: argparse.Namespace) -> int:
    """Prints until the count is reached, Ctrl-C, or the end of whoever reads."""
    return with_redis(_tail, arguments, follows=True)


async def _tail(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    streams = streams_of(keys, arguments)
    for key in streams:
        if not await redis.exists(key):
            hint = "" if key == keys.system else ": ibkr-actor sub subscribes"
            print(f"nothing in {key} yet; waiting{hint}", file=sys.stderr)
    shown = 0
    async for entry in _entries(redis, keys, streams, arguments):
        print(printed(keys, entry, as_json=arguments.json, many=len(streams) > 1), flush=True)
        shown += 1
        if arguments.count and shown >= arguments.count:
            break
    return 0


def streams_of(keys: Keys, arguments: argparse.Namespace) -> list[str]:
    """The keys meant, each once.

    Raises:
        ConfigurationError: no such kind, or no instrument.
    """
    names = [name for name in arguments.kind.split(",") if name]
    out = [keys.system] if _SYSTEM in names else []
    kinds = kinds_of(",".join(name for name in names if name != _SYSTEM)) if set(names) != {_SYSTEM} else []
    if kinds and not arguments.instruments:
        raise ConfigurationError(f"tail {arguments.kind} needs an INSTRUMENT")
    out += [keys.stream(kind, canonical(each)) for each in arguments.instruments for kind in kinds]
    return list(dict.fromkeys(out))


async def _entries(
    redis: Redis, keys: Keys, streams: list[str], arguments: argparse.Namespace
) -> AsyncIterator[StreamEntry]:
    """What is there already, over all streams in the order of its ids, then what comes."""
    positions: dict[str, str] = {}
    present: list[StreamEntry] = []
    for key in streams:
        if arguments.from_last:
            found, positions[key] = await _last(redis, keys, key)
        else:
            rows: Any = await redis.xrevrange(key, count=arguments.count or PRESENT_SHOWN) or []
            found = [StreamEntry(key, entry_id.decode(), record_of(fields)) for entry_id, fields in reversed(rows)]
            positions[key] = rows[0][0].decode() if rows else "0"
        present += found
    present.sort(key=lambda entry: entry.order)
    # Of a count, the newest: those just above what is to come.
    for entry in present if arguments.from_last else present[-(arguments.count or PRESENT_SHOWN) :]:
        yield entry
    while True:
        wanted: Any = positions
        answer: Any = await redis.xread(wanted, count=_READ_COUNT, block=BLOCK_MS_MAX)
        for raw, entries in answer or ():
            key = raw.decode()
            for entry_id, fields in entries:
                positions[key] = entry_id.decode()
                yield StreamEntry(key, positions[key], record_of(fields))


async def _last(redis: Redis, keys: Keys, key: str) -> tuple[list[StreamEntry], str]:
    """The newest value as the hash of last values has it, and the id to read on from."""
    if key != keys.system:
        kind, _, instrument = key.removeprefix(keys.root + ":").partition(":")
        values: Any = await redis.hmget(keys.last(instrument), [kind, f"{kind}:id"])
        value, entry_id = values
        if value is not None and entry_id is not None:
            field = b"j" if value[:1] == b"{" else b"d"
            return [StreamEntry(key, entry_id.decode(), record_of({field: value}))], entry_id.decode()
    newest: Any = await redis.xrevrange(key, count=1)
    if not newest:
        return [], "0"
    entry = StreamEntry(key, newest[0][0].decode(), record_of(newest[0][1]))
    return [entry], entry.id
