"""Feeds on a real server: where they begin, what they tell, and how they go on. The streams are written by hand."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, RedisError

from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.client import Checkpoint, Client, Feed, Missed, NoAnswer
from ibkr_actor.client.items import AnyItem
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import AnyRecord, Greeks, MidPoint, Tick
from tests.client.kit import DEADLINE_S, gap, midpoint, reset, write

pytestmark = pytest.mark.anyio

STREAM = "midpoint:A"


@pytest.fixture
async def client(server: EmbeddedRedis, keys: Keys) -> AsyncIterator[Client]:
    async with Client(server.own_url, prefix=keys.prefix, gateway=keys.gateway, timeout_s=2.0) as it:
        yield it


@pytest.fixture
def key(keys: Keys) -> str:
    return keys.stream("midpoint", "A")


async def take(feed: Feed[AnyItem], count: int) -> list[AnyItem]:
    found: list[AnyItem] = []
    with anyio.fail_after(DEADLINE_S):
        async with aclosing(aiter(feed)) as items:
            while len(found) < count:
                found.append((await anext(items)).record)
    return found


def seqs(records: list[AnyItem]) -> list[int]:
    return [record.seq for record in records if isinstance(record, MidPoint)]


async def write_last(redis: Redis, keys: Keys, state: str, kind: str, record: AnyRecord) -> None:
    value = encode_record(record)
    fields: dict[Any, Any] = {kind: value, f"{kind}:id": f"{record.epoch}-{record.seq}", f"state:{kind}": state}
    await redis.hset(keys.last("A"), mapping=fields)


async def test_last_begins_with_the_newest_value_and_goes_on_behind_it(
    client: Client, redis: Redis, keys: Keys, key: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 6)))
    await write_last(redis, keys, "live", "midpoint", midpoint(3))
    assert seqs(await take(client.watch(STREAM), 3)) == [3, 4, 5]


@pytest.mark.parametrize("state", ["pending", "ended"])
async def test_a_value_that_is_not_of_the_present_is_not_given_out(
    client: Client, redis: Redis, keys: Keys, key: str, state: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 6)))
    await write_last(redis, keys, state, "midpoint", midpoint(3))
    assert seqs(await take(client.watch(STREAM), 2)) == [4, 5]


async def test_last_of_ticks_and_greeks_is_the_newest_of_each(client: Client, redis: Redis, keys: Keys) -> None:
    ticks = [Tick(7, seq, 1, 1, None, 1, 0, kind, 1.0) for seq, kind in ((2, 49), (5, 21))]
    greeks = [
        Greeks(7, seq, 1, 1, None, 1, 0, source, 0.2, None, None, None, None, None, None, None)
        for seq, source in ((3, "bid"), (4, "model"))
    ]
    await write_last(redis, keys, "live", "tick", ticks[1])
    await write_last(redis, keys, "live", "greeks", greeks[1])
    for tick in ticks:
        await redis.hset(keys.last("A"), f"tick:{tick.tick_type}", encode_record(tick, "json"))
    for one in greeks:
        await redis.hset(keys.last("A"), f"greeks:{one.source}", encode_record(one))
    assert await take(client.watch("tick:A"), 2) == ticks
    assert await take(client.watch("greeks:A"), 2) == greeks
    assert set(await client.last("A")) >= {"tick", "tick:49", "tick:21", "greeks:bid"}


async def test_first_is_everything_and_now_is_what_comes(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    assert seqs(await take(client.watch(STREAM, start="first"), 3)) == [1, 2, 3]
    async with client.watch(STREAM, start="now") as feed:
        await write(redis, key, [midpoint(4)])
        assert seqs([item.record for item in await feed.read()]) == [4]


async def test_checkpoints_survive_json_and_tell_exactly_what_was_trimmed(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 4)))
    feed = client.watch(STREAM, start="first")
    assert seqs(await take(feed, 2)) == [1, 2]
    stored = msgspec.json.decode(msgspec.json.encode(feed.checkpoints()), type=dict[str, Checkpoint])
    assert stored == {STREAM: Checkpoint("7-2", 7, 2)}
    await write(redis, key, map(midpoint, range(4, 10)))
    await redis.xtrim(key, minid="7-8", approximate=False)
    records = await take(client.watch(STREAM, start=stored), 3)
    assert records[0] == Missed(Stream("midpoint", "A"), 5, "7-2", "7-8", 7, 3, 7)
    assert seqs(records) == [8, 9]
    # The same from the mere id, as long as its entry is there.
    await write(redis, key, map(midpoint, range(10, 13)))
    later = client.watch(STREAM, start={STREAM: "7-9"})
    assert seqs(await take(later, 3)) == [10, 11, 12]
    assert later.lost == 0


async def test_a_checkpoint_advances_with_what_was_given_out_and_not_with_what_was_fetched(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, map(midpoint, range(1, 100)))
    feed = client.watch(STREAM, start="first")
    assert seqs(await take(feed, 3)) == [1, 2, 3]
    assert feed.checkpoints() == {STREAM: Checkpoint("7-3", 7, 3)}
    # And the next loop goes on there, over the same feed.
    assert seqs(await take(feed, 3)) == [4, 5, 6]


async def test_gaps_resets_and_losses_come_in_their_places_and_are_counted(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, [reset(7), midpoint(2), gap(3, 6), midpoint(7), reset(8, 7, 9), midpoint(2, epoch=8)])
    feed = client.watch(STREAM, start="first")
    records = await take(feed, 7)
    assert [type(record).__name__ for record in records] == [
        "Reset",
        "MidPoint",
        "Gap",
        "MidPoint",
        "Missed",
        "Reset",
        "MidPoint",
    ]
    assert feed.lost == 4 + 2


async def test_what_others_wrote_and_tags_to_come_are_passed_over_without_a_loss(
    client: Client, redis: Redis, key: str
) -> None:
    await write(redis, key, [midpoint(1)])
    await redis.xadd(key, {"d": b"junk"}, id="7-15")
    await redis.xadd(key, {"d": msgspec.msgpack.encode(["tag-to-come", 7, 2, 1, 1])}, id="7-20")
    await redis.xadd(key, {"j": b'{"tag":"tag-to-come","epoch":7,"seq":3}'}, id="7-30")
    await redis.xadd(key, {"d": encode_record(midpoint(4))}, id="7-40")
    feed = client.watch(STREAM, start="first")
    assert seqs(await take(feed, 2)) == [1, 4]
    assert feed.lost == 0


async def test_an_entry_read_again_is_given_out_once(client: Client, redis: Redis, key: str) -> None:
    await write(redis, key, map(midpoint, (1, 2)))
    await redis.xadd(key, {"d": encode_record(midpoint(2))}, id="7-3")
    await redis.xadd(key, {"d": encode_record(midpoint(3))}, id="7-4")
    assert seqs(await take(client.watch(STREAM, start="first"), 3)) == [1, 2, 3]


async def test_a_program_that_asks_for_what_makes_no_sense_is_told_at_once(client: Client) -> None:
    for ask in (
        lambda: client.quotes(),
        lambda: client.watch(),
        lambda: client.watch("quotee:AAPL.STK.SMART.USD"),
        lambda: client.watch("AAPL"),
        lambda: client.stream("quotes", "AAPL"),
        lambda: client.quotes("AAPL", start="whenever"),  # type: ignore[arg-type]  # what a caller without types may do
        lambda: client.quotes("AAPL", conflate_s=0.0),
        lambda: client.quotes("AAPL", conflate_s=1.0, group="g"),
        lambda: Client(client="not a name"),
        lambda: Client(lease_s=-1.0),
    ):
        with pytest.raises(ValueError, match=r"."):
            ask()
    client.watch("system", client.keys.external, "quote:AAPL.STK.SMART.USD")
    with pytest.raises(RuntimeError, match="async with"):
        Client().quotes("AAPL")
    with pytest.raises(RuntimeError, match="async with"):
        await client.quotes("AAPL").read()


async def test_without_a_sidecar_a_question_and_a_subscription_have_no_answer(client: Client) -> None:
    with pytest.raises(NoAnswer, match="is a sidecar running"):
        await client.status()
    with pytest.raises(TimeoutError):
        async with client.quotes("AAPL"):
            pass


async def test_without_redis_a_question_says_so(server: EmbeddedRedis) -> None:
    async with Client("redis://127.0.0.1:1/0", timeout_s=0.2) as client:
        with pytest.raises(NoAnswer, match="Redis did not take"):
            await client.status()


def login(server: EmbeddedRedis, user: str) -> str:
    return re.sub(r"://[^@]*@", f"://{user}:x@", server.own_url)


async def test_a_server_that_refuses_us_is_not_waited_for(server: EmbeddedRedis, redis: Redis) -> None:
    await redis.acl_setuser("reader", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-xadd"])
    url = login(server, "reader")
    with anyio.fail_after(DEADLINE_S):
        async with Client(url) as client:
            with pytest.raises(NoPermissionError):
                await client.status()
            with pytest.raises(NoPermissionError):
                async with client.quotes("AAPL"):
                    pass
        wrong = login(server, "nobody")
        with pytest.raises(RedisError, match="username-password"):
            async with Client(wrong) as client:
                await client.status()


async def test_without_the_right_to_end_waits_early_streams_are_read_all_the_same(
    server: EmbeddedRedis, redis: Redis, keys: Keys, key: str
) -> None:
    await redis.acl_setuser("modest", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-client|unblock"])
    url = login(server, "modest")
    with anyio.fail_after(DEADLINE_S):
        async with (
            Client(url, prefix=keys.prefix, gateway=keys.gateway) as client,
            client.watch(STREAM, start="first") as feed,
        ):
            await write(redis, key, [midpoint(1)])
            assert seqs([item.record for item in await feed.read()]) == [1]
