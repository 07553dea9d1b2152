"""Searches and snapshots end to end: answered from the simulator, as text and as protobuf."""

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.schema.commands import Search, Snapshot
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, running_house, running_redis

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    settings = SimulatorSettings(server_version=request.param, snapshot_s=0.1, market_hours="always")
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


async def test_a_search_lists_contracts_that_can_be_subscribed_to(house: House, sim: Simulator) -> None:
    reply = await house.call(Search(client="test", pattern="AAP"))
    assert reply.status == "result", reply
    assert isinstance(reply.result, dict)
    found = reply.result["contracts"]
    row = next(row for row in found if row["sec_type"] == "STK")
    assert (row["con_id"], row["symbol"], row["currency"]) == (265598, "AAPL", "USD")
    nothing = await house.call(Search(client="test", pattern="no such thing"))
    assert nothing.result == {"contracts": []}
    assert not sim.violations


async def test_a_snapshot_holds_the_quote_and_gives_no_line_away(house: House, sim: Simulator) -> None:
    reply = await house.call(Snapshot(client="test", instrument="AAPL"))
    assert reply.status == "result", reply
    result = reply.result
    assert isinstance(result, dict)
    assert result["instrument"] == "AAPL.STK.SMART.USD"
    assert result["feed"] == 1
    assert 0 < result["bid"] < result["ask"]
    assert {"high", "low", "close"} <= set(result["ticks"])
    await sim.wait_for(lambda: sim.line_count() == 0)
    assert not sim.violations


async def test_a_regulatory_snapshot_needs_its_flag_and_names_its_price(house: House) -> None:
    reply = await house.call(Snapshot(client="test", instrument="AAPL", regulatory=True))
    assert reply.status == "result", reply
    assert reply.note is not None
    assert "0.01 USD" in reply.note


async def test_a_snapshot_of_a_cfd_is_that_of_its_underlying(house: House, sim: Simulator) -> None:
    reply = await house.call(Snapshot(client="test", instrument="IBM.CFD.SMART.USD"))
    assert reply.status == "result", reply
    assert isinstance(reply.result, dict)
    assert 0 < reply.result["bid"] < reply.result["ask"]
    assert not sim.violations
