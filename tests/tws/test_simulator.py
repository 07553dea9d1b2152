"""The gateway against the project's simulator, at every server version it speaks: connect, resolve, stream, cancel."""

from __future__ import annotations

import anyio
import pytest

from ibkr_actor.core.events import (
    ContractDetails,
    ContractDetailsEnd,
    CurrentTime,
    DecodeFailed,
    ErrorNotice,
    NextValidId,
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickPrice,
    TickReqParams,
    TickSize,
    TickString,
)
from ibkr_actor.core.requests import (
    CancelMktData,
    CancelRealTimeBars,
    CancelTickByTick,
    ReqContractDetails,
    ReqCurrentTime,
    ReqMktData,
    ReqRealTimeBars,
    ReqTickByTick,
)
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.sim import BlastSettings, Simulator, SimulatorSettings
from ibkr_actor.tws.gateway import GatewayConfig
from tests.tws.conftest import Rig
from tests.tws.wire import DEADLINE_S

pytestmark = pytest.mark.anyio

# The blast drives the simulator's numbered stocks only.
BLASTED = InstrumentQuery(symbol="SIM000", sec_type="STK", exchange="SMART", currency="USD")
APPLE = InstrumentQuery(symbol="AAPL", sec_type="STK", exchange="SMART", currency="USD")


async def connected(sim: Simulator) -> Rig:
    rig = Rig(GatewayConfig(port=sim.port))
    rig.gateway.open(1, 17)
    await rig.until_event(NextValidId)
    return rig


@pytest.mark.parametrize("server_version", range(157, 227))
async def test_everything_asked_for_arrives_at_every_server_version(server_version: int) -> None:
    settings = SimulatorSettings(
        server_version=server_version, clock_speed=50.0, ticks_per_s=2.0, tick_by_tick_interval_s=0.0
    )
    async with Simulator(settings) as sim:
        rig = await connected(sim)
        rig.gateway.send(ReqContractDetails(11, APPLE))
        await rig.until_event(ContractDetailsEnd)
        (details,) = rig.of(ContractDetails)
        apple = details.contract
        assert (apple.con_id, apple.symbol, apple.primary_exchange, apple.min_tick) == (265598, "AAPL", "NASDAQ", 0.01)
        rig.gateway.send(ReqMktData(12, apple))
        rig.gateway.send(ReqTickByTick(22, apple, "AllLast"))
        rig.gateway.send(ReqTickByTick(32, apple, "BidAsk"))
        rig.gateway.send(ReqTickByTick(42, apple, "MidPoint"))
        rig.gateway.send(ReqRealTimeBars(52, apple, "TRADES", False))
        rig.gateway.send(ReqCurrentTime(0))
        kinds = (TickPrice, TickSize, TickString, TickReqParams, TickByTickLast, TickByTickBidAsk, TickByTickMidPoint)
        for kind in (*kinds, RealTimeBar, CurrentTime):
            await rig.until_event(kind)
        rig.gateway.send(CancelMktData(12))
        rig.gateway.send(CancelRealTimeBars(52))
        for req_id in (22, 32, 42):
            rig.gateway.send(CancelTickByTick(req_id))
        await sim.wait_for(lambda: sim.line_count() == 0)
        assert rig.of(DecodeFailed) == []
        assert [notice for notice in rig.of(ErrorNotice) if notice.req_id >= 0] == []
        assert not sim.violations
        await rig.gateway.aclose()


@pytest.mark.parametrize("server_version", [178, 226])
async def test_a_burst_arrives_complete_and_in_order(server_version: int) -> None:
    count = 20_000
    settings = SimulatorSettings(
        server_version=server_version,
        ticks_per_s=0.0,
        initial_ticks=False,
        blast=BlastSettings(ticks=count, instruments=1, kind="size"),
    )
    async with Simulator(settings) as sim:
        rig = await connected(sim)
        rig.gateway.send(ReqContractDetails(11, BLASTED))
        await rig.until_event(ContractDetailsEnd)
        rig.gateway.send(ReqMktData(12, rig.of(ContractDetails)[0].contract))
        await rig.until(lambda: len(rig.of(TickSize)) >= count)
        assert [event.size for event in rig.of(TickSize)] == [str(number) for number in range(1, count + 1)]
        await rig.gateway.aclose()


async def test_notices_of_the_farms_arrive_after_the_connection() -> None:
    async with Simulator(SimulatorSettings(server_version=226)) as sim:
        rig = await connected(sim)
        with anyio.fail_after(DEADLINE_S):
            while not {2104, 2106, 2158} <= {notice.code for notice in rig.of(ErrorNotice)}:
                await rig.pump()
        assert {notice.req_id for notice in rig.of(ErrorNotice)} == {-1}
        await rig.gateway.aclose()
