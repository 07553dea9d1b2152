"""The replaced system's defects of quotes, one by one, each shown not to happen here.

D1 to D6 and D23 are the numbers under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.core.events import TickPrice, TickSize
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.commands import List, Subscribe
from ibkr_actor.schema.records import FEED_DELAYED, AnyRecord, Quote, Tick
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.core.desk import Desk
from tests.core.kit import asked, forex, ns, published, stock
from tests.e2e.kit import House, running_house, running_redis

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0, market_hours="always")) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


def quotes(records: list[AnyRecord]) -> list[Quote]:
    return [record for record in records if isinstance(record, Quote)]


# ---- D1: every symbol was told ten times a second whether it had changed or not, and what came between was lost


def test_d1_every_message_is_told_once_and_nothing_without_one() -> None:
    desk = Desk()
    desk.subscribe("quote")
    burst = [TickPrice(12, ns(1), 1, 100.0 + n, "1", 0) for n in range(50)]
    assert [quote.bid for _, quote in published(desk.data(*burst, s=1)) if isinstance(quote, Quote)] == [
        100.0 + n for n in range(50)
    ]
    assert published(desk.wake(2)) == []
    assert desk.core.next_wakeup_s() is None


# ---- D2: int(NaN) raised for whatever lacks a size or a volume: pairs never had a quote


async def test_d2_a_pair_without_volume_has_quotes(house: House) -> None:
    (key,) = await house.subscribe("EUR.CASH.IDEALPRO.USD", "quote")
    records = await house.until(
        key, lambda found: any(quote.bid is not None and quote.ask is not None for quote in quotes(found))
    )
    assert {(quote.last, quote.volume) for quote in quotes(records)} == {(None, None)}


# ---- D3: negative and zero prices became null, sizes and volumes were cut to whole numbers


def test_d3_negative_and_zero_prices_and_fractions_are_told_as_they_are() -> None:
    desk = Desk()
    desk.subscribe("quote")
    desk.data(TickPrice(12, ns(1), 1, -37.63, "0.0001", 0), TickPrice(12, ns(1), 2, 0.0, "2.5", 0), s=1)
    ((_, quote),) = published(desk.data(TickSize(12, ns(1), 8, "12345.678"), s=1))
    assert isinstance(quote, Quote)
    assert (quote.bid, quote.bid_size, quote.ask, quote.ask_size) == (-37.63, "0.0001", 0.0, "2.5")
    assert quote.volume == "12345.678"


# ---- D4: `delayed` was always false


async def test_d4_delayed_data_say_so_in_every_record(sim: Simulator) -> None:
    async with running_redis() as server, running_house(server.own_url, sim.port, market_data_type=3) as house:
        (key,) = await house.subscribe("AAPL", "quote")
        records = await house.until(key, lambda found: len(quotes(found)) >= 5)
        assert {quote.feed for quote in quotes(records)} == {FEED_DELAYED}


# ---- D5: the time was that of the conversion, without a zone


def test_d5_the_time_is_when_the_bytes_left_the_socket() -> None:
    desk = Desk()
    desk.subscribe("quote")
    ((_, quote),) = published(desk.data(TickPrice(12, ns(1.25), 1, 1.5, "1", 0), s=9))
    assert quote.received_ns == ns(1.25)
    assert quote.source_ns is None


# ---- D6: no generic tick was ever asked for


async def test_d6_generic_ticks_are_asked_for_and_come(house: House) -> None:
    command = Subscribe(client="test", instrument="AAPL", kinds=["tick"], generic_ticks=[233, 236, 106])
    reply = await house.call(command)
    assert reply.streams is not None
    # RT volume, shortable, implied volatility.
    wanted = {48, 46, 24}
    await house.until(
        reply.streams[0],
        lambda found: wanted <= {record.tick_type for record in found if isinstance(record, Tick)},
    )


def test_d6_what_several_ask_for_is_asked_together() -> None:
    desk = Desk()
    desk.subscribe("tick", ticks=[233], client="a")
    desk.price(12, 1)
    (request,) = asked(desk.subscribe("tick", ticks=[236], client="b", s=2))
    assert isinstance(request, ReqMktData)
    assert request.generic_ticks == (233, 236)


# ---- D23: subscriptions were everyone's, and known by the symbol alone


async def test_d23_each_client_has_its_own_and_a_symbol_at_two_places_is_two_streams(house: House) -> None:
    (mine,) = await house.subscribe("AAPL", "quote", client="a")
    (theirs,) = await house.subscribe("MSFT", "quote", client="b")
    (stock_key,) = await house.subscribe("BMW.STK.IBIS.EUR", "quote", client="a")
    (pair_key,) = await house.subscribe("EUR.CASH.IDEALPRO.USD", "quote", client="a")
    assert len({mine, theirs, stock_key, pair_key}) == 4
    for client, keys in (("a", {mine, stock_key, pair_key}), ("b", {theirs})):
        reply = await house.call(List(client=client, of_client=client))
        assert isinstance(reply.result, dict)
        assert {row["stream"] for row in reply.result["subscriptions"]} == keys
    records = await house.until(mine, lambda found: len(quotes(found)) >= 5)
    assert {quote.con_id for quote in quotes(records)} == {265598}


def test_d23_two_contracts_with_one_symbol_share_nothing() -> None:
    desk = Desk()
    euro = stock("EUR", 99)
    desk.subscribe("quote", contract=forex())
    desk.subscribe("quote", contract=euro, id="2")
    names = [stream.instrument for stream, _ in published(desk.price(12, 1)) + published(desk.price(22, 1))]
    assert names == ["EUR.CASH.IDEALPRO.USD", "EUR.STK.SMART.USD"]
