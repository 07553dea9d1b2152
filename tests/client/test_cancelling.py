"""A cancellation that comes once, as `Task.cancel` and Ctrl-C are, ends whoever waits for Redis; at whatever moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ibkr_actor.client import Client
from ibkr_actor.schema.keys import Keys
from tests.client.kit import DEADLINE_S, midpoint, write

pytestmark = pytest.mark.anyio

# Turns of the loop that a command takes, and more.
STEPS = 40


async def ends_whenever_cancelled(work: Callable[[], Awaitable[object]]) -> None:
    """Cancels one task after another that does the work again and again, each a turn of the loop later."""

    async def again_and_again() -> None:
        while True:
            await work()

    with anyio.fail_after(DEADLINE_S):
        for steps in range(1, STEPS):
            task = asyncio.create_task(again_and_again())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_a_command_is_cancelled_at_any_moment(redis: Redis) -> None:
    await ends_whenever_cancelled(redis.ping)


async def test_a_command_that_is_refused_is_cancelled_at_any_moment(redis: Redis, keys: Keys) -> None:
    await redis.set(keys.heartbeat, "no stream")

    async def refused() -> None:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await redis.xlen(keys.heartbeat)

    await ends_whenever_cancelled(refused)


async def test_a_deadline_of_anyio_is_its_own_at_any_moment(redis: Redis) -> None:
    with anyio.fail_after(DEADLINE_S):
        for steps in range(1, STEPS):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:

                    async def cancel(scope: anyio.CancelScope, steps: int) -> None:
                        for _ in range(steps):
                            await anyio.lowlevel.cancel_shielded_checkpoint()
                        scope.cancel()

                    tasks.start_soon(cancel, scope, steps)
                    while True:
                        await redis.ping()
            assert scope.cancelled_caught


async def test_who_reads_a_group_is_cancelled_at_any_moment(redis: Redis, keys: Keys) -> None:
    key = keys.stream("midpoint", "A")
    await write(redis, key, map(midpoint, range(1, 200)))
    async with Client(redis, prefix=keys.prefix, gateway=keys.gateway) as client:
        feed = client.watch("midpoint:A", start="first", group="g", consumer="one")

        async def take() -> None:
            async for _ in feed:
                await feed.ack()
                await write(redis, key, [])

        await ends_whenever_cancelled(take)
