"""The publisher and a server that restarts, forgets, freezes or refuses: nothing missing, nothing doubled."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import anyio
import pytest

from ibkr_actor.bus.config import BusConfig, PublisherConfig, RedisConfig, RingConfig
from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import AnyRecord, Gap, Reset
from tests.bus.kit import (
    QUOTE,
    TRADE,
    Probe,
    bus_config,
    check,
    counter,
    embedded,
    kill,
    probing,
    publishing,
    quote,
    trade,
    trades,
    until,
    written,
)

pytestmark = pytest.mark.anyio

STREAMS = [Stream("trade", f"S{n}.STK.SMART.USD") for n in range(5)]


def seqs(records: list[AnyRecord]) -> list[int]:
    return [record.seq for record in records]


async def publish_steadily(publisher: Publisher, calls: int) -> None:
    """20 records a call over five streams, letting the writer run between the calls."""
    for n in range(calls):
        publisher.publish([(STREAMS[i % 5], trade(n)) for i in range(20)])
        await anyio.lowlevel.checkpoint()


async def all_there(probe: Probe, published: int) -> None:
    """Every record once and in order in every stream."""
    total = 0
    for stream in STREAMS:
        records = await probe.records(stream)
        assert check(records) == 0
        total += len(records) - 1
    assert total == published


async def test_flushall_while_publishing_brings_streams_epoch_and_set_back(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([*trades(3), (QUOTE, quote(1))])
        await written(publisher)
        before = await probe.do("GET", probe.keys.epoch)
        await probe.do("FLUSHALL")
        publisher.publish(trades(2))
        await written(publisher)
        assert counter(publisher, "epoch_restored") == 1
    for stream, count in ((TRADE, 6), (QUOTE, 2)):  # the quote stream too, though nothing new was published to it
        records = await probe.records(stream)
        assert isinstance(records[0], Reset)
        assert seqs(records) == list(range(1, count + 1))
    assert await probe.do("GET", probe.keys.epoch) == before
    assert await probe.do("SCARD", probe.keys.streams) == 2


async def test_an_idle_publisher_notices_flushall(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish(trades(3))
        await written(publisher)
        await probe.do("FLUSHALL")
        await until(lambda: counter(publisher, "replayed") > 0)
        await written(publisher)
    assert seqs(await probe.records(TRADE)) == [1, 2, 3, 4]


async def test_a_deleted_stream_comes_back_with_what_the_ring_holds(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([*trades(3), (QUOTE, quote(1))])
        await written(publisher)
        await probe.do("DEL", probe.keys.stream(TRADE.kind, TRADE.instrument))
        publisher.publish([*trades(2), (QUOTE, quote(2))])
        await written(publisher)
        assert counter(publisher, "gone") == 1
    records = await probe.records(TRADE)
    assert isinstance(records[0], Reset)
    assert seqs(records) == [1, 2, 3, 4, 5, 6]
    assert seqs(await probe.records(QUOTE)) == [1, 2, 3]


async def test_a_deleted_stream_that_the_ring_holds_no_more_comes_back_with_a_reset_that_says_from_where(
    config: BusConfig, probe: Probe
) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    short = bus_config(config.redis.url, config.gateway, ring=RingConfig(replay_records_max=0))
    async with publishing(short) as publisher:
        publisher.publish(trades(3))
        await written(publisher)
        newest = (await probe.entries(TRADE))[-1]
        await probe.do("DEL", key)
        publisher.publish(trades(2))
        await written(publisher)
    entries = await probe.entries(TRADE)
    reset = entries[0].record
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.epoch, reset.seq) == ("deleted", newest.record.epoch, 4)
    assert (reset.prev_epoch, reset.prev_seq, reset.prev_id) == (newest.record.epoch, 4, newest.id)
    assert entries[0].id == newest.id, "a reader that goes on from the last id sees what follows"
    assert [entry.record.seq for entry in entries] == [4, 5, 6]
    assert await probe.do("SISMEMBER", probe.keys.streams, key) == 1


async def test_a_trimmed_stream_is_not_taken_for_one_that_lost_data(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    async with publishing(config) as publisher:
        publisher.publish(trades(3))
        await written(publisher)
        await probe.do("XTRIM", key, "MAXLEN", 0)
        await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        publisher.publish(trades(2))
        await written(publisher)
    assert seqs(await probe.records(TRADE)) == [5, 6]


async def test_scripts_flushed_from_the_server_are_loaded_again(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        await written(publisher)
        await probe.do("SCRIPT", "FLUSH")
        publisher.publish(trades(1))
        await written(publisher)
        assert counter(publisher, "reconnects") == 0
    assert seqs(await probe.records(TRADE)) == [1, 2, 3]


async def test_connections_killed_all_the_time_lose_and_double_nothing(config: BusConfig, probe: Probe) -> None:
    small = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(batch_records_max=30))
    kills = 100
    async with publishing(small) as publisher:
        for _ in range(kills):
            await until(lambda: publisher.health.state == "up")
            before = counter(publisher, "reconnects")
            await publish_steadily(publisher, 3)
            await probe.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda before=before: counter(publisher, "reconnects") > before)  # type: ignore[misc]
        await written(publisher)
    await all_there(probe, kills * 60)


async def test_a_server_killed_with_kill_9_while_publishing_loses_and_doubles_nothing(tmp_path: Path) -> None:
    calls = 300
    async with embedded(tmp_path) as server:
        config = bus_config(server.own_url)
        async with probing(config) as probe, publishing(config) as publisher:
            for _ in range(4):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(publish_steadily, publisher, calls)
                    restarts = server.restarts
                    kill(server.pid)
                await until(lambda restarts=restarts: server.restarts > restarts)  # type: ignore[misc]
                await written(publisher)
            await all_there(probe, 4 * calls * 20)


async def put_back_older_data(server: EmbeddedRedis, copy: Path) -> None:
    """Kills the server and lets it start from `copy`. Its supervisor sleeps meanwhile, so that nobody is quicker."""
    kill(server.supervisor_pid, signal.SIGSTOP)
    kill(server.pid)
    directory = copy.parent / "data" / "appendonlydir"
    shutil.rmtree(directory)
    shutil.copytree(copy, directory)
    restarts = server.restarts
    kill(server.supervisor_pid, signal.SIGCONT)
    await until(lambda: server.restarts > restarts)


async def test_a_server_restarted_from_older_data_gets_the_missing_records_again(tmp_path: Path) -> None:
    async with embedded(tmp_path / "data") as server:
        config = bus_config(server.url)
        async with probing(config) as probe, publishing(config) as publisher:
            publisher.publish(trades(5))
            await written(publisher)
            shutil.copytree(tmp_path / "data" / "appendonlydir", tmp_path / "copy")
            publisher.publish([*trades(5), (QUOTE, quote())])
            await written(publisher)
            before = await probe.entries(TRADE)
            await put_back_older_data(server, tmp_path / "copy")
            publisher.publish(trades(2))
            await written(publisher)
            entries = await probe.entries(TRADE)
            assert [entry.record.seq for entry in entries] == list(range(1, 14))
            assert entries[:11] == before, "under the same ids as before"
            assert seqs(await probe.records(QUOTE)) == [1, 2]
            assert counter(publisher, "replayed") >= 7


async def test_what_neither_the_older_data_nor_the_ring_holds_is_announced_as_a_gap(tmp_path: Path) -> None:
    async with embedded(tmp_path / "data") as server:
        config = bus_config(server.url, ring=RingConfig(replay_records_max=2))
        async with probing(config) as probe, publishing(config) as publisher:
            publisher.publish(trades(5))
            await written(publisher)
            shutil.copytree(tmp_path / "data" / "appendonlydir", tmp_path / "copy")
            for _ in range(5):
                publisher.publish(trades(1))
                await written(publisher)
            await put_back_older_data(server, tmp_path / "copy")
            publisher.publish(trades(1))
            await written(publisher)
            records = await probe.records(TRADE)
            assert check(records) == counter(publisher, "lost_restart") == 3
            gap = records[6]
            assert isinstance(gap, Gap)
            assert (gap.cause, gap.first_seq, gap.seq, gap.lost) == ("restart", 7, 9, 3)


async def test_a_frozen_server_that_does_its_old_work_after_all_doubles_nothing(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        url = server.own_url
        config = bus_config(url)
        quick = RedisConfig(
            url=url, backoff_min_s=0.01, backoff_max_s=0.02, answer_timeout_s=0.5, connect_timeout_s=0.5
        )
        impatient = BusConfig(redis=quick)
        async with probing(config) as probe, publishing(impatient) as publisher:
            publisher.publish(trades(1))
            await written(publisher)
            kill(server.pid, signal.SIGSTOP)
            publisher.publish(trades(5))
            await until(lambda: counter(publisher, "reconnects") >= 3)
            publisher.publish(trades(5))
            kill(server.pid, signal.SIGCONT)
            await written(publisher)
            records = await probe.records(TRADE)
            assert check(records) == 0
            assert len(records) == 12
            assert (await probe.last(TRADE))["trade:id"].decode() == (await probe.entries(TRADE))[-1].id


async def test_out_of_memory_is_waited_for_and_what_did_not_fit_the_ring_is_counted(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        config = bus_config(server.own_url, ring=RingConfig(records_max=100, replay_records_max=10))
        async with probing(config) as probe, publishing(config) as publisher:
            publisher.publish(trades(1))
            await written(publisher)
            await probe.do("CONFIG", "SET", "maxmemory", 1)
            publisher.publish(trades(50))
            await until(lambda: publisher.health.state == "degraded")
            assert publisher.health.reason.startswith("OOM")
            publisher.publish(trades(200))
            await probe.do("CONFIG", "SET", "maxmemory", 0)
            await written(publisher)
            assert publisher.health.state == "up"
            records = await probe.records(TRADE)
            assert check(records) == counter(publisher, "lost_overflow") > 0
            assert records[-1].seq == 252


async def test_a_key_of_another_type_holds_up_no_other_stream_and_is_mended_when_it_is_gone(
    config: BusConfig, probe: Probe
) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    await probe.do("SET", key, "not a stream")
    quick = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(parked_retry_s=0.02))
    async with publishing(quick) as publisher:
        publisher.publish([*trades(3), (QUOTE, quote(1))])
        await until(lambda: counter(publisher, "error") > 1)
        publisher.publish([*trades(2), (QUOTE, quote(2))])
        await written(publisher)
        assert seqs(await probe.records(QUOTE)) == [1, 2, 3]
        await probe.do("DEL", key)
        publisher.publish(trades(1))
        await until(lambda: counter(publisher, "parked_streams") == 0)
        await written(publisher)
        records = await probe.records(TRADE)
        assert check(records) == counter(publisher, "lost_overflow") > 0
        assert records[-1].seq == 7


async def test_a_key_of_another_type_is_tried_again_at_intervals_and_not_with_each_record(
    config: BusConfig, probe: Probe
) -> None:
    await probe.do("SET", probe.keys.stream(TRADE.kind, TRADE.instrument), "not a stream")
    slow = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(parked_retry_s=3_600.0))
    async with publishing(slow) as publisher:
        for n in range(20):
            publisher.publish([*trades(1), (QUOTE, quote(n))])
            await written(publisher)
        assert counter(publisher, "error") == 1
        assert seqs(await probe.records(QUOTE)) == list(range(1, 22))


async def test_redis_away_at_the_start_of_publishing_is_waited_for(tmp_path: Path) -> None:
    async with embedded(tmp_path) as server:
        config = bus_config(server.own_url)
        async with probing(config) as probe, publishing(config) as publisher:
            kill(server.pid)
            publisher.publish(trades(3))
            await written(publisher)
            assert seqs(await probe.records(TRADE)) == [1, 2, 3, 4]
