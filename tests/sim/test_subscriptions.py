"""Owns the tests of served requests as the official decoder sees the answers, at a standing clock.

Must not test rules of pacing; those have their own file.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from ibapi.execution import ExecutionFilter

from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.sim.peers import FIXED_START_S, VERSIONS, Peer, connected, forex, stock

pytestmark = pytest.mark.anyio
FIRST_STOCK_TICKS = [45, 4, 49, 8, 6, 7, 9, 14, 1, 2]


def _still(version: int = 226, ticks_per_s: float = 10.0) -> SimulatorSettings:
    return SimulatorSettings(
        server_version=version, clock_speed=0.0, start_time_s=FIXED_START_S, ticks_per_s=ticks_per_s
    )


def _tick_types(peer: Peer, req_id: int) -> list[int]:
    """Tick types in wire order; the size callback the official client adds to a price is left out."""
    types: list[int] = []
    paired = {1: 0, 2: 3, 4: 5, 66: 69, 67: 70, 68: 71}
    expected: int | None = None
    for call in peer.recorder.calls:
        if call[0] not in ("tickPrice", "tickSize", "tickString", "tickGeneric") or call[1] != req_id:
            continue
        if call[0] == "tickSize" and call[2] == expected:
            expected = None
            continue
        types.append(call[2])
        expected = paired.get(call[2]) if call[0] == "tickPrice" else None
    return types


@pytest.mark.parametrize("version", VERSIONS)
async def test_market_data_begins_with_58_and_81_and_the_state_of_the_market(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        start = len(peer.recorder.calls)
        await peer.ask("reqMktData", 5, stock("AAPL"), "", False, False, [])
        await peer.settle()
        names = [call[0] for call in peer.recorder.calls[start:]]
        assert names[:2] == ["marketDataType", "tickReqParams"]
        assert peer.recorder.named("marketDataType") == [(5, 1)]
        assert peer.recorder.named("tickReqParams") == [(5, 0.01, "9c0001", 3)]
        assert _tick_types(peer, 5) == FIRST_STOCK_TICKS


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_streaming_kind_flows_and_stops_when_cancelled(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "233", False, False, [])
        for req_id, (symbol, view) in enumerate(
            (("MSFT", "Last"), ("NVDA", "AllLast"), ("SPY", "BidAsk"), ("QQQ", "MidPoint")), start=2
        ):
            await peer.ask("reqTickByTickData", req_id, stock(symbol), view, 0, False)
        await peer.ask("reqRealTimeBars", 6, stock("AAPL"), 5, "TRADES", False, [])
        await peer.ask("reqMktDepth", 7, stock("AAPL"), 3, False, [])
        await peer.settle()
        assert sim.line_count() == 7
        await sim.advance(11.0)
        await peer.settle()
        seen = Counter(call[0] for call in peer.recorder.calls)
        for name in (
            "tickPrice", "tickSize", "tickString", "tickGeneric", "tickByTickAllLast", "tickByTickBidAsk",
            "tickByTickMidPoint", "realtimeBar", "updateMktDepth",
        ):  # fmt: skip
            assert seen[name] > 0, name
        assert {call[1] for call in peer.recorder.named("tickByTickAllLast") if call[0] == 2} == {1}
        assert {call[1] for call in peer.recorder.named("tickByTickAllLast") if call[0] == 3} == {2}
        await peer.ask("cancelMktData", 1)
        for req_id in (2, 3, 4, 5):
            await peer.ask("cancelTickByTickData", req_id)
        await peer.ask("cancelRealTimeBars", 6)
        await peer.ask("cancelMktDepth", 7, False)
        await peer.settle()
        assert sim.line_count() == 0
        silent_from = len(peer.recorder.calls)
        await sim.advance(11.0)
        await peer.settle()
        assert [call[0] for call in peer.recorder.calls[silent_from:]] == ["currentTime"]
        assert peer.errors() == []
        assert not sim.violations


async def test_quotes_trades_and_bars_of_one_instrument_agree() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), "AllLast", 0, False)
        await peer.ask("reqRealTimeBars", 2, stock("AAPL"), 5, "TRADES", False, [])
        await peer.settle()
        await sim.advance(30.0)
        await peer.settle()
        trades = peer.recorder.named("tickByTickAllLast")
        bars = peer.recorder.named("realtimeBar")
        assert len(bars) == 6
        assert [bar[1] for bar in bars] == [1_700_000_000 + 5 * place for place in range(6)]
        for _, start, opened, high, low, close, volume, _wap, count in bars[1:]:
            inside = [trade for trade in trades if start <= trade[2] < start + 5]
            assert count == len(inside)
            assert volume == sum(Decimal(trade[4]) for trade in inside)
            prices = [trade[3] for trade in inside]
            assert high == max([opened, *prices])
            assert low == min([opened, *prices])
            assert close == prices[-1]


async def test_bars_of_quotes_have_no_volume() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqRealTimeBars", 2, forex("EUR", "USD"), 5, "MIDPOINT", False, [])
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        ((_, start, _o, high, low, _c, volume, wap, count),) = peer.recorder.named("realtimeBar")
        assert (start, volume, wap, count) == (1_700_000_000, Decimal(-1), Decimal(-1), -1)
        assert 1.0 < low <= high < 1.2


async def test_bars_of_crypto_are_made_of_aggregated_trades_and_of_nothing_else_they_are() -> None:
    bitcoin = stock("BTC", exchange="PAXOS")
    bitcoin.secType = "CRYPTO"
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqRealTimeBars", 1, bitcoin, 5, "TRADES", False, [])
        await peer.ask("reqRealTimeBars", 2, bitcoin, 5, "AGGTRADES", False, [])
        await peer.ask("reqRealTimeBars", 3, stock("AAPL"), 5, "AGGTRADES", False, [])
        await peer.ask("reqRealTimeBars", 4, stock("AAPL"), 5, "BID_ASK", False, [])
        await peer.settle()
        assert peer.errors() == [(1, 10299), (3, 10299), (4, 321)]
        await sim.advance(5.0)
        await peer.settle()
        ((req_id, _, *_prices, volume, _wap, count),) = peer.recorder.named("realtimeBar")
        assert (req_id, volume > 0, count > 0) == (2, True, True)


async def test_bars_of_an_index_have_neither_volume_nor_average_live_or_later() -> None:
    index = stock("SPX", exchange="CBOE")
    index.secType = "IND"
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqRealTimeBars", 2, index, 5, "TRADES", False, [])
        await peer.settle()
        await sim.advance(5.0)
        await peer.ask("reqHistoricalData", 3, index, "", "5 S", "5 secs", "TRADES", 0, 2, False, [])
        await peer.read_until(lambda heard: heard.named("historicalDataEnd"))
        ((_, start, *live),) = peer.recorder.named("realtimeBar")
        ((_, bar),) = peer.recorder.named("historicalData")
        assert live[4:6] == [Decimal(0), Decimal(0)]
        assert int(bar.date) == start
        assert [bar.open, bar.high, bar.low, bar.close, bar.volume, bar.wap, bar.barCount] == live


async def test_forex_has_quotes_but_never_a_trade() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, forex("EUR", "USD"), "", False, False, [])
        await peer.ask("reqTickByTickData", 2, forex("USD", "JPY"), "Last", 0, False)
        await peer.ask("reqRealTimeBars", 3, forex("EUR", "USD"), 5, "TRADES", False, [])
        await peer.settle()
        await sim.advance(10.0)
        await peer.settle()
        assert {1, 2} <= set(_tick_types(peer, 1)) <= {0, 1, 2, 3, 6, 7, 9}
        assert peer.errors() == [(2, 10189), (3, 420)]


async def test_rt_volume_comes_only_when_asked_for() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "233", False, False, [])
        await peer.ask("reqMktData", 2, stock("AAPL"), "", False, False, [])
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        strings = [call for call in peer.recorder.named("tickString") if call[1] == 48]
        assert {call[0] for call in strings} == {1}
        price, size, time_ms, _volume, _vwap, single = strings[0][2].split(";")
        assert float(price) > 0
        assert Decimal(size) > 0
        assert 1_700_000_000_000 <= int(time_ms) <= 1_700_000_005_000
        assert single == "true"


async def test_fractional_last_sizes_are_whole_before_222() -> None:
    fractions = {}
    for version in (213, 226):
        async with Simulator(_still(version)) as sim, connected(sim) as peer:
            await peer.ask("reqMktData", 1, stock("SPY"), "", False, False, [])
            await peer.settle()
            await sim.advance(30.0)
            await peer.settle()
            sizes = [call[2] for call in peer.recorder.named("tickSize") if call[1] in (5, 8)]
            fractions[version] = any(size != int(size) for size in sizes)
    assert fractions == {213: False, 226: True}


@pytest.mark.parametrize("version", [178, 226])
async def test_delayed_data_says_so_and_uses_the_delayed_tick_types(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqMarketDataType", 3)
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.ask("reqMarketDataType", 1)
        await peer.ask("reqMktData", 2, stock("AAPL"), "", False, False, [])
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        assert peer.recorder.named("marketDataType") == [(1, 3), (2, 1)]
        assert _tick_types(peer, 1)[:10] == [88, 68, 90, 74, 72, 73, 75, 76, 66, 67]
        assert set(_tick_types(peer, 1)) <= set(range(66, 77)) | {88, 90}
        assert _tick_types(peer, 2)[:10] == FIRST_STOCK_TICKS


@pytest.mark.parametrize("regulatory", [False, True])
async def test_a_snapshot_ends_by_itself_and_its_late_cancel_is_300(regulatory: bool) -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", not regulatory, regulatory, [])
        await peer.settle()
        assert peer.recorder.named("tickSnapshotEnd") == [(1,)]
        assert _tick_types(peer, 1) == FIRST_STOCK_TICKS
        assert sim.line_count() == 0
        await peer.ask("cancelMktData", 1)
        await peer.settle()
        assert peer.errors() == [(1, 300)]


async def test_a_slow_snapshot_can_be_cancelled_and_then_never_ends() -> None:
    settings = SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S, snapshot_s=11.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", True, False, [])
        await peer.ask("reqMktData", 2, stock("AAPL"), "", True, False, [])
        await peer.ask("cancelMktData", 1)
        await peer.settle()
        await sim.advance(10.9)
        await peer.settle()
        assert peer.recorder.named("tickSnapshotEnd") == []
        await sim.advance(0.1)
        await peer.settle()
        assert peer.recorder.named("tickSnapshotEnd") == [(2,)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_contract_details_resolve_a_stock_and_end(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 3, stock("AAPL"))
        await peer.settle()
        ((req_id, details),) = peer.recorder.named("contractDetails")
        assert (req_id, details.contract.conId, details.contract.primaryExchange) == (3, 265598, "NASDAQ")
        assert details.liquidHours.startswith("20231114:0930-20231114:1600;20231115:0930-")
        assert peer.recorder.named("contractDetailsEnd") == [(3,)]


async def test_a_contract_is_found_by_con_id_and_exchange_alone() -> None:
    contract = stock("", "", "SMART")
    contract.secType, contract.conId = "", 265598
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 3, contract)
        await peer.ask("reqMktData", 4, contract, "", False, False, [])
        await peer.settle()
        assert peer.recorder.named("contractDetails")[0][1].contract.symbol == "AAPL"
        assert _tick_types(peer, 4) == FIRST_STOCK_TICKS


async def test_an_under_specified_stock_has_two_candidates_and_cannot_be_streamed() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 3, stock("RY", ""))
        await peer.ask("reqMktData", 4, stock("RY", ""), "", False, False, [])
        await peer.ask("reqMktData", 5, stock("RY", "CAD"), "", False, False, [])
        await peer.settle()
        found = [call[1].contract for call in peer.recorder.named("contractDetails")]
        assert [(each.conId, each.currency) for each in found] == [(11028, "USD"), (4458964, "CAD")]
        assert peer.errors() == [(4, 200)]
        assert "RY is ambiguous" in peer.recorder.named("error")[-1][3]
        assert _tick_types(peer, 5) == FIRST_STOCK_TICKS


async def test_unknown_contracts_are_200_with_ibs_words() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqContractDetails", 3, stock("NOSUCH"))
        await peer.ask("reqMktData", 4, stock("AAPL", "EUR"), "", False, False, [])
        await peer.ask("reqTickByTickData", 5, stock("AAPL", exchange="TSE"), "Last", 0, False)
        await peer.settle()
        assert peer.errors() == [(3, 200), (4, 200), (5, 200)]
        words = {call[3] for call in peer.recorder.named("error") if call[2] == 200}
        assert words == {"No security definition has been found for the request"}
        assert peer.recorder.named("contractDetailsEnd") == []


async def test_requests_that_lack_something_are_321() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL", exchange=""), "", False, False, [])
        await peer.ask("reqMktData", 2, stock("AAPL"), "999", False, False, [])
        await peer.ask("reqMktData", 3, stock("AAPL"), "233", True, False, [])
        await peer.ask("reqRealTimeBars", 4, stock("AAPL"), 5, "BID_ASK", False, [])
        await peer.settle()
        assert peer.errors() == [(1, 321), (2, 321), (3, 321), (4, 321)]
        texts = [call[3] for call in peer.recorder.named("error") if call[2] == 321]
        for text, cause in zip(texts, ("enter exchange", "Legal ones", "Snapshot", "What to show"), strict=True):
            assert cause in text


@pytest.mark.parametrize("version", VERSIONS)
async def test_times_ids_and_symbols_are_served(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqIds", 1)
        await peer.ask("setServerLogLevel", 5)
        await peer.ask("reqMatchingSymbols", 9, "goog")
        if version >= 197:
            await peer.ask("reqCurrentTimeInMillis")
        await peer.settle()
        assert peer.recorder.named("currentTime") == [(1_700_000_000,)]
        assert len(peer.recorder.named("nextValidId")) == 2
        ((req_id, samples),) = peer.recorder.named("symbolSamples")
        assert (req_id, [each.contract.symbol for each in samples]) == (9, ["GOOG"])
        if version >= 197:
            assert peer.recorder.named("currentTimeInMillis") == [(1_700_000_000_000,)]


async def test_requests_that_are_not_served_get_the_error_of_a_gateway() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqWshMetaData", 1)
        await peer.ask("requestFA", 1)
        await peer.ask("cancelHistoricalData", 3)
        await peer.ask("cancelContractData", 5)
        await peer.settle()
        assert peer.errors() == [(1, 10276), (-1, 321), (3, 366)]


async def test_the_same_seed_and_clock_give_the_same_ticks() -> None:
    runs = []
    for seed in (1, 1, 2):
        settings = SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S, seed=seed, ticks_per_s=10.0)
        async with Simulator(settings) as sim, connected(sim) as peer:
            await peer.ask("reqMktData", 1, stock("AAPL"), "233", False, False, [])
            await peer.ask("reqTickByTickData", 2, stock("SPY"), "BidAsk", 0, False)
            await peer.settle()
            await sim.advance(10.0)
            await peer.settle()
            runs.append(peer.payloads)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


async def test_instruments_tick_as_often_as_asked() -> None:
    async with Simulator(_still(ticks_per_s=20.0)) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, forex("EUR", "USD"), "BidAsk", 0, False)
        await peer.settle()
        await sim.advance(10.0)
        await peer.settle()
        assert len(peer.recorder.named("tickByTickBidAsk")) == 200


async def test_a_silent_market_sends_the_first_values_and_then_only_what_a_test_emits() -> None:
    async with Simulator(_still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.ask("reqRealTimeBars", 2, stock("AAPL"), 5, "TRADES", False, [])
        await peer.settle()
        await sim.advance(60.0)
        await peer.settle()
        assert _tick_types(peer, 1) == FIRST_STOCK_TICKS
        assert peer.recorder.named("realtimeBar") == []


async def test_the_numbered_test_stocks_are_there() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for place, symbol in enumerate(("SIM000", "SIM999", "SIM1000")):
            await peer.ask("reqContractDetails", place, stock(symbol))
        await peer.settle()
        found = [call[1].contract.conId for call in peer.recorder.named("contractDetails")]
        assert found == [900000000, 900000999]
        assert peer.errors() == [(2, 200)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_account_with_nothing_in_it_answers_with_ends(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqPositions")
        await peer.ask("reqOpenOrders")
        await peer.ask("reqAllOpenOrders")
        await peer.ask("reqCompletedOrders", False)
        await peer.ask("reqAccountUpdates", True, "DU1234567")
        await peer.ask("reqAccountUpdatesMulti", 4, "DU1234567", "", False)
        await peer.ask("reqAccountSummary", 5, "All", "NetLiquidation")
        await peer.ask("reqPositionsMulti", 6, "DU1234567", "")
        await peer.ask("reqExecutions", 7, ExecutionFilter())
        await peer.ask("reqManagedAccts")
        before = len(peer.recorder.calls)
        await peer.settle()
        assert peer.recorder.calls[before:-1] == [
            ("positionEnd",),
            ("openOrderEnd",),
            ("openOrderEnd",),
            ("completedOrdersEnd",),
            ("accountDownloadEnd", "DU1234567"),
            ("accountUpdateMultiEnd", 4),
            ("accountSummaryEnd", 5),
            ("positionMultiEnd", 6),
            ("execDetailsEnd", 7),
            ("managedAccounts", "DU1234567"),
        ]


@pytest.mark.parametrize("version", [178, 226])
async def test_smart_depth_names_the_venue_and_its_rows_follow_the_quotes(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqMktDepth", 1, stock("AAPL"), 4, True, [])
        await peer.settle()
        rows = peer.recorder.named("updateMktDepthL2")
        assert [(row[1], row[4]) for row in rows] == [(place, side) for side in (1, 0) for place in range(4)]
        assert {(row[3], row[7]) for row in rows} == {(0, True)}
        assert {row[2] for row in rows} <= set(sim.instrument("AAPL").valid_exchanges.split(","))
        bids, asks = [row[5] for row in rows[:4]], [row[5] for row in rows[4:]]
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        await sim.advance(5.0)
        await peer.settle()
        assert {row[3] for row in peer.recorder.named("updateMktDepthL2")[8:]} == {1}


async def test_a_frozen_data_request_gets_live_data_since_this_market_never_closes() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for req_id, asked in enumerate((2, 4, 7), start=1):
            await peer.ask("reqMarketDataType", asked)
            await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
        await peer.settle()
        assert peer.recorder.named("marketDataType") == [(1, 1), (2, 3), (3, 3)]
        assert peer.errors() == [(-1, 321)]


@pytest.mark.parametrize(("version", "told"), [(157, False), (165, True)])
async def test_a_client_of_whole_sizes_is_not_told_of_a_trade_of_less_than_one_share(version: int, told: bool) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("SIM001"), "AllLast", 0, False)
        await peer.settle()
        await sim.advance(20.0)
        await peer.settle()
        sizes = [call[4] for call in peer.recorder.named("tickByTickAllLast")]
        assert sizes
        assert any(size < 1 for size in sizes) is told


async def test_after_a_stall_lines_are_told_where_the_market_is_now() -> None:
    """What was left out meanwhile would else be missing in the client's picture until each value moves again."""
    async with Simulator(_still()) as sim, connected(sim) as peer:

        def picture(level_1: int, book: int) -> dict[tuple[int, ...], float]:
            prices = [call for call in peer.recorder.named("tickPrice") if call[0] == level_1]
            rows = [call for call in peer.recorder.named("updateMktDepthL2") if call[0] == book]
            return {(call[1],): call[2] for call in prices} | {(call[4], call[1]): call[5] for call in rows}

        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.ask("reqMktDepth", 2, stock("AAPL"), 5, True, [])
        await sim.advance(1.0)
        await peer.settle()
        before = picture(1, 2)
        sim.act("stall", for_s=3600)
        await sim.advance(3601.0)
        await peer.ask("reqMktData", 3, stock("AAPL"), "", False, False, [])
        await peer.ask("reqMktDepth", 4, stock("AAPL"), 5, True, [])
        await peer.settle()
        assert len(before) == 7 + 10
        assert picture(1, 2) == picture(3, 4) != before
