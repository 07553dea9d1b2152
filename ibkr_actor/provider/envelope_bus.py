"""Owns reading and writing market-data-core's event streams: nothing is lost, and nothing grows for ever.

The methods are those of core's `RedisStreamsBus`. Knows nothing of IB.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final

import anyio
from pydantic import BaseModel
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ibkr_actor.client import connect
from ibkr_actor.provider.envelopes import FIELD, BadEnvelope, Envelope, decode, encode

log = logging.getLogger(__name__)

MAXLEN: Final = 100_000
DLQ_MAXLEN: Final = 10_000
BLOCK_MS: Final = 2_000
CLAIM_IDLE_S: Final = 60.0
# How often a reader looks for what others left behind, as a part of the time after which it is left.
_CLAIMS_PER_IDLE: Final = 4

Entry = tuple[str, Mapping[bytes, bytes], int]  # id, fields, how often it was given out


class EnvelopeBus:
    """Streams `<namespace>:<stream>`, dead letters in `<namespace>:<stream>.dlq`.

    An envelope is given out until it is acknowledged: first to who read it, also after a restart, then to who is there.
    """

    def __init__(
        self,
        redis: str | Redis,
        *,
        namespace: str | None = None,
        track: str = "v1",
        dlq_max_retries: int = 3,
        maxlen: int = MAXLEN,
        claim_idle_s: float = CLAIM_IDLE_S,
    ) -> None:
        """Without `namespace` it is MD_NAMESPACE, else `mdp`.

        `maxlen` is how many entries a stream keeps, about. Who gives a Redis closes it.
        """
        self._redis = connect(redis) if isinstance(redis, str) else redis
        self._own = isinstance(redis, str)
        self.namespace = namespace or os.environ.get("MD_NAMESPACE") or "mdp"
        self.track = track
        self.dlq_max_retries = dlq_max_retries
        self.maxlen = maxlen
        self.claim_idle_s = claim_idle_s
        # (stream, id) -> group and deliveries of what was given out and not answered for yet; no more than a stream
        # keeps, since who never answers has lost older ones from the stream as well.
        self._given: dict[tuple[str, str], tuple[str, int]] = {}

    def key(self, stream: str) -> str:
        return f"{self.namespace}:{stream}"

    def dlq_key(self, stream: str) -> str:
        return f"{self.key(stream)}.dlq"

    # ---- writing

    async def publish(self, stream: str, value: BaseModel, *, key: str | None = None) -> str:
        """Writes one event and returns its id. The stream keeps about `maxlen`."""
        data = encode(value, key=key, track=self.track)
        entry_id: Any = await self._redis.xadd(self.key(stream), {FIELD: data}, maxlen=self.maxlen, approximate=True)
        return str(entry_id.decode())

    async def publish_all(self, events: Iterable[tuple[str, BaseModel, str | None]]) -> int:
        """Writes many (stream, value, key) in one go; how many they were."""
        pipeline = self._redis.pipeline(transaction=False)
        count = 0
        for stream, value, key in events:
            data = encode(value, key=key, track=self.track)
            pipeline.xadd(self.key(stream), {FIELD: data}, maxlen=self.maxlen, approximate=True)
            count += 1
        if count:
            await pipeline.execute()
        return count

    # ---- reading

    async def subscribe(
        self, stream: str, *, group: str, consumer: str, block_ms: int = BLOCK_MS, count: int = 32
    ) -> AsyncGenerator[Envelope]:
        """What the consumer left unanswered last time, then what is new, for ever. The group begins with what is there.

        Answer for each with `ack` or `fail`. What cannot be read goes to the dead letters by itself. A group that was
        lost (FLUSHALL, a failover) is made again.
        """
        await self._make_group(stream, group)
        own: str | None = "0"  # the last of its own pending entries that was read; None when none is left
        claim_at, claim_from = 0.0, "0-0"
        while True:
            try:
                entries: list[Entry]
                if own is not None:
                    entries = await self._pending(stream, group, consumer, own, count)
                    own = entries[-1][0] if entries else None
                elif anyio.current_time() >= claim_at:
                    claim_from, entries = await self._claimed(stream, group, consumer, claim_from, count)
                    if claim_from == "0-0":  # that was all there is
                        claim_at = anyio.current_time() + self.claim_idle_s / _CLAIMS_PER_IDLE
                else:
                    wait_ms = min(block_ms, max(1, int((claim_at - anyio.current_time()) * 1000)))
                    entries = await self._new(stream, group, consumer, wait_ms, count)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                log.warning("group_lost stream=%s group=%s: made again", stream, group)
                await self._make_group(stream, group)
                own = "0"
                continue
            for entry in entries:
                envelope = await self._read(stream, group, entry)
                if envelope is not None:
                    yield envelope

    async def ack(self, stream: str, envelope_id: str, *, group: str = "") -> None:
        """Answers for an envelope: it is done. `group` is needed for one that this bus did not give out.

        Raises:
            ValueError: nobody knows of which group it is.
        """
        group, _ = self._group_of(stream, envelope_id, group)
        await self._redis.xack(self.key(stream), group, envelope_id)
        self._given.pop((stream, envelope_id), None)

    async def fail(self, stream: str, envelope_id: str, reason: str, *, group: str = "") -> None:
        """Says that it could not be handled. It is given out again later, `dlq_max_retries` times at most.

        After that it goes to the dead letters as it stands, with the reason and how often it was tried.

        Raises:
            ValueError: nobody knows of which group it is.
        """
        group, deliveries = self._group_of(stream, envelope_id, group)
        self._given.pop((stream, envelope_id), None)
        if not deliveries:
            deliveries = await self._deliveries(stream, group, envelope_id)
        if deliveries > self.dlq_max_retries:
            found: Any = await self._redis.xrange(self.key(stream), envelope_id, envelope_id)
            fields = found[0][1] if found else {}
            await self._bury(stream, group, (envelope_id, fields, deliveries), reason)

    async def health(self) -> dict[str, str]:
        """How the server is. One that is away, or refuses, is an answer."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            return {"backend": "redis", "status": "error", "error": str(error)}
        return {"backend": "redis", "status": "ok", "namespace": self.namespace}

    async def close(self) -> None:
        if self._own:
            await self._redis.aclose()

    # ---- the parts of reading

    async def _make_group(self, stream: str, group: str) -> None:
        try:
            await self._redis.xgroup_create(self.key(stream), group, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _pending(self, stream: str, group: str, consumer: str, after: str, count: int) -> list[Entry]:
        """What this consumer was given before and never answered for."""
        key = self.key(stream)
        answer: Any = await self._redis.xreadgroup(group, consumer, {key: after}, count=count)
        entries = answer[0][1] if answer else []
        return await self._counted(stream, group, [(entry_id.decode(), fields or {}) for entry_id, fields in entries])

    async def _claimed(self, stream: str, group: str, consumer: str, start: str, count: int) -> tuple[str, list[Entry]]:
        """What a consumer, this one or one that died, has left unanswered for too long; and where to go on."""
        answer: Any = await self._redis.xautoclaim(
            self.key(stream), group, consumer, min_idle_time=int(self.claim_idle_s * 1000), start_id=start, count=count
        )
        if len(answer) > 2 and answer[2]:
            log.warning(
                "envelopes_lost stream=%s count=%d: trimmed before they were answered for", stream, len(answer[2])
            )
        entries = [(entry_id.decode(), fields or {}) for entry_id, fields in answer[1]]
        return answer[0].decode(), await self._counted(stream, group, entries)

    async def _new(self, stream: str, group: str, consumer: str, wait_ms: int, count: int) -> list[Entry]:
        answer: Any = await self._redis.xreadgroup(group, consumer, {self.key(stream): ">"}, count=count, block=wait_ms)
        return [(entry_id.decode(), fields, 1) for entry_id, fields in (answer[0][1] if answer else ())]

    async def _counted(self, stream: str, group: str, entries: list[tuple[str, Any]]) -> list[Entry]:
        return [(id_, fields, await self._deliveries(stream, group, id_)) for id_, fields in entries]

    async def _deliveries(self, stream: str, group: str, entry_id: str) -> int:
        found: Any = await self._redis.xpending_range(self.key(stream), group, entry_id, entry_id, 1)
        return int(found[0]["times_delivered"]) if found else 1

    async def _read(self, stream: str, group: str, entry: Entry) -> Envelope | None:
        """The envelope of an entry; None for one that was trimmed, was tried too often, or is none."""
        entry_id, fields, deliveries = entry
        data = fields.get(FIELD.encode())
        if not fields:
            log.warning("envelope_lost stream=%s id=%s: trimmed before it was answered for", stream, entry_id)
            await self._redis.xack(self.key(stream), group, entry_id)
            return None
        if deliveries > self.dlq_max_retries + 1:
            await self._bury(stream, group, entry, "given out too often without an answer")
            return None
        try:
            envelope = decode(data or b"", id=entry_id, deliveries=deliveries)
        except BadEnvelope as error:
            await self._bury(stream, group, entry, str(error))
            return None
        self._given[stream, entry_id] = group, deliveries
        if len(self._given) > self.maxlen:
            del self._given[next(iter(self._given))]
        return envelope

    async def _bury(self, stream: str, group: str, entry: Entry, reason: str) -> None:
        """Moves an entry, body and all, to the dead letters; both at once, so that it is neither lost nor doubled."""
        entry_id, fields, deliveries = entry
        letter: Any = {
            "original_id": entry_id,
            "reason": reason[:1000],
            "retries": str(max(0, deliveries - 1)),
            "group": group,
            FIELD: fields.get(FIELD.encode(), b""),
        }
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xadd(self.dlq_key(stream), letter, maxlen=DLQ_MAXLEN, approximate=True)
            pipeline.xack(self.key(stream), group, entry_id)
            await pipeline.execute()
        log.warning("envelope_dead stream=%s id=%s reason=%s", stream, entry_id, reason)

    def _group_of(self, stream: str, envelope_id: str, group: str) -> tuple[str, int]:
        known = self._given.get((stream, envelope_id))
        if group:
            return group, known[1] if known and known[0] == group else 0
        if known is None:
            raise ValueError(f"{envelope_id} was not given out here: say of which group it is")
        return known
