"""Rows 10 to 13 of the promises: the night and its like at the wire, with the official client and a fast clock.

Each stream is proven alive again by data behind its gap, and no limit of the gateway is exceeded on the way.
"""

from __future__ import annotations

import gc
import itertools
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from ibkr_actor.actors.clock import Clock
from ibkr_actor.schema.commands import List
from ibkr_actor.schema.records import AnyRecord, Bar, BidAsk, Gap, Quote, System, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath, follow, running_house, running_redis

pytestmark = pytest.mark.anyio

NS = 1_000_000_000
SPEED = 10.0
# Tuesday, 11:00 in New York; and Wednesday, 03:00 there, when stocks are closed.
BY_DAY = "2026-01-13T16:00:00"
AT_NIGHT = "2026-01-14T08:00:00"
WANTED = (("AAPL", ("quote", "trade", "bar.5s")), ("MSFT", ("quote",)), ("SPY", ("quote", "bidask")))
DATA = (Quote, Trade, Bar, BidAsk)


@asynccontextmanager
async def night(start: str = BY_DAY, *, speed: float = SPEED, **sidecar: Any) -> AsyncIterator[tuple[Simulator, House]]:
    """Simulator and sidecar in one time, which begins at `start` and runs `speed` times as fast as ours.

    What a busy machine leaves out for three seconds of ours is no silence of a line.
    """
    sidecar = {"stale_after_s": max(7.0, 3.0 * speed)} | sidecar
    start_s = datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp()
    settings = SimulatorSettings(start_time_s=start_s, clock_speed=speed, market_hours="exchange", ticks_per_s=4.0)
    async with running_redis() as server, Simulator(settings) as sim:
        clock = Clock(speed=speed, start_ns=round(sim.world.clock.now_s() * NS))
        async with running_house(server.own_url, sim.port, clock=clock, **sidecar) as house:
            yield sim, house


async def subscribed(house: House) -> list[str]:
    """All streams of `WANTED`, each proven alive."""
    keys: list[str] = []
    for instrument, kinds in WANTED:
        keys += await house.subscribe(instrument, *kinds)
    for key in keys:
        await house.until(key, lambda records: any(isinstance(record, DATA) for record in records))
    return keys


def behind_gaps(count: int) -> Any:
    """True once `count` gaps stand in the stream and data behind the last of them."""

    def wanted(records: list[AnyRecord]) -> bool:
        gaps = [n for n, record in enumerate(records) if isinstance(record, Gap)]
        return len(gaps) >= count and any(isinstance(record, DATA) for record in records[gaps[-1] :])

    return wanted


async def back(house: House, keys: list[str], *, gaps: int = 1) -> dict[str, list[Gap]]:
    """The gaps of each stream, once data stand behind the `gaps`-th."""
    found = {}
    for key in keys:
        records = await house.until(key, behind_gaps(gaps))
        found[key] = [record for record in records if isinstance(record, Gap)]
    return found


async def said(house: House, wanted: str) -> list[System]:
    """What `system` holds up to the first event of that name."""
    records: list[System] = []
    with anyio.fail_after(DEADLINE_S):
        async for record in follow(house.redis, KEYS.system):
            if isinstance(record, System):
                records.append(record)
                if record.event == wanted:
                    return records
    raise AssertionError("unreachable")


async def freshness(house: House, key: str) -> str | None:
    _, kind, instrument = key.rsplit(":", 2)
    value: Any = await house.redis.hget(KEYS.last(instrument), f"freshness:{kind}")
    return value.decode() if value else None


async def until_freshness(house: House, keys: list[str], wanted: str) -> None:
    """Returns once each stream is said to be `wanted`, by its hash and by `list`, asked again until it is so."""
    with anyio.fail_after(DEADLINE_S):
        while True:
            result: Any = (await house.call(List(client="test"))).result
            listed = {row["stream"]: row["freshness"] for row in result["subscriptions"]}
            if all(listed[key] == wanted for key in keys):
                break
            await breath()
        while any([await freshness(house, key) != wanted for key in keys]):
            await house.call(List(client="test"))
            await breath()


def keeps_limits(sim: Simulator) -> bool:
    return not sim.violations and not sim.requests_failed


# ---- row 12


async def test_through_the_night_every_stream_is_alive_again_with_one_gap_and_within_the_limits() -> None:
    async with night(client_id_pool="18,19") as (sim, house):
        keys = await subscribed(house)
        sim.play_scenario("nightly-restart")
        gaps = await back(house, keys)
        for key in keys:
            (gap,) = gaps[key]
            assert gap.cause == "disconnect"
            assert gap.from_ns is not None
            assert gap.to_ns is not None
            assert gap.to_ns > gap.from_ns
        assert keeps_limits(sim)
        events = Counter(record.event for record in await said(house, "fresh"))
        assert events["upstream_lost"] == events["lost"] == events["stale"] == 1
        assert events["ready"] == 2
        await until_freshness(house, keys, "fresh")


