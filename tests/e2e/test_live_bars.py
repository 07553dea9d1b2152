"""Live bars of any size through the whole house: those of the market's tape, healed when IB breaks them off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ibkr_actor.schema.records import FLAG_BUILT, FLAG_REFILLED, AnyRecord, Bar, Gap, Reset
from ibkr_actor.sim import Simulator
from tests.e2e.past import of_the_tape, running_past
from tests.e2e.test_backfill import check_order, live, subscribed, text

pytestmark = pytest.mark.anyio

SPEED = 30.0


def finals(records: list[AnyRecord], count: int = 1) -> list[Bar]:
    return [record for record in records if isinstance(record, Bar) and record.final][:count]


def final(count: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: len(finals(records, count)) >= count


def gap_and_bar(records: list[AnyRecord]) -> bool:
    return any(isinstance(record, Gap) for record in records) and isinstance(records[-1], Bar)


def check(sim: Simulator, bar: Bar, size: str) -> None:
    """The bar is the tape's."""
    (expected,) = of_the_tape(sim, "AAPL", size, "TRADES", text(bar.start_ns), text(bar.end_ns), False)
    prices = tuple(round(price or 0, 8) for price in (bar.open, bar.high, bar.low, bar.close))
    assert (bar.start_ns, bar.end_ns, prices, bar.volume, bar.count) == expected


async def test_kept_and_built_bars_are_the_tape_and_are_asked_for_again_when_ib_breaks_them_off() -> None:
    async with running_past(speed=SPEED) as (sim, house):
        kept, minute, day = await house.subscribe("AAPL", "bar.30s", "bar.1m", "bar.1d")
        (built,) = await house.subscribe("AAPL", "bar.30s.built", client="other")
        (kept_bar,) = finals(await house.until(kept, final(1)))
        (built_bar,) = finals(await house.until(built, final(1)))
        check(sim, kept_bar, "30s")
        check(sim, built_bar, "30s")
        assert (kept_bar.flags, built_bar.flags) == (0, FLAG_BUILT)
        records = await house.until(day, lambda found: isinstance(found[-1], Bar))
        assert isinstance(records[0], Reset)
        (bar,) = [record for record in records if isinstance(record, Bar)][:1]
        assert (bar.session_date, bar.final, bar.end_ns - bar.start_ns) == ("20260113", False, 16 * 3_600 * 10**9)
        for lost in sim.world.faults.live_updates_lost:
            lost()
        sim.act("bust", instrument="AAPL")
        await house.until(minute, gap_and_bar)
        causes = [
            next(record.cause for record in await house.until(key, gap_and_bar) if isinstance(record, Gap))
            for key in (kept, minute, built)
        ]
        assert causes == ["disconnect", "disconnect", "bust"]
        assert not sim.violations


async def test_a_stream_of_minutes_begins_with_its_past() -> None:
    start = "2026-01-13T16:20:00"
    async with running_past(speed=SPEED) as (sim, house):
        key = await subscribed(house, "bar.1m", start)
        records = await house.until(key, live(3))
        check_order(records)
        past = [record for record in records if isinstance(record, Bar) and record.flags & FLAG_REFILLED]
        expected = of_the_tape(sim, "AAPL", "1m", "TRADES", start, text(past[-1].end_ns), False)
        assert [(bar.start_ns, bar.end_ns, bar.volume, bar.count) for bar in past] == [
            (row[0], row[1], row[3], row[4]) for row in expected
        ]
        first = next(record for record in records if isinstance(record, Bar) and not record.flags)
        assert first.start_ns == past[-1].end_ns
