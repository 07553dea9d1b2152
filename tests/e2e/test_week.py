"""A week of a sidecar's life, and one night of it: restarts, flaps, another login, busts, a holiday, a DST change.

The wire, the client and Redis are the real ones, time is stepped (`tests.e2e.lockstep`): `just week` runs the whole.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import List
from ibkr_actor.schema.records import FLAG_LATE, AnyRecord, Bar, Gap, Quote, Reset, System, Trade
from tests.e2e.kit import DEADLINE_S, KEYS
from tests.e2e.lockstep import Lockstep, in_step
from tests.e2e.past import NS, of_the_tape, seconds, ticks_of_the_tape
from tests.e2e.test_heal import text

pytestmark = pytest.mark.anyio

AAPL, BMW, EUR = "AAPL.STK.SMART.USD", "BMW.STK.SMART.EUR", "EUR.CASH.IDEALPRO.USD"
WANTED = ((AAPL, ("quote", "trade", "bar.5s")), (BMW, ("bar.5s",)), (EUR, ("quote",)))
MARKET = {"market_hours": "exchange", "ticks_per_s": 0.05}
HOUR_S = 3_600.0
DAY_S = 86_400.0
# How long a thing takes to be over: what is lost meanwhile is announced and filled.
SETTLED_S = 300.0


@dataclass
class Figures:
    """What is to be flat, once each simulated day."""

    rss: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def take(self) -> None:
        gc.collect()
        with open("/proc/self/statm") as statm:
            self.rss.append(int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        self.threads.append(threading.active_count())
        self.files.append(len(os.listdir("/dev/fd")))


async def open_streams(step: Lockstep) -> list[str]:
    """Subscribes while time goes on."""
    keys: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def go_on() -> None:
            while True:
                await step.run_to(step.now_s + 1.0)

        tasks.start_soon(go_on)
        for instrument, kinds in WANTED:
            keys += await step.house.subscribe(instrument, *kinds)
        tasks.cancel_scope.cancel()
    return keys


async def records_of(step: Lockstep, key: str) -> list[AnyRecord]:
    """Everything a stream holds, once all that was handed over is written."""
    bus: Any = step.house.sidecar.bus
    with anyio.fail_after(DEADLINE_S):
        assert await bus.drain(DEADLINE_S)
    found: list[AnyRecord] = []
    redis: Any = step.house.redis
    position = b"-"
    while entries := await redis.xrange(key, min=position, count=5_000):
        found += [record for _, fields in entries if (record := decode_record(fields)) is not None]
        position = b"(" + entries[-1][0]
    return found


def interruptions(rng: random.Random, start_s: float, end_s: float) -> list[tuple[float, str, dict[str, Any]]]:
    """When what happens: the restart each night at 23:45 in New York, and three troubles each day while it trades."""
    found: list[tuple[float, str, dict[str, Any]]] = []
    day_s = start_s - start_s % DAY_S
    while day_s < end_s:
        found.append((day_s + 3.75 * HOUR_S, "nightly-restart", {}))
        # 09:35 to 15:55 in New York, in thirds of the day, so that each is over before the next.
        for third in range(3):
            at_s = day_s + (13.6 + 2.1 * third + 1.7 * rng.random()) * HOUR_S
            name, arguments = rng.choice(TROUBLES)
            found.append((at_s, name, arguments))
        day_s += DAY_S
    return [each for each in found if start_s + 600 < each[0] < end_s - 2 * SETTLED_S]


TROUBLES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("farm_broken", {"for_s": 20.0}),
    ("farm_broken", {"for_s": 30.0, "farm": "history"}),
    ("competing_session", {"for_s": 45.0}),
    ("bust", {}),
    ("connection_lost", {"for_s": 40.0}),
    ("connection_lost", {"for_s": 40.0, "data": "lost"}),
    ("gateway_down", {"for_s": 60.0}),
    ("cut_mid_frame", {}),
)


async def live(step: Lockstep, end_s: float, rng: random.Random) -> tuple[Figures, Counter[str]]:
    """Lets the time pass with all that happens in it."""
    figures, done = Figures(), Counter[str]()
    days = itertools.count(step.now_s + DAY_S, DAY_S)
    next_day_s = next(days)
    for at_s, name, arguments in interruptions(rng, step.now_s, end_s):
        while next_day_s < at_s:
            await step.run_to(next_day_s)
            figures.take()
            sys.stderr.write(f"{text(round(step.now_s * NS))}: {step.steps} steps, {figures.rss[-1] >> 20} MB\n")
            next_day_s = next(days)
        await step.run_to(at_s)
        done[name] += 1
        if name == "nightly-restart":
            step.sim.play_scenario(name)
        else:
            step.sim.act(name, **arguments)
    await step.run_to(end_s)
    figures.take()
    return figures, done


# ---- what is to hold


def check_stream(records: list[AnyRecord]) -> list[Gap]:
    """One reset, a dense seq, gaps in order that do not overlap, each refilled one announced before. The announced."""
    assert isinstance(records[0], Reset)
    assert [type(each) for each in records].count(Reset) == 1
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
    announced = [each for each in records if isinstance(each, Gap) and not each.refilled]
    for gap in announced:
        assert gap.from_ns is not None
        assert gap.to_ns is not None
        assert gap.from_ns <= gap.to_ns
    for before, after in itertools.pairwise(announced):
        assert (before.to_ns or 0) <= (after.from_ns or 0)
    known = {(gap.cause, gap.from_ns, gap.to_ns) for gap in announced}
    refilled = [each for each in records if isinstance(each, Gap) and each.refilled]
    assert all((gap.cause, gap.from_ns, gap.to_ns) in known for gap in refilled)
    return announced


def is_covered(at_ns: int, until_ns: int, gaps: list[Gap]) -> bool:
    """Whether a gap tells of this time; of a bar that began before it, too."""
    starts = [gap.from_ns or 0 for gap in gaps]
    n = bisect_right(starts, until_ns) - 1
    return n >= 0 and at_ns <= (gaps[n].to_ns or 0)


def check_bars(step: Lockstep, name: str, records: list[AnyRecord], gaps: list[Gap]) -> tuple[int, int, int]:
    """Live and refilled bars are the tape, but for gaps that are not called refilled; what was not live is announced.

    How many were live, came late, and are missing.
    """
    bars = sorted((each for each in records if isinstance(each, Bar)), key=lambda bar: bar.start_ns)
    got = [(bar.start_ns, bar.end_ns, tuple(round(price or 0, 8) for price in (bar.open, bar.high, bar.low, bar.close)))
           for bar in bars]  # fmt: skip
    first, last = text(bars[0].start_ns), text(bars[-1].end_ns)
    expected = [row[:3] for row in of_the_tape(step.sim, name, "5s", "TRADES", first, last, False)]
    assert len(got) == len(set(got))
    assert set(got) <= set(expected)
    healed = {(each.from_ns, each.to_ns) for each in records if isinstance(each, Gap) and each.refilled}
    left = [gap for gap in gaps if (gap.from_ns, gap.to_ns) not in healed]
    missing = sorted(set(expected) - set(got))
    for start_ns, end_ns, _ in missing:
        assert is_covered(start_ns, end_ns + 5 * NS, left), text(start_ns)
    late = [bar for bar in bars if bar.flags & FLAG_LATE]
    for bar in late:
        assert is_covered(bar.start_ns, bar.end_ns + 5 * NS, gaps), text(bar.start_ns)
    return len(bars) - len(late), len(late), len(missing)


def check_trades(step: Lockstep, records: list[AnyRecord], gaps: list[Gap]) -> tuple[int, int]:
    """Live and refilled trades are the tape's, second by second."""
    trades = [each for each in records if isinstance(each, Trade)]
    whens = [each.source_ns or 0 for each in trades]
    first_ns, last_ns = min(whens), max(whens)
    got: Counter[tuple[float | str | None, ...]] = Counter(
        (each.source_ns, round(each.price or 0, 8), each.size) for each in trades
    )
    rows = ticks_of_the_tape(step.sim, AAPL, "TRADES", text(first_ns), text(last_ns), False)
    expected: Counter[tuple[float | str | None, ...]] = Counter(row[:3] for row in rows)
    edges = (first_ns, last_ns)
    healed = {(each.from_ns, each.to_ns) for each in records if isinstance(each, Gap) and each.refilled}
    left = [gap for gap in gaps if (gap.from_ns, gap.to_ns) not in healed]
    assert not {row for row in got - expected if row[0] not in edges}
    missing = [int(row[0] or 0) for row in expected - got if row[0] not in edges]
    for at_ns in missing:
        assert is_covered(at_ns, at_ns + NS, left), text(at_ns)
    return len(trades), len(missing)


