"""Searches and snapshots end to end: answered from the simulator, as text and as protobuf."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from ibkr_actor.schema.commands import Resolve, Search, Snapshot
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, clock_of, running_house, running_redis

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


async def test_every_instrument_that_the_table_of_data_names_is_there() -> None:
    table = (Path(__file__).parents[2] / "docs" / "DATA.md").read_text()
    commands = [json.loads(command) for command in re.findall(r"`(\{\"op\".*?\})`", table)]
    named = {json.dumps(command["instrument"]) for command in commands if "instrument" in command}
    rows = re.findall(r"^\| [A-Z]+[^|]* \| ([^|]+) \|", table.partition("## Instruments")[2], re.MULTILINE)
    named |= {json.dumps(name) for row in rows for name in re.findall(r"`([^`]+)`", row) if name != "BAG@"}
    assert len(named) > 15
    # In July 2026, long before any of them expires.
    async with (
        Simulator(SimulatorSettings(ticks_per_s=0.0, start_time_s=1_783_080_000.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, clock=clock_of(sim)) as house,
    ):
        for text in sorted(named):
            instrument = msgspec.json.decode(text, type=str | InstrumentQuery)
            reply = await house.call(Resolve(client="test", instrument=instrument))
            assert reply.status == "result", (text, reply.error)
    assert not sim.violations
