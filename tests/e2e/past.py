"""What the simulated market's own tape says of the past, for tests that compare a history job with it.

Asks no gateway: the tape is read directly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.actors.clock import Clock
from ibkr_actor.client import Client
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.schema.commands import History, HistoryTicks
from ibkr_actor.schema.records import Bars, Done, Ticks
from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.history.bars import WITH_VOLUME, Source, Stretch
from ibkr_actor.sim.market.bars import BarSize, Quote, Trade
from ibkr_actor.sim.market.calendar import Calendar, Segment
from ibkr_actor.sim.market.instruments import Instrument
from tests.e2e.kit import DEADLINE_S, House, running_house, running_redis

NS = 1_000_000_000
# Tuesday 2026-01-13, 12:00 in New York.
PRESENT = "2026-01-13T17:00:00"
# What a real gateway takes minutes for takes seconds: windows of the rules pass as fast as the clock.
SPEED = 100.0

# start, end, (open, high, low, close), volume, count
Figures = tuple[int, int, tuple[float, ...], str | None, int | None]


def seconds(text: str) -> float:
    """Seconds since 1970 of a time in UTC."""
    at = datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@asynccontextmanager
async def running_past(
    present: str = PRESENT, *, speed: float = SPEED, seed: int = 1, language: str = "en", **sidecar: Any
) -> AsyncIterator[tuple[Simulator, House]]:
    """Simulator and sidecar in one time, which begins at `present` and runs `speed` times as fast as ours.

    `sidecar` are settings of the sidecar. What a busy machine leaves out for a second of ours is no silence of a line.
    """
    sidecar = {"stale_after_s": 600.0} | sidecar
    settings = SimulatorSettings(
        start_time_s=seconds(present),
        clock_speed=speed,
        market_hours="exchange",
        seed=seed,
        ticks_per_s=1.0,
        language=language,
    )
    async with running_redis() as server, Simulator(settings) as sim:
        clock = Clock(speed=speed, start_ns=round(sim.world.clock.now_s() * NS))
        async with running_house(server.own_url, sim.port, clock=clock, **sidecar) as house:
            yield sim, house


async def delivered(
    redis: Redis, command: History | HistoryTicks
) -> tuple[list[Bars | Ticks], Done, list[dict[str, Any]]]:
    """All entries of a job, its `done`, and what was said of its progress. Checks that seq is dense."""
    entries: list[Bars | Ticks] = []
    progress: list[dict[str, Any]] = []
    async with Client(redis, client=command.client, timeout_s=DEADLINE_S) as client:
        job = client.job(command, progress.append)
        async for entry in job.batches():
            entries.append(entry)
            assert entry.seq == len(entries)
    done = job.done
    assert done is not None
    assert done.entries == done.seq == len(entries) + 1
    assert done.rows == sum(len(entry.rows) for entry in entries)
    return entries, done, progress


def figures(entries: list[Bars | Ticks]) -> list[Figures]:
    """The rows of delivered bars, as the tape's are written here."""
    rows = [row for entry in entries if isinstance(entry, Bars) for row in entry.rows]
    return [(row[0], row[1], tuple(_rounded(price) for price in row[2:6]), row[6], row[8]) for row in rows]


def of_the_tape(sim: Simulator, name: str, bar: str, show: str, start: str, end: str, rth: bool) -> list[Figures]:
    """Every bar of the tape that lies wholly in [start, end]; a date is a whole trade date."""
    instrument = sim.instrument(name)
    tape, calendar = sim.world.tape(instrument), sim.world.calendar(instrument)
    begin_s, end_s = span(calendar, start, end, rth)
    size = BarSize.parse(resolution(bar).bar_size)
    # A week or month that ends in the interval began up to a month before it.
    stretch = Stretch(begin_s - 40 * 86_400 * (not size.intraday), end_s, sim.world.clock.now_s(), size, rth)
    found = [each for piece in Source(instrument, tape, calendar, show).pieces(stretch) for each in piece]
    return [
        (
            each.start_s * NS,
            each.end_s * NS,
            tuple(_rounded(price) for price in (each.open, each.high, each.low, each.close)),
            _volume(instrument, each.volume, show),
            each.count if show in WITH_VOLUME else None,
        )
        for each in found
        if each.start_s >= begin_s and each.end_s <= end_s
    ]


def span(calendar: Calendar, start: str, end: str, rth: bool) -> tuple[float, float]:
    """The interval in seconds since 1970."""
    begin_s = _edge_s(calendar, start, rth, last=False)
    return begin_s, _edge_s(calendar, end, rth, last=True)


def ticks_of_the_tape(
    sim: Simulator, name: str, show: str, start: str, end: str, rth: bool
) -> list[tuple[float | str | None, ...]]:
    """Every tick of whole seconds in [start, end], both included, as `row_of` writes the first columns."""
    instrument = sim.instrument(name)
    begin_s, end_s = span(sim.world.calendar(instrument), start, end, rth)
    rows: list[tuple[float | str | None, ...]] = []
    for tick in sim.world.tape(instrument).ticks(begin_s, end_s + 1, rth):
        at_ns = int(tick.time_s) * NS
        if show == "TRADES" and isinstance(tick, Trade):
            rows.append((at_ns, _rounded(tick.price), _plain(tick.size)))
        elif show == "BID_ASK" and isinstance(tick, Quote):
            rows.append((at_ns, _rounded(tick.bid), _rounded(tick.ask), _plain(tick.bid_size), _plain(tick.ask_size)))
        elif show == "MIDPOINT" and isinstance(tick, Quote) and (tick.bid_moved or tick.ask_moved):
            rows.append((at_ns, _rounded((tick.bid + tick.ask) / 2)))
    return rows


def _edge_s(calendar: Calendar, text: str, rth: bool, *, last: bool) -> float:
    if len(text) > 10:
        return seconds(text)
    day = date.fromisoformat(text)
    around = (day - timedelta(days=15), day) if last else (day, day + timedelta(days=15))
    dates = [each for each in calendar.trade_dates(*around) if _segments(calendar, each, rth)]
    if last:
        return _segments(calendar, dates[-1], rth)[-1].end_s
    return _segments(calendar, dates[0], rth)[0].start_s


def _segments(calendar: Calendar, day: date, rth: bool) -> list[Segment]:
    return [each for each in calendar.day(day) if each.regular or not rth]


def _rounded(price: float | None) -> float:
    assert price is not None
    return round(price, 8)


def _volume(instrument: Instrument, volume: Decimal, show: str) -> str | None:
    if show not in WITH_VOLUME:
        return None
    return _plain(volume) if instrument.sized else "0"


def _plain(size: Decimal) -> str:
    return f"{size.normalize():f}"
