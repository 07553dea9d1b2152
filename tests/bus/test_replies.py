"""Answers, later replies and states on a real server: one step, in order, once, however often they are tried."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.config import BusConfig, ReplyConfig
from ibkr_actor.bus.connection import Link, Word
from ibkr_actor.bus.replies import Outbox
from ibkr_actor.bus.settle import Calls, DeadLetter
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.schema.commands import Reply
from tests.bus.kit import DEADLINE_S, TRADE, Probe, bus_config, replies, until

pytestmark = pytest.mark.anyio

EPOCH = 1_700_000_000
GROUP = "ibkr_actor"


@asynccontextmanager
async def sending(config: BusConfig, **fields: Any) -> AsyncIterator[Outbox]:
    outbox = Outbox(Link(config.redis, "outbox", SCRIPTS), config, EPOCH, **fields)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        yield outbox
        tasks.cancel_scope.cancel()


async def done(outbox: Outbox) -> None:
    with anyio.fail_after(DEADLINE_S):
        await outbox.drained()


def waiting(config: BusConfig) -> Outbox:
    """One that does not run yet."""
    return Outbox(Link(config.redis, "outbox", SCRIPTS), config, EPOCH)


async def perform(probe: Probe, words: Sequence[Word]) -> Any:
    if not probe.link.is_open:
        await probe.link.open()
    return await probe.link.call(*words)


async def pending_command(probe: Probe, client: str = "me", id: str = "a") -> CommandRef:
    """A command that was read and not settled."""
    key = probe.keys.commands()
    await probe.do("XADD", key, "*", "j", "{}")
    await probe.do("EVAL", "return redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0').ok", 1, key, GROUP)
    ((_, entries),) = await probe.do("XREADGROUP", "GROUP", GROUP, "e1", "STREAMS", key, ">")
    return CommandRef(key, entries[-1][0].decode(), client, id, "subscribe")


def reply(id: str = "a", status: Any = "accepted", **fields: Any) -> Reply:
    return Reply(id, "subscribe", status, **fields)


async def hash_of(probe: Probe, key: str) -> dict[str, bytes]:
    fields = await probe.do("HGETALL", key)
    return {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}


async def test_an_answer_stores_holders_reply_and_memory_and_settles_the_command(
    config: BusConfig, probe: Probe
) -> None:
    await probe.do("HSET", probe.keys.subscriptions, "old", "1")
    ref = await pending_command(probe)
    async with sending(config) as outbox:
        outbox.answer(ref, reply(streams=["s"]), (HolderWrite("new", b"\x00\xff"), HolderWrite("old", None)))
        await done(outbox)
    assert await hash_of(probe, probe.keys.subscriptions) == {"new": b"\x00\xff"}
    assert await replies(probe, "me") == [reply(streams=["s"])]
    assert set(await hash_of(probe, probe.keys.answered("me"))) == {"a"}
    assert await probe.do("XLEN", ref.key) == 0
    assert (await probe.do("XPENDING", ref.key, GROUP))[0] == 0
    for key in (probe.keys.replies("me"), probe.keys.answered("me")):
        assert 0 < await probe.do("TTL", key) <= 3_600


async def test_an_answer_done_twice_is_done_once(config: BusConfig, probe: Probe) -> None:
    calls = Calls(probe.keys, EPOCH, config.replies, GROUP)
    ref = await pending_command(probe)
    letter = DeadLetter("why", b"{}", 100)
    words = calls.settle(ref, reply(), "1700000000000-0", holders=[HolderWrite("h", b"1")], dead=letter)
    for _ in range(3):
        assert await perform(probe, words) in (b"OK", "OK")
    assert len(await replies(probe, "me")) == 1
    assert await probe.do("XLEN", probe.keys.dead) == 1


async def test_an_answer_is_done_once_when_its_reply_had_to_take_another_id(config: BusConfig, probe: Probe) -> None:
    await probe.do("XADD", probe.keys.replies("me"), "9999999999999-0", "j", "foreign")
    calls = Calls(probe.keys, EPOCH, config.replies, GROUP)
    words = calls.settle(await pending_command(probe), reply(), "1700000000000-0")
    for _ in range(3):
        await perform(probe, words)
    entries = await probe.do("XRANGE", probe.keys.replies("me"), "-", "+")
    assert [entry_id for entry_id, _ in entries] == [b"9999999999999-0", b"9999999999999-1"]


async def test_a_replies_key_of_another_type_does_not_keep_a_command_from_being_settled(
    config: BusConfig, probe: Probe
) -> None:
    await probe.do("SET", probe.keys.replies("me"), "not a stream")
    ref = await pending_command(probe)
    async with sending(config) as outbox:
        outbox.answer(ref, reply())
        await done(outbox)
    assert await probe.do("XLEN", ref.key) == 0


async def test_later_replies_keep_their_order(config: BusConfig, probe: Probe) -> None:
    async with sending(config) as outbox:
        outbox.answer(await pending_command(probe), reply())
        for n in range(200):
            outbox.notify("me", reply(f"n{n}", "active"))
        await done(outbox)
    assert [one.id for one in await replies(probe, "me")] == ["a", *[f"n{n}" for n in range(200)]]


async def test_reply_streams_are_trimmed(config: BusConfig, probe: Probe) -> None:
    few = bus_config(config.redis.url, config.gateway, replies=ReplyConfig(entries=100))
    async with sending(few) as outbox:
        for n in range(1_000):
            outbox.notify("me", reply(f"n{n}", "progress"))
        await done(outbox)
    assert 100 <= len(await replies(probe, "me")) <= 200


async def test_replies_in_msgpack_stand_in_the_field_d(config: BusConfig, probe: Probe) -> None:
    packed = bus_config(config.redis.url, config.gateway, replies=ReplyConfig(encoding="msgpack"))
    async with sending(packed) as outbox:
        outbox.notify("me", reply())
        await done(outbox)
    ((_, (field, _)),) = await probe.do("XRANGE", probe.keys.replies("me"), "-", "+")
    assert field == b"d"
    assert await replies(probe, "me") == [reply()]


async def test_connections_killed_all_the_time_neither_lose_nor_double_an_answer(
    config: BusConfig, probe: Probe
) -> None:
    count = 300
    refs = [await pending_command(probe, id=f"c{n}") for n in range(count)]
    async with sending(config) as outbox:
        await until(lambda: outbox.health.state == "up")
        for start in range(0, count, 10):
            for ref in refs[start : start + 10]:
                outbox.answer(ref, reply(ref.id), (HolderWrite(ref.id, b"1"),))
            await anyio.lowlevel.checkpoint()
            await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await done(outbox)
        assert outbox.health.losses > count // 100
    assert [one.id for one in await replies(probe, "me")] == [ref.id for ref in refs]
    assert await probe.do("HLEN", probe.keys.subscriptions) == count
    assert await probe.do("XLEN", probe.keys.commands()) == 0


async def test_out_of_memory_is_waited_for_and_the_order_is_kept(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.subscriptions
    ref = await pending_command(probe)
    async with sending(config) as outbox:
        await probe.do("CONFIG", "SET", "maxmemory", 1)
        try:
            outbox.answer(ref, reply(), (HolderWrite("h", b"first"),))
            outbox.write_fields(key, [HolderWrite("h", b"second"), HolderWrite("x", b"1")])
            await until(lambda: outbox.health.state == "degraded")
        finally:
            await probe.do("CONFIG", "SET", "maxmemory", 0)
        await done(outbox)
    assert await hash_of(probe, key) == {"h": b"second", "x": b"1"}
    assert await replies(probe, "me") == [reply()]


async def test_a_full_queue_gives_up_the_oldest_later_replies_and_says_how_many(
    config: BusConfig, probe: Probe
) -> None:
    small = bus_config(config.redis.url, config.gateway, replies=ReplyConfig(queue_max=5))
    refs = [await pending_command(probe, id=f"c{n}") for n in range(2)]
    outbox = waiting(small)
    dropped: list[int] = []
    outbox.on_dropped = dropped.append
    outbox.answer(refs[0], reply("c0"))
    for n in range(8):
        outbox.notify("me", reply(f"n{n}", "active"))
    outbox.answer(refs[1], reply("c1"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await done(outbox)
        tasks.cancel_scope.cancel()
    assert [one.id for one in await replies(probe, "me")] == ["c0", "n5", "n6", "n7", "c1"]
    assert (dropped, outbox.counters()["redis_replies_dropped"]) == ([5], 5)


async def test_answers_are_never_given_up(config: BusConfig, probe: Probe) -> None:
    small = bus_config(config.redis.url, config.gateway, replies=ReplyConfig(queue_max=2))
    outbox = waiting(small)
    for n in range(5):
        outbox.answer(await pending_command(probe, id=f"c{n}"), reply(f"c{n}"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(outbox.run)
        await done(outbox)
        tasks.cancel_scope.cancel()
    assert len(await replies(probe, "me")) == 5
    assert outbox.counters()["redis_control_over"] == 3


async def test_of_writes_to_the_same_fields_only_the_newest_waits(config: BusConfig, probe: Probe) -> None:
    outbox = waiting(config)
    for n in range(100):
        outbox.set_state(TRADE, f"state{n}", "", n)
        outbox.write_fields(probe.keys.contracts, [HolderWrite("AAPL", b"%d" % n)])
    assert outbox.counters()["redis_control_waiting"] == 2


async def test_states_stand_in_the_hash_of_the_instrument(config: BusConfig, probe: Probe) -> None:
    async with sending(config) as outbox:
        outbox.set_state(TRADE, "stale", "farm usfarm is down", 77)
        await done(outbox)
        assert await probe.last(TRADE) == {
            "state": b"stale",
            "state:trade": b"stale",
            "state_since_ns": b"77",
            "state_reason": b"farm usfarm is down",
        }
        outbox.set_state(TRADE, "live", "", 78)
        await done(outbox)
    assert await probe.last(TRADE) == {"state": b"live", "state:trade": b"live", "state_since_ns": b"78"}


async def test_freshness_stands_beside_the_state_and_goes_when_the_stream_ends(config: BusConfig, probe: Probe) -> None:
    async with sending(config) as outbox:
        outbox.set_freshness(TRADE, "stale", 77, 70)
        await done(outbox)
        assert await probe.last(TRADE) == {
            "freshness:trade": b"stale",
            "freshness_since_ns:trade": b"77",
            "received_ns:trade": b"70",
        }
        outbox.set_freshness(TRADE, "quiet", 78, 0)
        await done(outbox)
        assert (await probe.last(TRADE)).keys() == {"freshness:trade", "freshness_since_ns:trade"}
        outbox.set_state(TRADE, "ended", "expired", 79)
        await done(outbox)
    assert (await probe.last(TRADE)).keys() == {"state", "state:trade", "state_since_ns", "state_reason"}


async def test_a_hash_of_another_type_costs_that_write_only(config: BusConfig, probe: Probe) -> None:
    await probe.do("SET", probe.keys.contracts, "not a hash")
    async with sending(config) as outbox:
        outbox.write_fields(probe.keys.contracts, [HolderWrite("AAPL", b"1")])
        outbox.notify("me", reply())
        await done(outbox)
        assert outbox.counters()["redis_control_failed"] == 1
    assert len(await replies(probe, "me")) == 1


async def test_the_ids_of_replies_rise_when_the_clock_goes_back(config: BusConfig) -> None:
    clock = 5_000_000
    outbox = Outbox(Link(config.redis, "outbox"), config, EPOCH, now_ns=lambda: clock)
    ids = [outbox.next_id()]
    clock = 3_000_000
    ids.append(outbox.next_id())
    clock = 6_000_000
    ids.append(outbox.next_id())
    assert ids == ["5-0", "5-1", "6-0"]
