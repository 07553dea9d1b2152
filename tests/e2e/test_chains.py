"""Chains of options end to end, against the simulator: data, the window, other people's lines, restarts, the limits."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ibkr_actor.schema.commands import List, Reply, Resolve, Snapshot, Subscribe, Unsubscribe
from ibkr_actor.schema.keys import CHAIN
from ibkr_actor.schema.records import AnyRecord, ChainWindow, End, Gap, Option, Quote
from ibkr_actor.schema.reference_commands import Chain
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import KEYS, House, running_house, running_redis

pytestmark = pytest.mark.anyio

# A third of 2026-07 in UTC; see test_options.py.
START_S = 1_783_080_000.0
EXPIRY = "20261218"
NAME = f"AAPL.STK.SMART.USD~{EXPIRY}~CP~m0.04"
KEY = KEYS.stream(CHAIN, NAME)


def chain(**more: Any) -> Chain:
    given = {"client": "test", "instrument": "AAPL", "expiry": EXPIRY, "moneyness_range": 0.04, "lease_s": 0.0} | more
    return Chain(**given)


async def simulator(version: int = 226, **more: Any) -> SimulatorSettings:
    return SimulatorSettings(
        server_version=version, ticks_per_s=20.0, market_hours="always", start_time_s=START_S, **more
    )


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(await simulator(request.param)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, options_base_delay=0.0) as it:
        yield it


def windows(records: list[AnyRecord]) -> list[ChainWindow]:
    return [record for record in records if isinstance(record, ChainWindow)]


def options(records: list[AnyRecord]) -> list[Option]:
    return [record for record in records if isinstance(record, Option)]


def whole(records: list[AnyRecord]) -> bool:
    """Whether every member of the newest window has shown a price and the model's greeks."""
    laid = windows(records)
    done = {record.instrument for record in options(records) if record.delta is not None and record.bid is not None}
    return bool(laid) and len(done) >= laid[-1].members


async def test_a_chain_streams_its_options_with_prices_and_greeks(house: House, sim: Simulator) -> None:
    reply = await house.call(chain())
    assert reply.status == "accepted", reply
    assert reply.result == {"chain": NAME}
    assert reply.streams == [KEY]
    records = await house.until(KEY, whole)
    window = windows(records)[0]
    assert (window.reason, window.expiries, window.rights, window.con_id) == ("opened", [EXPIRY], "CP", 265598)
    assert window.spot is not None
    assert window.strikes == sorted(window.strikes)
    assert min(window.strikes) <= window.spot <= max(window.strikes)
    assert all(abs(strike - window.spot) <= 0.05 * window.spot for strike in window.strikes)
    assert window.members == 2 * len(window.strikes)
    for record in options(records):
        assert record.instrument == f"AAPL.OPT.SMART.USD.{EXPIRY}.{record.right}.{record.strike:g}.AAPL"
        assert record.expiry == EXPIRY
        assert not any(value in (-1.0, -2.0) for value in (record.delta, record.option_price, record.bid))
    # What it says of one option is what the option's own stream says.
    member = next(record for record in reversed(options(records)) if record.delta is not None and record.bid_greeks)
    (greeks_key,) = await house.subscribe(member.instrument, "greeks")
    await house.until(greeks_key, lambda found: len(found) > 1)
    resolved = (await house.call(Resolve(client="ops", instrument=member.instrument))).result
    assert isinstance(resolved, dict)
    assert (resolved["con_id"], resolved["strike"], resolved["right"]) == (member.con_id, member.strike, member.right)
    active = await house.reply("test", lambda reply: reply.op == "chain" and reply.status == "active")
    assert active.streams == [KEY]
    assert await house.redis.hexists(KEYS.last(NAME), f"option:{member.con_id}")
    assert await house.redis.hexists(KEYS.last(NAME), "window")
    assert not sim.violations


async def test_leaving_gives_every_line_back(house: House, sim: Simulator) -> None:
    await house.call(chain())
    await house.until(KEY, whole)
    rows = (await house.call(List(client="ops"))).result
    assert isinstance(rows, dict)
    (row,) = rows["subscriptions"]
    assert (row["instrument"], row["kind"], row["state"]) == (NAME, "chain", "live")
    left = await house.call(Unsubscribe(client="test", instrument="AAPL", kinds=["chain"]))
    assert left.streams == [KEY]
    records = await house.until(KEY, lambda found: isinstance(found[-1], End) if found else False)
    assert isinstance(records[-1], End)
    assert records[-1].reason == "no_holders"
    await sim.wait_for(lambda: sim.line_count() == 0)
    assert not sim.violations
