"""Where the reading of a stream begins, and what is given out before it: the present, from the last values.

Reads Redis once per stream; follows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Literal

from msgspec import Struct
from redis.asyncio import Redis

from ibkr_actor.client.connect import patiently
from ibkr_actor.client.items import Checkpoint, Unknown, decoded
from ibkr_actor.client.reader import BEGINNING
from ibkr_actor.schema.keys import CHAIN, Keys, Stream
from ibkr_actor.schema.records import AnyRecord, End, Reset

Start = Literal["last", "now", "first"] | Mapping[str, Checkpoint | str]
# States in which the newest value is not the present one: none has come since the line was asked for, or it is no more.
_NOT_PRESENT: Final = (b"pending", b"ended", None)
# Last values of these kinds stand in parts, one for each of what the record tells apart.
_PARTS: Final = {"tick": (b"tick:",), "greeks": (b"greeks:",), CHAIN: (b"option:", b"window")}
# Streams of many instruments, or of none, have no last value: there it is now.
_WITHOUT_LAST: Final = ("all", "history")
_LOOK_BACK = 500


class Opening(Struct, frozen=True):
    """Follow from behind `checkpoint.id`, after having given out `present`."""

    checkpoint: Checkpoint
    present: list[AnyRecord] = []


class Openings:
    """Finds openings in one gateway's keys; a server that is away is waited for."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def find(self, key: str, stream: Stream, start: Start, *, backfilled: bool = False) -> Opening:
        """The opening of one stream; of one that was `backfilled` just now, where its history begins."""
        if isinstance(start, Mapping):
            checkpoint = start.get(stream.name) or start.get(key)
            if checkpoint is not None:
                return Opening(await self._resumed(key, checkpoint))
            start = "last"
        if backfilled:
            return Opening(Checkpoint(await self._behind_end(key)))
        if start == "first":
            return Opening(Checkpoint(BEGINNING))
        if start == "last" and stream.instrument and stream.kind not in _WITHOUT_LAST:
            return await self._last(stream)
        newest: Any = await patiently(lambda: self._redis.xrevrange(key, count=1), "opening")
        return Opening(Checkpoint(newest[0][0].decode() if newest else BEGINNING))

    async def _resumed(self, key: str, checkpoint: Checkpoint | str) -> Checkpoint:
        """With epoch and seq, from the entry itself where only its id is known."""
        given = Checkpoint(checkpoint) if isinstance(checkpoint, str) else checkpoint
        if given.epoch:
            return given
        entries: Any = await patiently(lambda: self._redis.xrange(key, given.id, given.id), "opening")
        record = decoded(entries[0][1]) if entries else None
        return given if record is None else Checkpoint(given.id, record.epoch, record.seq)

    async def _behind_end(self, key: str) -> str:
        """The id of the newest `end` or `reset`: what stands before it belongs to an earlier time."""
        upper = "+"
        while True:
            ask = partial(self._redis.xrevrange, key, max=upper, count=_LOOK_BACK)
            entries: Any = await patiently(ask, "opening")
            for entry_id, fields in entries:
                if isinstance(decoded(fields), End | Reset):
                    return str(entry_id.decode())
            if len(entries) < _LOOK_BACK:
                return BEGINNING
            upper = f"({entries[-1][0].decode()}"

    async def _last(self, stream: Stream) -> Opening:
        """The newest values and the id behind which nothing of the stream is missing in them."""
        kind = stream.kind.encode()
        values: Any = await patiently(lambda: self._redis.hgetall(self._keys.last(stream.instrument)), "opening")
        entry_id, newest = values.get(kind + b":id"), _value(values.get(kind))
        if entry_id is None or newest is None:
            return Opening(Checkpoint(BEGINNING))
        checkpoint = Checkpoint(entry_id.decode(), newest.epoch, newest.seq)
        if values.get(b"state:" + kind) in _NOT_PRESENT:
            return Opening(checkpoint)
        parts = _PARTS.get(stream.kind)
        found = [newest] if parts is None else [_value(one) for name, one in values.items() if name.startswith(parts)]
        # Of another epoch are what nobody has said again since the last start.
        present = [record for record in found if record is not None and record.epoch == newest.epoch]
        return Opening(checkpoint, sorted(present, key=lambda record: record.seq))


def _value(value: bytes | None) -> AnyRecord | None:
    """A last value, which is encoded as entries are; an object can only be JSON."""
    if value is None:
        return None
    record = decoded({b"j" if value.startswith(b"{") else b"d": value})
    return None if isinstance(record, Unknown) else record
