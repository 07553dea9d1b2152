"""The bus as the actors see it, on a real server."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from ibkr_actor import __version__
from ibkr_actor.actors.ports import BusPort
from ibkr_actor.bus import fake_server
from ibkr_actor.bus.bus import Bus
from ibkr_actor.bus.config import BusConfig, HeartbeatConfig, RedisConfig
from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.bus.server_binary import ServerBinary
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.core.holders import Holder, holder_write
from ibkr_actor.core.messages import (
    CommandReceived,
    CommandsReadable,
    RedisForgot,
    RestoreContracts,
    RestoreHolders,
    RestoreJobs,
    RestorePacing,
)
from ibkr_actor.errors import ConfigurationError, Fenced
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Bar, End, Gap, System, Trade
from tests.bus.kit import (
    DEADLINE_S,
    QUOTE,
    TRADE,
    Probe,
    bus_config,
    check,
    embedded,
    kill,
    probing,
    quote,
    replies,
    trade,
    trades,
    until,
)

pytestmark = pytest.mark.anyio


class Commands:
    """What the bus delivered."""

    def __init__(self) -> None:
        self.received: list[CommandReceived] = []
        self.told: list[type[object]] = []

    async def deliver(self, message: CommandReceived | CommandsReadable | RedisForgot) -> None:
        if isinstance(message, CommandReceived):
            self.received.append(message)
        self.told.append(type(message))


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Commands]:
    commands = Commands()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.run, commands.deliver)
        yield commands
        tasks.cancel_scope.cancel()


async def test_records_commands_and_states_go_their_ways(config: BusConfig, probe: Probe) -> None:
    bus = Bus(config)
    port: BusPort = bus
    await bus.start()
    async with running(bus) as commands:
        port.publish([(TRADE, trade())])
        port.announce(System(0, 0, 1, "connection", "connected", "", ""))
        port.set_state(TRADE, "live", "", 5)
        await probe.do("XADD", probe.keys.commands(), "*", "j", '{"op":"status","client":"me"}')
        await until(lambda: len(commands.received) == 1)
        ref = commands.received[0].ref
        port.answer(ref, Reply(ref.id, "status", "accepted"), (HolderWrite("h", b"1"),), ())
        port.notify("me", Reply(ref.id, "status", "active"))
        port.write_holders((HolderWrite("i", b"2"),))
        port.write_contracts((HolderWrite("AAPL", b"{}"), HolderWrite("OLD", None)))
        port.close_stream(TRADE)
        assert await bus.drain(DEADLINE_S)
        assert port.counters()["redis_published"] == port.counters()["redis_written"]
    assert len(await probe.records(TRADE)) == 2
    assert [one.status for one in await replies(probe, "me")] == ["accepted", "active"]
    assert await probe.do("HGET", probe.keys.subscriptions, "i") == b"2"
    assert await probe.do("TTL", probe.keys.stream(TRADE.kind, TRADE.instrument)) > 0
    assert (await probe.last(TRADE))["state:trade"] == b"live"
    events = [(one.topic, one.event) for one in await probe.records(probe.keys.system) if isinstance(one, System)]
    assert ("redis", "connected") in events
    assert ("connection", "connected") in events


async def test_who_hears_active_finds_the_data_it_speaks_of(config: BusConfig, probe: Probe) -> None:
    slow = replace(config, publisher=replace(config.publisher, flush_interval_ms=500.0))
    bus = Bus(slow)
    await bus.start()
    async with running(bus):
        bus.publish([(TRADE, trade())])
        assert await bus.drain(DEADLINE_S)
        bus.publish([(TRADE, trade(1))])
        bus.notify("me", Reply("a", "subscribe", "active"))
        bus.notify("me", Reply("a", "subscribe", "expired"))
        with anyio.fail_after(DEADLINE_S):
            while not await replies(probe, "me"):
                await anyio.lowlevel.checkpoint()
        assert len(await probe.records(TRADE)) == 3
        assert await bus.drain(DEADLINE_S)
    assert [one.status for one in await replies(probe, "me")] == ["active", "expired"]


async def test_start_returns_what_a_restart_restores(config: BusConfig, probe: Probe) -> None:
    first = Bus(config)
    assert await first.start() == [RestoreContracts({}), RestoreHolders(()), RestorePacing(b""), RestoreJobs({})]
    async with running(first):
        first.write_contracts((HolderWrite("AAPL", b"c"),))
        first.write_pacing(b"w")
        first.write_job("j1", (), 0, b"{}")
        first.write_job("j2", (), 0, b"{}")
        first.write_job("j2", (), 0, None)
        first.write_holders((HolderWrite("h", b"1"), HolderWrite("gone", None)))
        assert await first.drain(DEADLINE_S)
    second = Bus(config)
    restored = await second.start()
    assert restored == [
        RestoreContracts({"AAPL": b"c"}),
        RestoreHolders((HolderWrite("h", b"1"),)),
        RestorePacing(b"w"),
        RestoreJobs({"j1": b"{}"}),
    ]
    assert second.epoch > first.epoch


def wishing(stream: Stream, backfill: str) -> HolderWrite:
    contract = Contract(1, "AAPL", "STK", "SMART", "USD", instrument=stream.instrument)
    return holder_write(stream, Holder("me", 0.0, frozenset(), "1", 0, backfill=backfill), contract)


async def test_start_returns_where_streams_end_whose_past_was_on_its_way(config: BusConfig, probe: Probe) -> None:
    def tick(second: int, size: str) -> Trade:
        return Trade(0, 0, 1, 9, second * 1_000_000_000, 1, 1, 1.5, size, "X", "", False, False)

    bars = Stream("bar.5s", "B")
    bar = Bar(0, 0, 1, 9, None, 1, 1, 5, 10, 1.0, 1.0, 1.0, 1.0, "1", None, None, True, 0, "TRADES")
    gap = Gap(0, 0, 1, 9, None, 1, 0, "disconnect", 1, 2)
    last = [tick(2, "1")] * 600
    first = Bus(config)
    await first.start()
    async with running(first):
        first.publish([(TRADE, tick(1, "5")), *[(TRADE, each) for each in last], (TRADE, gap)])
        first.publish([(bars, bar), (QUOTE, quote())])
        other = Stream("trade", "OTHER")
        first.publish([(other, tick(1, "5")), (other, End(0, 0, 1, 9, None, 1, 0, "no_holders"))])
        first.write_holders((wishing(TRADE, "1h"), wishing(bars, "2h"), wishing(other, "1h"), wishing(QUOTE, "")))
        assert await first.drain(DEADLINE_S)
    await probe.do("XADD", probe.keys.stream(TRADE.kind, TRADE.instrument), "*", "x", "no record")
    found = next(each for each in await Bus(config).start() if isinstance(each, RestoreHolders))
    assert sorted(found.tails) == sorted([TRADE.name, bars.name])
    (end,) = found.tails[bars.name]
    assert isinstance(end, Bar)
    assert end.end_ns == 10
    assert [(each.source_ns, each.size) for each in found.tails[TRADE.name] if isinstance(each, Trade)] == [
        (2_000_000_000, "1")
    ] * 600


async def test_a_redis_that_lost_its_data_is_told_to_those_who_keep_some_there(config: BusConfig, probe: Probe) -> None:
    bus = Bus(config)
    await bus.start()
    async with running(bus) as commands:
        bus.publish(trades(1))
        assert await bus.drain(DEADLINE_S)
        await probe.do("FLUSHALL")
        await until(lambda: RedisForgot in commands.told)


async def test_a_restarted_redis_may_have_lost_something_and_a_lost_connection_has_not(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        config = bus_config(server.own_url)
        bus = Bus(config)
        await bus.start()
        async with running(bus) as commands, probing(config) as probe:
            bus.publish(trades(1))
            assert await bus.drain(DEADLINE_S)
            await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            bus.publish(trades(1))
            assert await bus.drain(DEADLINE_S)
            assert RedisForgot not in commands.told
            kill(server.pid)
            await until(lambda: RedisForgot in commands.told)


async def test_a_takeover_ends_the_older_bus_with_fenced_alone(config: BusConfig) -> None:
    old, new = Bus(config), Bus(config)
    await old.start()
    await new.start()
    with anyio.fail_after(DEADLINE_S), pytest.raises(Fenced, match="a newer sidecar"):
        await old.run(Commands().deliver)


async def test_a_bug_in_what_takes_the_commands_ends_the_bus(config: BusConfig, probe: Probe) -> None:
    async def broken(message: object) -> None:
        raise ZeroDivisionError

    bus = Bus(config)
    await bus.start()
    await probe.do("XADD", probe.keys.commands(), "*", "j", '{"op":"status"}')
    with anyio.fail_after(DEADLINE_S), pytest.RaisesGroup(ZeroDivisionError):
        await bus.run(broken)


async def test_the_heartbeat_tells_who_publishes_and_goes_when_nobody_does(config: BusConfig, probe: Probe) -> None:
    bus = Bus(config, describe=lambda: "ready")
    await bus.start()
    async with running(bus):
        with anyio.fail_after(DEADLINE_S):
            while (beat := await probe.do("GET", probe.keys.heartbeat)) is None:
                await anyio.lowlevel.checkpoint()
        assert json.loads(beat) == {
            "gateway": config.gateway,
            "epoch": bus.epoch,
            "pid": os.getpid(),
            "state": "ready",
            "version": __version__,
        }
        assert 0 < await probe.do("PTTL", probe.keys.heartbeat) <= 5_000
    assert await probe.do("EXISTS", probe.keys.heartbeat) == 0


async def test_an_older_sidecar_leaves_the_heartbeat_of_a_newer_one_alone(config: BusConfig, probe: Probe) -> None:
    old, new = Bus(config), Bus(config)
    await old.start()
    await new.start()
    async with running(new):
        with anyio.fail_after(DEADLINE_S):
            while await probe.do("GET", probe.keys.heartbeat) is None:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(Fenced):
            await old.run(Commands().deliver)
        assert json.loads(await probe.do("GET", probe.keys.heartbeat))["epoch"] == new.epoch


async def test_a_redis_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        url = server.own_url
        config = bus_config(url)
        kill(server.pid)
        bus = Bus(config)
        with anyio.fail_after(DEADLINE_S):
            await bus.start()
        async with running(bus), probing(config) as probe:
            bus.publish(trades(2))
            assert await bus.drain(DEADLINE_S)
            assert len(await probe.records(TRADE)) == 3
            kill(server.pid)
            bus.publish(trades(2))
            bus.notify("me", Reply("a", "status", "active"))
            assert await bus.drain(DEADLINE_S)
            assert len(await probe.records(TRADE)) == 5
            assert len(await replies(probe, "me")) == 1
            await until(lambda: bus.state.state == "up")


async def test_the_whole_bus_runs_on_fakeredis_where_nothing_else_is_to_be_had(tmp_path: Path) -> None:
    fake = ServerBinary("fake", (sys.executable, str(Path(fake_server.__file__))))
    async with EmbeddedRedis(EmbeddedConfig(data_dir=tmp_path), fake) as server:
        config = bus_config(server.own_url)
        bus = Bus(config)
        await bus.start()
        async with running(bus) as commands, probing(config) as probe:
            bus.publish([*trades(5), (QUOTE, quote())])
            assert await bus.drain(DEADLINE_S)
            await probe.do("DEL", probe.keys.stream(TRADE.kind, TRADE.instrument))
            bus.publish(trades(2))
            assert await bus.drain(DEADLINE_S)
            assert check(await probe.records(TRADE)) == 0
            assert len(await probe.records(TRADE)) == 8
            await probe.do("XADD", probe.keys.commands(), "*", "j", '{"op":"status","client":"me","id":"a"}')
            await until(lambda: len(commands.received) == 1)
            ref = commands.received[0].ref
            bus.answer(ref, Reply("a", "status", "accepted"), ())
            assert await bus.drain(DEADLINE_S)
            assert len(await replies(probe, "me")) == 1
            assert await probe.do("XLEN", probe.keys.commands()) == 0
        assert bus.state.state == "up"


async def test_what_cannot_be_written_in_time_is_said_by_drain(config: BusConfig) -> None:
    bus = Bus(config)
    await bus.start()
    bus.publish(trades(1))
    assert not await bus.drain(0.01), "nothing runs that could write it"
    assert bus.state.state == "starting"


async def test_publishing_before_there_is_an_epoch_is_a_bug_that_says_so() -> None:
    with pytest.raises(RuntimeError, match="start the bus first"):
        Bus(BusConfig()).publish(trades(1))


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@host:1",
        "redis://host:99999/0?password=secret",
        "redis://:secret/half@host:1",
        "redis://host?unknown_option=secret",
    ],
)
async def test_an_impossible_url_is_one_clear_line_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^IBKR_REDIS_URL cannot be used: [^\n]+$") as caught:
        await Bus(BusConfig(redis=RedisConfig(url=url))).start()
    assert "secret" not in str(caught.value)


async def test_options_in_the_url_do_not_change_how_a_link_reads_and_waits(config: BusConfig) -> None:
    options = "socket_timeout=0.001&retry_on_timeout=yes&health_check_interval=1&protocol=3&decode_responses=yes"
    url = f"{config.redis.url}{'&' if '?' in config.redis.url else '?'}{options}"
    link = Link(RedisConfig(url=url), "odd")
    await link.open()
    try:
        key = f"{config.gateway}:odd"
        assert await link.call("XREAD", "BLOCK", 20, "STREAMS", key, "$") is None
        assert await link.call("HSET", key, "a", "1") == 1
        assert await link.call("HGETALL", key) == [b"a", b"1"]
    finally:
        await link.close()


async def test_the_state_is_the_worst_of_the_parts_and_says_which(config: BusConfig, probe: Probe) -> None:
    slow_beat = bus_config(config.redis.url, config.gateway, heartbeat=HeartbeatConfig(every_s=0.05))
    bus = Bus(slow_beat)
    await bus.start()
    async with running(bus):
        await until(lambda: bus.state.state == "up")
        await probe.do("CONFIG", "SET", "maxmemory", 1)
        try:
            bus.publish(trades(1))
            await until(lambda: bus.state.state == "degraded")
            assert bus.state.reason.startswith("publisher: OOM")
            assert bus.counters()["bus_state"] == "degraded"
        finally:
            await probe.do("CONFIG", "SET", "maxmemory", 0)
        await until(lambda: bus.state.state == "up")
        assert await bus.drain(DEADLINE_S)
    events = [one.event for one in await probe.records(probe.keys.system) if isinstance(one, System)]
    assert events == ["connected", "refusing", "recovered"]
