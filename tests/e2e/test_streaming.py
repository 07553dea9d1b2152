"""The main job end to end: commands in, every kind out, in order, with the official client against the simulator."""

import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from ibkr_actor.client.tally import Tally
from ibkr_actor.schema.commands import List, Renew, Resolve, StatusCommand, Subscribe, Unsubscribe
from ibkr_actor.schema.records import (
    AnyRecord,
    Bar,
    BidAsk,
    End,
    Gap,
    MidPoint,
    Quote,
    Reset,
    Tick,
    Trade,
)
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, running_house, running_redis

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
EUR = "EUR.CASH.IDEALPRO.USD"


@pytest.fixture(params=[173, 201, 208, 226])
async def sim(request: pytest.FixtureRequest) -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(server_version=request.param, ticks_per_s=50.0)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


def ten_of(record_type: type[AnyRecord]) -> Callable[[list[AnyRecord]], bool]:
    return lambda records: sum(type(record) is record_type for record in records) >= 10


async def test_a_stock_and_a_currency_pair_stream_level_1_and_are_dense_from_their_reset(house: House) -> None:
    quote_key, tick_key = await house.subscribe("AAPL", "quote", "tick")
    (pair_key,) = await house.subscribe(EUR, "quote")
    assert (quote_key, tick_key, pair_key) == (
        KEYS.stream("quote", AAPL),
        KEYS.stream("tick", AAPL),
        KEYS.stream("quote", EUR),
    )
    tally = Tally()
    for key in (quote_key, pair_key):
        records = await house.until(key, ten_of(Quote))
        assert isinstance(records[0], Reset)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        assert len({record.epoch for record in records}) == 1
        for record in records:
            tally.add(key, record)
    assert (tally.lost, tally.doubled) == (0, 0)
    newest = (await house.until(pair_key, ten_of(Quote)))[-1]
    assert isinstance(newest, Quote)
    assert newest.bid is not None
    assert newest.ask is not None
    assert newest.last is None
    assert newest.volume is None
    ticks = await house.until(tick_key, lambda records: any(isinstance(record, Tick) for record in records))
    assert all(not isinstance(record, Quote) for record in ticks)


@pytest.mark.parametrize(("kind", "record_type"), [("trade", Trade), ("alltrade", Trade)])
async def test_tick_by_tick_trades_of_a_stock(house: House, kind: str, record_type: type[AnyRecord]) -> None:
    (key,) = await house.subscribe("AAPL", kind)
    trades = [record for record in await house.until(key, ten_of(record_type)) if isinstance(record, Trade)]
    assert all(trade.price and trade.size and trade.source_ns for trade in trades)
    times = [trade.source_ns or 0 for trade in trades]
    assert times == sorted(times)


async def test_tick_by_tick_top_and_middle_of_pairs(house: House) -> None:
    (top_key,) = await house.subscribe(EUR, "bidask")
    (middle_key,) = await house.subscribe("USD.CASH.IDEALPRO.JPY", "midpoint")
    top = [record for record in await house.until(top_key, ten_of(BidAsk)) if isinstance(record, BidAsk)]
    assert all(record.bid is not None and record.ask is not None and record.bid < record.ask for record in top)
    middle = [record for record in await house.until(middle_key, ten_of(MidPoint)) if isinstance(record, MidPoint)]
    assert all(record.price for record in middle)


async def test_two_clients_share_one_line_and_the_last_to_leave_gives_it_back(house: House, sim: Simulator) -> None:
    (key,) = await house.subscribe("MSFT", "quote", client="one")
    assert await house.subscribe("MSFT", "quote", client="two") == [key]
    await house.until(key, ten_of(Quote))
    assert sim.line_count() == 1
    await house.call(Unsubscribe(client="one", instrument="MSFT"))
    listed = (await house.call(List(client="ops"))).result
    assert isinstance(listed, dict)
    (row,) = listed["subscriptions"]
    assert [holder["client"] for holder in row["holders"]] == ["two"]
    await house.call(Unsubscribe(client="two"))
    records = await house.until(key, lambda records: isinstance(records[-1], End))
    assert isinstance(records[-1], End)
    assert records[-1].reason == "no_holders"
    await sim.wait_for(lambda: sim.line_count() == 0)
    assert not sim.violations


async def test_active_is_said_when_the_first_data_arrived(house: House) -> None:
    reply = await house.call(Subscribe(client="one", id="s1", instrument="AAPL", kinds=["quote"]))
    assert (reply.id, reply.status) == ("s1", "accepted")
    active = await house.reply("one", lambda reply: reply.status == "active")
    assert active.id == "s1"
    assert await house.redis.xlen(KEYS.stream("quote", AAPL)) > 1