async def check_all(step: Lockstep, keys: list[str], done: Counter[str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    happened = sum(done.values())
    for key in keys:
        _, kind, instrument = key.rsplit(":", 2)
        records = await records_of(step, key)
        gaps = check_stream(records)
        # One each, and a competing session may be told as a silence first.
        assert 0 < len(gaps) <= 2 * happened
        told[f"{kind}:{instrument}"] = {"records": len(records), "gaps": dict(Counter(gap.cause for gap in gaps))}
        if kind == "bar.5s":
            told[f"{kind}:{instrument}"]["live, late, missing"] = check_bars(step, instrument, records, gaps)
        elif kind == "trade":
            told[f"{kind}:{instrument}"]["trades, missing"] = check_trades(step, records, gaps)
        else:
            assert any(isinstance(each, Quote) for each in records)
    assert not step.sim.violations
    assert not step.sim.requests_failed
    return told


async def system_of(step: Lockstep) -> list[System]:
    return [each for each in await records_of(step, KEYS.system) if isinstance(each, System)]


async def freshness_of(step: Lockstep) -> dict[str, str]:
    reply: Any = None

    async def ask() -> None:
        nonlocal reply
        reply = await step.house.call(List(client="test"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while reply is None:
            await step.run_to(step.now_s + 0.1)
    return {row["stream"]: row["freshness"] for row in reply.result["subscriptions"]}


async def test_one_night() -> None:
    """From ten minutes before the restart to the first minutes of the morning's trade."""
    start_s = seconds("2026-03-31T03:35:00")
    market = MARKET | {"seed": 3, "ticks_per_s": 0.02}
    async with in_step(start_s, sweep_s=30.0, sim=market, heal=True, client_id_pool="18,19") as step:
        await step.run_to(step.now_s + 5)
        keys = await open_streams(step)
        await step.run_to(seconds("2026-03-31T03:45:00"))
        step.sim.play_scenario("nightly-restart")
        await step.run_to(seconds("2026-03-31T08:03:00"))
        eur = next(key for key in keys if EUR in key)
        gaps = check_stream(await records_of(step, eur))
        assert [gap.cause for gap in gaps] == ["disconnect"]
        assert set((await freshness_of(step)).values()) == {"fresh"}
        events = Counter(record.event for record in await system_of(step))
        assert events["lost"] == 1
        assert events["upstream_lost"] == 1
        assert not step.sim.violations
        for key in keys:
            if "bar.5s" in key:
                records = await records_of(step, key)
                check_bars(step, key.rsplit(":", 1)[1], records, check_stream(records))


@pytest.mark.slow
async def test_a_week() -> None:
    """Saturday to Thursday night, Good Friday, Saturday; Europe changes its clock on the first Sunday."""
    seed = int(os.environ.get("WEEK_SEED", "11"))
    rng = random.Random(seed)
    start_s, end_s = seconds(os.environ.get("WEEK_START", "2026-03-28T12:00:00")), seconds("2026-04-04T12:00:00")
    end_s = min(end_s, start_s + float(os.environ.get("WEEK_DAYS", "7")) * DAY_S)
    settings: dict[str, Any] = {"heal": True, "client_id_pool": "18,19", "retention_entries": 2_000_000}
    async with in_step(start_s, sweep_s=10.0, sim=MARKET | {"seed": seed}, **settings) as step:
        await step.run_to(step.now_s + 5)
        keys = await open_streams(step)
        began_s = time.monotonic()
        figures, done = await live(step, end_s, rng)
        took_s = time.monotonic() - began_s
        told = await check_all(step, keys, done)
        # On Good Friday and at the week-end nothing but forex trades: the others are quiet, and no one is alarmed.
        system = await system_of(step)
        friday_ns = round(seconds("2026-04-03T04:30:00") * NS)
        alarms = [each.message for each in system if each.event == "stale" and each.at_ns > friday_ns]
        assert not any("bar.5s" in alarm or "AAPL" in alarm for alarm in alarms)
        assert set((await freshness_of(step)).values()) <= {"fresh", "quiet"}
        speed = (end_s - start_s) / took_s
        sys.stderr.write(f"\nseed {seed}: {took_s:.0f} s, {speed:.0f} times real time, {step.steps} steps\n")
        sys.stderr.write(f"troubles {dict(done)}\n{told}\n{figures}\n")
        assert max(figures.threads) - min(figures.threads) <= 1
        assert max(figures.files) - min(figures.files) <= 3
        # Of simulator and sidecar together; what they remember of the market is there after two days.
        assert figures.rss[-1] < 1.1 * figures.rss[min(2, len(figures.rss) - 1)]
