"""Other names for instruments and combinations of them, through the whole house."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.schema.commands import History, Resolve, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import InstrumentQuery, Leg
from ibkr_actor.schema.records import AnyRecord, Bars, Done, Quote
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, House, running_house, running_redis

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"


@pytest.fixture(params=[178, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    settings = SimulatorSettings(server_version=request.param, ticks_per_s=50.0, market_hours="always")
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


async def test_isin_figi_con_id_and_symbol_with_exchange_are_one_stream(house: House, sim: Simulator) -> None:
    apple = sim.instrument("AAPL")
    names = ["AAPL", "AAPL@NASDAQ", f"ISIN:{apple.isin}", f"FIGI:{apple.figi}", f"@{apple.con_id}"]
    for name in names:
        reply = await house.call(Resolve(client="test", instrument=name))
        assert isinstance(reply.result, dict), (name, reply)
        assert (reply.result["instrument"], reply.result["con_id"]) == (AAPL, apple.con_id), name
        assert reply.result["sec_ids"] == {"ISIN": apple.isin}
    reply = await house.call(Resolve(client="test", instrument="ISIN:XX0000000000"))
    assert reply.error is not None
    assert reply.error.code == "invalid_instrument"


async def test_a_combination_streams_negative_prices_has_history_and_is_named_by_its_id(
    house: House, sim: Simulator
) -> None:
    cheap, dear = sim.instrument("AAPL"), sim.instrument("MSFT")
    assert cheap.start_price < dear.start_price
    legs = (Leg(cheap.con_id, 1, "BUY"), Leg(dear.con_id, 1, "SELL"))
    spread = InstrumentQuery(symbol="AAPL,MSFT", sec_type="BAG", legs=legs)
    reply = await house.call(Subscribe(client="test", instrument=spread, kinds=["quote"]))
    assert reply.streams is not None, reply
    (key,) = reply.streams
    assert key.startswith(f"{KEYS.root}:quote:BAG@")

    def both_sides(records: list[AnyRecord]) -> bool:
        return isinstance(records[-1], Quote) and records[-1].bid is not None and records[-1].ask is not None

    quote = (await house.until(key, both_sides))[-1]
    assert isinstance(quote, Quote)
    assert quote.bid is not None
    assert quote.ask is not None
    assert quote.bid <= quote.ask < 0
    name = key.removeprefix(f"{KEYS.root}:quote:")
    reply = await house.call(
        History(client="test", instrument=name, start="2026-06-15T15:00", end="2026-06-15T16:00", bar="5m")
    )
    assert reply.streams is not None, reply
    records = await house.until(reply.streams[0], lambda found: isinstance(found[-1], Done))
    assert isinstance(records[-1], Done)
    assert records[-1].outcome == "complete", records[-1]
    rows = [row for record in records if isinstance(record, Bars) for row in record.rows]
    assert len(rows) == 12
    assert all(price is not None and price < 0 for row in rows for price in row[2:6])
    reply = await house.call(Unsubscribe(client="test", instrument=name))
    assert reply.streams == [key]
    refused = await house.call(Subscribe(client="test", instrument=name, kinds=["bar.1m"]))
    assert refused.error is not None
    assert refused.error.code == "unsupported"
