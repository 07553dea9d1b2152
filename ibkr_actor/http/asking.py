"""Owns commands and their replies: one reader of this process's reply stream, and who waits for which answer.

Decides nothing about a command; repeats none.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any

import anyio
from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.client.calls import refusal
from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.client.gateways import nobody
from ibkr_actor.http.errors import HttpError, of_redis, of_rejection
from ibkr_actor.schema.codec import decode_reply, encode_command
from ibkr_actor.schema.commands import AnyCommand, Reply
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)

OnReply = Callable[[Reply], None]


class Asking:
    """Commands under one client's name. `run` must run."""

    def __init__(self, redis: Redis, keys: Keys, client: str, *, replies: Redis, timeout_s: float) -> None:
        self._redis = redis
        self._replies = replies  # a connection of its own: reading blocks it
        self._keys = keys
        self._timeout_s = timeout_s
        self._waiting: dict[str, OnReply] = {}
        self.client = client

    async def ask(self, command: AnyCommand, *, later: OnReply | None = None, timeout_s: float | None = None) -> Reply:
        """The first reply to a command; those that follow it go to `later` until `forget`.

        Raises:
            HttpError: it was refused, nobody answers, or Redis is away.
        """
        command = structs.replace(command, id=uuid.uuid4().hex, client=self.client)
        first: list[Reply] = []
        answered = anyio.Event()

        def take(reply: Reply) -> None:
            if first:
                if later is not None:
                    later(reply)
                return
            first.append(reply)
            answered.set()

        self._waiting[command.id] = take
        kept = False
        try:
            await self._send(command)
            with anyio.move_on_after(self._timeout_s if timeout_s is None else timeout_s):
                await answered.wait()
            if not first:
                raise HttpError("timeout", f"the sidecar did not answer {command.__struct_config__.tag!r} in time")
            kept = later is not None and first[0].error is None
        finally:
            if not kept:
                self._waiting.pop(command.id, None)
        if first[0].error is not None:
            raise of_rejection(refusal(command, first[0].error).rejection)
        if first[0].status == "expired":
            raise HttpError("expired", "the command expired before it was done")
        return first[0]

    async def send(self, command: AnyCommand) -> None:
        """Sends a command whose answer nobody waits for. Raises: RedisError."""
        command = structs.replace(command, id=uuid.uuid4().hex, client=self.client)
        await self._redis.xadd(self._keys.commands(), {"j": encode_command(command)})

    def forget(self, command_id: str) -> None:
        """Later replies to this command go to nobody."""
        self._waiting.pop(command_id, None)

    async def run(self) -> None:
        """Reads replies for ever; a Redis that is away is waited for."""
        key, position = self._keys.replies(self.client), "0-0"
        while True:
            try:
                answer: Any = await self._replies.xread({key: position}, count=1000, block=BLOCK_MS_MAX)
            except (RedisError, OSError) as error:
                log.debug("replies_unread error=%s", error)
                await anyio.sleep(0.5)
                continue
            for entry_id, fields in answer[0][1] if answer else ():
                position = entry_id.decode()
                self._take(decode_reply(fields))

    def _take(self, reply: Reply) -> None:
        waiting = self._waiting.get(reply.id)
        if waiting is not None:
            waiting(reply)

    async def _send(self, command: AnyCommand) -> None:
        try:
            if not await self._redis.exists(self._keys.heartbeat):
                raise HttpError("no_sidecar", await nobody(self._redis, self._keys))
            await self._redis.xadd(self._keys.commands(), {"j": encode_command(command)})
        except (RedisError, OSError) as error:
            raise of_redis(error) from None
