"""Order books end to end: the simulator's rows in the stream and the last value, and as another client has them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import ib_async
import pytest

from ibkr_actor.client import OrderBook
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import StatusCommand, Subscribe, Unsubscribe
from ibkr_actor.schema.records import AnyRecord, Depth, End, Gap
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.core.rebuilt import Rebuilt
from tests.e2e.kit import DEADLINE_S, KEYS, House, running_house, running_redis

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
ROWS = 5


@pytest.fixture(params=[173, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    # A clock that stands: the same book for whoever looks.
    settings = SimulatorSettings(server_version=request.param, clock_speed=0.0, depth_lines=2, market_hours="always")
    async with Simulator(settings) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with (
        running_redis() as server,
        running_house(server.own_url, sim.port, depth_rows=ROWS, depth_lines=3) as it,
    ):
        yield it


def shown(rows: int, times: int) -> Callable[[list[AnyRecord]], bool]:
    """Whether a book of so many rows was shown whole, so many times."""

    def found(records: list[AnyRecord]) -> bool:
        whole = [record for record in records if isinstance(record, Depth) and len(record.bids or ()) == rows]
        return len(whole) >= times

    return found


async def until_shown(house: House, key: str, times: int = 1) -> list[AnyRecord]:
    return await house.until(key, shown(ROWS, times))


@pytest.mark.parametrize("smart", [False, True])
async def test_the_book_is_that_of_an_independent_client(house: House, sim: Simulator, smart: bool) -> None:
    kind = "depth.smart" if smart else "depth"
    (key,) = await house.subscribe("AAPL", kind)
    assert key == KEYS.stream(kind, AAPL)
    ours = Rebuilt().read(await until_shown(house, key))
    ib = ib_async.IB()
    await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=DEADLINE_S)
    try:
        contract = ib_async.Stock("AAPL", "SMART", "USD")
        await ib.qualifyContractsAsync(contract)
        ticker = ib.reqMktDepth(contract, ROWS, smart)
        with anyio.fail_after(DEADLINE_S):
            while len(ticker.domAsks) < ROWS or len(ticker.domBids) < ROWS:
                await ticker.updateEvent
        for held, theirs in ((ours.bids, ticker.domBids), (ours.asks, ticker.domAsks)):
            assert held is not None
            assert [(price, float(size or 0), maker or "") for price, size, maker in held] == [
                (level.price, float(level.size), level.marketMaker) for level in theirs
            ]
        assert all(bool(maker) is smart for _, _, maker in ours.bids or ())
    finally:
        ib.disconnect()


async def test_the_last_value_is_the_whole_book_and_names_the_entry_to_go_on_from(house: House) -> None:
    (key,) = await house.subscribe("AAPL", "depth")
    records = await until_shown(house, key)
    value: Any = await house.redis.hgetall(KEYS.last(AAPL))
    assert decode_record({b"d": value[b"depth"]}) == records[-1]
    stored: Any = await house.redis.xrevrange(key, count=1)
    assert [entry_id for entry_id, _ in stored] == [value[b"depth:id"]]


async def test_a_reset_a_halt_and_the_end_are_told_and_no_rule_is_broken(house: House, sim: Simulator) -> None:
    (key,) = await house.subscribe("AAPL", "depth")
    first = Rebuilt().read(await until_shown(house, key))
    sim.act("depth_reset")
    records = await until_shown(house, key, 2)
    assert not any(isinstance(record, Gap) for record in records)
    sim.act("depth_halt")
    records = await until_shown(house, key, 3)
    assert [record.cause for record in records if isinstance(record, Gap)] == ["bust"]
    again = Rebuilt().read(records)
    assert (again.bids, again.asks) == (first.bids, first.asks)
    await house.call(Unsubscribe(client="test", instrument="AAPL"))
    assert isinstance((await house.until(key, lambda records: isinstance(records[-1], End)))[-1], End)
    await sim.wait_for(lambda: sim.line_count() == 0)
    assert not sim.violations


async def test_changes_keep_the_book_equal_to_what_is_shown() -> None:
    moving = SimulatorSettings(ticks_per_s=40.0, market_hours="always")
    async with (
        Simulator(moving) as busy,
        running_redis() as server,
        running_house(server.own_url, busy.port) as house,
    ):
        (key,) = await house.subscribe("AAPL", "depth")

        def enough(records: list[AnyRecord]) -> bool:
            return sum(isinstance(record, Depth) and record.operation == "update" for record in records) >= 100

        # `Rebuilt` compares each whole book with what the changes led to.
        records = await house.until(key, enough)
        book = Rebuilt().read(records)
        readers = OrderBook()
        for record in records:
            readers.add(record)
        assert (readers.known, readers.bids, readers.asks) == (True, book.bids, book.asks)
        assert book.snapshots > 1
        assert not busy.violations


async def test_more_books_than_ib_grants_are_refused_with_line_limit(house: House, sim: Simulator) -> None:
    for symbol in ("AAPL", "MSFT"):
        (key,) = await house.subscribe(symbol, "depth")
        await until_shown(house, key)
    reply = await house.call(Subscribe(client="late", id="l", instrument="SPY", kinds=["depth"]))
    assert reply.status == "accepted"
    rejected = await house.reply("late", lambda reply: reply.status == "rejected")
    assert rejected.error is not None
    assert (rejected.error.code, rejected.error.ib_code) == ("line_limit", 309)
    status = (await house.call(StatusCommand(client="ops"))).result
    assert isinstance(status, dict)
    assert status["subscriptions"]["depth"] == {"taken": 2, "of": 3}


async def test_after_a_cut_socket_the_book_begins_anew_and_says_what_is_missing(house: House, sim: Simulator) -> None:
    (key,) = await house.subscribe("AAPL", "depth")
    first = Rebuilt().read(await until_shown(house, key))
    sim.cut()
    records = await until_shown(house, key, 2)
    assert [record.cause for record in records if isinstance(record, Gap)] == ["disconnect"]
    (at,) = (place for place, record in enumerate(records) if isinstance(record, Gap))
    begins = records[at + 1]
    assert isinstance(begins, Depth)
    assert (begins.operation, begins.bids, begins.asks) == ("snapshot", [], [])
    again = Rebuilt().read(records)
    assert (again.bids, again.asks) == (first.bids, first.asks)
    assert not sim.violations
