"""Reading as one consumer of a group: own pending entries first, then new ones, and those that dead consumers left.

Its position is the server's. Says what was trimmed before it was read; makes no sense of what it reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ibkr_actor.client.connect import BLOCK_MS_MAX, SERVER_ERRORS, Backoff, is_away, pooled
from ibkr_actor.client.items import Missed
from ibkr_actor.client.reader import BEGINNING, Raw, id_order
from ibkr_actor.schema.keys import Stream

_COUNT: Final = 500
_log = logging.getLogger(__name__)


class GroupReader:
    """One consumer of `group` on some streams, over a connection of its own."""

    def __init__(
        self,
        redis: Redis,
        streams: Mapping[str, Stream],
        starts: Mapping[str, str],
        *,
        group: str,
        consumer: str,
        claim_idle_s: float,
    ) -> None:
        self._redis = pooled(redis, 1)
        self._streams = streams
        self._starts = dict(starts)  # key -> where its group begins if it must be made
        self._group = group
        self._consumer = consumer
        self._claim_idle_s = claim_idle_s
        self._claim_at_s = 0.0
        self._ready = False
        self._pending: dict[str, str] = {}  # key -> how far its own pending entries were read; none left: no key
        self._given: dict[str, set[str]] = {key: set() for key in streams}  # given out and not acknowledged
        self._acks: dict[str, list[str]] = {key: [] for key in streams}
        self._backoff = Backoff(f"group {group}")
        self._woken = False

    def ack(self, key: str, entry_id: str) -> None:
        """The entry is done with; it is acknowledged with others before the next read."""
        self._acks[key].append(entry_id)

    def wake(self) -> None:
        """Lets the next `read` return, with nothing if there is nothing."""
        self._woken = True

    async def read(self, within_s: float | None = None) -> list[Raw | Missed]:
        """The next entries, and what was trimmed unread; a server that is away is waited for.

        Raises:
            redis.RedisError: the server refuses to be read.
        """
        until_s = None if within_s is None else anyio.current_time() + within_s
        while not self._woken:
            try:
                found = await self._read(until_s)
            except SERVER_ERRORS as error:
                await self._failed(error)
                continue
            self._backoff.worked()
            if found or (until_s is not None and anyio.current_time() >= until_s):
                return found
        self._woken = False
        return []

    async def flush(self) -> None:
        """Acknowledges what is done with.

        Raises:
            redis.RedisError: the server is away; it stays noted.
        """
        for key, ids in self._acks.items():
            if ids:
                await self._redis.xack(key, self._group, *ids)
                self._given[key].difference_update(ids)
                ids.clear()

    async def close(self) -> None:
        """Acknowledges what is done with, if the server is there, and lets the connection go."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
            try:
                await self.flush()
            except SERVER_ERRORS as error:
                if not is_away(error) and not _is_nogroup(error):
                    raise
                _log.warning("acks_lost group=%s error=%s", self._group, error)
            finally:
                await self._redis.aclose()

    # ---- one round

    async def _failed(self, error: Exception) -> None:
        """After a lost connection own pending entries come first; a group that is gone is made again."""
        self._ready = False
        if _is_nogroup(error):
            _log.warning("group_gone group=%s", self._group)
            # All that stands in the streams now came after whatever took the group away.
            self._starts = dict.fromkeys(self._starts, BEGINNING)
            for ids in self._acks.values():
                ids.clear()
        elif is_away(error):
            await self._backoff.failed(error)
        else:
            raise error

    async def _read(self, until_s: float | None) -> list[Raw | Missed]:
        if not self._ready:
            missed = await self._prepare()
            if missed:
                return missed
        await self.flush()
        if self._pending:
            return await self._own_pending()
        if anyio.current_time() >= self._claim_at_s:
            claimed = await self._claim()
            if claimed:
                return claimed
        block_ms = BLOCK_MS_MAX
        if until_s is not None:
            block_ms = min(block_ms, int(1_000 * max(0.0, until_s - anyio.current_time())) + 1)
        wanted: Any = dict.fromkeys(self._streams, ">")
        answer: Any = await self._redis.xreadgroup(self._group, self._consumer, wanted, count=_COUNT, block=block_ms)
        return [raw for key, entries in answer or () for raw in self._given_out(key.decode(), entries, fresh=True)]

    async def _prepare(self) -> list[Raw | Missed]:
        """Makes the groups that are not there, and looks what the others missed while nobody read."""
        missed: list[Raw | Missed] = []
        for key, start in self._starts.items():
            try:
                await self._redis.xgroup_create(key, self._group, id=start, mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise
                missed += await self._trimmed_unread(key)
        self._pending = dict.fromkeys(self._streams, "0")
        self._ready = True
        return missed

    async def _trimmed_unread(self, key: str) -> list[Missed]:
        """What is gone and was never given to the group: the server counts what was added and what was read."""
        stream: Any = await self._redis.xinfo_stream(key)
        groups: Any = await self._redis.xinfo_groups(key)
        mine = next((one for one in groups if one["name"] == self._group.encode()), None)
        if mine is None:
            return []
        delivered, read = mine["last-delivered-id"].decode(), mine.get("entries-read")
        first = stream["first-entry"][0].decode() if stream["first-entry"] else stream["last-generated-id"].decode()
        added = stream.get("entries-added")
        if id_order(first) <= id_order(delivered) or added is None:
            return []
        if read is None:
            # It has read nothing yet, or entries were deleted one by one: then nobody knows how many there were.
            return []
        lost = added - read - stream["length"]
        return [Missed(self._streams[key], lost, delivered, first)] if lost > 0 else []

    async def _own_pending(self) -> list[Raw | Missed]:
        wanted: Any = dict(self._pending)
        answer: Any = await self._redis.xreadgroup(self._group, self._consumer, wanted, count=_COUNT)
        found: list[Raw | Missed] = []
        for key, entries in answer or ():
            name = key.decode()
            if not entries:
                self._pending.pop(name, None)
                continue
            self._pending[name] = entries[-1][0].decode()
            found += self._given_out(name, entries, fresh=False)
        return found

    async def _claim(self) -> list[Raw | Missed]:
        """Takes over what nobody acknowledged for long."""
        found: list[Raw | Missed] = []
        idle_ms = int(self._claim_idle_s * 1_000)
        for key in self._streams:
            cursor: Any = BEGINNING
            while True:
                answer: Any = await self._redis.xautoclaim(
                    key, self._group, self._consumer, idle_ms, start_id=cursor, count=_COUNT
                )
                cursor = answer[0]
                found += self._given_out(key, answer[1], fresh=False)
                gone = [entry_id.decode() for entry_id in answer[2]] if len(answer) > 2 else []
                found += self._trimmed(key, gone)
                if cursor in (b"0-0", "0-0"):
                    break
        self._claim_at_s = anyio.current_time() + self._claim_idle_s / 2
        return found

    def _given_out(self, key: str, entries: Iterable[Any], *, fresh: bool) -> list[Raw | Missed]:
        """Those that are not in our hands already; a pending entry without fields was trimmed, and is done with."""
        found: list[Raw | Missed] = []
        gone: list[str] = []
        for entry_id, fields in entries:
            name = entry_id.decode()
            if name in self._given[key]:
                continue
            if fields:
                self._given[key].add(name)
                found.append(Raw(key, name, fields, fresh))
            else:
                gone.append(name)
                self.ack(key, name)
        return found + self._trimmed(key, gone)

    def _trimmed(self, key: str, ids: list[str]) -> list[Raw | Missed]:
        return [Missed(self._streams[key], len(ids), ids[0], ids[-1])] if ids else []


def _is_nogroup(error: BaseException) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("NOGROUP")
