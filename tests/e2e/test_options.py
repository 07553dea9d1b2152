"""Options end to end: a stock's and a future's resolve, stream quotes and greeks, under names of their own."""

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import Resolve, Subscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.records import AnyRecord, Greeks, Quote
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, House, clock_of, running_house, running_redis

pytestmark = pytest.mark.anyio

# Long before the options below expire: a third of 2026-07, in UTC.
START_S = 1_783_080_000.0
STOCK_OPTION = InstrumentQuery(
    symbol="AAPL", sec_type="OPT", exchange="SMART", currency="USD", last_trade_date="20261218", strike=230.0, right="C"
)
FUTURE_OPTION = InstrumentQuery(
    symbol="ES", sec_type="FOP", exchange="CME", currency="USD", last_trade_date="20261218", right="P"
)


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    settings = SimulatorSettings(
        server_version=request.param, ticks_per_s=20.0, market_hours="always", start_time_s=START_S
    )
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, clock=clock_of(sim)) as it:
        yield it


def of_every_source(records: list[AnyRecord]) -> bool:
    return {record.source for record in records if isinstance(record, Greeks)} >= {"bid", "ask", "last", "model"}


async def stream(house: House, query: InstrumentQuery) -> str:
    """Subscribes quotes and greeks of the option; returns its canonical id once both have come."""
    reply = await house.call(Subscribe(client="test", instrument=query, kinds=["quote", "greeks"]))
    assert reply.status == "accepted", reply
    assert reply.streams is not None
    quote_key, greeks_key = reply.streams
    quotes = await house.until(quote_key, lambda records: any(isinstance(r, Quote) and r.bid for r in records))
    found = [record for record in await house.until(greeks_key, of_every_source) if isinstance(record, Greeks)]
    con_ids = {record.con_id for record in (*found, *quotes) if isinstance(record, Greeks | Quote)}
    assert len(con_ids) == 1
    model = next(record for record in found if record.source == "model")
    assert model.implied_vol is not None
    assert model.delta is not None
    assert model.underlying_price is not None
    assert 0 < model.implied_vol < 3
    assert (0 if query.right == "C" else -1) <= model.delta <= (1 if query.right == "C" else 0)
    assert not any(value in (-1.0, -2.0) for record in found for value in (record.delta, record.option_price))
    return greeks_key.removeprefix(KEYS.stream("greeks", ""))


async def test_an_option_of_a_stock_streams_quotes_and_greeks(house: House, sim: Simulator) -> None:
    instrument = await stream(house, STOCK_OPTION)
    assert instrument == "AAPL.OPT.SMART.USD.20261218.C.230.AAPL"
    assert sim.line_count() == 1
    # The canonical text means the same contract, and the newest computation of each source stands by its name.
    resolved = (await house.call(Resolve(client="ops", instrument=instrument))).result
    assert isinstance(resolved, dict)
    assert (resolved["sec_type"], resolved["strike"], resolved["multiplier"]) == ("OPT", 230.0, "100")
    for source in ("bid", "ask", "last", "model"):
        value = await house.redis.hget(KEYS.last(instrument), f"greeks:{source}")
        assert isinstance(value, bytes)
        record = decode_record({b"d": value})
        assert isinstance(record, Greeks)
        assert record.source == source


async def test_an_option_of_a_future_streams_quotes_and_greeks(house: House, sim: Simulator) -> None:
    # Without a strike several contracts are meant; the answer names them, and one of those names is enough.
    refused = (await house.call(Subscribe(client="test", instrument=FUTURE_OPTION, kinds=["greeks"]))).error
    assert refused is not None
    assert refused.code == "ambiguous_instrument"
    assert refused.candidates
    middle = sorted(refused.candidates, key=lambda contract: contract.strike or 0.0)[len(refused.candidates) // 2]
    query = InstrumentQuery(con_id=middle.con_id, exchange="CME")
    instrument = await stream(house, InstrumentQuery(con_id=query.con_id, exchange="CME", right="P"))
    assert instrument == middle.instrument
    assert instrument.startswith("ES.FOP.CME.USD.20261218.P.")
    assert not sim.violations