async def test_what_cannot_be_had_is_refused_with_its_code(house: House) -> None:
    unknown = await house.call(Subscribe(instrument="NOSUCHTHING", kinds=["quote"]))
    assert unknown.error is not None
    assert (unknown.status, unknown.error.code) == ("rejected", "invalid_instrument")
    kind = await house.call(Subscribe(instrument="AAPL", kinds=["quotes"]))
    assert kind.error is not None
    assert kind.error.code == "validation_error"
    assert "quotes" in kind.error.message
    trade = await house.call(Subscribe(instrument=EUR, kinds=["trade"]))
    assert trade.error is not None
    assert trade.error.code == "unsupported"
    await house.redis.xadd(KEYS.commands(), {"j": '{"op":"subscrib","client":"typo","id":"t1"}'})
    typed = await house.reply("typo", lambda reply: reply.id == "t1")
    assert typed.error is not None
    assert "subscrib" in typed.error.message


async def test_a_command_typed_by_hand_needs_no_id_and_no_client(house: House) -> None:
    typed = '{"op":"subscribe","instrument":"AAPL","kinds":["quote"]}'
    entry_id: Any = await house.redis.xadd(KEYS.commands(), {"j": typed})
    reply = await house.reply("anonymous", lambda reply: reply.status == "accepted")
    assert reply.id == entry_id.decode()
    await house.until(KEYS.stream("quote", AAPL), ten_of(Quote))


async def test_resolve_renew_and_status_are_answered(house: House) -> None:
    resolved = await house.call(Resolve(instrument="AAPL"))
    assert isinstance(resolved.result, dict)
    assert (resolved.status, resolved.result["instrument"]) == ("result", AAPL)
    assert (await house.call(Renew(client="nobody"))).status == "accepted"
    await house.subscribe("AAPL", "quote")
    status = (await house.call(StatusCommand(client="ops"))).result
    assert isinstance(status, dict)
    assert status["session"]["state"] == "ready"
    assert status["subscriptions"]["lines"]["taken"] == 1
    assert set(status["counters"]) == {"gateway", "redis", "mailboxes"}


async def test_a_lease_that_runs_out_gives_the_line_back(house: House, sim: Simulator) -> None:
    (key,) = await house.subscribe("AAPL", "quote", lease_s=0.2)
    records = await house.until(key, lambda records: isinstance(records[-1], End))
    assert isinstance(records[-1], End)
    assert records[-1].reason == "expired"
    await sim.wait_for(lambda: sim.line_count() == 0)


async def test_a_cut_socket_recovers_and_announces_one_gap_per_stream(house: House, sim: Simulator) -> None:
    (quote_key,) = await house.subscribe("AAPL", "quote")
    (pair_key,) = await house.subscribe(EUR, "quote")
    for key in (quote_key, pair_key):
        await house.until(key, ten_of(Quote))
    sim.cut()
    for key in (quote_key, pair_key):
        records = await house.until(
            key, lambda records: any(isinstance(r, Gap) for r in records) and isinstance(records[-1], Quote)
        )
        (gap,) = [record for record in records if isinstance(record, Gap)]
        assert gap.cause == "disconnect"
        assert gap.from_ns is not None
        assert gap.to_ns is not None
        assert gap.from_ns < gap.to_ns
        assert [record.seq for record in records] == list(range(1, len(records) + 1))


async def test_five_second_bars_say_what_they_show() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=20.0, clock_speed=20.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port) as house,
    ):
        (stock_key,) = await house.subscribe("AAPL", "bar.5s")
        (pair_key,) = await house.subscribe(EUR, "bar.5s")
        (coin_key,) = await house.subscribe("BTC.CRYPTO.PAXOS.USD", "bar.5s")
        for key, shown in ((stock_key, "TRADES"), (pair_key, "MIDPOINT"), (coin_key, "AGGTRADES")):
            records = await house.until(key, lambda records: sum(isinstance(r, Bar) for r in records) >= 3)
            bars = [record for record in records if isinstance(record, Bar)]
            assert {bar.what_to_show for bar in bars} == {shown}
            assert all(bar.end_ns - bar.start_ns == 5_000_000_000 for bar in bars)
            assert all(bar.start_ns % 5_000_000_000 == 0 for bar in bars)
            assert [b.start_ns - a.start_ns for a, b in itertools.pairwise(bars)] == [5_000_000_000] * (len(bars) - 1)
            for bar in bars:
                assert bar.low is not None
                assert bar.open is not None
                assert bar.high is not None
                assert bar.low <= bar.open <= bar.high


async def test_after_flushall_streams_holders_and_contracts_come_back_by_themselves() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port) as house,
    ):
        (key,) = await house.subscribe("AAPL", "quote", client="one")
        await house.until(key, ten_of(Quote))
        holders: Any = await house.redis.hgetall(KEYS.subscriptions)
        contracts: Any = await house.redis.hgetall(KEYS.contracts)
        assert holders
        assert contracts
        await house.redis.flushall()
        records = await house.until(key, ten_of(Quote))
        assert isinstance(records[0], Reset)
        # Each answered command is a round of the same outbox that writes the hashes again.
        with anyio.fail_after(DEADLINE_S):
            while await house.redis.hgetall(KEYS.contracts) != contracts or not await house.redis.hget(
                KEYS.last(AAPL), "state"
            ):
                assert (await house.call(StatusCommand(client="two"))).status == "result"
        assert await house.redis.hgetall(KEYS.subscriptions) == holders
        assert await house.redis.hget(KEYS.last(AAPL), "state") == b"live"
