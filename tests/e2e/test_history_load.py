"""Many history jobs at once beside a simulator whose clock runs fast: no rule broken, no time lost but what IB takes.

The simulator is a process of its own, so that its work holds up nobody's clock; its journal says what came when.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from ibkr_actor.actors.clock import Clock
from ibkr_actor.client import Client
from ibkr_actor.schema.commands import History
from ibkr_actor.schema.records import Done
from tests.e2e.kit import House, own_environment, running_house, running_redis
from tests.e2e.past import NS, PRESENT, seconds

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SPEED = 20.0
# The window of IB's rule for small bars, and what fits into it.
WINDOW_S, IN_A_WINDOW = 600.0, 60
# Numbers of messages; in protobuf form 200 is added.
REQ_HISTORICAL_DATA = 20
# Bars, and schedules.
ANSWERS = (17, 106)
# Requests for bars of a minute and more that may be unanswered, and how many leave in a second.
OPEN_MAX, A_SECOND = 40, 30


def came(steps: list[tuple[float, int]]) -> list[float]:
    return [at_s for at_s, step in steps if step > 0]


def held_open_s(steps: list[tuple[float, int]]) -> float:
    """How long so many were unanswered that no more might come, but for one or two on their way."""
    total_s, unanswered = 0.0, 0
    for (at_s, step), (next_s, _) in pairwise(steps):
        unanswered += step
        total_s += (next_s - at_s) * (unanswered >= OPEN_MAX - 2)
    return total_s


class Site:
    """Simulator, Redis and sidecar in one time."""

    def __init__(self, house: House, clock: Clock, end: Any) -> None:
        self.house = house
        self.clock = clock
        self._end = end

    def now_s(self) -> float:
        return self.clock().ns / NS

    async def end(self) -> tuple[dict[str, int], list[tuple[float, int]]]:
        """What was broken; and when requests for bars and schedules came (1) and answers left (-1), by its clock."""
        said, lines = await self._end()
        steps: list[tuple[float, int]] = []
        for line in lines:
            number = line.get("message_id", 0) % 200
            if line["direction"] == "in" and number == REQ_HISTORICAL_DATA:
                steps.append((line["time"], 1))
            elif line["direction"] == "out" and number in ANSWERS:
                steps.append((line["time"], -1))
        return said["violations"], steps


@asynccontextmanager
async def running_site(folder: Path, speed: float = SPEED, **given: Any) -> AsyncIterator[Site]:
    journal = folder / "journal.jsonl"
    settings = {
        "start_time_s": seconds(PRESENT),
        "clock_speed": speed,
        "market_hours": "exchange",
        "ticks_per_s": 1.0,
        "journal_file": str(journal),
    }
    process = await anyio.open_process(
        [sys.executable, "-m", "tests.e2e.past_simulator", json.dumps(settings)],
        env=own_environment(),
        cwd=Path(__file__).parents[2],
        stderr=None,
        stdin=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    lines = BufferedByteReceiveStream(process.stdout)
    try:
        said = json.loads(await lines.receive_until(b"\n", 10_000))
        clock = Clock(speed=speed, start_ns=round(said["now_s"] * NS))

        async def end() -> tuple[Any, list[Any]]:
            assert process.stdin is not None
            await process.stdin.aclose()
            broken = json.loads(await lines.receive_until(b"\n", 100_000))
            await process.wait()
            return broken, [json.loads(line) for line in journal.read_text().splitlines()]

        async with (
            running_redis() as server,
            running_house(server.own_url, said["port"], clock=clock, **given) as house,
        ):
            yield Site(house, clock, end)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def run(house: House, commands: list[History]) -> list[Done]:
    """All jobs at once through one client, read to their ends."""
    found: list[Done] = []

    async def one(client: Client, command: History) -> None:
        job = client.job(command)
        rows = 0
        async for batch in job.batches():
            rows += len(batch.rows)
        assert job.done is not None
        assert job.done.rows == rows
        found.append(job.done)

    async with Client(house.url, timeout_s=60.0) as client, anyio.create_task_group() as tasks:
        for command in commands:
            tasks.start_soon(one, client, command)
    return found


async def test_30_symbols_of_10_days_of_5_s_bars_take_what_the_rule_demands_and_no_more(tmp_path: Path) -> None:
    commands = [
        History(instrument=f"SIM{n:03}", bar="5s", start="2025-12-01", end="2025-12-12", use_rth=True)
        for n in range(30)
    ]
    # A day in each request, so that there are 300.
    async with running_site(tmp_path, hist_max_bars_per_request=5_000) as site:
        began_s = site.now_s()
        done = await run(site.house, commands)
        took_s = site.now_s() - began_s
        violations, steps = await site.end()
    received = came(steps)
    assert violations == {}
    assert [each.outcome for each in done] == ["complete"] * 30
    assert sum(each.rows for each in done) == 30 * 10 * 4_680
    # The schedules come first and are not small bars; each of the others is.
    small = received[len(commands) :]
    assert len(small) == sum(each.requests for each in done) == 300
    bound_s = (len(small) - IN_A_WINDOW) / IN_A_WINDOW * WINDOW_S
    asking_s = small[-1] - small[0]
    told = f"{len(small)} small-bar requests: {bound_s:.0f} s by the rule, asked within {asking_s:.0f} s"
    after_s = small[-1] - small[IN_A_WINDOW - 1]
    sys.stdout.write(f"\n{told} ({after_s:.0f} s after the first {IN_A_WINDOW}), all took {took_s:.0f} s\n")
    assert bound_s <= asking_s <= bound_s * 1.03


@pytest.mark.parametrize("speed", [1.0, SPEED])
async def test_500_symbols_of_2_years_of_daily_bars_wait_for_nothing_but_the_message_rate(
    tmp_path: Path, speed: float
) -> None:
    commands = [
        History(instrument=f"SIM{n:03}", bar="1d", start="2024-01-02", end="2025-12-31", use_rth=True)
        for n in range(500)
    ]
    async with running_site(tmp_path, speed=speed) as site:
        began_s = site.now_s()
        done = await run(site.house, commands)
        took_s = site.now_s() - began_s
        violations, steps = await site.end()
    received = came(steps)
    assert violations == {}
    assert [each.outcome for each in done] == ["complete"] * 500
    assert min(each.rows for each in done) > 490
    assert sum(each.requests for each in done) == 500
    # What keeps it: the rate at which they leave, and a gateway that has as many unanswered as it should.
    bound_s, held_s = len(received) / A_SECOND, held_open_s(steps)
    asking_s = received[-1] - received[0]
    told = f"at {speed:g} times {len(received)} requests: {bound_s:.0f} s by their rate, {held_s:.0f} s of waiting"
    sys.stdout.write(f"\n{told} for answers; asked within {asking_s:.0f} s, all took {took_s:.0f} s\n")
    # On a clock of 20 times the work itself of this machine takes longer than the rate of messages.
    assert speed > 1 or asking_s - held_s <= 2 * bound_s
