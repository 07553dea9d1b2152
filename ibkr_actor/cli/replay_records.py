"""Records written anew: the lines of a file into streams of another gateway name, in the time they came in.

Epoch and seq stay as they were, so that a reader meets the same gaps and resets.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.asking import say_json
from ibkr_actor.cli.record_text import StreamEntry
from ibkr_actor.cli.replay_source import records_in
from ibkr_actor.schema.codec import Encoding, encode_record
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Gap, Reset, System

# Entries that go into one round trip when they are due together.
BATCH_MAX: Final = 500


async def play_records(redis: Redis, keys: Keys, path: Path, arguments: argparse.Namespace, encoding: Encoding) -> None:
    """Writes every record, each when it is due, and says in the end how many."""
    begun_s = anyio.current_time()
    first_ns: int | None = None
    waiting: list[StreamEntry] = []
    written, streams = 0, set()
    for entry in records_in(path):
        at_ns = _at_ns(entry)
        first_ns = at_ns if first_ns is None else first_ns
        due_s = begun_s + ((at_ns - first_ns) / 1e9 / arguments.speed if arguments.speed else 0.0)
        if due_s > anyio.current_time() or len(waiting) >= BATCH_MAX:
            await _write(redis, keys, waiting, encoding)
            waiting = []
            await anyio.sleep_until(due_s)
        waiting.append(entry)
        written += 1
        streams.add(entry.key)
    await _write(redis, keys, waiting, encoding)
    took_s = anyio.current_time() - begun_s
    if arguments.json:
        say_json({"records": written, "streams": sorted(streams), "seconds": round(took_s, 3)})
    else:
        print(f"{written} records in {len(streams)} streams, {took_s:.1f} s", flush=True)


async def _write(redis: Redis, keys: Keys, entries: list[StreamEntry], encoding: Encoding) -> None:
    """Streams, last values and the set of streams, as a sidecar writes them."""
    if not entries:
        return
    field = "d" if encoding == "msgpack" else "j"
    async with redis.pipeline(transaction=True) as together:
        values = [encode_record(entry.record, encoding) for entry in entries if entry.record is not None]
        for entry, value in zip(entries, values, strict=True):
            key = f"{keys.root}:{entry.key}"
            together.xadd(key, {field: value})
            together.sadd(keys.streams, key)
        ids = [each for each in await together.execute() if isinstance(each, bytes)]
    newest = {
        entry.key: (value, entry_id)
        for entry, value, entry_id in zip(entries, values, ids, strict=True)
        if not isinstance(entry.record, System | Gap | Reset)
    }
    for stream, (value, entry_id) in newest.items():
        kind, _, instrument = stream.partition(":")
        written: dict[Any, Any] = {kind: value, f"{kind}:id": entry_id}
        await redis.hset(keys.last(instrument), mapping=written)


def _at_ns(entry: StreamEntry) -> int:
    record = entry.record
    assert record is not None
    return record.at_ns if isinstance(record, System) else record.received_ns
