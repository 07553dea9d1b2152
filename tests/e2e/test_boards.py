"""Streams of no instrument end to end: scans and bulletins, as text and as protobuf, over breaks and restarts."""

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from ibkr_actor.client import Client, Refused
from ibkr_actor.schema.commands import Reply, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.records import AnyRecord, Bulletin, End, Gap, News, Ranking, System
from ibkr_actor.schema.reference_commands import HoldBulletins, HoldScan, Scan
from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.messages import TickNews
from tests.e2e.kit import DEADLINE_S, House, running_house, running_redis

pytestmark = pytest.mark.anyio

START_S = 1_783_080_000.0
# A ranking comes again every 30 s of the simulator's time.
SPEED = 60.0
NAME = "TOP_PERC_GAIN~STK~STK.US.MAJOR~5"
KEY = f"ibkr:{{g1}}:scan:{NAME}"


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    settings = SimulatorSettings(
        server_version=request.param, market_hours="always", start_time_s=START_S, clock_speed=SPEED
    )
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


async def accepted(house: House, command: HoldScan | HoldBulletins) -> Reply:
    reply = await house.call(command)
    assert reply.status == "accepted", reply
    return reply


def rankings(records: list[AnyRecord]) -> list[list[str]]:
    return [[row.symbol for row in record.rows] for record in records if isinstance(record, Ranking)]


def many(count: int) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: len(rankings(records)) >= count


async def test_a_scan_ranks_again_and_again_until_nobody_holds_it(house: House, sim: Simulator) -> None:
    reply = await accepted(house, HoldScan(client="test", scan_code="TOP_PERC_GAIN", rows=5))
    assert (reply.streams, reply.result) == ([KEY], {"scan": NAME})
    await house.reply("test", lambda reply: reply.status == "active")
    # It ranks anew by itself, and differently.
    records = await house.until(KEY, lambda found: len({tuple(each) for each in rankings(found)}) > 1)
    ranked = [record for record in records if isinstance(record, Ranking)]
    assert all([row.rank for row in record.rows] == [0, 1, 2, 3, 4] for record in ranked)
    assert all(row.con_id > 0 and row.sec_type == "STK" for record in ranked for row in record.rows)
    # A question that ranks the same is no holder of it.
    assert (await house.call(Scan(scan_code="TOP_PERC_GAIN", rows=5))).status == "result"
    assert (await house.call(Unsubscribe(client="test", scan=NAME))).streams == [KEY]
    ended = await house.until(KEY, lambda found: isinstance(found[-1], End))
    assert isinstance(ended[-1], End)
    assert ended[-1].reason == "no_holders"
    assert not sim.violations


async def test_a_scan_outlives_a_lost_connection_and_what_ib_forgets(house: House, sim: Simulator) -> None:
    await accepted(house, HoldScan(client="test", scan_code="TOP_PERC_GAIN", rows=5))
    await house.until(KEY, many(1))
    sim.cut()
    records = await house.until(KEY, lambda found: any(isinstance(record, Gap) for record in found))
    await house.until(KEY, many(len(rankings(records)) + 1))
    sim.act("connection_lost", data="lost", for_s=1.0)
    records = await house.until(KEY, lambda found: sum(isinstance(record, Gap) for record in found) == 2)
    assert [record.cause for record in records if isinstance(record, Gap)] == ["disconnect", "disconnect"]
    await house.until(KEY, many(len(rankings(records)) + 2))
    assert not sim.violations


async def test_more_scans_than_ib_has_are_refused_and_questions_have_one_still(house: House, sim: Simulator) -> None:
    for rows in range(1, 10):
        await accepted(house, HoldScan(client="test", scan_code="MOST_ACTIVE", rows=rows))
    refused = await house.call(HoldScan(client="test", scan_code="MOST_ACTIVE", rows=10))
    assert refused.error is not None
    assert refused.error.code == "line_limit"
    for _ in range(3):
        assert (await house.call(Scan(scan_code="HOT_BY_VOLUME", rows=1))).status == "result"
    # What IB refuses frees its place too.
    for _ in range(3):
        assert (await house.call(Scan(scan_code="NO_SUCH_SCAN", rows=1))).status == "rejected"
    assert (await house.call(Scan(scan_code="HOT_BY_VOLUME", rows=2))).status == "result"
    assert not sim.violations


async def test_the_client_reads_a_scan_and_hears_that_there_is_none(house: House, sim: Simulator) -> None:
    async with Client(house.redis, client="sdk") as client:
        with anyio.fail_after(DEADLINE_S):
            async for item in client.scan("TOP_PERC_GAIN", rows=3, above_price=100.0):
                if isinstance(item.record, Ranking):
                    assert len(item.record.rows) == 3
                    break
            async for refused in client.scan("NO_SUCH_SCAN", refused="yield"):
                if isinstance(refused.record, Refused):
                    assert refused.record.error.code == "validation_error"
                    break
            # What is left is given back.
            await house.until(
                "ibkr:{g1}:scan:TOP_PERC_GAIN~STK~STK.US.MAJOR~3~a100", lambda found: isinstance(found[-1], End)
            )
    assert not sim.violations


async def test_bulletins_come_and_none_is_lost_or_doubled_over_a_break(house: House, sim: Simulator) -> None:
    sim.bulletin("A holiday tomorrow")
    (key,) = (await accepted(house, HoldBulletins(client="test"))).streams or []
    await house.reply("test", lambda reply: reply.status == "active")

    def told(records: list[AnyRecord]) -> list[tuple[int, int, str, str]]:
        return [
            (each.bulletin_id, each.bulletin_type, each.text, each.exchange)
            for each in records
            if isinstance(each, Bulletin)
        ]

    await house.until(key, lambda found: len(told(found)) == 1)
    assert sim.bulletin("ÄRCA is not available | for now", 2, "ARCA") == 1
    await house.until(key, lambda found: len(told(found)) == 2)
    sim.cut()
    await house.until("ibkr:{g1}:system", lambda found: any(_event(record) == "lost" for record in found))
    sim.bulletin("ARCA is available", 3, "ARCA")
    records = await house.until(key, lambda found: len(told(found)) == 3)
    assert told(records) == [
        (1, 1, "A holiday tomorrow", ""),
        (2, 2, "ÄRCA is not available | for now", "ARCA"),
        (3, 3, "ARCA is available", "ARCA"),
    ]
    assert [record.cause for record in records if isinstance(record, Gap)] == ["disconnect"]
    assert not sim.violations


def _event(record: AnyRecord) -> str:
    return record.event if isinstance(record, System) else ""


async def test_all_headlines_of_a_provider_are_a_stream_of_its_feed(house: House, sim: Simulator) -> None:
    wish = InstrumentQuery(symbol="BRFG:BRFG_ALL", sec_type="NEWS", exchange="BRFG")
    reply = await house.call(Subscribe(client="test", instrument=wish, kinds=["news"], lease_s=0.0))
    assert reply.streams == ["ibkr:{g1}:news:BRFG%3ABRFG_ALL.NEWS.BRFG.USD"], reply
    coming = TickNews(time=1_783_080_001_000, provider_code="BRFG", article_id="BRFG$1", headline="Up", extra_data="")
    await sim.wait_for(lambda: sim.emit("BRFG:BRFG_ALL", coming) == 1)
    records = await house.until(reply.streams[0], lambda found: any(isinstance(record, News) for record in found))
    assert [record.headline for record in records if isinstance(record, News)][:1] == ["Up"]
    refused = await house.call(Subscribe(client="test", instrument=wish, kinds=["quote"]))
    assert refused.error is not None
    assert refused.error.code == "unsupported"
    assert not sim.violations
