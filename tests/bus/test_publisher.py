"""The publisher on a real server: ids, epochs, resets, last values and fencing."""

from __future__ import annotations

import anyio
import pytest

from ibkr_actor.bus.config import BusConfig, PublisherConfig, RetentionConfig, RingConfig
from ibkr_actor.errors import Fenced
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import End, Gap, Quote, Reset, System
from tests.bus.kit import (
    QUOTE,
    TICK,
    TRADE,
    Probe,
    bus_config,
    check,
    counter,
    publishing,
    quote,
    tick,
    trade,
    trades,
    until,
    written,
)

pytestmark = pytest.mark.anyio

MS = 1_700_000_000_000
NS = MS * 1_000_000


def system(event: str = "connected") -> System:
    return System(0, 0, 5, "connection", event, "", "hello")


async def test_a_stream_begins_with_a_reset_and_its_seq_is_dense_from_1(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish(trades(3))
        await written(publisher)
    records = await probe.records(TRADE)
    assert [type(record).__name__ for record in records] == ["Reset", "Trade", "Trade", "Trade"]
    assert [record.seq for record in records] == [1, 2, 3, 4]
    assert {record.epoch for record in records} == {int(await probe.do("GET", probe.keys.epoch))}
    reset = records[0]
    assert isinstance(reset, Reset)
    assert (reset.reason, reset.prev_epoch, reset.prev_seq, reset.prev_id) == ("start", None, None, None)
    assert reset.con_id == 265598


async def test_a_stream_stands_in_the_set_of_streams_and_system_does_not(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([(TRADE, trade()), (QUOTE, quote())])
        publisher.announce(system())
        await written(publisher)
    found = {key.decode() for key in await probe.do("SMEMBERS", probe.keys.streams)}
    assert found == {probe.keys.stream(stream.kind, stream.instrument) for stream in (TRADE, QUOTE)}


async def test_ids_are_the_clock_and_a_count_and_rise_when_the_clock_goes_back(config: BusConfig, probe: Probe) -> None:
    clock = NS
    async with publishing(config, now_ns=lambda: clock) as publisher:
        publisher.publish(trades(2))
        await written(publisher)
        clock = NS - 3_600 * 1_000_000_000
        publisher.publish(trades(1))
        await written(publisher)
        clock = NS + 1_000_000
        publisher.publish(trades(1))
        await written(publisher)
    ids = [entry.id for entry in await probe.entries(TRADE)]
    assert ids == [f"{MS}-0", f"{MS}-1", f"{MS}-2", f"{MS}-3", f"{MS + 1}-0"]


async def test_the_newest_record_of_each_kind_and_its_id_stand_in_the_hash(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([(QUOTE, quote(1)), (QUOTE, quote(2)), (TRADE, trade(9))])
        publisher.publish(
            [(QUOTE, Gap(0, 0, 1, 2, None, 1, 0, "farm", 1, 2)), (TRADE, End(0, 0, 1, 2, None, 1, 0, "x"))]
        )
        await written(publisher)
    last = await probe.last(QUOTE)
    assert set(last) == {"quote", "quote:id", "trade", "trade:id"}
    for stream, seq in ((QUOTE, 3), (TRADE, 2)):
        record = decode_record({b"d": last[stream.kind]})
        entry = next(entry for entry in await probe.entries(stream) if entry.record.seq == seq)
        assert (record, last[f"{stream.kind}:id"].decode()) == (entry.record, entry.id)


async def test_the_newest_tick_of_each_type_stands_in_the_hash(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([(TICK, tick(49, 0.0)), (TICK, tick(45, "1700000000")), (TICK, tick(49, 1.0))])
        await written(publisher)
    last = await probe.last(TICK)
    assert set(last) == {"tick", "tick:id", "tick:45", "tick:49"}
    values = {name: decode_record({b"d": last[name]}) for name in ("tick", "tick:45", "tick:49")}
    assert {name: getattr(value, "value", None) for name, value in values.items()} == {
        "tick": 1.0,
        "tick:45": "1700000000",
        "tick:49": 1.0,
    }


async def test_as_json_an_entry_has_the_field_j_and_readers_get_the_same_records(
    config: BusConfig, probe: Probe
) -> None:
    json = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(encoding="json"))
    async with publishing(json) as publisher:
        publisher.publish([(QUOTE, quote(3))])
        await written(publisher)
    (_, first), (_, second) = await probe.do("XRANGE", probe.keys.stream("quote", QUOTE.instrument), "-", "+")
    assert (first[0], second[0]) == (b"j", b"j")
    assert b'"tag":"quote"' in second[1]
    assert b'"received_ns":"1003"' in second[1]
    records = await probe.records(QUOTE)
    assert isinstance(records[1], Quote)
    assert records[1].bid == 190.0


async def test_every_record_of_a_chosen_kind_stands_in_its_all_stream_too(config: BusConfig, probe: Probe) -> None:
    chosen = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(all_kinds=frozenset({"trade"})))
    other = Stream("trade", "MSFT.STK.SMART.USD")
    async with publishing(chosen) as publisher:
        publisher.publish([(TRADE, trade()), (other, trade()), (QUOTE, quote()), (TRADE, trade())])
        await written(publisher)
    records = await probe.records(probe.keys.all("trade"))
    assert [type(record).__name__ for record in records] == ["Reset", "Trade", "Trade", "Trade"]
    check(records)
    check(await probe.records(TRADE))
    assert await probe.do("EXISTS", probe.keys.all("quote")) == 0


async def test_system_records_have_a_seq_of_their_own(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.announce(system("connected"))
        publisher.announce(system("lost"))
        await written(publisher)
    records = await probe.records(probe.keys.system)
    assert isinstance(records[0], Reset)
    assert [record.seq for record in records] == [1, 2, 3]
    assert [record.event for record in records if isinstance(record, System)] == ["connected", "lost"]


async def test_a_record_that_cannot_be_encoded_leaves_no_hole(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        bad = trade()
        bad.received_ns = 1 << 70
        with pytest.raises(OverflowError):
            publisher.publish([(TRADE, trade()), (TRADE, bad)])
        publisher.publish(trades(1))
        await written(publisher)
    assert [record.seq for record in await probe.records(TRADE)] == [1, 2, 3]


async def test_the_next_epoch_begins_with_a_reset_that_says_what_the_last_one_held(
    config: BusConfig, probe: Probe
) -> None:
    async with publishing(config) as publisher:
        publisher.publish(trades(2))
        await written(publisher)
    last = (await probe.entries(TRADE))[-1]
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        await written(publisher)
    entries = await probe.entries(TRADE)
    check([entry.record for entry in entries])
    reset = entries[3].record
    assert isinstance(reset, Reset)
    assert reset.epoch > last.record.epoch
    assert (reset.reason, reset.seq) == ("restart", 1)
    assert (reset.prev_epoch, reset.prev_seq, reset.prev_id) == (last.record.epoch, last.record.seq, last.id)


async def test_an_epoch_is_taken_from_the_stored_one_or_the_time_whichever_is_higher(
    config: BusConfig, probe: Probe
) -> None:
    async with publishing(config) as publisher:
        first = counter(publisher, "epoch")
    seconds = int((await probe.do("TIME"))[0])
    assert abs(seconds - first) < 60
    await probe.do("SET", probe.keys.epoch, seconds + 1_000_000)
    async with publishing(config) as publisher:
        assert counter(publisher, "epoch") == seconds + 1_000_001
    await probe.do("DEL", probe.keys.epoch)  # FLUSHALL: the time alone keeps it from repeating
    async with publishing(config) as publisher:
        assert counter(publisher, "epoch") >= first


async def test_a_taken_over_publisher_is_fenced_and_writes_nothing_more(config: BusConfig, probe: Probe) -> None:
    with pytest.RaisesGroup(Fenced):
        async with publishing(config) as old:
            old.publish(trades(2))
            await written(old)
            async with publishing(config) as new:
                new.publish(trades(2))
                await written(new)
                old.publish(trades(5))
                await anyio.sleep_forever()
    records = await probe.records(TRADE)
    assert len(records) == 6
    check(records)


async def test_an_idle_publisher_finds_out_that_it_is_fenced(config: BusConfig, probe: Probe) -> None:
    with pytest.RaisesGroup(Fenced):
        async with publishing(config) as publisher:
            publisher.publish(trades(1))
            await written(publisher)
            await probe.do("SET", probe.keys.epoch, counter(publisher, "epoch") + 1)
            await anyio.sleep_forever()


async def test_a_foreign_entry_with_a_future_id_found_at_start_is_followed_by_ours(
    config: BusConfig, probe: Probe
) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    await probe.do("XADD", key, "9999999999999-5", "x", "foreign")
    async with publishing(config) as publisher:
        publisher.publish(trades(2))
        await written(publisher)
        assert counter(publisher, "moved") == 0
    ids = [entry_id.decode() for entry_id, _ in await probe.do("XRANGE", key, "-", "+")]
    assert ids == ["9999999999999-5", "9999999999999-6", "9999999999999-7", "9999999999999-8"]


async def test_a_foreign_future_id_while_publishing_moves_our_records_behind_it_and_is_counted(
    config: BusConfig, probe: Probe
) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        await written(publisher)
        foreign = await probe.do("XADD", key, "9999999999999-5", "x", "foreign")
        publisher.publish(trades(3))
        await written(publisher)
        assert counter(publisher, "moved") == 3
        publisher.publish(trades(1))
        await written(publisher)
        assert counter(publisher, "moved") == 3, "later ids follow the foreign one by themselves"
        last = await probe.last(TRADE)
    await probe.do("XDEL", key, foreign)
    entries = await probe.entries(TRADE)
    assert [entry.record.seq for entry in entries] == [1, 2, 3, 4, 5, 6]
    assert entries[-1].id == "9999999999999-9" == last["trade:id"].decode()


async def test_an_id_whose_count_is_at_its_end_is_followed_by_the_next_millisecond(
    config: BusConfig, probe: Probe
) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        await written(publisher)
        await probe.do("XADD", key, f"9999999999999-{2**64 - 1}", "x", "foreign")
        publisher.publish(trades(1))
        await written(publisher)
    assert (await probe.do("XREVRANGE", key, "+", "-", "COUNT", 1))[0][0] == b"10000000000000-0"


async def test_a_stream_keeps_about_as_many_entries_as_its_kind_may(config: BusConfig, probe: Probe) -> None:
    few = RetentionConfig(entries=10_000, entries_by_kind={"trade": 200})
    async with publishing(bus_config(config.redis.url, config.gateway, retention=few)) as publisher:
        for _ in range(10):
            publisher.publish(trades(100))
            publisher.publish([(QUOTE, quote(n)) for n in range(100)])
            await written(publisher)
    assert 200 <= await probe.do("XLEN", probe.keys.stream("trade", TRADE.instrument)) <= 400
    assert await probe.do("XLEN", probe.keys.stream("quote", QUOTE.instrument)) == 1001


async def test_a_closed_stream_expires_and_stays_when_it_is_published_to_again(config: BusConfig, probe: Probe) -> None:
    key = probe.keys.stream(TRADE.kind, TRADE.instrument)
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        publisher.close_stream(TRADE)
        await written(publisher)
        assert 86_000 < await probe.do("TTL", key) <= 86_400
        publisher.publish(trades(1))
        await written(publisher)
        assert await probe.do("TTL", key) == -1
        publisher.close_stream(TRADE)
        await written(publisher)
        assert await probe.do("TTL", key) > 0
    check(await probe.records(TRADE))
    async with publishing(config) as publisher:
        publisher.publish(trades(1))
        await written(publisher)
        assert await probe.do("TTL", key) == -1


async def test_with_an_interval_records_of_several_calls_leave_in_one_batch(config: BusConfig) -> None:
    slow = bus_config(config.redis.url, config.gateway, publisher=PublisherConfig(flush_interval_ms=60_000))
    async with publishing(slow) as publisher:
        publisher.publish(trades(1))
        await until(lambda: counter(publisher, "written") == 2)
        before = counter(publisher, "batches")
        for _ in range(5):
            publisher.publish(trades(1))
            await anyio.lowlevel.checkpoint()
        assert counter(publisher, "batches") == before


async def test_a_full_ring_becomes_gaps_on_the_server_and_missing_equals_counted(
    config: BusConfig, probe: Probe
) -> None:
    small = bus_config(config.redis.url, config.gateway, ring=RingConfig(records_max=50, replay_records_max=10))
    async with publishing(small) as publisher:
        for n in range(200):
            publisher.publish([(TRADE, trade(n)), (QUOTE, quote(n))])
        await written(publisher)
        counted = counter(publisher, "lost_conflated") + counter(publisher, "lost_overflow")
    quotes, found = await probe.records(QUOTE), await probe.records(TRADE)
    assert check(quotes) + check(found) == counted > 0
    assert quotes[-1].seq == found[-1].seq == 201
    assert any(isinstance(record, Gap) and record.cause == "conflated" for record in quotes)
    assert any(isinstance(record, Gap) and record.cause == "overflow" for record in found)
