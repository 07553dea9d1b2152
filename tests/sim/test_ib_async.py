"""Owns the run of ib_async 2.1.0, an independent client that speaks text only, against the simulator.

Must not use ibapi.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import ib_async
import pytest

from ibkr_actor.sim import Simulator, SimulatorSettings

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _connected(sim: Simulator) -> AsyncIterator[ib_async.IB]:
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=60)
    try:
        yield ib
    finally:
        ib.disconnect()
        await sim.wait_for(lambda: sim.clients() == [])


async def _until(event: object, found: Callable[[], object]) -> None:
    """Wait on an eventkit event until `found()`."""

    async def wait() -> None:
        while not found():
            await event  # type: ignore[misc]  # eventkit is untyped

    await asyncio.wait_for(wait(), 60)


@pytest.mark.parametrize("version", [157, 165, 173, 178, 226])
async def test_ib_async_connects_qualifies_streams_and_cancels(version: int) -> None:
    settings = SimulatorSettings(server_version=version, clock_speed=50.0, ticks_per_s=2.0)
    async with Simulator(settings) as sim, _connected(sim) as ib:
        assert ib.client.serverVersion() == min(version, 178)
        apple = ib_async.Stock("AAPL", "SMART", "USD")
        euro = ib_async.Forex("EURUSD")
        await ib.qualifyContractsAsync(apple, euro)
        assert (apple.conId, apple.primaryExchange, euro.conId) == (265598, "NASDAQ", 12087792)
        ticker = ib.reqMktData(apple, "233", False, False)
        by_tick = ib.reqTickByTickData(apple, "AllLast")
        quotes = ib.reqTickByTickData(euro, "BidAsk")
        bars = ib.reqRealTimeBars(apple, 5, "TRADES", False)
        await _until(ib.pendingTickersEvent, lambda: ticker.bid > 0 and ticker.last > 0 and ticker.rtVolume > 0)
        await _until(ib.pendingTickersEvent, lambda: quotes.bid > 0)
        await _until(bars.updateEvent, lambda: len(bars) > 0)
        assert ticker.minTick == 0.01
        assert by_tick is ticker
        ib.cancelMktData(apple)
        ib.cancelTickByTickData(apple, "AllLast")
        ib.cancelTickByTickData(euro, "BidAsk")
        ib.cancelRealTimeBars(bars)
        await sim.wait_for(lambda: sim.line_count() == 0)
        assert not sim.violations


async def test_ib_async_takes_a_snapshot_and_sees_ambiguity() -> None:
    async with Simulator(SimulatorSettings(server_version=178, ticks_per_s=0.0)) as sim, _connected(sim) as ib:
        microsoft = ib_async.Stock("MSFT", "SMART", "USD")
        await ib.qualifyContractsAsync(microsoft)
        (ticker,) = await ib.reqTickersAsync(microsoft)
        assert ticker.bid < ticker.ask
        details = await ib.reqContractDetailsAsync(ib_async.Stock("RY", "SMART", ""))
        assert sorted(each.contract.currency for each in details if each.contract) == ["CAD", "USD"]
        assert await ib.reqContractDetailsAsync(ib_async.Stock("NOSUCH", "SMART", "USD")) == []
        assert ib.managedAccounts() == ["DU1234567"]
        assert ib.positions() == []
