"""Owns the tests of contracts and reference data over a socket, as the official decoder and ib_async see the answers.

Must not test how a contract is found or a message written; those have their own files.
"""

from __future__ import annotations

import datetime
from typing import Any

import ib_async
import pytest
from ibapi.contract import Contract

from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.market.calendar import Calendar
from tests.sim.peers import DEADLINE_S, VERSIONS, connected, stock

pytestmark = pytest.mark.anyio
# A Tuesday in New York, two days before Thanksgiving.
NOW_S = datetime.datetime(2026, 11, 24, 16, 0, tzinfo=datetime.UTC).timestamp()


def still(version: int = 226, **more: Any) -> SimulatorSettings:
    return SimulatorSettings(server_version=version, clock_speed=0.0, start_time_s=NOW_S, **more)


def contract(**fields: Any) -> Contract:
    made = Contract()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


ES = {"symbol": "ES", "secType": "FUT", "exchange": "CME", "currency": "USD"}
CALL = contract(
    symbol="AAPL", secType="OPT", exchange="SMART", currency="USD", lastTradeDateOrContractMonth="20261218",
    strike=230.0, right="C",
)  # fmt: skip
WHOLE_CHAIN = contract(symbol="SPY", secType="OPT", exchange="SMART", currency="USD")


@pytest.mark.parametrize("version", VERSIONS)
async def test_details_of_every_type_are_answered_and_ended(version: int) -> None:
    wanted = [
        (contract(**ES), 5),
        (contract(**ES, lastTradeDateOrContractMonth="202612"), 1),
        (contract(**(ES | {"secType": "CONTFUT"})), 1),
        (CALL, 1),
        (contract(symbol="AAPL", secType="OPT", exchange="SMART", lastTradeDateOrContractMonth="20261218"), 172),
        (contract(symbol="BTC", secType="CRYPTO", exchange="PAXOS", currency="USD"), 1),
        (contract(secIdType="ISIN", secId="US0378331005", secType="STK"), 1),
    ]
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        for req_id, (each, _) in enumerate(wanted):
            await peer.ask("reqContractDetails", req_id, each)
        bond = contract(symbol="037833AL4", secType="BOND", exchange="SMART", currency="USD")
        await peer.ask("reqContractDetails", 99, bond)
        await peer.read_until(lambda it: len(it.named("contractDetailsEnd")) == len(wanted) + 1)
        answered = [call[0] for call in peer.recorder.named("contractDetails")]
        assert [answered.count(req_id) for req_id in range(len(wanted))] == [count for _, count in wanted]
        assert [call[0] for call in peer.recorder.named("bondContractDetails")] == [99]
        assert peer.errors() == []


async def test_hours_in_details_are_those_of_the_calendar() -> None:
    async with Simulator(still(market_hours="exchange")) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 1, stock("AAPL"))
        await peer.read_until(lambda it: it.named("contractDetailsEnd"))
        ((_, details),) = peer.recorder.named("contractDetails")
        calendar = Calendar(sim.instrument("AAPL"), "exchange")
        assert details.tradingHours == calendar.trading_hours_text(NOW_S)
        assert "20261126:CLOSED;20261127:0930-20261127:1300" in details.liquidHours


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (contract(**ES, lastTradeDateOrContractMonth="202609"), 200),
        (contract(**(ES | {"exchange": "NYMEX"})), 200),
        (contract(**(ES | {"currency": "EUR"})), 200),
        (contract(**ES, lastTradeDateOrContractMonth="next month"), 200),
        (contract(symbol="AAPL", exchange="SMART"), 321),
        (contract(symbol="AAPL", exchange="SMART", secType="SHARE"), 321),
    ],
)
async def test_what_cannot_be_found_is_refused(wanted: Contract, code: int) -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 1, wanted)
        await peer.settle()
        assert peer.errors() == [(1, code)]
        assert peer.recorder.named("contractDetailsEnd") == []


async def test_a_chain_is_ambiguous_to_a_subscription() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, WHOLE_CHAIN, "", False, False, [])
        await peer.settle()
        assert peer.errors() == [(1, 200)]
        assert "ambiguous" in peer.recorder.named("error")[-1][3]


