"""A stream that begins with its past, through the whole house: the market's tape without a hole, without a double."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.records import FLAG_REFILLED, AnyRecord, Bar, BidAsk, Gap, MidPoint, Reset, Trade
from ibkr_actor.sim import Simulator
from tests.e2e.kit import House
from tests.e2e.past import NS, of_the_tape, running_past, seconds, ticks_of_the_tape

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
# The simulator leaves out what it could not tell for five seconds of ours.
SPEED = 20.0


async def subscribed(house: House, kind: str, backfill: str, instrument: str = AAPL) -> str:
    reply = await house.call(Subscribe(client="test", instrument=instrument, kinds=[kind], backfill=backfill))
    assert reply.status == "accepted", reply
    assert reply.streams is not None
    return reply.streams[0]


def live(count: int) -> Callable[[list[AnyRecord]], bool]:
    """That many records that are no history, behind the history."""

    def wanted(records: list[AnyRecord]) -> bool:
        return (
            sum(1 for each in records if isinstance(each, Bar | Trade | BidAsk | MidPoint) and not each.flags) >= count
        )

    return wanted


def text(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).isoformat()


def check_order(records: list[AnyRecord]) -> None:
    """One reset, a dense seq, no gap, and history before what is live."""
    assert [type(each) for each in records].count(Reset) == 1
    assert [each.seq for each in records] == list(range(1, len(records) + 1))
    assert not [each for each in records if isinstance(each, Gap)]
    data = [each for each in records if isinstance(each, Bar | Trade | BidAsk | MidPoint)]
    flags = [each.flags & FLAG_REFILLED for each in data]
    assert flags == sorted(flags, reverse=True)
    assert flags[0]
    assert not flags[-1]


def bars_of(sim: Simulator, show: str, bars: list[Bar], start: str) -> None:
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
    expected = of_the_tape(sim, AAPL, "5s", show, start, text(bars[-1].end_ns), False)
    assert [row[:3] for row in got] == [row[:3] for row in expected]
    assert got == expected


@pytest.mark.parametrize(("kind", "show"), [("bar.5s", "TRADES"), ("bar.5s.midpoint", "MIDPOINT")])
async def test_bars_of_the_past_and_live_ones_are_the_tape(kind: str, show: str) -> None:
    start = "2026-01-13T16:20:00"
    async with running_past(speed=SPEED) as (sim, house):
        key = await subscribed(house, kind, start)
        records = await house.until(key, live(8))
        check_order(records)
        bars = [each for each in records if isinstance(each, Bar)]
        assert bars[0].start_ns == seconds(start) * NS
        bars_of(sim, show, bars, start)
        assert not sim.violations


async def test_a_length_is_counted_back_from_the_first_live_bar() -> None:
    async with running_past(speed=SPEED) as (sim, house):
        key = await subscribed(house, "bar.5s", "30m")
        records = await house.until(key, live(3))
        check_order(records)
        bars = [each for each in records if isinstance(each, Bar)]
        first = next(each for each in bars if not each.flags)
        assert first.start_ns - bars[0].start_ns == 1_800 * NS
        bars_of(sim, "TRADES", bars, text(bars[0].start_ns))


@pytest.mark.parametrize(
    ("kind", "show"),
    [
        ("trade", "TRADES"),
        pytest.param("bidask", "BID_ASK", marks=pytest.mark.slow),
        pytest.param("midpoint", "MIDPOINT", marks=pytest.mark.slow),
    ],
)
async def test_ticks_of_the_past_and_live_ones_are_the_tape(kind: str, show: str) -> None:
    start = "2026-01-13T16:30:00"
    async with running_past(speed=SPEED) as (sim, house):
        key = await subscribed(house, kind, start)
        records = await house.until(key, live(12))
        check_order(records)
        data = [each for each in records if isinstance(each, Trade | BidAsk | MidPoint)]
        got: list[tuple[float | str | None, ...]] = []
        for each in data:
            assert each.source_ns is not None
            match each:
                case Trade():
                    got.append((each.source_ns, round(each.price or 0, 8), each.size))
                case BidAsk():
                    prices = (round(each.bid or 0, 8), round(each.ask or 0, 8))
                    got.append((each.source_ns, *prices, each.bid_size, each.ask_size))
                case MidPoint():
                    got.append((each.source_ns, round(each.price or 0, 8)))
        last_ns = data[-1].source_ns
        assert last_ns is not None
        expected = ticks_of_the_tape(sim, AAPL, show, start, text(last_ns), False)
        # The last second may go on behind the last record that was read.
        assert got == expected[: len(got)]
        assert len(got) > 150


async def test_a_connection_lost_in_the_middle_costs_no_history_and_doubles_nothing() -> None:
    start = "2026-01-13T15:00:00"
    async with running_past(speed=SPEED) as (sim, house):
        key = await subscribed(house, "bar.5s", start)
        # The first live bar is held; its history is about to be fetched.
        await house.reply("test", lambda each: each.status == "active")
        sim.cut()
        records = await house.until(key, live(4))
        bars = [each for each in records if isinstance(each, Bar)]
        starts = [each.start_ns for each in bars]
        assert starts == sorted(set(starts))
        assert starts[0] == seconds(start) * NS
        first_live = next(n for n, each in enumerate(bars) if not each.flags)
        bars_of(sim, "TRADES", bars[: first_live + 1], start)
        gaps = [each for each in records if isinstance(each, Gap)]
        assert [each.cause for each in gaps] == ["disconnect"]
        missing = [n for n, after in itertools.pairwise(starts) if after != n + 5 * NS]
        assert len(missing) <= 1


async def test_on_a_closed_market_the_past_comes_at_once() -> None:
    """Saturday: nothing live for two days."""
    async with running_past("2026-01-17T17:00:00") as (sim, house):
        key = await subscribed(house, "bar.5s", "1d")
        end_ns = round(seconds("2026-01-17T01:00:00") * NS)

        def whole(records: list[AnyRecord]) -> bool:
            return any(isinstance(each, Bar) and each.end_ns == end_ns for each in records)

        records = await house.until(key, whole)
        bars = [each for each in records if isinstance(each, Bar)]
        assert all(each.flags == FLAG_REFILLED for each in bars)
        bars_of(sim, "TRADES", bars, text(bars[0].start_ns))


async def test_what_cannot_begin_with_its_past_is_refused_clearly() -> None:
    async with running_past() as (_, house):
        for kind, backfill, code in (
            ("quote", "1h", "unsupported"),
            ("alltrade", "1h", "unsupported"),
            ("bar.5s", "soon", "validation_error"),
            ("bar.5s", "400d", "validation_error"),
        ):
            reply = await house.call(Subscribe(client="test", instrument=AAPL, kinds=[kind], backfill=backfill))
            assert reply.status == "rejected", (kind, backfill)
            assert reply.error is not None
            assert reply.error.code == code
        await house.subscribe(AAPL, "bar.5s", client="other")
        reply = await house.call(Subscribe(client="test", instrument=AAPL, kinds=["bar.5s"], backfill="1h"))
        assert reply.error is not None
        assert (reply.error.code, "history" in reply.error.message) == ("unsupported", True)
