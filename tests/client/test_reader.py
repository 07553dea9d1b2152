"""The reader on a real server: many streams, many followers, few connections, each at its own pace."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.client import Follower, Raw, Reader
from ibkr_actor.client.connect import pooled
from ibkr_actor.client.reader import UNREAD_MAX
from ibkr_actor.schema.keys import Keys
from tests.client.kit import DEADLINE_S, midpoint, write

pytestmark = pytest.mark.anyio


async def read(follower: Follower, count: int) -> list[Raw]:
    found: list[Raw] = []
    with anyio.fail_after(DEADLINE_S):
        while len(found) < count:
            found += await follower.read()
    return found


async def test_a_follower_reads_what_is_there_and_then_what_comes(redis: Redis, keys: Keys) -> None:
    key, other = keys.stream("midpoint", "A"), keys.stream("midpoint", "B")
    await write(redis, key, map(midpoint, (1, 2, 3)))
    await write(redis, other, map(midpoint, (1, 2)))
    async with Reader(redis) as reader:
        follower = reader.follow({key: "7-1", other: "0"})
        assert {(raw.key, raw.id) for raw in await read(follower, 4)} == {
            (key, "7-2"),
            (key, "7-3"),
            (other, "7-1"),
            (other, "7-2"),
        }
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, redis, key, [midpoint(4)])
            assert [raw.id for raw in await read(follower, 1)] == ["7-4"]


async def test_the_end_of_a_stream_is_what_was_its_end_when_reading_began(redis: Redis, keys: Keys) -> None:
    key = keys.stream("midpoint", "A")
    await write(redis, key, map(midpoint, (1, 2, 3)))
    async with Reader(redis) as reader:
        follower = reader.follow({key: "$"})
        assert await follower.read(within_s=0.0) == []
        await write(redis, key, [midpoint(4)])
        assert [raw.id for raw in await read(follower, 1)] == ["7-4"]


async def test_hundreds_of_followers_wait_over_one_connection(server: EmbeddedRedis, redis: Redis, keys: Keys) -> None:
    pool = pooled(server.own_url, 3)
    names = [keys.stream("midpoint", f"M{number}") for number in range(300)]
    seen: set[str] = set()

    async def one(reader: Reader, key: str) -> None:
        for raw in await reader.follow({key: "0"}).read():
            assert raw.key == key
            seen.add(key)

    async with Reader(pool) as reader:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                for key in names:
                    tasks.start_soon(one, reader, key)
                for key in names:
                    await write(redis, key, [midpoint(1)])
    assert len(seen) == 300
    await pool.aclose()


async def test_a_follower_that_does_not_read_holds_up_nobody_and_misses_nothing(redis: Redis, keys: Keys) -> None:
    key, count = keys.stream("midpoint", "A"), 3 * UNREAD_MAX
    async with Reader(redis) as reader:
        quick, slow = reader.follow({key: "0"}), reader.follow({key: "0"})
        assert await slow.read(within_s=0.0) == []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write, redis, key, map(midpoint, range(1, count + 1)))
            assert [raw.id for raw in await read(quick, count)] == [f"7-{seq}" for seq in range(1, count + 1)]
        assert [raw.id for raw in await read(slow, count)] == [f"7-{seq}" for seq in range(1, count + 1)]


async def test_a_follower_at_an_older_place_of_the_same_stream_gets_what_it_asked_for(redis: Redis, keys: Keys) -> None:
    key = keys.stream("midpoint", "A")
    await write(redis, key, map(midpoint, range(1, 6)))
    async with Reader(redis) as reader:
        ahead = reader.follow({key: "7-5"})
        assert await ahead.read(within_s=0.0) == []
        behind = reader.follow({key: "7-2"})
        assert [raw.id for raw in await read(behind, 3)] == ["7-3", "7-4", "7-5"]
        await write(redis, key, [midpoint(6)])
        assert [raw.id for raw in await read(ahead, 1)] == ["7-6"]
        assert [raw.id for raw in await read(behind, 1)] == ["7-6"]


async def test_keys_come_and_go_while_a_follower_reads(redis: Redis, keys: Keys) -> None:
    one, other = keys.stream("midpoint", "A"), keys.stream("midpoint", "B")
    async with Reader(redis) as reader:
        follower = reader.follow({one: "0"})
        assert await follower.read(within_s=0.0) == []
        follower.add(other, "0")
        await write(redis, other, [midpoint(1)])
        assert [raw.key for raw in await read(follower, 1)] == [other]
        follower.discard(one)
        await write(redis, one, [midpoint(1)])
        await write(redis, other, [midpoint(2)])
        assert [raw.key for raw in await read(follower, 1)] == [other]


async def test_a_stream_deleted_behind_the_shared_reading_is_waited_for(redis: Redis, keys: Keys) -> None:
    key = keys.stream("midpoint", "A")
    await write(redis, key, map(midpoint, range(1, 4)))
    async with Reader(redis) as reader:
        ahead = reader.follow({key: "7-3"})
        assert await ahead.read(within_s=0.0) == []
        await redis.delete(key)
        behind = reader.follow({key: "7-1"})
        assert await behind.read(within_s=0.0) == []
        await write(redis, key, [midpoint(9)])
        assert [raw.id for raw in await read(behind, 1)] == ["7-9"]


async def test_a_connection_that_is_cut_is_made_again(redis: Redis, keys: Keys) -> None:
    key = keys.stream("midpoint", "A")
    returned = anyio.Event()
    async with Reader(redis) as reader:
        reader.on_return = returned.set
        follower = reader.follow({key: "0"})
        await write(redis, key, [midpoint(1)])
        assert len(await read(follower, 1)) == 1
        assert await follower.read(within_s=0.0) == []
        await redis.client_kill_filter(_type="normal", skipme=True)
        with anyio.fail_after(DEADLINE_S):
            await returned.wait()
        await write(redis, key, [midpoint(2)])
        assert [raw.id for raw in await read(follower, 1)] == ["7-2"]


async def test_a_key_that_is_no_stream_is_an_error_of_its_follower_only(redis: Redis, keys: Keys) -> None:
    key, wrong = keys.stream("midpoint", "A"), keys.stream("midpoint", "B")
    await redis.set(wrong, "no stream")
    await write(redis, key, [midpoint(1)])
    async with Reader(redis) as reader:
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await reader.follow({wrong: "0"}).read()
        assert len(await read(reader.follow({key: "0"}), 1)) == 1


async def test_a_wake_ends_a_wait_with_nothing(redis: Redis, keys: Keys) -> None:
    async with Reader(redis) as reader:
        follower = reader.follow({keys.stream("midpoint", "A"): "0"})
        async with anyio.create_task_group() as tasks:

            async def wake() -> None:
                follower.wake()

            tasks.start_soon(wake)
            with anyio.fail_after(DEADLINE_S):
                assert await follower.read() == []
