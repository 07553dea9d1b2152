"""One history job from its command to its `done`: the entries of its stream in order, and its progress on the way.

Starts the job and reads; which bars there are is the sidecar's to find.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
from msgspec import structs
from redis.asyncio import Redis

from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.client.errors import NoAnswer
from ibkr_actor.schema.codec import decode_record, decode_reply, encode_command
from ibkr_actor.schema.commands import Cancel, History, HistoryTicks, Rejection, Reply
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Bars, Done, Ticks

_READ_COUNT = 20


class JobRefused(Exception):
    """The job was refused, or ended before it was done; `rejection` says why and whether to try again."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(f"{rejection.code}: {rejection.message}")
        self.rejection = rejection


async def history(
    redis: Redis,
    keys: Keys,
    command: History | HistoryTicks,
    *,
    on_reply: Callable[[Reply], None] = lambda reply: None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Bars | Ticks | Done]:
    """Starts the job and yields its entries as they come, the `Done` last.

    An entry that was yielded is removed from the job's stream, which is the caller's own: a job pauses while too much
    of it is unread. Leaving the loop early cancels the job. `on_reply` gets every reply, those on progress too.

    Raises:
        NoAnswer: no sidecar took the command within `timeout_s`.
        JobRefused: it was refused, or failed on the way.
        redis.RedisError: the server went away. The same command under the same id finds the job again.
    """
    client = command.client or f"history-{uuid.uuid4().hex[:8]}"
    command = structs.replace(command, id=command.id or uuid.uuid4().hex, client=client)
    job = _Job(redis, keys, command, on_reply)
    await job.start(timeout_s)
    try:
        async for entry in job.entries():
            yield entry
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
            await job.leave()


class _Job:
    """One job as its owner sees it."""

    def __init__(
        self, redis: Redis, keys: Keys, command: History | HistoryTicks, on_reply: Callable[[Reply], None]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._command = command
        self._on_reply = on_reply
        self._replies = keys.replies(command.client)
        self._replied = "0"
        self._stream = ""
        self._read = "0"
        self._job = ""
        self._over = False

    async def start(self, timeout_s: float) -> None:
        """Sends the command and waits until it is accepted."""
        newest: list[Any] = await self._redis.xrevrange(self._replies, count=1) or []
        self._replied = newest[0][0].decode() if newest else "0"
        await self._redis.xadd(self._keys.commands(), {"j": encode_command(self._command)})
        with anyio.move_on_after(timeout_s):
            while not self._stream:
                answer: Any = await self._redis.xread({self._replies: self._replied}, block=BLOCK_MS_MAX)
                self._take_replies(answer)
            return
        raise NoAnswer(f"no answer within {timeout_s:g} s: is a sidecar running for {self._keys.root}?")

    async def entries(self) -> AsyncIterator[Bars | Ticks | Done]:
        """Everything up to the `Done`."""
        while True:
            wanted: Any = {self._stream: self._read, self._replies: self._replied}
            answer: Any = await self._redis.xread(wanted, count=_READ_COUNT, block=BLOCK_MS_MAX)
            by_key = {key.decode(): entries for key, entries in answer or ()}
            for entry_id, fields in by_key.get(self._stream, ()):
                self._read = entry_id.decode()
                record = decode_record(fields)
                if isinstance(record, Done):
                    self._over = True
                if isinstance(record, Bars | Ticks | Done):
                    yield record
                await self._redis.xdel(self._stream, self._read)
                if self._over:
                    await self._last_replies()
                    return
            self._take_replies(answer)

    async def leave(self) -> None:
        """Cancels what is not over."""
        if self._over or not self._job:
            return
        cancel = Cancel(id=uuid.uuid4().hex, client=self._command.client, job=self._job)
        await self._redis.xadd(self._keys.commands(), {"j": encode_command(cancel)})

    async def _last_replies(self) -> None:
        self._take_replies(await self._redis.xread({self._replies: self._replied}))

    def _take_replies(self, answer: Any) -> None:
        for key, entries in answer or ():
            if key.decode() != self._replies:
                continue
            for entry_id, fields in entries:
                self._replied = entry_id.decode()
                reply = decode_reply(fields)
                if reply.id == self._command.id:
                    self._take(reply)

    def _take(self, reply: Reply) -> None:
        self._on_reply(reply)
        if reply.error is not None:
            self._over = True
            raise JobRefused(reply.error)
        if reply.status == "accepted" and isinstance(reply.result, dict):
            self._job = str(reply.result["job"])
            self._stream = self._keys.history(self._job)
