"""Live bars of any size through the whole house, in stepped time: they are the tape, and heal when broken off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.records import FLAG_BUILT, FLAG_REFILLED, AnyRecord, Bar, Gap, Reset
from ibkr_actor.sim import Simulator
from tests.e2e.lockstep import Lockstep, in_step
from tests.e2e.past import of_the_tape, seconds
from tests.e2e.test_backfill import check_order, text
from tests.e2e.test_week import records_of

pytestmark = pytest.mark.anyio

PRESENT_S = seconds("2026-01-13T16:59:40")


@asynccontextmanager
async def subscribed(*wanted: Subscribe) -> AsyncIterator[tuple[Lockstep, list[str]]]:
    """A house in stepped time, and the streams of what it was asked for."""
    async with in_step(PRESENT_S, sim={"market_hours": "exchange"}) as step:
        keys: list[str] = []
        async with anyio.create_task_group() as tasks:

            async def go_on() -> None:
                while True:
                    await step.run_to(step.now_s + 0.1)

            tasks.start_soon(go_on)
            for command in wanted:
                reply = await step.house.call(command)
                assert reply.streams is not None, reply
                keys += reply.streams
            tasks.cancel_scope.cancel()
        yield step, keys


def bars(records: list[AnyRecord]) -> list[Bar]:
    return [record for record in records if isinstance(record, Bar)]


def check(sim: Simulator, finals: list[Bar], size: str) -> None:
    """The bars are the tape's, each once and in order, without a hole."""
    expected = of_the_tape(sim, "AAPL", size, "TRADES", text(finals[0].start_ns), text(finals[-1].end_ns), False)
    found = [
        (
            bar.start_ns,
            bar.end_ns,
            tuple(round(price or 0, 8) for price in (bar.open, bar.high, bar.low, bar.close)),
            bar.volume,
            bar.count,
        )
        for bar in finals
    ]
    assert found == expected


async def test_kept_and_built_bars_are_the_tape() -> None:
    kinds = ["bar.30s", "bar.1m", "bar.1d", "bar.10s.built", "bar.1m.built"]
    async with subscribed(Subscribe(client="test", instrument="AAPL", kinds=kinds)) as (step, keys):
        await step.run_to(PRESENT_S + 260)
        for key, kind in zip(keys, kinds, strict=True):
            records = await records_of(step, key)
            assert isinstance(records[0], Reset)
            assert [record.seq for record in records] == list(range(1, len(records) + 1))
            told = bars(records)
            assert {bar.flags for bar in told} == {FLAG_BUILT if kind.endswith(".built") else 0}
            if kind == "bar.1d":
                assert {(bar.session_date, bar.final) for bar in told} == {("20260113", False)}
                assert {bar.end_ns - bar.start_ns for bar in told} == {16 * 3_600 * 10**9}
                assert [bar.revision for bar in told] == list(range(len(told)))
                continue
            finals = [bar for bar in told if bar.final]
            assert len(finals) >= 4
            check(step.sim, finals, kind.split(".")[1])
        assert not step.sim.violations


async def test_bars_that_ib_breaks_off_are_asked_for_again_and_what_was_missed_is_there() -> None:
    kinds = ["bar.1m", "bar.1m.built"]
    async with subscribed(Subscribe(client="test", instrument="AAPL", kinds=kinds)) as (step, (kept, built)):
        await step.run_to(PRESENT_S + 70)
        for lost in step.sim.world.faults.live_updates_lost:
            lost()
        step.sim.act("bust", instrument="AAPL")
        await step.run_to(PRESENT_S + 270)
        for key, cause in ((kept, "disconnect"), (built, "bust")):
            records = await records_of(step, key)
            assert [record.cause for record in records if isinstance(record, Gap)] == [cause]
        finals = [bar for bar in bars(await records_of(step, kept)) if bar.final]
        check(step.sim, finals, "1m")
        # The minute that the bust broke off was not seen whole.
        missed = [bar for bar in bars(await records_of(step, built)) if bar.final]
        assert [bar.start_ns for bar in finals if bar.start_ns not in {each.start_ns for each in missed}]
        assert not step.sim.violations


async def test_a_stream_of_minutes_begins_with_its_past() -> None:
    start = "2026-01-13T16:20:00"
    command = Subscribe(client="test", instrument="AAPL", kinds=["bar.1m"], backfill=start)
    async with subscribed(command) as (step, (key,)):
        await step.run_to(PRESENT_S + 100)
        records = await records_of(step, key)
        check_order(records)
        past = [bar for bar in bars(records) if bar.flags & FLAG_REFILLED]
        check(step.sim, past, "1m")
        assert past[0].start_ns == round(seconds(start) * 1e9)
        first = next(bar for bar in bars(records) if not bar.flags)
        assert first.start_ns == past[-1].end_ns
