"""History through the whole house: what a job delivers is what the simulated market's tape says, bar by bar."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.schema.commands import History, HistoryTicks
from ibkr_actor.schema.records import Ticks
from tests.e2e.past import NS, delivered, figures, of_the_tape, running_past, ticks_of_the_tape

pytestmark = pytest.mark.anyio

# One of each type of security, its usual kind of data, and another that it has.
TYPES = {
    "STK": ("AAPL.STK.SMART.USD", "TRADES", "MIDPOINT"),
    "STK in Europe": ("BMW.STK.SMART.EUR", "TRADES", "BID"),
    "STK with a lunch break": ("700.STK.SEHK.HKD", "TRADES", "ASK"),
    "ETF": ("SPY.STK.SMART.USD", "TRADES", "ADJUSTED_LAST"),
    "CASH": ("EUR.CASH.IDEALPRO.USD", "MIDPOINT", "BID_ASK"),
    "FUT": ("ES.FUT.CME.USD.20260320.ES", "TRADES", "BID"),
    "CRYPTO": ("BTC.CRYPTO.PAXOS.USD", "AGGTRADES", "MIDPOINT"),
    "IND": ("SPX.IND.CBOE.USD", "TRADES", "TRADES"),
    "OPT": ("AAPL.OPT.SMART.USD.20260320.C.230.AAPL", "TRADES", "MIDPOINT"),
    "CMDTY": ("XAUUSD.CMDTY.SMART.USD", "MIDPOINT", "BID"),
    "CFD": ("IBUS500.CFD.SMART.USD", "MIDPOINT", "ASK"),
    "BOND": ("US-T.BOND.SMART.USD@930000013", "TRADES", "BID"),
}
# Intervals that hold what makes them hard; the clocks change in Europe on 2025-10-26, in America on 2025-11-02.
FINE = (
    ("2025-10-31T19:59:50", "2025-11-03T14:31:07"),
    ("2025-11-26T20:50:00", "2025-11-28T18:15:00"),
    ("2025-12-24", "2025-12-24"),
)
MIDDLE = (
    ("2025-10-24", "2025-11-04"),
    ("2025-03-06T15:00:00", "2025-03-12T11:11:11"),
    ("2025-12-23", "2025-12-29T14:45:00"),
)
COARSE = (("2025-01-02", "2025-12-31"), ("2024-02-14T12:00:00", "2025-11-28T18:00:00"))


def spans(bar: str) -> tuple[tuple[str, str], ...]:
    length_s = RESOLUTIONS[bar].seconds
    return FINE if length_s <= 30 else MIDDLE if length_s < 86_400 else COARSE


def cases() -> Iterator[Case]:
    """(instrument, bar, start, end, usual data) in an order that mixes all of them."""
    names = list(TYPES)
    for number, bar in enumerate(RESOLUTIONS):
        for turn, name in enumerate(names):
            start, end = spans(bar)[(number + turn) % len(spans(bar))]
            yield name, bar, start, end, (number + turn) % 3 != 0


# A walk over all types and all resolutions that takes seconds.
SAMPLE = [case for number, case in enumerate(cases()) if number % 13 == 0]


Case = tuple[str, str, str, str, bool]


async def check(wanted: list[Case]) -> None:
    async with running_past() as (sim, house):
        for name, bar, start, end, usual in wanted:
            instrument, *shows = TYPES[name]
            show = shows[0] if usual else shows[1]
            rth = not usual
            command = History(
                instrument=instrument, bar=bar, start=start, end=end, use_rth=rth, what_to_show="" if usual else show
            )
            entries, done, _ = await delivered(house.redis, command)
            told = f"{instrument} {bar} {show} {start} {end} rth={rth}: {done}"
            expected = of_the_tape(sim, instrument, bar, show, start, end, rth)
            # Adjusted prices take no end: one request that ends now is all there is.
            beyond = [hole for hole in done.holes if hole.reason == "no_end_date" and show == "ADJUSTED_LAST"]
            expected = [row for row in expected if not any(hole.from_ns <= row[0] < hole.to_ns for hole in beyond)]
            got = figures(entries)
            assert [row[:2] for row in got] == [row[:2] for row in expected], told
            assert got == expected, told
            assert {entry.what_to_show for entry in entries} <= {show}, told
            # Where data begins in the interval, what lies before is a hole that says so.
            late = sim.world.tape(sim.instrument(instrument)).head_s * NS > (done.from_ns or 0)
            assert {hole.reason for hole in done.holes} <= (
                {"no_data", "before_head"} if late else {hole.reason for hole in beyond}
            ), told
            assert all(hole.to_ns <= row[0] for hole in done.holes for row in got[:1]), told
            assert done.outcome == ("incomplete" if done.holes else "complete"), told
        assert not sim.violations


async def test_bars_are_those_of_the_market_exactly() -> None:
    await check(SAMPLE)


@pytest.mark.slow
@pytest.mark.parametrize("bar", RESOLUTIONS)
async def test_bars_of_every_type_are_those_of_the_market_exactly(bar: str) -> None:
    wanted = [case for case in cases() if case[1] == bar]
    assert len(wanted) == len(TYPES)
    await check(wanted)


TICKS = (
    ("AAPL.STK.SMART.USD", "TRADES", "2025-11-26T20:30:00", "2025-11-28T14:50:00", True),
    ("AAPL.STK.SMART.USD", "BID_ASK", "2025-10-31T19:57:00", "2025-11-03T14:33:00", True),
    ("EUR.CASH.IDEALPRO.USD", "MIDPOINT", "2025-11-02T21:50:00", "2025-11-02T22:31:00", False),
    ("ES.FUT.CME.USD.20260320.ES", "TRADES", "2025-12-24T18:00:00", "2025-12-25T23:20:00", False),
    ("BTC.CRYPTO.PAXOS.USD", "TRADES", "2025-12-25T03:50:00", "2025-12-25T04:20:00", False),
    ("SPX.IND.CBOE.USD", "TRADES", "2025-11-28T17:30:00", "2025-12-01T14:40:00", False),
)


async def check_ticks(wanted: tuple[Case, ...]) -> None:
    async with running_past() as (sim, house):
        for instrument, show, start, end, rth in wanted:
            command = HistoryTicks(instrument=instrument, start=start, end=end, what_to_show=show, use_rth=rth)
            entries, done, _ = await delivered(house.redis, command)
            expected = ticks_of_the_tape(sim, instrument, show, start, end, rth)
            width = len(expected[0])
            got = [tuple(row[:width]) for entry in entries if isinstance(entry, Ticks) for row in entry.rows]
            told = f"{instrument} {show} {start} {end} rth={rth}: {len(got)} of {len(expected)} {done}"
            assert got == expected, told
            assert (done.outcome, done.holes) == ("complete", []), told
        assert not sim.violations


async def test_ticks_are_those_of_the_market_exactly_across_pages() -> None:
    await check_ticks(TICKS[:2])


@pytest.mark.slow
async def test_ticks_of_every_type_are_those_of_the_market_exactly() -> None:
    await check_ticks(TICKS)
