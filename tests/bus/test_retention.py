"""Housekeeping on a real server: age, expiry of what nobody holds, and the memory guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.config import BusConfig, PublisherConfig, RetentionConfig
from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.bus.retention import Housekeeper
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Reset, System
from tests.bus.kit import QUOTE, TRADE, Probe, bus_config, check, publishing, quote, trade, trades, until, written

pytestmark = pytest.mark.anyio

MS = 1_700_000_000_000
OTHER = Stream("trade", "MSFT.STK.SMART.USD")


def with_retention(config: BusConfig, **fields: Any) -> BusConfig:
    return bus_config(config.redis.url, config.gateway, retention=RetentionConfig(**fields))


@asynccontextmanager
async def keeping(config: BusConfig, publisher: Publisher, now_ms: int = MS) -> AsyncIterator[Housekeeper]:
    """A housekeeper whose rounds the test calls."""
    link = Link(config.redis, "housekeeping", SCRIPTS)
    await link.open()
    yield Housekeeper(link, config, publisher, now_ns=lambda: now_ms * 1_000_000)
    await link.close()


def key(probe: Probe, stream: Stream) -> str:
    return probe.keys.stream(stream.kind, stream.instrument)


async def test_entries_older_than_their_kind_may_be_are_trimmed(config: BusConfig, probe: Probe) -> None:
    aged = with_retention(config, age_s_by_kind={"trade": 60.0})
    clock = [MS]
    async with publishing(aged, now_ns=lambda: clock[0] * 1_000_000) as publisher:
        for now_ms in (MS, MS + 120_000):
            clock[0] = now_ms
            publisher.publish([*trades(150), *[(QUOTE, quote(n)) for n in range(150)]])
            await written(publisher)
        async with keeping(aged, publisher, MS + 121_000) as housekeeper:
            await housekeeper.round()
    assert 150 <= await probe.do("XLEN", key(probe, TRADE)) < 300
    assert await probe.do("XLEN", key(probe, QUOTE)) == 301


async def test_streams_of_an_earlier_epoch_that_nobody_holds_expire_with_their_last_values(
    config: BusConfig, probe: Probe
) -> None:
    async with publishing(config) as publisher:
        publisher.publish([*trades(1), (OTHER, trade())])
        await written(publisher)
    async with publishing(config) as publisher, keeping(config, publisher) as housekeeper:
        publisher.publish(trades(1))
        await written(publisher)
        await housekeeper.round()
        assert await probe.do("TTL", key(probe, TRADE)) == -1
        assert 0 < await probe.do("TTL", key(probe, OTHER)) <= 86_400
        assert await probe.do("TTL", probe.keys.last(TRADE.instrument)) == -1
        assert 0 < await probe.do("TTL", probe.keys.last(OTHER.instrument)) <= 86_400
        publisher.publish([(OTHER, trade())])
        await written(publisher)
        assert await probe.do("TTL", key(probe, OTHER)) == -1
        assert await probe.do("TTL", probe.keys.last(OTHER.instrument)) == -1


async def test_expired_streams_leave_the_set_of_streams(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher, keeping(config, publisher) as housekeeper:
        publisher.publish([*trades(1), (OTHER, trade())])
        publisher.close_stream(OTHER)
        await written(publisher)
        await probe.do("DEL", key(probe, OTHER), key(probe, TRADE))
        await housekeeper.round()
    members = {member.decode() for member in await probe.do("SMEMBERS", probe.keys.streams)}
    assert members == {key(probe, TRADE)}, "the one still held comes back with its next record"


async def test_a_stream_that_expired_is_forgotten_and_goes_on_with_its_seq_when_it_comes_back(
    config: BusConfig, probe: Probe
) -> None:
    async with publishing(config) as publisher, keeping(config, publisher) as housekeeper:
        publisher.publish([*trades(3), (QUOTE, quote()), (OTHER, trade())])
        publisher.close_stream(TRADE)
        await written(publisher)
        before = await probe.entries(TRADE)
        assert publisher.streams.ticks() == {"AAPL": 4, "MSFT": 1}
        await probe.do("DEL", key(probe, TRADE))
        await housekeeper.round()
        assert (len(publisher.streams), publisher.streams.ticks()) == (2, {"AAPL": 4, "MSFT": 1})
        publisher.publish(trades(1))
        await written(publisher)
        after = await probe.entries(TRADE)
        assert (len(publisher.streams), publisher.streams.ticks()) == (3, {"AAPL": 5, "MSFT": 1})
    reset = after[0].record
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.prev_epoch, reset.prev_seq) == ("deleted", reset.epoch, 4)
    assert reset.prev_id == before[-1].id
    assert [entry.record.seq for entry in after] == [4, 5]
    assert check([entry.record for entry in after]) == 0


async def test_streams_of_all_records_of_a_kind_do_not_expire(config: BusConfig, probe: Probe) -> None:
    chosen = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(all_kinds=frozenset({"trade"})))
    async with publishing(chosen) as publisher, keeping(chosen, publisher) as housekeeper:
        publisher.publish(trades(1))
        await written(publisher)
        await housekeeper.round()
    assert await probe.do("TTL", probe.keys.all("trade")) == -1


async def test_retention_halves_while_memory_is_short_and_recovers_and_system_says_so(
    config: BusConfig, probe: Probe
) -> None:
    short = with_retention(config, entries=1_000, memory_max_bytes=1)
    async with publishing(short) as publisher:
        for _ in range(10):
            publisher.publish(trades(100))
            await written(publisher)
        async with keeping(short, publisher) as housekeeper:
            await housekeeper.round()
            assert publisher.streams.entries_max_of("trade") == 500
            assert await probe.do("XLEN", key(probe, TRADE)) <= 600
            await housekeeper.round()
            assert publisher.streams.entries_max_of("trade") == 250
            publisher.publish(trades(300))
            await written(publisher)
            assert await probe.do("XLEN", key(probe, TRADE)) <= 350 + 300
        plenty = with_retention(config, entries=1_000, memory_max_bytes=1 << 40)
        async with keeping(plenty, publisher) as housekeeper:
            housekeeper._divisor = 4
            await housekeeper.round()
            assert publisher.streams.entries_max_of("trade") == 500
            await housekeeper.round()
            await housekeeper.round()
            assert publisher.streams.entries_max_of("trade") == 1_000
        await written(publisher)
    events = [record.event for record in await probe.records(probe.keys.system) if isinstance(record, System)]
    assert events == ["retention_halved"] * 2 + ["retention_restored"] * 2


async def test_housekeeping_goes_on_after_a_lost_connection(config: BusConfig, probe: Probe) -> None:
    often = with_retention(config, every_s=0.01)
    async with publishing(often) as publisher, anyio.create_task_group() as tasks:
        housekeeper = Housekeeper(Link(often.redis, "housekeeping", SCRIPTS), often, publisher)
        tasks.start_soon(housekeeper.run)
        await until(lambda: housekeeper.counters()["retention_rounds"] != 0)
        await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        before = housekeeper.counters()["retention_rounds"]
        await until(lambda: housekeeper.counters()["retention_rounds"] != before)
        await until(lambda: publisher.health.state == "up")
        tasks.cancel_scope.cancel()
