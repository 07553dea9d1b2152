"""Two feeds on one connection, and level 1 in place of tick by tick, through the whole house."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.schema.commands import Subscribe, Unsubscribe
from ibkr_actor.schema.records import FLAG_FALLBACK, AnyRecord, Gap, Quote, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, running_house, running_redis

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0, lines=20)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, lines=20) as it:
        yield it


def quotes(records: list[AnyRecord]) -> bool:
    return sum(isinstance(record, Quote) for record in records) >= 5


async def test_delayed_and_live_data_come_over_one_connection_each_with_its_feed(house: House, sim: Simulator) -> None:
    delayed = await house.call(Subscribe(client="test", instrument="AAPL", kinds=["quote"], feed="delayed"))
    assert delayed.streams is not None
    (live,) = await house.subscribe("MSFT", "quote")
    for key, feed in ((delayed.streams[0], 3), (live, 1)):
        records = await house.until(key, quotes)
        assert {record.feed for record in records if isinstance(record, Quote)} == {feed}
    assert not sim.violations


async def test_level_1_stands_in_for_trades_and_goes_back_when_a_stream_is_free(house: House, sim: Simulator) -> None:
    await house.subscribe("MSFT", "trade", client="first")
    reply = await house.call(Subscribe(client="test", instrument="AAPL", kinds=["trade"], fallback=True))
    assert reply.status == "accepted"
    assert reply.note is not None
    assert "level 1 stands in for trade" in reply.note
    assert reply.streams is not None
    (key,) = reply.streams
    records = await house.until(key, lambda found: isinstance(found[-1], Trade))
    trade = records[-1]
    assert isinstance(trade, Trade)
    assert trade.flags == FLAG_FALLBACK
    assert trade.source_ns is not None
    assert trade.price is not None
    assert trade.price > 0
    await house.call(Unsubscribe(client="first"))
    records = await house.until(key, lambda found: isinstance(found[-1], Trade) and not found[-1].flags)
    assert [record.cause for record in records if isinstance(record, Gap)] == ["restart"]
    assert not sim.violations
