"""The clock of a process: the system's, or one that keeps the time of a simulated gateway."""

from __future__ import annotations

import time

import anyio
import pytest
from msgspec import Struct

from ibkr_actor.actors.actor import Actor
from ibkr_actor.actors.clock import Clock, system_clock
from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.core.effects import Effect, Instant
from ibkr_actor.core.messages import WakeUp

pytestmark = pytest.mark.anyio

DAY_NS = 86_400_000_000_000


def test_the_systems_clock_is_monotonic_seconds_and_utc() -> None:
    before, now, after = (time.monotonic(), time.time_ns()), system_clock(), (time.monotonic(), time.time_ns())
    assert before[0] <= now.s <= after[0]
    assert before[1] <= now.ns <= after[1]
    assert system_clock.speed == 1.0


def test_a_faster_clock_runs_fast_on_both_and_begins_where_it_is_told() -> None:
    clock = Clock(speed=1_000_000.0, start_ns=DAY_NS)
    first, second = clock(), clock()
    assert first.ns >= DAY_NS
    assert second.s >= first.s
    assert abs((second.ns - first.ns) / 1e9 - (second.s - first.s)) < 0.001


class Sleeper:
    """Wants to be woken an hour after it is made, by its own clock."""

    def __init__(self, clock: Clock) -> None:
        self.due_s: float | None = clock().s + 3_600.0
        self.woken = anyio.Event()

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        assert isinstance(message, WakeUp)
        assert self.due_s is not None
        assert now.s >= self.due_s
        self.due_s = None
        self.woken.set()
        return []

    def next_wakeup_s(self) -> float | None:
        return self.due_s


async def test_an_actor_on_a_fast_clock_sleeps_an_hour_of_it_and_not_of_ours() -> None:
    clock = Clock(speed=1_000_000.0, start_ns=DAY_NS)
    core = Sleeper(clock)
    box = Mailbox("sleeper", waiting_max=1)
    actor = Actor(box, core, lambda effect: None, clock=clock, speed=clock.speed)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(actor.run)
            await core.woken.wait()
            tasks.cancel_scope.cancel()
