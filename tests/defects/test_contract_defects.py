"""The replaced system's defects of contracts, one by one, each shown not to happen here.

D25 is the number under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.messages import ForgetContract, RestoreContracts
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.commands import Resolve
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.core.kit import asked, at
from tests.core.test_contracts import AAPL, reply_with, resolved, send, subscribe, up, writes
from tests.e2e.kit import House, clock_of, running_house, running_redis
from tests.e2e.test_types import START_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(market_hours="always", start_time_s=START_S)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, clock=clock_of(sim)) as it:
        yield it


# ---- D25: everything became a stock, and con_id, primary exchange, class and multiplier were left out


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (InstrumentQuery("ES", "FUT", "CME", "USD", last_trade_date="202612"), ("FUT", "ES.FUT.CME.USD.20261218.ES")),
        (InstrumentQuery("EUR", "CASH", "IDEALPRO", "USD"), ("CASH", "EUR.CASH.IDEALPRO.USD")),
        (InstrumentQuery("BTC", "CRYPTO", "PAXOS", "USD"), ("CRYPTO", "BTC.CRYPTO.PAXOS.USD")),
        (InstrumentQuery(con_id=265598, exchange="SMART"), ("STK", "AAPL.STK.SMART.USD")),
    ],
)
async def test_d25_an_instrument_is_of_its_own_type_with_the_con_id_ib_gives_it(
    house: House, query: InstrumentQuery, wanted: tuple[str, str]
) -> None:
    reply = await house.call(Resolve(client="test", instrument=query))
    assert isinstance(reply.result, dict), reply
    assert (reply.result["sec_type"], reply.result["instrument"]) == wanted
    assert reply.result["con_id"] > 0


def test_d25_every_field_that_was_said_reaches_ib() -> None:
    query = InstrumentQuery(
        "ES",
        "FUT",
        "CME",
        "USD",
        primary_exchange="CME",
        local_symbol="ESZ6",
        trading_class="ES",
        multiplier="50",
        last_trade_date="20261218",
    )
    assert asked(send(up(), subscribe(query), 0)) == [ReqContractDetails(11, query)]


# ---- D25: the cache left out the currency


def test_d25_one_symbol_in_two_currencies_is_asked_twice_and_kept_apart() -> None:
    core = up()
    euro = InstrumentQuery("BMW", "STK", "SMART", "EUR")
    dollar = InstrumentQuery("BMW", "STK", "SMART", "USD")
    send(core, subscribe(dollar), 0, "1")
    reply_with(core, 11, [Contract(1, "BMW", "STK", "SMART", "USD")], 0)
    assert asked(send(core, subscribe(euro), 1, "2")) == [ReqContractDetails(21, euro)]
    reply_with(core, 21, [Contract(2, "BMW", "STK", "SMART", "EUR")], 1)
    for query, con_id in ((dollar, 1), (euro, 2)):
        ((_, contract),) = resolved(send(core, subscribe(query), 2, "3"))
        assert contract is not None
        assert contract.con_id == con_id


# ---- D25: nothing was qualified, expired or persisted


def test_d25_what_was_resolved_expires_survives_a_restart_and_goes_when_ib_complains() -> None:
    core = up(ContractsConfig(ttl_s=100.0))
    send(core, subscribe(), 0)
    stored = writes(reply_with(core, 11, [AAPL], 0))
    assert asked(send(core, subscribe(), 101, "2"))
    again = up()
    again.handle(RestoreContracts({field: value for field, value in stored.items() if value is not None}), at(1))
    assert len(resolved(send(again, subscribe(), 2))) == 1
    again.handle(ForgetContract(265598, "SMART"), at(3))
    assert asked(send(again, subscribe(), 4, "2"))
