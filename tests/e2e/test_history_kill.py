"""History jobs of a sidecar that is killed in the middle: every bar and tick once, in order, and one `done`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import anyio
import pytest
from redis.asyncio import Redis

from ibkr_actor.client import Client, connect
from ibkr_actor.schema.commands import History, HistoryTicks, Subscribe
from ibkr_actor.schema.records import Bar, Bars, BidAsk, Done, Gap, Reset, Ticks
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, follow, running_redis
from tests.e2e.past import figures, of_the_tape, ticks_of_the_tape
from tests.e2e.test_process import asked, sidecar_process

pytestmark = pytest.mark.anyio

INSTRUMENT = "AAPL.STK.SMART.USD"
# Trades every day and night.
COIN = "BTC.CRYPTO.PAXOS.USD"
# Windows are made small and answers slow, so that each life of the sidecar ends within the job.
VARIABLES = {"IBKR_HIST_MAX_BARS_PER_REQUEST": "40"}
LATENCY_S = 0.04


class Reader:
    """Reads one job to its end; whoever kills the sidecar waits here for entries."""

    def __init__(self) -> None:
        self.entries: list[Bars | Ticks | Done] = []
        self._more = anyio.Event()

    async def read(self, url: str, command: History | HistoryTicks) -> None:
        async with Client(url, client=command.client, timeout_s=DEADLINE_S) as client:
            job = client.job(command)
            async for entry in job.batches():
                self._take(entry)
            assert job.done is not None
            self._take(job.done)

    def _take(self, entry: Bars | Ticks | Done) -> None:
        self.entries.append(entry)
        self._more.set()
        self._more = anyio.Event()

    @property
    def done(self) -> Done | None:
        last = self.entries[-1] if self.entries else None
        return last if isinstance(last, Done) else None

    async def until(self, count: int) -> None:
        """Until so many entries were read, or the last."""
        while len(self.entries) < count and self.done is None:
            await self._more.wait()


async def killed(command: History | HistoryTicks, kills: int) -> tuple[Simulator, Reader]:
    """Runs a job through `kills` sidecars that are killed on the way and one that may finish it."""
    reader = Reader()
    with anyio.fail_after(600.0):
        async with (
            running_redis() as server,
            Simulator(SimulatorSettings(market_hours="exchange", history_latency_s=LATENCY_S, ticks_per_s=1.0)) as sim,
            anyio.create_task_group() as tasks,
        ):
            variables = VARIABLES | {"IBKR_PORT": str(sim.port), "IBKR_REDIS_URL": server.own_url}
            tasks.start_soon(reader.read, server.own_url, command)
            for _ in range(kills):
                async with sidecar_process(**variables) as process:
                    await reader.until(len(reader.entries) + 3)
                    assert reader.done is None, "the job was over before the sidecar was killed"
                    process.kill()
                    await process.wait()
            async with sidecar_process(**variables):
                await reader.until(1_000_000)
    assert not sim.violations
    return sim, reader


def check(reader: Reader) -> Done:
    *entries, done = reader.entries
    assert isinstance(done, Done)
    assert not any(isinstance(entry, Done) for entry in entries)
    assert [entry.seq for entry in reader.entries] == list(range(1, len(entries) + 2))
    assert (done.outcome, done.holes, done.entries) == ("complete", [], len(entries) + 1)
    return done


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).date().isoformat()


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_job_of_bars_outlives_kill_9_and_delivers_each_bar_once(kills: int) -> None:
    command = History(
        instrument=INSTRUMENT, bar="1h", start=days_ago(120 + 60 * kills), end=days_ago(10), use_rth=False
    )
    sim, reader = await killed(command, kills)
    check(reader)
    entries = [entry for entry in reader.entries if isinstance(entry, Bars)]
    expected = of_the_tape(sim, INSTRUMENT, "1h", "TRADES", command.start, command.end, False)
    assert figures([*entries]) == expected
    assert len({entry.epoch for entry in entries}) == kills + 1


@pytest.mark.slow
async def test_a_job_of_small_bars_outlives_kills_and_what_was_asked_before_still_counts() -> None:
    day = days_ago(10)
    command = History(instrument=COIN, bar="30s", start=f"{day}T06:00:00", end=f"{day}T12:00:00", use_rth=False)
    # 18 requests, and what is under way at each kill: asked again, that waits for the 15 s of an identical request.
    sim, reader = await killed(command, 3)
    check(reader)
    entries = [entry for entry in reader.entries if isinstance(entry, Bars)]
    assert figures([*entries]) == of_the_tape(sim, COIN, "30s", "AGGTRADES", command.start, command.end, False)


@pytest.mark.slow
async def test_a_job_of_ticks_outlives_ten_kills_and_delivers_each_tick_once() -> None:
    day = days_ago(7)
    command = HistoryTicks(
        instrument=COIN, start=f"{day}T06:00:00", end=f"{day}T14:00:00", what_to_show="BID_ASK", use_rth=False
    )
    sim, reader = await killed(command, 10)
    check(reader)
    got = [tuple(row[:5]) for entry in reader.entries if isinstance(entry, Ticks) for row in entry.rows]
    assert got == ticks_of_the_tape(sim, COIN, "BID_ASK", command.start, command.end, False)


class Stream:
    """Follows one stream of data from its beginning; whoever kills the sidecar waits here for records."""

    def __init__(self) -> None:
        self.entries = 0
        self.records: list[Bar | BidAsk] = []
        self.gaps: list[Gap] = []
        self.epochs: set[int] = set()

    async def read(self, redis: Redis, key: str, until: Callable[[Stream], bool]) -> None:
        with anyio.fail_after(2 * DEADLINE_S):
            async for record in follow(redis, key):
                self.entries += 1
                if isinstance(record, Bar | BidAsk):
                    self.records.append(record)
                elif isinstance(record, Gap):
                    self.gaps.append(record)
                elif isinstance(record, Reset):
                    self.epochs.add(record.epoch)
                if until(self):
                    return


def _has(count: int, stream: Stream) -> bool:
    return stream.entries >= count


async def begun_with_its_past(
    kind: str, kills: int, wanted: int, hours: int
) -> tuple[Simulator, str, list[Bar | BidAsk]]:
    """A stream whose sidecars are killed while they fetch its past, each after `wanted` more records; and live data."""
    stream = Stream()
    key = KEYS.stream(kind, COIN)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(market_hours="exchange", history_latency_s=LATENCY_S, ticks_per_s=1.0)) as sim,
        connect(server.own_url) as redis,
    ):
        variables = {"IBKR_PORT": str(sim.port), "IBKR_REDIS_URL": server.own_url}
        # Few requests, of which each life repeats some: together they stay below 60 in ten minutes.
        variables["IBKR_HIST_MAX_BARS_PER_REQUEST"] = "120"
        for number in range(kills):
            async with sidecar_process(**variables) as process:
                if not number:
                    wish = start.isoformat()
                    command = Subscribe(client="s", instrument=COIN, kinds=[kind], lease_s=0, backfill=wish)
                    reply = await asked(redis, command)
                    assert reply.status == "accepted", reply
                so_far = await redis.xlen(key)
                stream = Stream()
                await stream.read(redis, key, partial(_has, so_far + wanted))
                assert all(each.flags for each in stream.records), "the stream was live before the sidecar was killed"
                process.kill()
                await process.wait()
        async with sidecar_process(**variables):
            stream = Stream()
            await stream.read(redis, key, lambda each: sum(1 for record in each.records if not record.flags) >= 3)
    assert (stream.gaps, len(stream.epochs)) == ([], kills + 1)
    assert not sim.violations
    return sim, start.isoformat(), stream.records


@pytest.mark.slow
async def test_a_stream_that_begins_with_its_bars_outlives_kill_9_and_has_each_once() -> None:
    sim, start, records = await begun_with_its_past("bar.5s.midpoint", 3, 60, hours=3)
    bars = [each for each in records if isinstance(each, Bar)]
    end = text(bars[-1].end_ns)
    got = [(each.start_ns, each.end_ns, tuple(round(price or 0, 8) for price in prices(each))) for each in bars]
    assert got == [row[:3] for row in of_the_tape(sim, COIN, "5s", "MIDPOINT", start, end, False)]


@pytest.mark.slow
async def test_a_stream_that_begins_with_its_ticks_outlives_kill_9_and_has_each_once() -> None:
    sim, start, records = await begun_with_its_past("bidask", 3, 900, hours=2)
    ticks = [each for each in records if isinstance(each, BidAsk)]
    got = [
        (each.source_ns, round(each.bid or 0, 8), round(each.ask or 0, 8), each.bid_size, each.ask_size)
        for each in ticks
    ]
    end = text(ticks[-1].source_ns or 0)
    # The last second may go on behind the last record that was read.
    assert got == ticks_of_the_tape(sim, COIN, "BID_ASK", start, end, False)[: len(got)]


def prices(bar: Bar) -> tuple[float | None, ...]:
    return bar.open, bar.high, bar.low, bar.close


def text(ns: int) -> str:
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).isoformat()
