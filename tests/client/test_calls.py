"""Replies as they come: to whom they are given, and what is no reply at all."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.client import Client
from ibkr_actor.schema.codec import decode_command, encode_reply
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Keys
from tests.client.kit import DEADLINE_S

pytestmark = pytest.mark.anyio

JUNK: tuple[dict[Any, Any], ...] = ({"j": b"{"}, {"d": b"\xff"}, {"j": b'{"id":1}'}, {"x": b""})


async def answer_one(redis: Redis, keys: Keys, result: dict[str, Any], *before: dict[Any, Any]) -> None:
    """What a sidecar does with the next command; before its reply somebody else writes among the replies."""
    found: Any = []
    while not found:
        found = await redis.xread({keys.commands(): "0"}, block=1_000)
    ((_, entries),) = found
    command = decode_command(entries[-1][1])
    for entry in (*before, {"j": encode_reply(Reply(command.id, "status", "result", result=result))}):
        await redis.xadd(keys.replies(command.client), entry)
    await redis.delete(keys.commands())


async def test_junk_among_the_replies_ends_nothing_and_is_said(
    redis: Redis, keys: Keys, config: BusConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with anyio.fail_after(DEADLINE_S):
        async with Client(config.redis.url, gateway=keys.gateway, timeout_s=DEADLINE_S) as client:
            for number in range(2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(answer_one, redis, keys, {"number": number}, *JUNK)
                    assert await client.status() == {"number": number}
    assert sum("reply_unreadable" in line for line in caplog.messages) == 2 * len(JUNK)
