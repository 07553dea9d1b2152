"""Chains of options end to end, against the simulator: data, the window, other people's lines, restarts, the limits."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from ibkr_actor.schema.commands import List, Reply, Resolve, Snapshot, Unsubscribe
from ibkr_actor.schema.keys import CHAIN
from ibkr_actor.schema.records import AnyRecord, ChainWindow, End, Gap, Option, Quote, Reset
from ibkr_actor.schema.reference_commands import Chain
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath, clock_of, running_house, running_redis

pytestmark = pytest.mark.anyio

# A third of 2026-07 in UTC; see test_options.py.
START_S = 1_783_080_000.0
EXPIRY = "20261218"
NAME = f"AAPL.STK.SMART.USD~{EXPIRY}~CP~m0.04"
KEY = KEYS.stream(CHAIN, NAME)


def chain(**more: Any) -> Chain:
    given: dict[str, Any] = {"client": "test", "instrument": "AAPL", "expiry": EXPIRY, "moneyness_range": 0.04}
    return Chain(**given | {"lease_s": 0.0} | more)


def simulator(version: int = 226, **more: Any) -> SimulatorSettings:
    given: dict[str, Any] = {"ticks_per_s": 5.0, "market_hours": "always", "start_time_s": START_S}
    return SimulatorSettings(server_version=version, **given | more)


@pytest.fixture
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(simulator(getattr(request, "param", 226))) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with (
        running_redis() as server,
        running_house(server.own_url, sim.port, clock=clock_of(sim), options_base_delay=0.0) as it,
    ):
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


@pytest.mark.parametrize("sim", [173, 226], indirect=True)
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


async def test_a_chain_of_thousands_neither_floods_ib_nor_holds_up_anybody() -> None:
    async with (
        Simulator(simulator(lines=200, ticks_per_s=20.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, clock=clock_of(sim), lines=200, options_base_delay=0.0) as house,
    ):
        # Everything listed on the index within a third of its price: thousands of contracts, 50 lines.
        command = chain(instrument="SPX.IND.CBOE.USD", expiry=12, moneyness_range=0.3)
        reply = await house.call(command)
        assert reply.status == "accepted", reply
        assert reply.streams is not None

        def shown(found: list[AnyRecord]) -> int:
            return len({record.instrument for record in options(found)})

        records = await house.until(reply.streams[0], lambda found: shown(found) >= 75)
        window = windows(records)[-1]
        assert window.members >= 2000
        assert window.rotation_s
        # Others are served at once, and get lines that the chain has.
        for symbol in ("MSFT", "NVDA", "TSLA"):
            (key,) = await house.subscribe(symbol, "quote", client="other")
            await house.until(key, lambda found: any(isinstance(record, Quote) and record.bid for record in found))
        snapshot = await house.call(Snapshot(client="other", instrument="IBM"))
        assert snapshot.status == "result"
        assert sim.line_count() <= 55
        assert not sim.violations


async def test_a_chain_outlives_a_lost_connection_and_a_restart(sim: Simulator) -> None:
    async with running_redis() as server:
        async with running_house(server.own_url, sim.port, clock=clock_of(sim), options_base_delay=0.0) as house:
            await house.call(chain())
            await house.until(KEY, whole)
            sim.cut()
            records = await house.until(
                KEY, lambda found: any(isinstance(one, Gap) for one in found) and isinstance(found[-1], Option)
            )
            (gap,) = [record for record in records if isinstance(record, Gap)]
            assert gap.cause == "disconnect"
        await sim.wait_for(lambda: sim.line_count() == 0)
        async with running_house(server.own_url, sim.port, clock=clock_of(sim), options_base_delay=0.0) as house:

            def resumed(found: list[AnyRecord]) -> bool:
                last = max(at for at, record in enumerate(found) if isinstance(record, Reset))
                return last > 0 and whole(found[last:])

            await house.until(KEY, resumed)
    assert not sim.violations


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"instrument": "EUR.CASH.IDEALPRO.USD"}, "unsupported"),
    ({"expiry": "soon"}, "validation_error"),
    ({"expiry": 0}, "validation_error"),
    ({"moneyness_range": -1.0}, "validation_error"),
    ({"strike_range": (260.0, 200.0)}, "validation_error"),
    ({"lines": 51}, "validation_error"),
    ({"lease_s": -1.0}, "validation_error"),
    ({"trading_class": "no/such"}, "validation_error"),
    ({"instrument": "NOSUCHTHING"}, "invalid_instrument"),
]


async def test_a_chain_that_cannot_be_is_refused_with_its_reason(house: House) -> None:
    for more, code in REFUSED:
        reply = await house.call(chain(**more))
        assert reply.error is not None, more
        assert reply.error.code == code, more


async def test_an_expiry_that_is_not_listed_is_refused_with_those_that_are(house: House) -> None:
    reply = await house.call(chain(expiry="20261219"))
    assert reply.status == "accepted"

    def is_refusal(reply: Reply) -> bool:
        return reply.status == "rejected"

    refusal = await house.reply("test", is_refusal)
    assert refusal.error is not None
    assert refusal.error.code == "invalid_instrument"
    assert "the next are 2026" in refusal.error.message


async def test_options_of_a_future_and_of_an_index_are_chains_too(house: House, sim: Simulator) -> None:
    wishes = [
        chain(instrument="ES.FUT.CME.USD.20261218.ES", expiry=EXPIRY, moneyness_range=0.01),
        chain(instrument="SPX.IND.CBOE.USD", expiry="nearest", trading_class="SPXW", moneyness_range=0.01, right="P"),
    ]
    for wish in wishes:
        reply = await house.call(wish)
        assert reply.streams, reply
        records = await house.until(reply.streams[0], whole)
        for record in options(records):
            assert record.right in windows(records)[-1].rights
    assert not sim.violations


async def test_a_window_that_holds_no_option_is_told_with_the_price(house: House) -> None:
    reply = await house.call(chain(strike_range=(100.0, 120.0)))
    assert reply.status == "accepted", reply
    assert reply.streams is not None
    told = await house.reply("test", lambda reply: reply.status == "progress")
    assert told.note is not None
    assert "no listed strike of 100 to 120 is within 4 %" in told.note
    (window,) = windows(await house.until(reply.streams[0], lambda found: bool(windows(found))))
    assert (window.reason, window.members) == ("empty", 0)
    assert window.spot is not None


async def test_a_chain_that_a_farm_silences_is_stale_and_goes_on_behind_a_gap() -> None:
    # A Tuesday, 11:00 in New York.
    speed, start_s = 4.0, 1_783_436_400.0
    settings = SimulatorSettings(start_time_s=start_s, clock_speed=speed, market_hours="exchange", ticks_per_s=2.0)
    async with (
        running_redis() as server,
        Simulator(settings) as sim,
        running_house(
            server.own_url, sim.port, clock=clock_of(sim), options_base_delay=0.0, stale_after_s=30.0
        ) as house,
    ):
        await house.call(chain(lines=6))
        await house.until(KEY, lambda found: len(options(found)) > 20)
        sim.act("farm_broken", for_s=8.0)
        records = await house.until(
            KEY, lambda found: any(isinstance(one, Gap) for one in found) and isinstance(found[-1], Option)
        )
        first = next(record for record in records if isinstance(record, Gap))
        assert (first.cause, first.con_id) == ("farm", 265598)
        with anyio.fail_after(DEADLINE_S):
            while await house.redis.hget(KEYS.last(NAME), "freshness:chain") != b"fresh":
                await house.call(List(client="ops"))
                await breath()
        assert not sim.violations
