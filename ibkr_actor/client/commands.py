"""Sending one command and waiting for the reply with its id.

Never repeats a command by itself; a caller that does so under the same id gets the remembered answer.
"""

from __future__ import annotations

import uuid
from typing import Any

import anyio
from msgspec import structs
from redis.asyncio import Redis

from ibkr_actor.client.connect import BLOCK_MS_MAX
from ibkr_actor.client.errors import NoAnswer
from ibkr_actor.schema.codec import decode_reply, encode_command
from ibkr_actor.schema.commands import AnyCommand, Reply
from ibkr_actor.schema.keys import Keys


async def call(redis: Redis, keys: Keys, command: AnyCommand, *, timeout_s: float = 5.0) -> Reply:
    """Writes the command to the shared stream and returns its first reply.

    Raises:
        NoAnswer: nothing came within `timeout_s`.
    """
    client = command.client or f"call-{uuid.uuid4().hex[:8]}"
    command = structs.replace(command, id=command.id or uuid.uuid4().hex, client=client)
    replies = keys.replies(client)
    newest: list[Any] = await redis.xrevrange(replies, count=1) or []
    position = newest[0][0] if newest else b"0"
    await redis.xadd(keys.commands(), {"j": encode_command(command)})
    with anyio.move_on_after(timeout_s):
        while True:
            answer: Any = await redis.xread({replies: position}, block=BLOCK_MS_MAX)
            for entry_id, fields in answer[0][1] if answer else ():
                position = entry_id
                reply = decode_reply(fields)
                if reply.id == command.id:
                    return reply
    raise NoAnswer(f"no answer to {command.id!r} within {timeout_s:g} s: is a sidecar running for {keys.root}?")
