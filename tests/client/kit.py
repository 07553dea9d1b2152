"""What the client's tests write into streams. Holds no fixture and no test."""

from __future__ import annotations

from collections.abc import Iterable

from redis.asyncio import Redis

from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.records import AnyRecord, Gap, MidPoint, Reset

DEADLINE_S = 60.0


def midpoint(seq: int, epoch: int = 7) -> MidPoint:
    return MidPoint(epoch, seq, 1, 1_000, None, 1, 0, 1.1)


def gap(first_seq: int, seq: int, epoch: int = 7) -> Gap:
    return Gap(epoch, seq, 1, 1_000, None, 1, 0, "overflow", None, None, first_seq, seq - first_seq + 1)


def reset(epoch: int, prev_epoch: int | None = None, prev_seq: int | None = None) -> Reset:
    return Reset(epoch, 1, 1, 1_000, None, 1, 0, "start", prev_epoch, prev_seq, None)


async def write(redis: Redis, key: str, records: Iterable[AnyRecord]) -> None:
    """Each record under an id that tells its epoch and seq: `7-12`."""
    async with redis.pipeline(transaction=False) as pipe:
        for record in records:
            pipe.xadd(key, {"d": encode_record(record)}, id=f"{record.epoch}-{record.seq}")
        await pipe.execute()
