"""Reading one stream record by record, from entries already there into those still to come.

Keeps no state in Redis: the caller holds the id it has read up to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from msgspec import Struct
from redis.asyncio import Redis

from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import AnyRecord


class Entry(Struct, frozen=True):
    """One stream entry. `record` is None when its tag is newer than this version, or when it is no record at all."""

    id: str
    record: AnyRecord | None


async def follow(redis: Redis, key: str, *, last: int = 0, after: str | None = None) -> AsyncIterator[Entry]:
    """Entries of `key` in order, for ever: the `last` ones already there, or all after id `after`, then new ones.

    Raises:
        redis.RedisError: the server went away; go on later with `after` set to the last id seen.
    """
    position = after
    if position is None:
        present: list[Any] = await redis.xrevrange(key, count=max(last, 1)) or []
        position = present[0][0].decode() if present else "0"
        for entry_id, fields in reversed(present[:last]):
            yield Entry(entry_id.decode(), _record(fields))
    while True:
        answer: Any = await redis.xread({key: position}, count=1000, block=BLOCK_MS_MAX)
        for entry_id, fields in answer[0][1] if answer else ():
            position = entry_id.decode()
            yield Entry(position, _record(fields))


def _record(fields: Mapping[bytes, bytes]) -> AnyRecord | None:
    """None for what someone else wrote into the stream: it must not end the reading of what follows."""
    try:
        return decode_record(fields)
    except ValueError:
        return None
