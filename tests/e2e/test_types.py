"""Every type of security end to end: it resolves, stands under its own name, and streams level 1."""

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.schema.commands import History, Resolve, Snapshot, Subscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.records import AnyRecord, Quote, Roll, System, Tick
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, House, clock_of, running_house, running_redis

pytestmark = pytest.mark.anyio

# In July 2026, long before the contracts below expire.
START_S = 1_783_080_000.0

Query = InstrumentQuery
TYPES: list[tuple[str, str | InstrumentQuery, str, set[str]]] = [
    ("STK", "AAPL", "AAPL.STK.SMART.USD", {"bid", "ask", "last", "bid_size"}),
    ("ETF", "SPY", "SPY.STK.SMART.USD", {"bid", "ask", "last"}),
    (
        "STK elsewhere",
        Query(symbol="BMW", sec_type="STK", exchange="IBIS", currency="EUR"),
        "BMW.STK.IBIS.EUR",
        {"bid"},
    ),
    ("CASH", "EUR.CASH.IDEALPRO.USD", "EUR.CASH.IDEALPRO.USD", {"bid", "ask"}),
    (
        "FUT",
        Query(symbol="ES", sec_type="FUT", exchange="CME", currency="USD", last_trade_date="202612"),
        "ES.FUT.CME.USD.20261218.ES",
        {"bid", "ask", "last"},
    ),
    (
        "OPT",
        Query(
            symbol="AAPL",
            sec_type="OPT",
            exchange="SMART",
            currency="USD",
            last_trade_date="20261218",
            strike=230.0,
            right="C",
        ),
        "AAPL.OPT.SMART.USD.20261218.C.230.AAPL",
        {"bid", "ask"},
    ),
    ("IND", "SPX.IND.CBOE.USD", "SPX.IND.CBOE.USD", {"last"}),
    ("BOND", Query(con_id=930000011, exchange="SMART"), "AAPL.BOND.SMART.USD@930000011", {"bid", "ask"}),
    ("CFD", "IBUS500.CFD.SMART.USD", "IBUS500.CFD.SMART.USD", {"bid", "ask"}),
    ("CFD rerouted", "IBM.CFD.SMART.USD", "IBM.CFD.SMART.USD", {"bid", "ask"}),
    ("CMDTY", "XAUUSD.CMDTY.SMART.USD", "XAUUSD.CMDTY.SMART.USD", {"bid", "ask"}),
    ("CRYPTO", "BTC.CRYPTO.PAXOS.USD", "BTC.CRYPTO.PAXOS.USD", {"bid", "ask", "last"}),
    ("CRYPTO elsewhere", "ETH.CRYPTO.ZEROHASH.USD", "ETH.CRYPTO.ZEROHASH.USD", {"bid", "ask", "last"}),
    ("FUND", "VINIX.FUND.FUNDSERV.USD", "VINIX.FUND.FUNDSERV.USD", set()),
]


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


async def test_each_type_resolves_and_streams_level_1(house: House, sim: Simulator) -> None:
    for name, instrument, expected, fields in TYPES:
        reply = await house.call(Subscribe(client="test", id=name, instrument=instrument, kinds=["quote", "tick"]))
        assert reply.status == "accepted", (name, reply)
        assert reply.streams == [KEYS.stream("quote", expected), KEYS.stream("tick", expected)], name

        def whole(records: list[AnyRecord], fields: set[str] = fields) -> bool:
            newest = records[-1] if records else None
            return isinstance(newest, Quote) and all(getattr(newest, field) is not None for field in fields)

        if fields:
            await house.until(reply.streams[0], whole)
        await house.until(reply.streams[1], lambda records: any(isinstance(record, Tick) for record in records))
        if name == "BOND":

            def yields(records: list[AnyRecord]) -> bool:
                told = {tick.tick_type: tick.value for tick in records if isinstance(tick, Tick)}
                return all(isinstance(told.get(tick_type), float) for tick_type in (50, 51))

            await house.until(reply.streams[1], yields)
        # Its own name means the same contract again.
        resolved = (await house.call(Resolve(client="test", instrument=expected))).result
        assert isinstance(resolved, dict)
        assert resolved["instrument"] == expected
    assert not sim.violations
    routed = await house.until(
        KEYS.system, lambda records: any(isinstance(r, System) and r.event == "rerouted" for r in records)
    )
    assert isinstance(routed[-1], System)
    assert routed[-1].subject == "quote:IBM.CFD.SMART.USD"


async def test_a_warrant_resolves_and_streams(house: House) -> None:
    query = Query(symbol="BMW", sec_type="WAR", exchange="FWB", currency="EUR", right="C")
    refused = (await house.call(Resolve(client="test", instrument=query))).error
    assert refused is not None
    assert refused.candidates
    instrument = refused.candidates[0].instrument
    assert instrument.startswith("BMW.WAR.FWB.EUR.")
    (key,) = await house.subscribe(instrument, "quote")
    await house.until(key, lambda records: any(isinstance(record, Quote) and record.bid for record in records))


async def test_a_continuous_future_shows_the_one_at_the_front_and_has_a_past_of_its_own(
    house: House, sim: Simulator
) -> None:
    query = Query(symbol="ES", sec_type="CONTFUT", exchange="CME", currency="USD")
    resolved = (await house.call(Resolve(client="test", instrument=query))).result
    assert isinstance(resolved, dict)
    assert resolved["sec_type"] == "CONTFUT"
    (key,) = await house.subscribe("ES.CONTFUT.CME.USD", "quote")
    records = await house.until(
        key, lambda records: any(isinstance(record, Quote) and record.bid for record in records)
    )
    assert {record.con_id for record in records if isinstance(record, Quote)} == {resolved["con_id"]}
    refused = await house.call(Snapshot(client="test", instrument=query))
    assert refused.error is not None
    assert refused.error.code == "unsupported"
    # IB gives it the con_id of the future at the front, which goes on to mean that future.
    front = (
        await house.call(Resolve(client="test", instrument=Query(con_id=resolved["con_id"], exchange="CME")))
    ).result
    assert isinstance(front, dict)
    assert (front["sec_type"], front["instrument"][:15]) == ("FUT", "ES.FUT.CME.USD.")
    (key,) = await house.subscribe(front["instrument"], "quote")
    await house.until(key, lambda records: any(isinstance(record, Quote) and record.bid for record in records))
    accepted = await house.call(History(client="test", instrument=query, start="2026-06-15", end="2026-06-19"))
    assert accepted.status == "accepted", accepted
    assert not sim.violations


async def test_a_rule_of_days_rolls_to_a_later_future_and_says_so(sim: Simulator) -> None:
    async with (
        running_redis() as server,
        running_house(server.own_url, sim.port, clock=clock_of(sim), roll_days=100) as house,
    ):
        (key,) = await house.subscribe("ES.CONTFUT.CME.USD", "quote")

        def rolled_on(records: list[AnyRecord]) -> bool:
            newest = records[-1]
            return isinstance(newest, Quote) and any(
                isinstance(record, Roll) and record.to_con_id == newest.con_id for record in records
            )

        records = await house.until(key, rolled_on)
        (roll,) = [record for record in records if isinstance(record, Roll)]
        assert roll.from_con_id != roll.to_con_id
        # In July the next contract but one is the first that has a hundred days left.
        assert (roll.from_symbol, roll.to_symbol) == ("ESU6", "ESZ6")
        assert not sim.violations