async def test_a_long_answer_waits_for_its_client_and_holds_up_no_other() -> None:
    async with Simulator(still()) as sim, connected(sim) as greedy, connected(sim, client_id=2) as other:
        await greedy.ask("reqContractDetails", 1, WHOLE_CHAIN)
        # Nothing of it is read: it is longer than what a simulator keeps for a client.
        await sim.wait_for(lambda: sim.messages_received[9] == 1)
        await other.settle()
        await other.ask("reqContractDetails", 1, stock("AAPL"))
        await other.read_until(lambda it: it.named("contractDetailsEnd"))
        await greedy.read_until(lambda it: it.named("contractDetailsEnd"))
        con_ids = {call[1].contract.conId for call in greedy.recorder.named("contractDetails")}
        assert len(con_ids) == len(greedy.recorder.named("contractDetails")) > 10_000
        assert sim.slow_clients_closed == 0


async def test_a_cancelled_answer_ends_without_its_end() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 1, WHOLE_CHAIN)
        await peer.read_until(lambda it: it.named("contractDetails"))
        await peer.ask("cancelContractData", 1)
        await peer.settle()
        await peer.settle()
        assert peer.recorder.named("contractDetailsEnd") == []
        assert peer.errors() == []
        await peer.ask("reqContractDetails", 1, stock("AAPL"))
        await peer.read_until(lambda it: it.named("contractDetailsEnd"))


async def test_a_client_that_leaves_in_the_middle_takes_its_answer_along() -> None:
    async with Simulator(still()) as sim:
        async with connected(sim) as peer:
            await peer.ask("reqContractDetails", 1, WHOLE_CHAIN)
            await peer.read_until(lambda it: it.named("contractDetails"))
        await sim.wait_for(lambda: sim.clients() == [])
        async with connected(sim) as peer:
            await peer.ask("reqContractDetails", 1, stock("AAPL"))
            await peer.read_until(lambda it: it.named("contractDetailsEnd"))


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_outline_of_a_chain_leads_to_its_options(version: int) -> None:
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqSecDefOptParams", 1, "AAPL", "", "STK", 265598)
        await peer.read_until(lambda it: it.named("securityDefinitionOptionParameterEnd"))
        rows = peer.recorder.named("securityDefinitionOptionParameter")
        assert {row[1] for row in rows} >= {"SMART", "CBOE"}
        _, _, con_id, trading_class, multiplier, expirations, strikes = rows[0]
        assert (con_id, trading_class, multiplier) == (265598, "AAPL", "100")
        assert "20261218" in expirations
        assert 230.0 in strikes
        await peer.ask("reqContractDetails", 2, CALL)
        await peer.read_until(lambda it: it.named("contractDetailsEnd"))
        assert len(peer.recorder.named("contractDetails")) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("AAPL", "", "STK", 1), 321), (("MSFT", "", "STK", 265598), 321), (("EUR", "", "CASH", 12087792), 0)],
)
async def test_a_chain_that_is_not_there_is_refused_or_empty(arguments: tuple[Any, ...], code: int) -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await peer.ask("reqSecDefOptParams", 1, *arguments)
        await peer.settle()
        assert peer.errors() == ([(1, code)] if code else [])
        assert len(peer.recorder.named("securityDefinitionOptionParameterEnd")) == (code == 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_price_and_its_volatility_lead_to_each_other(version: int) -> None:
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        await peer.ask("calculateOptionPrice", 1, CALL, 0.31, 228.0, [])
        await peer.read_until(lambda it: it.named("tickOptionComputation"))
        ((_, tick_type, _, vol, delta, worth, _, gamma, vega, theta, under),) = peer.recorder.named(
            "tickOptionComputation"
        )
        assert (tick_type, vol, under) == (53, 0.31, 228.0)
        assert 0.4 < delta < 0.6
        assert min(gamma, vega) > 0 > theta
        await peer.ask("calculateImpliedVolatility", 2, CALL, worth, 228.0, [])
        await peer.read_until(lambda it: len(it.named("tickOptionComputation")) == 2)
        assert peer.recorder.named("tickOptionComputation")[1][3] == pytest.approx(0.31, abs=1e-6)
        await peer.ask("cancelCalculateOptionPrice", 1)
        await peer.ask("cancelCalculateImpliedVolatility", 2)
        await peer.settle()
        assert peer.errors() == []


async def test_a_computation_that_makes_no_sense_is_refused_or_left_open() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await peer.ask("calculateOptionPrice", 1, stock("AAPL"), 0.3, 228.0, [])
        await peer.ask("calculateImpliedVolatility", 2, CALL, 5.0, 0.0, [])
        await peer.ask("calculateImpliedVolatility", 3, WHOLE_CHAIN, 5.0, 500.0, [])
        await peer.ask("calculateImpliedVolatility", 4, CALL, 500.0, 228.0, [])
        await peer.settle()
        assert peer.errors() == [(1, 321), (2, 321), (3, 200)]
        ((req_id, _, _, vol, delta, *_),) = peer.recorder.named("tickOptionComputation")
        assert (req_id, vol, delta) == (4, None, None)


@pytest.mark.parametrize("version", VERSIONS)
async def test_rules_exchanges_and_books_are_told(version: int) -> None:
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 1, stock("700", "HKD", "SEHK"))
        await peer.read_until(lambda it: it.named("contractDetailsEnd"))
        ((_, details),) = peer.recorder.named("contractDetails")
        await peer.ask("reqMarketRule", int(details.marketRuleIds.split(",")[0]))
        await peer.ask("reqSmartComponents", 2, "9c0001")
        await peer.ask("reqMktDepthExchanges")
        await peer.ask("reqMarketRule", 987654)
        await peer.ask("reqSmartComponents", 3, "nowhere")
        await peer.settle()
        ((rule_id, increments),) = peer.recorder.named("marketRule")
        assert rule_id == 2201
        assert [each.increment for each in increments if each.lowEdge <= 443.8][-1] == 0.2
        assert len(peer.recorder.named("smartComponents")) == 1
        ((books,),) = peer.recorder.named("mktDepthExchanges")
        assert ("CME", "FUT") in [(each.exchange, each.secType) for each in books]
        assert peer.errors() == [(-1, 321), (3, 321)]


