"""Gaps that are refilled, through the whole house: with them a stream is the market's tape, without hole or double."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ibkr_actor.actors.clock import Clock
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, AnyRecord, Bar, BidAsk, Gap, MidPoint, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, House, running_house, running_redis
from tests.e2e.past import NS, PRESENT, of_the_tape, running_past, seconds, ticks_of_the_tape

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
# See test_backfill.
SPEED = 20.0
DATA = (Bar, Trade, BidAsk, MidPoint)


def text(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat()


def live(count: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: sum(1 for each in records if isinstance(each, DATA) and not each.flags & FLAG_LATE) >= count


def refilled(count: int = 1) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: sum(1 for each in records if isinstance(each, Gap) and each.refilled) >= count


async def broken(sim: Simulator, house: House, kind: str) -> list[AnyRecord]:
    """A stream of `kind` that lost its gateway for 40 s of the market's time, twice, and was refilled both times."""
    (key,) = await house.subscribe(AAPL, kind)
    await house.until(key, live(5))
    for n in (1, 2):
        sim.act("gateway_down", for_s=40.0)
        records = await house.until(key, refilled(n))
    return records


def check(records: list[AnyRecord]) -> None:
    """Live records in order, refilled ones in order behind the gap they belong to, and seq dense."""
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
    gaps = [each for each in records if isinstance(each, Gap)]
    assert [(each.cause, each.refilled) for each in gaps] == [("disconnect", False), ("disconnect", True)] * 2
    assert gaps[0].from_ns == gaps[1].from_ns
    for flags in (0, FLAG_REFILLED | FLAG_LATE):
        times = [when(each) for each in records if isinstance(each, DATA) and each.flags == flags]
        assert times == sorted(times)
        assert times


def when(record: AnyRecord) -> int:
    if isinstance(record, Bar):
        return record.start_ns
    assert isinstance(record, Trade | BidAsk | MidPoint)
    assert record.source_ns is not None
    return record.source_ns


async def test_bars_with_what_was_refilled_are_the_tape() -> None:
    async with running_past(speed=SPEED, heal=True) as (sim, house):
        records = await broken(sim, house, "bar.5s")
        check(records)
        bars = sorted((each for each in records if isinstance(each, Bar)), key=when)
        got = [shape(each) for each in bars]
        expected = of_the_tape(sim, AAPL, "5s", "TRADES", text(bars[0].start_ns), text(bars[-1].end_ns), False)
        assert got == expected
        assert sum(1 for each in bars if each.flags) >= 14
        # What newer ones stand behind is no last value.
        value: Any = await house.redis.hget(KEYS.last(AAPL), "bar.5s")
        last = decode_record({b"d": value})
        assert isinstance(last, Bar)
        assert not last.flags
        assert not sim.violations


@pytest.mark.parametrize(
    ("kind", "show"),
    [
        ("trade", "TRADES"),
        pytest.param("bidask", "BID_ASK", marks=pytest.mark.slow),
        pytest.param("midpoint", "MIDPOINT", marks=pytest.mark.slow),
    ],
)
async def test_ticks_with_what_was_refilled_are_the_tape(kind: str, show: str) -> None:
    async with running_past(speed=SPEED, heal=True) as (sim, house):
        records = await broken(sim, house, kind)
        check(records)
        data = sorted((each for each in records if isinstance(each, Trade | BidAsk | MidPoint)), key=when)
        first_ns, last_ns = when(data[0]), when(data[-1])
        expected = ticks_of_the_tape(sim, AAPL, show, text(first_ns), text(last_ns), False)
        # The first second had begun when the stream did, and the last may go on behind what was read.
        got = [figures(each) for each in data if first_ns < when(each) < last_ns]
        assert got == [row for row in expected if first_ns < float(row[0] or 0) < last_ns]
        assert len(got) >= 10


@pytest.mark.slow
async def test_built_bars_with_what_was_refilled_are_the_tape() -> None:
    async with running_past(speed=SPEED, heal=True) as (sim, house):
        (key,) = await house.subscribe(AAPL, "bar.10s.built")
        await house.until(key, live(5))
        sim.act("gateway_down", for_s=40.0)
        records = await house.until(key, refilled())
        finals = {each.start_ns: each for each in records if isinstance(each, Bar) and each.final}
        bars = [finals[start_ns] for start_ns in sorted(finals)]
        assert [shape(each) for each in bars] == of_the_tape(
            sim, AAPL, "10s", "TRADES", text(bars[0].start_ns), text(bars[-1].end_ns), False
        )
        assert sum(1 for each in bars if each.flags == FLAG_REFILLED | FLAG_LATE) >= 4
        for each in records:
            # What was told last of a bar is what holds.
            if isinstance(each, Bar) and each.start_ns in finals:
                assert each.revision <= finals[each.start_ns].revision


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bar.5s", "trade"])
async def test_what_was_missed_over_a_restart_of_the_sidecar_is_refilled(kind: str) -> None:
    settings = SimulatorSettings(
        start_time_s=seconds(PRESENT), clock_speed=SPEED, market_hours="exchange", seed=1, ticks_per_s=1.0
    )
    async with running_redis() as server, Simulator(settings) as sim:
        for wanted in (live(5), refilled()):
            clock = Clock(speed=SPEED, start_ns=round(sim.world.clock.now_s() * NS))
            async with running_house(server.own_url, sim.port, clock=clock, heal=True, stale_after_s=600.0) as house:
                key = KEYS.stream(kind, AAPL)
                if not await house.redis.exists(key):
                    await house.subscribe(AAPL, kind)
                records = await house.until(key, wanted)
        gaps = [each for each in records if isinstance(each, Gap)]
        assert [(each.cause, each.refilled) for each in gaps] == [("restart", False), ("restart", True)]
        data = sorted((each for each in records if isinstance(each, Bar | Trade)), key=when)
        first_ns, last_ns = when(data[0]), when(data[-1])
        if kind == "bar.5s":
            got = [shape(each) for each in data if isinstance(each, Bar)]
            assert got == of_the_tape(sim, AAPL, "5s", "TRADES", text(first_ns), text(last_ns + 5 * NS), False)
        else:
            ticks = ticks_of_the_tape(sim, AAPL, "TRADES", text(first_ns), text(last_ns), False)
            inside = [figures(each) for each in data if isinstance(each, Trade) and first_ns < when(each) < last_ns]
            assert inside == [row for row in ticks if first_ns < float(row[0] or 0) < last_ns]
        assert not sim.violations


def shape(bar: Bar) -> tuple[int, int, tuple[float, ...], str | None, int | None]:
    prices = tuple(round(price or 0, 8) for price in (bar.open, bar.high, bar.low, bar.close))
    return bar.start_ns, bar.end_ns, prices, bar.volume, bar.count


def figures(record: Trade | BidAsk | MidPoint) -> tuple[float | str | None, ...]:
    match record:
        case Trade():
            return when(record), round(record.price or 0, 8), record.size
        case BidAsk():
            return when(record), round(record.bid or 0, 8), round(record.ask or 0, 8), record.bid_size, record.ask_size
        case MidPoint():
            return when(record), round(record.price or 0, 8)
