"""`ibkr-actor tail KIND INSTRUMENT...`: the records of streams, as text or as JSON lines, without subscribing.

Subscribes to nothing: what nobody holds stays silent. The reading is the client's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.cli.record_text import StreamEntry, canonical, kinds_of, printed, record_of
from ibkr_actor.cli.sub import line
from ibkr_actor.client import Checkpoint, Item, Missed, Raw, Reader
from ibkr_actor.client.gateways import nobody
from ibkr_actor.client.holding import stream_of
from ibkr_actor.client.items import Unknown, decoded
from ibkr_actor.client.reader import BEGINNING
from ibkr_actor.client.tally import StreamTally
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.keys import OWN_COMMAND, Keys

# Without --count: how many of the records already there are shown before those to come.
PRESENT_SHOWN = 10
_SYSTEM = "system"


def main(arguments: argparse.Namespace) -> int:
    """Prints until the count is reached, Ctrl-C, or the end of whoever reads."""
    log_to_stderr("warning")  # a Redis that goes away is waited for, and said
    return with_redis(_tail, arguments, follows=True)


async def _tail(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    streams = streams_of(keys, arguments)
    absent = [key for key in streams if not await redis.exists(key)]
    if absent and not await redis.exists(keys.heartbeat):
        print(await nobody(redis, keys), file=sys.stderr)
    for key in absent:
        hint = "" if key == keys.system else ": ibkr-actor sub subscribes"
        print(f"nothing in {key} yet; waiting{hint}", file=sys.stderr)
    shown, many = 0, len(streams) > 1
    async with aclosing(_entries(redis, keys, streams, arguments)) as entries:
        async for entry in entries:
            if isinstance(entry, Missed):
                print(line(Item(entry.stream, entry.to_id, entry), as_json=arguments.json, many=many), flush=True)
                continue
            print(printed(keys, entry, as_json=arguments.json, many=many), flush=True)
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
    others = ",".join(name for name in names if name != _SYSTEM)
    kinds = kinds_of(others, besides=OWN_COMMAND) if others or not out else []
    if kinds and not arguments.instruments:
        raise ConfigurationError(f"tail {arguments.kind} needs an INSTRUMENT")
    for each in arguments.instruments:
        # The names of chains, scans and the bulletins are no instruments.
        out += [keys.stream(kind, each if kind in OWN_COMMAND else canonical(each)) for kind in kinds]
    return list(dict.fromkeys(out))


async def _entries(
    redis: Redis, keys: Keys, streams: list[str], arguments: argparse.Namespace
) -> AsyncGenerator[StreamEntry | Missed]:
    """What is there already, over all streams in the order of its ids, then what comes, and what was trimmed before."""
    positions: dict[str, str] = {}
    tallies = {key: StreamTally() for key in streams}
    present: list[StreamEntry] = []
    for key in streams:
        found, positions[key] = await (_last if arguments.from_last else _newest)(redis, keys, key, arguments)
        present += found
        if found and (record := found[-1].record) is not None:
            tallies[key].begin_at(Checkpoint(positions[key], record.epoch, record.seq))
    present.sort(key=lambda entry: entry.order)
    # Of a count, the newest: those just above what is to come.
    for entry in present if arguments.from_last else present[-_wanted(arguments) :]:
        yield entry
    async with Reader(redis) as reader:
        follower = reader.follow(positions)
        while True:
            for raw in await follower.read():
                for each in _taken(keys, raw, tallies[raw.key]):
                    yield each


def _taken(keys: Keys, raw: Raw, tally: StreamTally) -> list[StreamEntry | Missed]:
    """The entry, behind what it proves to have been trimmed before it."""
    record = decoded(raw.fields)
    missed = [] if record is None else tally.take(record, raw.id, stream_of(keys, raw.key))
    return [*missed, StreamEntry(raw.key, raw.id, None if isinstance(record, Unknown) else record)]


async def _newest(redis: Redis, keys: Keys, key: str, arguments: argparse.Namespace) -> tuple[list[StreamEntry], str]:
    """The newest entries, and the id to read on from."""
    rows: Any = await redis.xrevrange(key, count=_wanted(arguments)) or []
    found = [StreamEntry(key, entry_id.decode(), record_of(fields)) for entry_id, fields in reversed(rows)]
    return found, found[-1].id if found else BEGINNING


def _wanted(arguments: argparse.Namespace) -> int:
    return arguments.count or PRESENT_SHOWN


async def _last(redis: Redis, keys: Keys, key: str, arguments: argparse.Namespace) -> tuple[list[StreamEntry], str]:
    """The newest value as the hash of last values has it, and the id to read on from."""
    if key != keys.system:
        stream = stream_of(keys, key)
        values: Any = await redis.hmget(keys.last(stream.instrument), [stream.kind, f"{stream.kind}:id"])
        value, entry_id = values
        if value is not None and entry_id is not None:
            field = b"j" if value[:1] == b"{" else b"d"
            return [StreamEntry(key, entry_id.decode(), record_of({field: value}))], entry_id.decode()
    found, position = await _newest(redis, keys, key, arguments)
    return found[-1:], position
