"""Owns the runs of ib_async and of the official client, as programs use them, for everything historical.

Must not use the simulator's own encoders.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import ib_async
import pytest

from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.sim.peers import DEADLINE_S, official_client, stock

pytestmark = pytest.mark.anyio

# Tuesday 2023-11-14 12:02:30 in New York.
NOW_S = 1_699_981_350.0
APPLE = ib_async.Stock("AAPL", "SMART", "USD")


def _settings(version: int, clock_speed: float = 1.0) -> SimulatorSettings:
    return SimulatorSettings(server_version=version, start_time_s=NOW_S, clock_speed=clock_speed, seed=7)


@asynccontextmanager
async def _connected(sim: Simulator) -> AsyncIterator[ib_async.IB]:
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=DEADLINE_S)
    try:
        yield ib
    finally:
        ib.disconnect()
        await sim.wait_for(lambda: sim.clients() == [])


@pytest.mark.parametrize("version", [157, 165, 178])
async def test_ib_async_reads_bars_ticks_head_histogram_and_schedule(version: int) -> None:
    async with Simulator(_settings(version)) as sim, _connected(sim) as ib:
        bars = await ib.reqHistoricalDataAsync(APPLE, "", "2 D", "1 hour", "TRADES", True, 1)
        assert bars[0].date == datetime.datetime(2023, 11, 13, 14, 30, tzinfo=datetime.UTC)
        assert all(bar.low <= bar.open <= bar.high and bar.volume > 0 for bar in bars)
        days = await ib.reqHistoricalDataAsync(APPLE, datetime.date(2023, 11, 10), "1 W", "1 day", "MIDPOINT", True)
        assert days[-1].date == datetime.date(2023, 11, 10)
        assert (days[-1].volume, days[-1].barCount) == (-1, -1)
        end = datetime.datetime(2023, 11, 14, 16, 0, tzinfo=datetime.UTC)
        trades = await ib.reqHistoricalTicksAsync(APPLE, "", end, 100, "TRADES", True)
        assert len(trades) >= 100
        assert trades[-1].time < end
        quotes = await ib.reqHistoricalTicksAsync(APPLE, end, "", 100, "BID_ASK", True, True)
        assert quotes[0].time >= end
        assert quotes[0].priceBid < quotes[0].priceAsk
        head = await ib.reqHeadTimeStampAsync(APPLE, "TRADES", True, 1)
        assert f"{head:%Y-%m-%d %H:%M}" == "2004-01-23 14:30"
        histogram = await ib.reqHistogramDataAsync(APPLE, True, "1 week")
        assert sum(each.count for each in histogram) > 0
        schedule = await ib.reqHistoricalScheduleAsync(APPLE, 5)
        assert [each.refDate for each in schedule.sessions][-1] == "20231114"
        assert schedule.timeZone == "US/Eastern"
        assert not sim.violations


async def test_ib_async_keeps_bars_up_to_date_and_meets_the_limits() -> None:
    async with Simulator(_settings(178, clock_speed=25.0)) as sim, _connected(sim) as ib:
        bars = await ib.reqHistoricalDataAsync(APPLE, "", "300 S", "1 min", "TRADES", True, 2, keepUpToDate=True)
        before = bars[-1].date

        async def until_two_more() -> None:
            while bars[-1].date < before + datetime.timedelta(minutes=2):
                await bars.updateEvent

        await asyncio.wait_for(until_two_more(), DEADLINE_S)
        steps = {after.date - earlier.date for earlier, after in itertools.pairwise(bars)}
        assert steps == {datetime.timedelta(minutes=1)}
        ib.cancelHistoricalData(bars)
        await sim.wait_for(lambda: sim.errors_sent[162] == 1)
        assert len(await ib.reqHistoricalDataAsync(APPLE, "", "1 D", "1 secs", "TRADES", True)) == 0
        assert sim.errors_sent[162] == 2


@pytest.mark.parametrize("version", [178, 200, 207, 226])
async def test_the_official_client_reads_everything_historical(version: int) -> None:
    async with Simulator(_settings(version, clock_speed=50.0)) as sim:
        await anyio.to_thread.run_sync(_use_official_client, sim.port)
        assert not sim.violations


def _use_official_client(port: int) -> None:
    apple = stock("AAPL")
    with official_client(port) as client:
        client.reqHistoricalData(1, apple, "", "1 D", "5 mins", "BID_ASK", 1, 1, False, [])
        client.reqHistoricalData(2, apple, "", "1 D", "1 min", "TRADES", 1, 2, True, [])
        client.reqHistoricalData(3, apple, "", "1 W", "1 day", "SCHEDULE", 1, 1, False, [])
        client.reqHistoricalTicks(4, apple, "20231114-15:00:00", "", 10, "TRADES", 1, False, [])
        client.reqHistoricalTicks(5, apple, "20231114-15:00:00", "", 10, "BID_ASK", 1, False, [])
        client.reqHistoricalTicks(6, apple, "20231114-15:00:00", "", 10, "MIDPOINT", 1, False, [])
        client.reqHeadTimeStamp(7, apple, "TRADES", 1, 2)
        client.reqHistogramData(8, apple, True, "3 days")
        for name in (
            "historicalDataUpdate", "historicalSchedule", "historicalTicksLast", "historicalTicksBidAsk",
            "historicalTicks", "headTimestamp", "histogramData",
        ):  # fmt: skip
            client.wait_for_call(name)
        client.wait_for(lambda: {call[0] for call in client.named("historicalDataEnd")} == {1, 2})
        assert len([call for call in client.named("historicalData") if call[0] == 1]) >= 31
        assert client.named("headTimestamp") == [(7, "1074868200")]
        client.cancelHeadTimeStamp(7)
        client.cancelHistoricalData(2)
        client.wait_for(lambda: any(call[0] == 2 and call[2] == 162 for call in client.named("error")))
