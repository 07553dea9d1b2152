"""Row 11 of the promises in stepped time: however busy the machine is, nothing but the gateway is silent."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from tests.e2e.lockstep import Lockstep, in_step
from tests.e2e.past import seconds
from tests.e2e.test_night import behind_gaps
from tests.e2e.test_week import freshness_of, records_of, system_of

pytestmark = pytest.mark.anyio

# Tuesday, 11:00 in New York.
BY_DAY_S = seconds("2026-01-13T16:00:00")
WANTED = (("AAPL", ("quote", "trade", "bar.5s")), ("MSFT", ("quote",)))


async def subscribed(step: Lockstep) -> list[str]:
    """All streams of `WANTED`, while time goes on."""
    keys: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def go_on() -> None:
            while True:
                await step.run_to(step.now_s + 0.1)

        tasks.start_soon(go_on)
        for instrument, kinds in WANTED:
            keys += await step.house.subscribe(instrument, *kinds)
        tasks.cancel_scope.cancel()
    return keys


async def test_a_silent_gateway_makes_every_stream_stale_with_one_message_and_they_are_fresh_again() -> None:
    market = {"market_hours": "exchange", "ticks_per_s": 1.0}
    # So long that it is the silence that is noticed, not that the gateway does not answer.
    patient: dict[str, Any] = {"stale_probe_s": 0.0, "read_timeout_sec": 300.0}
    async with in_step(BY_DAY_S, sweep_s=1.0, sim=market, **patient) as step:
        keys = await subscribed(step)
        # Too short for anybody to know at what pace lines speak.
        await step.run_to(step.now_s + 5)
        assert set((await freshness_of(step)).values()) == {"fresh"}
        step.sim.stall()
        await step.run_to(step.now_s + 10)
        assert set((await freshness_of(step)).values()) == {"stale"}
        step.sim.resume()
        await step.run_to(step.now_s + 20)
        assert set((await freshness_of(step)).values()) == {"fresh"}
        for key in keys:
            assert behind_gaps(1)(await records_of(step, key))
        events = Counter(record.event for record in await system_of(step))
        assert (events["mute"], events["stale"], events["fresh"]) == (1, 1, 1)
        assert step.house.sidecar.session.status(step.clock())["conn"] == 1
