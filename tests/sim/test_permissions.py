"""Owns the tests of what the account may see, of level 1 by type of instrument, and of books, news and scanners.

Must not depend on real time; the clock stands and is moved.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ibapi.contract import ComboLeg, Contract
from ibapi.scanner import ScannerSubscription

from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim.desks.permissions import Permissions
from ibkr_actor.sim.market.instruments import ContractSpec
from tests.sim.peers import FIXED_START_S, Peer, connected, stock

pytestmark = pytest.mark.anyio
STOCK_TICKS = {45, 4, 49, 8, 6, 7, 9, 14, 1, 2, 5, 0, 3}


def _still(version: int = 226, **changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": FIXED_START_S, "enforce_message_rate": False}
    return SimulatorSettings(server_version=version, **(values | changes))


def _of(con_id: int, exchange: str = "SMART") -> Contract:
    contract = Contract()
    contract.conId, contract.exchange = con_id, exchange
    return contract


def _first(sim: Simulator, **terms: Any) -> Contract:
    found = sim.world.catalogue.match(ContractSpec(**terms), 1)[0]
    return _of(found.con_id, found.exchange)


def _types(peer: Peer, req_id: int) -> set[int]:
    kinds = ("tickPrice", "tickSize", "tickString", "tickGeneric", "tickOptionComputation")
    return {call[2] for call in peer.recorder.calls if call[0] in kinds and call[1] == req_id}


async def _level_1(peer: Peer, req_id: int, contract: Contract, generic: str = "") -> None:
    await peer.ask("reqMktData", req_id, contract, generic, False, False, [])


@pytest.mark.parametrize("version", [178, 226])
@pytest.mark.parametrize(
    ("grant", "live", "delayed"),
    [
        ("any", None, None),
        ("live", None, None),
        ("delayed", 354, 10167),
        ("none", 354, 354),
        ("delayed_disabled", 10168, 10168),
        ("api", 10089, 10167),
    ],
)
async def test_a_grant_decides_the_code_and_what_flows(
    version: int, grant: str, live: int | None, delayed: int | None
) -> None:
    async with Simulator(_still(version, permissions={"AAPL": grant})) as sim, connected(sim) as peer:
        await _level_1(peer, 1, stock("AAPL"))
        await peer.ask("reqMarketDataType", 3)
        await _level_1(peer, 2, stock("AAPL"))
        await peer.settle()
        assert peer.errors() == [(req_id, code) for req_id, code in ((1, live), (2, delayed)) if code is not None]
        types: dict[int, int] = dict(peer.recorder.named("marketDataType"))
        assert types.get(1) == (1 if live is None else None)
        flows = {"any": 3, "live": 1, "delayed": 3, "api": 3}
        assert types.get(2) == flows.get(grant)
        assert bool(_types(peer, 2)) == (grant in flows)


async def test_in_part_only_ticks_that_need_no_permission_flow() -> None:
    async with Simulator(_still(permissions={"AAPL": "part", "MSFT": "api_part"})) as sim, connected(sim) as peer:
        await _level_1(peer, 1, stock("AAPL"), "165,236")
        await _level_1(peer, 2, stock("MSFT"))
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        assert peer.errors() == [(1, 10090), (2, 10091)]
        assert _types(peer, 1) == {15, 16, 17, 18, 19, 20, 21, 46, 89}
        assert _types(peer, 2) == set()


async def test_kinds_of_data_have_permissions_of_their_own() -> None:
    permissions = {"AAPL/ticks": "none", "AAPL/bars": "none", "AAPL/depth": "none"}
    async with Simulator(_still(permissions=permissions)) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), "Last", 0, False)
        await peer.ask("reqRealTimeBars", 2, stock("AAPL"), 5, "TRADES", False, [])
        await peer.ask("reqMktDepth", 3, stock("AAPL", exchange="NASDAQ"), 5, False, [])
        await _level_1(peer, 4, stock("AAPL"))
        await peer.settle()
        assert peer.errors() == [(1, 10189), (2, 420), (3, 354)]
        assert peer.recorder.named("error")[-3][3].endswith("No market data permissions for ISLAND STK.")


def test_the_narrowest_key_counts_and_wrong_words_are_refused() -> None:
    with pytest.raises(ValueError, match="grants are"):
        Permissions({"AAPL": "sometimes"})
    with pytest.raises(ValueError, match="kinds"):
        Permissions({"AAPL/quotes": "none"})


async def test_smart_books_name_exchanges_and_say_which_are_missing() -> None:
    async with Simulator(_still(permissions={"NYSE/depth": "none"})) as sim, connected(sim) as peer:
        await peer.ask("reqMktDepth", 1, stock("AAPL"), 5, True, [])
        await peer.ask("reqMktDepth", 2, stock("AAPL", exchange="NASDAQ"), 2, False, [])
        await peer.ask("reqMktDepth", 3, stock("AAPL", exchange="ARCA"), 2, False, [])
        await peer.settle()
        ((req_id, code),) = peer.errors()
        assert (req_id, code) == (1, 2152)
        assert peer.recorder.named("error")[-1][3].endswith("Need additional market data permissions - Depth: NYSE; ")
        rows = peer.recorder.named("updateMktDepthL2")
        assert "NYSE" not in {row[2] for row in rows if row[0] == 1}
        assert {row[7] for row in rows if row[0] == 2} == {False}
        assert {row[0] for row in peer.recorder.named("updateMktDepth")} == {3}


async def test_what_has_no_book_is_10092_and_a_late_cancel_of_one_310() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktDepth", 1, _first(sim, symbol="SPX", sec_type="IND"), 5, False, [])
        await peer.ask("cancelMktDepth", 1, False)
        await peer.settle()
        assert peer.errors() == [(1, 10092), (1, 310)]


@pytest.mark.parametrize("version", [157, 178, 226])
async def test_a_cfd_is_rerouted_to_its_underlying(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        cfd = _first(sim, symbol="AAPL", sec_type="CFD")
        await _level_1(peer, 1, cfd)
        await peer.ask("reqMktDepth", 2, cfd, 5, False, [])
        await peer.settle()
        assert peer.recorder.named("rerouteMktDataReq") == [(1, 265598, "SMART")]
        assert peer.recorder.named("rerouteMktDepthReq") == [(2, 265598, "SMART")]
        assert sim.line_count() == 0


@pytest.mark.parametrize("sec_type", ["OPT", "CMDTY", "IND"])
async def test_some_types_have_no_ticks_one_by_one(sec_type: str) -> None:
    symbol = {"OPT": "AAPL", "CMDTY": "XAUUSD", "IND": "SPX"}[sec_type]
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, _first(sim, symbol=symbol, sec_type=sec_type), "BidAsk", 0, False)
        await peer.settle()
        assert peer.errors() == [(1, 10189)]


@pytest.mark.parametrize(("asked", "types"), [(1, {10, 11, 12, 13}), (3, {80, 81, 82, 83})])
async def test_an_option_has_greeks_of_bid_ask_last_and_model(asked: int, types: set[int]) -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        under = sim.world.tape(sim.instrument("AAPL")).state_at(FIXED_START_S).last
        chain = ContractSpec(symbol="AAPL", sec_type="OPT", right="C", last_trade_date_or_contract_month="20240119")
        near = min(sim.world.catalogue.match(chain), key=lambda each: abs(each.strike - under))
        await peer.ask("reqMarketDataType", asked)
        await _level_1(peer, 1, _of(near.con_id))
        await peer.settle()
        ticks = {call[1]: call for call in peer.recorder.named("tickOptionComputation")}
        assert set(ticks) == types
        _, _, _, vol, delta, price, _, gamma, vega, theta, under_price = ticks[max(types)]
        assert (vol, under_price) == (near.volatility, under)
        assert 0.3 < delta < 0.7
        assert gamma > 0 < vega
        assert theta < 0
        bid, ask = ticks[min(types)], ticks[min(types) + 1]
        # Quotes stand on whole ticks, the model does not.
        assert bid[5] - 0.01 <= price <= ask[5] + 0.01
        assert bid[3] < ask[3]
        assert abs(bid[3] - vol) < 0.01


async def test_an_index_has_empty_sizes_and_no_volume() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await _level_1(peer, 1, _first(sim, symbol="SPX", sec_type="IND"))
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        sizes = {call[2] for call in peer.recorder.named("tickSize")}
        assert len(sizes) == 1
        assert sizes.pop() > 10**38
        assert not {1, 2, 8} & _types(peer, 1)


async def test_bonds_have_yields_and_futures_open_interest() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        bond = next(each for each in sim.world.catalogue.all() if each.sec_type == "BOND")
        await _level_1(peer, 1, _of(bond.con_id, bond.exchange), "460")
        await _level_1(peer, 2, _first(sim, symbol="ES", sec_type="FUT"), "588")
        await peer.settle()
        assert {50, 51, 60} <= _types(peer, 1)
        prices = {call[1]: call[2] for call in peer.recorder.named("tickPrice") if call[0] == 1}
        assert prices[50] >= prices[51] > 0
        assert 86 in _types(peer, 2)


async def test_a_generic_tick_of_another_type_is_321_with_the_legal_ones() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await _level_1(peer, 1, _first(sim, symbol="ES", sec_type="FUT"), "100,576")
        await peer.settle()
        assert peer.errors() == [(1, 321)]
        assert "Legal ones for (FUT) are: 100(Option Volume)" in peer.recorder.named("error")[-1][3]


@pytest.mark.parametrize("version", [157, 226])
async def test_a_combination_is_quoted_from_its_legs(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        contract = stock("AAPL,MSFT")
        contract.secType = "BAG"
        contract.comboLegs = []
        for con_id, action in ((265598, "BUY"), (272093, "SELL")):
            leg = ComboLeg()
            leg.conId, leg.ratio, leg.action, leg.exchange = con_id, 1, action, "SMART"
            contract.comboLegs.append(leg)
        await _level_1(peer, 1, contract)
        await peer.settle()
        assert peer.errors() == []
        assert {1, 2} <= _types(peer, 1)


@pytest.mark.parametrize("version", [157, 206, 226])
async def test_headlines_come_on_the_line_and_are_found_again(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await _level_1(peer, 1, stock("AAPL"), "mdoff,292:BRFG")
        await peer.settle()
        await sim.advance(3_600.0)
        await peer.settle()
        headlines = peer.recorder.named("tickNews")
        assert len(headlines) == 2
        await peer.ask("reqNewsProviders")
        await peer.ask("reqHistoricalNews", 2, 265598, "BRFG", "", "", 2, [])
        await peer.ask("reqNewsArticle", 3, "BRFG", headlines[0][3], [])
        await peer.ask("reqNewsArticle", 4, "BRFG", "BRFUPDN$1", [])
        await peer.settle()
        assert {each.code for each in peer.recorder.named("newsProviders")[0][0]} >= {"BRFG"}
        told = [call[3] for call in peer.recorder.named("historicalNews")]
        assert told == [call[3] for call in reversed(headlines)]
        assert peer.recorder.named("historicalNewsEnd") == [(2, True)]
        assert headlines[0][3] in peer.recorder.named("newsArticle")[0][2]
        assert peer.errors() == [(4, 10172)]


@pytest.mark.parametrize("version", [157, 210, 226])
async def test_a_scan_ranks_comes_again_and_ends_with_162(version: int) -> None:
    scan = ScannerSubscription()
    scan.instrument, scan.locationCode, scan.scanCode, scan.numberOfRows = "STK", "STK.US.MAJOR", "MOST_ACTIVE", 3
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqScannerParameters")
        await peer.ask("reqScannerSubscription", 1, scan, [], [])
        await peer.settle()
        assert "<scanCode>MOST_ACTIVE</scanCode>" in peer.recorder.named("scannerParameters")[0][0]
        assert [call[1] for call in peer.recorder.named("scannerData")] == [0, 1, 2]
        await sim.advance(30.0)
        await peer.settle()
        assert len(peer.recorder.named("scannerDataEnd")) == 2
        await peer.ask("cancelScannerSubscription", 1)
        await peer.ask("cancelScannerSubscription", 1)
        await peer.settle()
        assert peer.errors() == [(1, 162), (1, 365)]


async def test_frozen_data_flows_while_the_market_is_closed() -> None:
    saturday_s = FIXED_START_S + 4 * 86_400
    for start_s, types in ((saturday_s, {1: 2, 2: 4}), (FIXED_START_S, {1: 1, 2: 3})):
        async with Simulator(_still(market_hours="exchange", start_time_s=start_s)) as sim, connected(sim) as peer:
            await peer.ask("reqMarketDataType", 2)
            await _level_1(peer, 1, stock("AAPL"))
            await peer.ask("reqMarketDataType", 4)
            await _level_1(peer, 2, stock("AAPL"))
            await peer.settle()
            assert dict(peer.recorder.named("marketDataType")) == types
            assert {1, 2, 4} <= _types(peer, 1)
            assert {66, 67, 68} <= _types(peer, 2)


async def test_changes_of_size_alone_can_be_left_out_tick_by_tick() -> None:
    ten_in_new_york_s = 1_699_974_000.0
    async with Simulator(_still(start_time_s=ten_in_new_york_s)) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), "BidAsk", 0, True)
        await peer.settle()
        await sim.advance(300.0)
        await peer.settle()
        quotes = [call[2:4] for call in peer.recorder.named("tickByTickBidAsk")]
        assert len(quotes) > 5
        assert all(before != after for before, after in itertools.pairwise(quotes))
