"""The hub: one reader of Redis for all HTTP clients of this process, and who gets what it reads.

Waits for no client: an outlet that is full gives up by itself. Subscribes to nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.http.items import START, Item, Position, conflated, position_of
from ibkr_actor.http.outlet import Outlet
from ibkr_actor.schema.keys import Stream

log = logging.getLogger(__name__)

# Entries of one stream taken at a time.
COUNT: Final = 1_000
BACKOFF_S: Final = (0.1, 2.0)


class Feed:
    """One stream that is read: how far, and for whom."""

    __slots__ = ("id", "outlets", "position", "stream")

    def __init__(self, stream: Stream, entry_id: str) -> None:
        self.stream = stream
        self.id = entry_id
        self.position = position_of(entry_id)
        self.outlets: set[Outlet] = set()


class Hub:
    """`add` and `remove` may be called at any time; `run` reads until it is cancelled.

    `observe` gets, once for each read, the seconds from its newest entry's writing to its reading here, and how many.
    """

    def __init__(self, redis: Redis, *, observe: Callable[[float, int], None] = lambda seconds, entries: None) -> None:
        self._redis = redis
        self._observe = observe
        self._feeds: dict[str, Feed] = {}
        self._changed = anyio.Event()
        self._reading: anyio.CancelScope | None = None
        self.entries = 0
        self.losses = 0

    @property
    def streams(self) -> int:
        """How many streams are read."""
        return len(self._feeds)

    @property
    def outlets(self) -> set[Outlet]:
        """Everyone who listens."""
        return {outlet for feed in self._feeds.values() for outlet in feed.outlets}

    async def add(self, outlet: Outlet, key: str, stream: Stream) -> None:
        """Gives the outlet everything behind its position, what is in the stream already and what comes.

        Raises:
            RedisError: what is there already could not be read; the outlet is not added.
        """
        feed = self._feeds.get(key)
        if feed is None:
            start = _text(outlet.starts_after(key))
            feed = self._feeds[key] = Feed(stream, start)
            feed.outlets.add(outlet)
            self._wake()
            return
        # The reader is further on already: what lies between is read apart, page by page, until both have met.
        try:
            while feed.position > outlet.starts_after(key):
                await self._catch_up(feed, outlet, key)
                feed = self._feeds.setdefault(key, feed)
        except BaseException:
            self._drop_if_unheard(key)
            raise
        feed.outlets.add(outlet)
        self._wake()

    def remove(self, outlet: Outlet, key: str) -> None:
        """The outlet listens to this stream no longer."""
        feed = self._feeds.get(key)
        if feed is not None:
            feed.outlets.discard(outlet)
            self._drop_if_unheard(key)

    async def run(self) -> None:
        """Reads for ever; a Redis that is away is waited for, and read on from where it was left."""
        wait_s = BACKOFF_S[0]
        while True:
            self._changed = anyio.Event()
            if not self._feeds:
                await self._changed.wait()
                continue
            try:
                await self._read()
                wait_s = BACKOFF_S[0]
            except (RedisError, OSError) as error:
                self.losses += 1
                log.warning("hub_lost_redis error=%s", " ".join(str(error).split()))
                await anyio.sleep(wait_s)
                wait_s = min(2 * wait_s, BACKOFF_S[1])

    async def _read(self) -> None:
        """One read of all streams. Cancelled by a change of what is read; a read takes nothing out of a stream."""
        positions: Any = {key: feed.id for key, feed in self._feeds.items()}
        answer: Any = None
        with anyio.CancelScope() as self._reading:
            answer = await self._redis.xread(positions, count=COUNT, block=BLOCK_MS_MAX)
        self._reading = None
        if not answer:
            return
        newest_ms = position_of(answer[0][1][-1][0])[0]
        self._observe(max(0.0, time.time() - newest_ms / 1000), sum(len(entries) for _, entries in answer))
        for key, entries in answer:
            self._distribute(key.decode(), entries)
        await self._rest()

    def _distribute(self, key: str, entries: list[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        feed = self._feeds.get(key)
        if feed is None:
            return
        self.entries += len(entries)
        items = [Item(feed.stream, entry_id.decode(), fields) for entry_id, fields in entries]
        feed.id, feed.position = items[-1].id, items[-1].position
        fewer = conflated(items)
        for outlet in tuple(feed.outlets):
            outlet.offer(key, fewer if outlet.hz else items)

    async def _rest(self) -> None:
        """Nobody who gets conflated quotes only needs more than two reads in each of his turns."""
        slowest = [outlet.hz for outlet in self.outlets]
        if slowest and all(slowest):
            with anyio.move_on_after(1 / (2 * max(slowest))):
                await self._changed.wait()

    async def _catch_up(self, feed: Feed, outlet: Outlet, key: str) -> None:
        after = outlet.starts_after(key)
        page: Any = await self._redis.xrange(key, min=f"({_text(after)}", max=feed.id, count=COUNT)
        items = [Item(feed.stream, entry_id.decode(), fields) for entry_id, fields in page]
        if items:
            outlet.offer(key, conflated(items) if outlet.hz else items)
        else:
            # What lay between has been trimmed or deleted.
            outlet.start(key, feed.id, feed.position)

    def _drop_if_unheard(self, key: str) -> None:
        feed = self._feeds.get(key)
        if feed is not None and not feed.outlets:
            del self._feeds[key]
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        if self._reading is not None:
            self._reading.cancel()


async def newest_id(redis: Redis, key: str) -> str:
    """Id of the newest entry of a stream, `0-0` when there is none."""
    newest: Any = await redis.xrevrange(key, count=1)
    return newest[0][0].decode() if newest else "0-0"


async def was_trimmed(redis: Redis, key: str, entry_id: str) -> bool:
    """Whether entries behind this one may have been trimmed: it is not there any more, and the stream begins later."""
    position = START
    with suppress(ValueError):
        position = position_of(entry_id)
    if position == START:
        return False
    there: Any = await redis.xrange(key, min=entry_id, max=entry_id)
    if there:
        return False
    first: Any = await redis.xrange(key, count=1)
    return bool(first) and position_of(first[0][0]) > position


def _text(position: Position) -> str:
    return f"{position[0]}-{position[1]}"