async def test_ib_async_qualifies_every_type() -> None:
    async with Simulator(still()) as sim:
        ib: Any = ib_async.IB()
        await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=DEADLINE_S)
        try:
            asked = [
                ib_async.Future("ES", "202612", "CME"),
                ib_async.ContFuture("ES", "CME"),
                ib_async.Option("AAPL", "20261218", 230.0, "C", "SMART"),
                ib_async.FuturesOption("ES", "20261218", 5900.0, "P", "CME"),
                ib_async.Index("SPX", "CBOE"),
                ib_async.Crypto("BTC", "PAXOS", "USD"),
                ib_async.CFD("AAPL", "SMART", "USD"),
                ib_async.Commodity("XAUUSD", "SMART", "USD"),
                ib_async.Contract(secType="WAR", localSymbol="BMW261218C75", exchange="FWB", currency="EUR"),
                ib_async.Contract(secType="FUND", symbol="VINIX", exchange="FUNDSERV", currency="USD"),
            ]
            qualified = await ib.qualifyContractsAsync(*asked)
            assert all(each.conId for each in qualified)
            future, continuous, option, *_ = qualified
            assert (future.localSymbol, future.multiplier) == ("ESZ6", "50")
            assert continuous.conId == future.conId
            assert option.localSymbol == "AAPL  261218C00230000"
            chains = await ib.reqSecDefOptParamsAsync("ES", "CME", "FUT", future.conId)
            assert {chain.tradingClass for chain in chains} >= {"ES", "EW1", "EW2"}
            (bond,) = await ib.reqContractDetailsAsync(ib_async.Contract(symbol="912810TM0", secType="BOND"))
            assert (bond.cusip, bond.maturity) == ("912810TM0", "20521115")
            priced = await ib.calculateOptionPriceAsync(option, 0.3, 228.0)
            implied = await ib.calculateImpliedVolatilityAsync(option, priced.optPrice, 228.0)
            assert implied.impliedVol == pytest.approx(0.3)
        finally:
            ib.disconnect()
