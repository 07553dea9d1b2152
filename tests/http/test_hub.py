"""One reader for all clients, on a real Redis: late joiners, resumes and a server that goes away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from redis.asyncio import Redis

from ibkr_actor.client import connect
from ibkr_actor.http.hub import Hub, newest_id, was_trimmed
from ibkr_actor.http.items import Item, position_of
from ibkr_actor.http.outlet import Notice, Outlet
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import MidPoint
from tests.e2e.kit import DEADLINE_S, running_redis

pytestmark = pytest.mark.anyio

KEY = "ibkr:{g1}:midpoint:X"
X = Stream("midpoint", "X")


@asynccontextmanager
async def running_hub() -> AsyncIterator[tuple[Hub, Redis]]:
    async with running_redis() as server, connect(server.own_url) as redis, connect(server.own_url) as reading:
        hub = Hub(reading)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.run)
            yield hub, redis
            tasks.cancel_scope.cancel()


async def write(redis: Redis, first: int, last: int) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for n in range(first, last + 1):
            pipe.xadd(KEY, {"d": encode_record(MidPoint(1, n, 7, 0, None, 1, 0, float(n)))}, id=f"{n}-0")
        await pipe.execute()


def outlet(after: str) -> Outlet:
    it = Outlet((), hz=0.0, queue_max=100_000)
    it.start(KEY, after, position_of(after))
    return it


async def got(it: Outlet, last: int) -> list[int]:
    """The sequence numbers that came, up to `last`."""
    out: list[int] = []
    with anyio.fail_after(DEADLINE_S):
        while not out or out[-1] < last:
            for each in await it.next(1.0):
                assert not isinstance(each, Notice)
                assert isinstance(each[1], Item)
                out.append(each[1].position[0])
    return out


async def test_two_clients_of_one_stream_are_read_for_once() -> None:
    async with running_hub() as (hub, redis):
        both = [outlet("0-0"), outlet("0-0")]
        for it in both:
            await hub.add(it, KEY, X)
        await write(redis, 1, 50)
        assert [await got(it, 50) for it in both] == [list(range(1, 51))] * 2
        assert hub.entries == 50


async def test_one_that_comes_late_gets_what_was_and_what_comes_each_once() -> None:
    async with running_hub() as (hub, redis):
        early = outlet("0-0")
        await hub.add(early, KEY, X)
        await write(redis, 1, 3_000)
        await got(early, 3_000)
        late, middle = outlet("0-0"), outlet("1500-0")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hub.add, late, KEY, X)
            tasks.start_soon(hub.add, middle, KEY, X)
            tasks.start_soon(write, redis, 3_001, 3_200)
        assert await got(late, 3_200) == list(range(1, 3_201))
        assert await got(middle, 3_200) == list(range(1_501, 3_201))


async def test_one_that_is_ahead_of_the_reader_gets_nothing_twice() -> None:
    async with running_hub() as (hub, redis):
        await write(redis, 1, 10)
        behind, ahead = outlet("0-0"), outlet("8-0")
        await hub.add(behind, KEY, X)
        await hub.add(ahead, KEY, X)
        assert await got(ahead, 10) == [9, 10]
        assert await got(behind, 10) == list(range(1, 11))


async def test_what_was_trimmed_before_a_resume_does_not_hold_it_up() -> None:
    async with running_hub() as (hub, redis):
        first = outlet("0-0")
        await hub.add(first, KEY, X)
        await write(redis, 1, 100)
        await got(first, 100)
        await redis.xtrim(KEY, maxlen=10, approximate=False)
        assert await was_trimmed(redis, KEY, "50-0")
        assert not await was_trimmed(redis, KEY, "95-0")
        late = outlet("50-0")
        await hub.add(late, KEY, X)
        assert await got(late, 100) == list(range(91, 101))


async def test_a_stream_nobody_listens_to_is_read_no_longer() -> None:
    async with running_hub() as (hub, redis):
        it = outlet("0-0")
        await hub.add(it, KEY, X)
        await write(redis, 1, 5)
        await got(it, 5)
        hub.remove(it, KEY)
        assert hub.streams == 0
        assert hub.outlets == set()


async def test_a_connection_that_is_cut_is_read_on_from_where_it_was() -> None:
    async with running_hub() as (hub, redis):
        it = outlet("0-0")
        await hub.add(it, KEY, X)
        await write(redis, 1, 5)
        assert await got(it, 5) == [1, 2, 3, 4, 5]
        await redis.client_kill_filter(_type="normal", skipme=True)
        await write(redis, 6, 9)
        assert await got(it, 9) == [6, 7, 8, 9]


async def test_an_empty_stream_has_the_lowest_id() -> None:
    async with running_redis() as server, connect(server.own_url) as redis:
        assert await newest_id(redis, "nothing") == "0-0"
