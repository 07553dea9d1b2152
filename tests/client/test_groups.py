"""Consumer groups through a feed on a real server: nothing handed out twice by us, nothing lost without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis

from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.client import Client, Feed, Missed
from ibkr_actor.client.items import AnyItem
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import MidPoint
from tests.client.kit import DEADLINE_S, midpoint, write

pytestmark = pytest.mark.anyio

STREAM = "midpoint:A"


@pytest.fixture
async def client(server: EmbeddedRedis, keys: Keys) -> AsyncIterator[Client]:
    async with Client(server.own_url, prefix=keys.prefix, gateway=keys.gateway) as it:
        yield it


@pytest.fixture
def key(keys: Keys) -> str:
    return keys.stream("midpoint", "A")


async def take(feed: Feed[AnyItem], count: int) -> list[AnyItem]:
    """So many records; the last of them stays in hand, as when a program dies over it."""
    found: list[AnyItem] = []
    with anyio.fail_after(DEADLINE_S):
        async with aclosing(aiter(feed)) as items:
            while len(found) < count:
                found.append((await anext(items)).record)
    return found


def seqs(records: list[AnyItem]) -> list[int]:
    return [record.seq for record in records if isinstance(record, MidPoint)]


async def pending(redis: Redis, key: str) -> int:
    answer: Any = await redis.xpending(key, "g")
    return int(answer["pending"])


async def test_a_restart_goes_on_behind_what_was_dealt_with(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 11)))
    feed = client.watch(STREAM, group="g", consumer="me", start="first")
    assert seqs(await take(feed, 4)) == [1, 2, 3, 4]
    # It broke out over the fourth, which it may not have finished; the others that it was given are its own too.
    again = client.watch(STREAM, group="g", consumer="me")
    assert seqs(await take(again, 7)) == [4, 5, 6, 7, 8, 9, 10]
    async with again:
        await write(redis, key, [midpoint(11)])
        assert seqs([item.record for item in await again.read()]) == [10]
        assert seqs([item.record for item in await again.read()]) == [11]
        await again.ack()
        assert await pending(redis, key) == 0


async def test_a_group_made_now_begins_with_what_is_new(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    async with client.watch(STREAM, group="g") as feed:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:

                async def later() -> None:
                    while not await redis.xinfo_groups(key):
                        await anyio.lowlevel.checkpoint()
                    await write(redis, key, [midpoint(4)])

                tasks.start_soon(later)
                assert seqs([item.record for item in await feed.read()]) == [4]


async def test_what_was_trimmed_before_it_was_acknowledged_is_told(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 6)))
    await take(client.watch(STREAM, group="g", consumer="me", start="first"), 1)
    await redis.xtrim(key, minid="7-4", approximate=False)
    records = await take(client.watch(STREAM, group="g", consumer="me"), 3)
    (missed,) = [record for record in records if isinstance(record, Missed)]
    assert (missed.lost, missed.from_id, missed.to_id) == (3, "7-1", "7-3")
    assert seqs(records) == [4, 5]


async def test_what_was_trimmed_while_nobody_read_is_told(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    async with client.watch(STREAM, group="g", consumer="me", start="first") as feed:
        await feed.read()
        await feed.ack()
    await write(redis, key, map(midpoint, range(4, 11)))
    await redis.xtrim(key, minid="7-8", approximate=False)
    records = await take(client.watch(STREAM, group="g", consumer="me"), 4)
    assert isinstance(records[0], Missed)
    assert (records[0].lost, records[0].from_id, records[0].to_id) == (4, "7-3", "7-8")
    assert seqs(records) == [8, 9, 10]


async def test_what_is_trimmed_under_a_running_reader_is_told(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, [midpoint(1)])
    async with client.watch(STREAM, group="g", start="first") as feed:
        await feed.read()
        await write(redis, key, map(midpoint, range(2, 6)))
        await redis.xtrim(key, minid="7-5", approximate=False)
        records = [item.record for item in await feed.read()]
        assert isinstance(records[0], Missed)
        assert (records[0].lost, records[0].first_seq, records[0].last_seq) == (3, 2, 4)
        assert seqs(records) == [5]
        assert feed.lost == 3


async def test_consumers_that_share_see_holes_and_are_not_told_of_losses(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    async with (
        client.watch(STREAM, group="g", consumer="one", start="first", shared=True) as one,
        client.watch(STREAM, group="g", consumer="two", start="first", shared=True) as two,
    ):
        assert seqs([item.record for item in await one.read()]) == [1, 2, 3]
        await write(redis, key, [midpoint(4)])
        assert seqs([item.record for item in await two.read()]) == [4]
        await write(redis, key, [midpoint(5)])
        assert [item.record for item in await one.read()] == [midpoint(5)]


async def test_entries_of_a_dead_consumer_are_taken_over_and_those_gone_are_told(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 5)))
    await take(client.watch(STREAM, group="g", consumer="dead", start="first"), 1)
    await redis.xdel(key, "7-2")
    async with client.watch(STREAM, group="g", consumer="heir", claim_idle_s=0.001) as feed:
        records: list[AnyItem] = []
        with anyio.fail_after(DEADLINE_S):
            while len(records) < 4:
                records += [item.record for item in await feed.read()]
        assert seqs(records) == [1, 3, 4]
        assert [record.from_id for record in records if isinstance(record, Missed)] == ["7-2"]
        await feed.ack()
        assert await pending(redis, key) == 0


async def test_a_group_that_was_flushed_away_is_made_again(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, [midpoint(1)])
    async with client.watch(STREAM, group="g", start="first") as feed:
        assert seqs([item.record for item in await feed.read()]) == [1]
        await redis.delete(key)
        await write(redis, key, [midpoint(1, epoch=8), midpoint(2, epoch=8)])
        records: list[AnyItem] = []
        with anyio.fail_after(DEADLINE_S):
            while len(seqs(records)) < 2:
                records += [item.record for item in await feed.read()]
        assert seqs(records) == [1, 2]


async def test_after_a_cut_connection_nothing_is_handed_out_twice(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    async with client.watch(STREAM, group="g", start="first") as feed:
        assert seqs([item.record for item in await feed.read()]) == [1, 2, 3]
        await redis.client_kill_filter(_type="normal", skipme=True)
        await write(redis, key, [midpoint(4)])
        with anyio.fail_after(DEADLINE_S):
            assert seqs([item.record for item in await feed.read()]) == [4]
            await feed.ack()
        assert await pending(redis, key) == 0


async def test_an_entry_that_is_no_record_is_acknowledged_and_passed_over(
    client: Client, redis: Redis, key: str
) -> None:
    await redis.xadd(key, {"other": "x"}, id="6-1")
    await write(redis, key, [midpoint(1)])
    async with client.watch(STREAM, group="g", start="first") as feed:
        assert seqs([item.record for item in await feed.read()]) == [1]
        await feed.ack()
    assert await pending(redis, key) == 0
