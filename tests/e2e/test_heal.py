"""Gaps that are refilled, through the whole house: with them a stream is the market's tape, without hole or double."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, AnyRecord, Bar, BidAsk, Gap, MidPoint, Trade
from ibkr_actor.sim import Simulator
from tests.e2e.kit import KEYS, House
from tests.e2e.past import NS, of_the_tape, running_past, ticks_of_the_tape

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
# See test_backfill.
SPEED = 20.0
DATA = (Bar, Trade, BidAsk, MidPoint)


def text(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat()


def live(count: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: sum(1 for each in records if isinstance(each, DATA) and not each.flags) >= count


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
        got = [
            (
                each.start_ns,
                each.end_ns,
                tuple(round(price or 0, 8) for price in (each.open, each.high, each.low, each.close)),
                each.volume,
                each.count,
            )
            for each in bars
        ]
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


def figures(record: Trade | BidAsk | MidPoint) -> tuple[float | str | None, ...]:
    match record:
        case Trade():
            return when(record), round(record.price or 0, 8), record.size
        case BidAsk():
            return when(record), round(record.bid or 0, 8), round(record.ask or 0, 8), record.bid_size, record.ask_size
        case MidPoint():
            return when(record), round(record.price or 0, 8)