@pytest.mark.parametrize("scenario", ["data-lost", "data-kept"])
async def test_1100_with_1101_or_1102_is_one_gap_in_each_stream_and_the_socket_stays(scenario: str) -> None:
    async with night() as (sim, house):
        keys = await subscribed(house)
        sim.play_scenario(scenario)
        gaps = await back(house, keys)
        assert {key: [gap.cause for gap in found] for key, found in gaps.items()} == {
            key: ["disconnect"] for key in keys
        }
        assert house.sidecar.session.status(Clock()())["conn"] == 1
        assert keeps_limits(sim)


async def test_a_farm_that_flaps_is_a_farm_gap_each_time_and_the_socket_stays() -> None:
    async with night() as (sim, house):
        keys = await subscribed(house)
        sim.play_scenario("farm-flap")
        gaps = await back(house, keys[:1])
        assert gaps[keys[0]][0].cause == "farm"
        assert house.sidecar.session.status(Clock()())["conn"] == 1
        assert keeps_limits(sim)


# ---- row 11


async def test_over_night_nothing_is_stale() -> None:
    async with night(AT_NIGHT, speed=50.0) as (sim, house):
        keys = await house.subscribe("AAPL", "quote")
        await until_freshness(house, keys, "quiet")
        start_s = sim.world.clock.now_s()
        with anyio.fail_after(DEADLINE_S):
            while sim.world.clock.now_s() < start_s + 120:
                await until_freshness(house, keys, "quiet")
        assert await freshness(house, keys[0]) == "quiet"
        entries: Any = await house.redis.xrange(KEYS.system)
        assert not any(b"stale" in value for _, fields in entries for value in fields.values())


@pytest.mark.slow
async def test_zombie_lines_are_found_out_and_asked_for_again() -> None:
    async with night(stale_probe_s=10) as (sim, house):
        keys = await subscribed(house)
        sim.act("zombie", for_s=600.0)
        gaps = await back(house, keys)
        assert {gap.cause for found in gaps.values() for gap in found} == {"stall"}
        assert all(len(found) == 1 for found in gaps.values())
        assert house.sidecar.session.status(Clock()())["conn"] == 1
        assert keeps_limits(sim)


# ---- row 10


@pytest.mark.parametrize("cuts", [15, pytest.param(100, marks=pytest.mark.slow)])
async def test_a_connection_cut_in_the_middle_of_a_frame_time_and_again_is_a_gap_each_time(cuts: int) -> None:
    async with night(speed=1.0, reconnect_backoff_max_ms=20, retention_entries=100_000) as (sim, house):
        (key,) = await house.subscribe("AAPL", "quote")
        await house.until(key, lambda records: any(isinstance(record, Quote) for record in records))
        threads, files = 0, 0
        for n in range(1, cuts + 1):
            sim.cut_after(7)
            records = await house.until(key, behind_gaps(n))
            if n == 10:
                gc.collect()
                threads, files = threading.active_count(), len(os.listdir("/dev/fd"))
        found = [record for record in records if isinstance(record, Gap)]
        assert [gap.cause for gap in found] == ["disconnect"] * cuts
        assert all(
            before.to_ns is not None and after.from_ns is not None and before.to_ns <= after.from_ns
            for before, after in itertools.pairwise(found)
        )
        gc.collect()
        assert threading.active_count() <= threads + 1
        assert len(os.listdir("/dev/fd")) <= files + 2


# ---- row 13


async def test_a_competing_session_starves_and_data_come_back_with_its_gap() -> None:
    async with night(speed=20.0) as (sim, house):
        keys = await house.subscribe("AAPL", "quote")
        await house.until(keys[0], lambda records: any(isinstance(record, Quote) for record in records))
        sim.play_scenario("competing-session")
        gaps = await back(house, keys)
        assert gaps[keys[0]][0].cause == "competing_session"
        assert keeps_limits(sim)


async def test_a_bust_is_asked_for_again_at_once() -> None:
    async with night() as (sim, house):
        keys = await house.subscribe("AAPL", "quote")
        await house.until(keys[0], lambda records: any(isinstance(record, Quote) for record in records))
        sim.play_scenario("bust")
        gaps = await back(house, keys, gaps=2)
        assert [gap.cause for gap in gaps[keys[0]]] == ["bust", "bust"]
        assert keeps_limits(sim)


async def test_a_gateway_at_its_login_window_is_waited_for_and_said_once() -> None:
    async with night(handshake_timeout_s=1.0) as (sim, house):
        keys = await house.subscribe("AAPL", "quote")
        await house.until(keys[0], lambda records: any(isinstance(record, Quote) for record in records))
        sim.act("login_required", for_s=80.0)
        sim.cut()
        await back(house, keys)
        events = Counter(record.event for record in await said(house, "waiting_for_login"))
        assert events["waiting_for_login"] == 1
