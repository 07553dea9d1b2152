"""Owns the proof that history is answered as IB does: bars, ticks, heads, histograms, schedules, updates and limits.

Must not judge wire forms; the peer speaks with the official client's own code.
"""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest
from ibapi.contract import Contract

from ibkr_actor.sim import Rule, Simulator, SimulatorSettings
from tests.sim.peers import DEADLINE_S, Peer, connected, forex, stock

pytestmark = pytest.mark.anyio

# Tuesday 2023-11-14 12:02:30 in New York.
NOW_S = 1_699_981_350.0
STANDING = SimulatorSettings(clock_speed=0.0, start_time_s=NOW_S, seed=7, market_hours="exchange", lines=1000)
AAPL = stock("AAPL")
PACING = "Historical Market Data Service error message:Historical data request pacing violation"


def _contract(symbol: str, sec_type: str, exchange: str, currency: str = "USD") -> Contract:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, sec_type, exchange, currency
    return contract


def _errors(peer: Peer, req_id: int) -> list[tuple[int, str]]:
    return [(call[2], call[3]) for call in peer.recorder.named("error") if call[0] == req_id]


def _of(peer: Peer, name: str, req_id: int) -> list[Any]:
    return [call[1:] for call in peer.recorder.named(name) if call[0] == req_id]


async def _bars(peer: Peer, req_id: int, *asked: Any, contract: Contract = AAPL) -> list[Any]:
    """(end, duration, size, show, use_rth, format_date, keep) -> the bars, once they or an error are there."""
    await peer.ask("reqHistoricalData", req_id, contract, *asked, [])
    await peer.read_until(lambda it: _of(peer, "historicalDataEnd", req_id) or _errors_but_2174(peer, req_id))
    return [bar for (bar,) in _of(peer, "historicalData", req_id)]


def _errors_but_2174(peer: Peer, req_id: int) -> list[tuple[int, str]]:
    return [error for error in _errors(peer, req_id) if error[0] != 2174]


async def _refused(peer: Peer, req_id: int, *asked: Any, contract: Contract = AAPL) -> list[tuple[int, str]]:
    assert await _bars(peer, req_id, *asked, contract=contract) == []
    return _errors_but_2174(peer, req_id)


async def _ticks(peer: Peer, req_id: int, *asked: Any, contract: Contract = AAPL) -> list[Any]:
    names = ("historicalTicks", "historicalTicksBidAsk", "historicalTicksLast")
    await peer.ask("reqHistoricalTicks", req_id, contract, *asked, [])
    await peer.read_until(lambda it: any(_of(peer, name, req_id) for name in names) or _errors_but_2174(peer, req_id))
    found = [call for name in names for call in _of(peer, name, req_id)]
    assert all(done for _, done in found)
    return [tick for ticks, _ in found for tick in ticks]


async def _updates(peer: Peer, count: int) -> None:
    await peer.read_until(lambda it: len(it.named("historicalDataUpdate")) == count)


def _ohlc(bar: Any) -> tuple[float, float, float, float]:
    return bar.open, bar.high, bar.low, bar.close


async def test_a_day_of_minutes_begins_at_the_session_and_ends_with_the_bar_in_progress() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = await _bars(peer, 1, "", "1 D", "1 min", "TRADES", 1, 1, False)
        assert (bars[0].date, bars[-1].date) == ("20231114 09:30:00 US/Eastern", "20231114 12:02:00 US/Eastern")
        assert len(bars) == 153
        assert _of(peer, "historicalDataEnd", 1) == [("20231113 12:02:30 US/Eastern", "20231114 12:02:30 US/Eastern")]
        finer = await _bars(peer, 2, "", "1 D", "5 secs", "TRADES", 1, 1, False)
        last = [bar for bar in finer if bar.date >= "20231114 12:02:00 US/Eastern"]
        assert bars[-1].high == max(bar.high for bar in last)
        assert (bars[-1].open, bars[-1].close) == (last[0].open, last[-1].close)
        assert bars[-1].volume == sum(bar.volume for bar in last)
        assert all(bar.volume > 0 and bar.barCount > 0 and bar.low <= float(bar.wap) <= bar.high for bar in bars)
        all_day = await _bars(peer, 3, "", "1 D", "1 min", "TRADES", 0, 1, False)
        assert all_day[0].date == "20231114 04:00:00 US/Eastern"
        assert not sim.violations


async def test_days_are_whole_trade_dates_and_the_sum_of_their_minutes() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        days = await _bars(peer, 1, "20231113 10:00:00 US/Eastern", "2 D", "1 day", "TRADES", 1, 1, False)
        assert [day.date for day in days] == ["20231110", "20231113"]
        minutes = await _bars(peer, 2, "20231113 16:00:00 US/Eastern", "1 D", "1 min", "TRADES", 1, 2, False)
        assert len(minutes) == 390
        assert int(minutes[0].date) == 1_699_885_800
        assert _ohlc(days[1]) == (
            minutes[0].open,
            max(bar.high for bar in minutes),
            min(bar.low for bar in minutes),
            minutes[-1].close,
        )
        assert days[1].volume == sum(bar.volume for bar in minutes)
        assert days[1].barCount == sum(bar.barCount for bar in minutes)
        weeks = await _bars(peer, 3, "", "4 W", "1 week", "TRADES", 1, 1, False)
        months = await _bars(peer, 4, "", "1 Y", "1 month", "TRADES", 1, 1, False)
        assert (len(weeks), len(months)) == (4, 12)
        assert weeks[-1].close == months[-1].close


async def test_an_end_in_the_past_cuts_the_last_bar_and_nothing_later_is_told() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        cut = await _bars(peer, 1, "20231114-15:02:00", "3600 S", "5 mins", "TRADES", 1, 3, False)
        assert [cut[0].date, cut[-1].date] == ["1113 15:35:00 US/Eastern", "1114 10:00:00 US/Eastern"]
        minutes = await _bars(peer, 2, "20231114-15:02:00", "120 S", "1 min", "TRADES", 1, 1, False)
        assert [bar.date[9:14] for bar in minutes] == ["10:00", "10:01"]
        assert cut[-1].close == minutes[-1].close
        future = await _bars(peer, 3, "20301114-15:02:00", "1 D", "1 hour", "TRADES", 1, 1, False)
        assert future[-1].date == "20231114 12:00:00 US/Eastern"


async def test_bid_ask_and_midpoint_lie_around_the_trades_and_have_no_volume() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        view = {}
        for number, show in enumerate(("TRADES", "BID", "ASK", "MIDPOINT", "BID_ASK", "ADJUSTED_LAST")):
            view[show] = await _bars(peer, number, "", "1 D", "5 mins", show, 1, 1, False)
        for bid, ask, mid, both, trades in zip(
            view["BID"], view["ASK"], view["MIDPOINT"], view["BID_ASK"], view["TRADES"], strict=True
        ):
            assert bid.high <= ask.high
            assert bid.low <= trades.low <= trades.high <= ask.high
            assert bid.low <= mid.low <= mid.high <= ask.high
            assert (both.low, both.high) == (bid.low, ask.high)
            assert bid.low <= both.open <= bid.high
            assert ask.low <= both.close <= ask.high
            assert (bid.volume, bid.wap, bid.barCount) == (-1, -1, -1)
        assert [_ohlc(bar) for bar in view["ADJUSTED_LAST"]] == [_ohlc(bar) for bar in view["TRADES"]]


async def test_volatilities_are_a_share_a_year() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        history = await _bars(peer, 1, "", "1 M", "1 day", "HISTORICAL_VOLATILITY", 1, 1, False)
        implied = await _bars(peer, 2, "", "1 M", "1 day", "OPTION_IMPLIED_VOLATILITY", 1, 1, False)
        assert [bar.date for bar in history] == [bar.date for bar in implied]
        assert all(0.02 < bar.low <= bar.close <= bar.high < 3.0 for bar in history)
        assert all(after.open == before.close for before, after in itertools.pairwise(history))
        assert {_ohlc(bar) for bar in implied} == {(implied[0].open,) * 4}


async def test_a_crypto_has_aggtrades_and_a_pair_has_no_trades() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bitcoin = _contract("BTC", "CRYPTO", "PAXOS")
        bars = await _bars(peer, 1, "", "1 D", "1 hour", "AGGTRADES", 1, 1, False, contract=bitcoin)
        assert bars
        assert all(bar.volume > 0 for bar in bars)
        ((code, text),) = await _refused(peer, 2, "", "1 D", "1 hour", "TRADES", 1, 1, False, contract=bitcoin)
        assert (code, text) == (10299, "Expected what to show is AGGTRADES, please use that instead of TRADES.")
        euro = forex("EUR", "USD")
        ((code, text),) = await _refused(peer, 3, "", "1 D", "1 hour", "TRADES", 1, 1, False, contract=euro)
        assert (code, text[-57:]) == (162, "No historical market data for EUR/CASH@IDEALPRO Last 3600")
        ((code, text),) = await _refused(peer, 4, "", "1 D", "1 hour", "FEE_RATE", 1, 1, False)
        assert (code, text[-22:]) == (162, "STK@SMART FeeRate 3600")
        assert sim.violations == {Rule.HISTORY_VIEW: 1}


async def test_a_schedule_has_the_sessions_of_the_exchange() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        await peer.ask("reqHistoricalData", 1, AAPL, "20231127-22:00:00", "1 W", "1 day", "SCHEDULE", 1, 1, False, [])
        await peer.read_until(lambda it: it.named("historicalSchedule"))
        ((_, start, end, zone, sessions),) = peer.recorder.named("historicalSchedule")
        assert (start, end, zone) == ("20231121-09:30:00", "20231127-16:00:00", "US/Eastern")
        assert [(each.refDate, each.endDateTime[9:]) for each in sessions] == [
            ("20231121", "16:00:00"),
            ("20231122", "16:00:00"),
            ("20231124", "13:00:00"),
            ("20231127", "16:00:00"),
        ]


async def test_nothing_is_older_than_the_head() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        await peer.ask("reqHeadTimeStamp", 1, AAPL, "TRADES", 1, 1)
        await peer.ask("reqHeadTimeStamp", 2, AAPL, "BID", 0, 2)
        await peer.read_until(lambda it: len(it.named("headTimestamp")) == 2)
        assert peer.recorder.named("headTimestamp") == [(1, "20040123-14:30:00Z"), (2, "1074848400")]
        first = await _bars(peer, 3, "20040127-00:00:00", "1 Y", "1 day", "TRADES", 1, 1, False)
        assert [bar.date for bar in first] == ["20040123", "20040126"]
        ((code, text),) = await _refused(peer, 4, "20040101-00:00:00", "1 M", "1 day", "TRADES", 1, 1, False)
        assert (code, text[-46:]) == (162, "HMDS query returned no data: AAPL@SMART Trades")


async def test_a_time_without_a_zone_is_the_hosts_and_warned_of() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = await _bars(peer, 1, "20231114 17:00:00", "60 S", "1 min", "TRADES", 1, 1, False)
        assert [bar.date for bar in bars] == ["20231114 10:59:00 US/Eastern"]
        assert [code for code, _ in _errors(peer, 1)] == [2174]


async def test_ticks_go_forward_from_a_start_and_back_from_an_end_with_whole_seconds() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        start, start_s = "20231114-15:00:00", 1_699_974_000
        forward = await _ticks(peer, 1, start, "", 100, "TRADES", 1, False)
        assert len(forward) >= 100
        assert all(tick.time >= start_s for tick in forward)
        last_s = forward[-1].time
        assert {tick.time for tick in forward[99:]} == {last_s}
        again = await _ticks(peer, 2, "", "20231114-16:00:00", 1000, "TRADES", 1, False)
        assert all(tick.time < start_s + 3600 for tick in again)
        assert len({tick.time for tick in again[: len(again) - 999]}) == 1
        bars = await _bars(peer, 3, "20231114-15:00:05", "5 S", "5 secs", "TRADES", 1, 1, False)
        of_bar = [tick for tick in forward if tick.time < start_s + 5]
        assert bars[-1].volume == sum(tick.size for tick in of_bar)
        assert (bars[-1].open, bars[-1].close) == (of_bar[0].price, of_bar[-1].price)
        quotes = await _ticks(peer, 4, start, "", 50, "BID_ASK", 1, False)
        assert all(tick.priceBid < tick.priceAsk and tick.sizeBid > 0 for tick in quotes)
        prices = await _ticks(peer, 5, start, "", 50, "BID_ASK", 1, True)
        moves = [(tick.priceBid, tick.priceAsk) for tick in prices]
        assert all(after != before for before, after in itertools.pairwise(moves))
        euro = await _ticks(peer, 6, start, "", 10, "TRADES", 1, False, contract=forex("EUR", "USD"))
        assert len(euro) >= 10
        assert not hasattr(euro[0], "exchange")


async def test_a_closed_market_has_no_ticks_and_the_last_before_it_are_found() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        sunday = await _ticks(peer, 1, "", "20231112-15:00:00", 10, "MIDPOINT", 1, False)
        assert len(sunday) >= 10
        friday_close_s = 1_699_650_000
        assert all(friday_close_s - 600 < tick.time < friday_close_s for tick in sunday)
        assert await _ticks(peer, 2, "20231120-15:00:00", "", 10, "TRADES", 1, False) == []


async def test_a_histogram_adds_up_to_the_volume_of_its_days() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        await peer.ask("reqHistogramData", 1, AAPL, True, "2 days")
        await peer.read_until(lambda it: it.named("histogramData"))
        ((_, entries),) = peer.recorder.named("histogramData")
        days = await _bars(peer, 2, "", "2 D", "1 day", "TRADES", 1, 1, False)
        assert sum(entry.size for entry in entries) == sum(day.volume for day in days)
        prices = [entry.price for entry in entries]
        assert prices == sorted(set(prices))
        assert min(day.low for day in days) <= prices[0] <= prices[-1] <= max(day.high for day in days)
        await peer.ask("reqHistogramData", 3, AAPL, True, "some days")
        await peer.ask("reqHistogramData", 4, forex("EUR", "USD"), True, "2 days")
        await peer.read_until(lambda it: _errors(peer, 4))
        assert [_errors(peer, req_id)[0][0] for req_id in (3, 4)] == [321, 10188]


async def test_updates_come_every_five_seconds_until_they_are_cancelled() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = await _bars(peer, 1, "", "600 S", "1 min", "TRADES", 1, 2, True)
        assert int(bars[-1].date) == 1_699_981_320
        for number in range(8):
            await sim.advance(5.0)
            await _updates(peer, number + 1)
        updates = [bar for (bar,) in _of(peer, "historicalDataUpdate", 1)]
        dates = [int(bar.date) for bar in updates]
        assert dates == [1_699_981_320] * 6 + [1_699_981_380] * 2
        volumes = [bar.volume for bar in updates[:6]]
        assert volumes == sorted(volumes)
        whole = await _bars(peer, 2, "", "120 S", "1 min", "TRADES", 1, 2, False)
        assert [(_ohlc(bar), bar.volume) for bar in updates if bar.date == whole[0].date][-1] == (
            _ohlc(whole[0]),
            whole[0].volume,
        )
        assert (_ohlc(updates[-1]), updates[-1].volume) == (_ohlc(whole[-1]), whole[-1].volume)
        await peer.ask("cancelHistoricalData", 1)
        await peer.read_until(lambda it: _errors(peer, 1))
        assert _errors(peer, 1) == [
            (162, "Historical Market Data Service error message:API historical data query cancelled: 1")
        ]
        await sim.advance(20.0)
        await peer.settle()
        assert len(_of(peer, "historicalDataUpdate", 1)) == 8
        assert not sim.violations


async def test_five_second_updates_are_the_real_time_bars() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        await _bars(peer, 1, "", "60 S", "5 secs", "TRADES", 1, 2, True)
        await peer.ask("reqRealTimeBars", 2, AAPL, 5, "TRADES", True, [])
        await peer.settle()
        await sim.advance(30.0)
        await peer.read_until(
            lambda it: len(it.named("historicalDataUpdate")) >= 6 and len(it.named("realtimeBar")) >= 6
        )
        updates = {int(bar.date): _ohlc(bar) for (bar,) in _of(peer, "historicalDataUpdate", 1)}
        live = {call[1]: call[2:6] for call in peer.recorder.named("realtimeBar")}
        both = updates.keys() & live.keys()
        assert len(both) >= 5
        assert {time_s: updates[time_s] for time_s in both} == {time_s: live[time_s] for time_s in both}


async def test_no_update_comes_while_the_exchange_is_closed() -> None:
    evening = SimulatorSettings(
        clock_speed=0.0, start_time_s=1_700_009_995.0, seed=7, market_hours="exchange"
    )  # 19:59:55 in New York
    async with Simulator(evening) as sim, connected(sim) as peer:
        await _bars(peer, 1, "", "600 S", "1 min", "TRADES", 0, 2, True)
        await sim.advance(300.0)
        await peer.settle()
        assert [int(bar.date) for (bar,) in _of(peer, "historicalDataUpdate", 1)] == [1_700_009_940]


async def test_small_bars_are_paced_and_large_ones_are_not() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        small = ("", "60 S", "5 secs", "TRADES", 1, 1, False)
        assert await _bars(peer, 1, *small)
        assert await _refused(peer, 2, *small) == [(162, PACING)]
        for number in range(4):
            assert await _bars(peer, 10 + number, "", f"{100 + number} S", "30 secs", "TRADES", 1, 1, False)
        assert await _refused(peer, 20, "", "200 S", "30 secs", "TRADES", 1, 1, False) == [(162, PACING)]
        for number in range(7):
            assert await _bars(peer, 30 + number, "", "600 S", "1 min", "TRADES", 1, 1, False)
        await sim.advance(15.0)
        assert await _bars(peer, 40, *small)
        assert sim.violations == {Rule.HISTORY_IDENTICAL: 1, Rule.HISTORY_BURST: 1}


async def test_real_time_bars_heads_and_small_bars_share_sixty_in_ten_minutes() -> None:
    settings = SimulatorSettings(
        clock_speed=0.0, start_time_s=NOW_S, market_hours="exchange", lines=1000, real_time_bars_per_600_s=5
    )
    async with Simulator(settings) as sim, connected(sim) as peer:
        assert await _bars(peer, 1, "", "60 S", "5 secs", "BID_ASK", 1, 1, False)
        await peer.ask("reqHeadTimeStamp", 2, AAPL, "TRADES", 1, 1)
        await peer.ask("reqRealTimeBars", 3, AAPL, 5, "TRADES", True, [])
        await peer.ask("reqHeadTimeStamp", 4, AAPL, "BID", 1, 1)
        await peer.settle()
        assert await _refused(peer, 5, "", "60 S", "5 secs", "TRADES", 1, 1, False) == [(162, PACING)]
        await peer.ask("reqRealTimeBars", 6, stock("MSFT"), 5, "TRADES", True, [])
        await peer.read_until(lambda it: _errors(peer, 6))
        assert _errors(peer, 6)[0][0] == 420
        assert sim.violations == {Rule.HISTORY_RATE: 1, Rule.REAL_TIME_BARS_RATE: 1}
        await sim.advance(600.0)
        assert await _bars(peer, 7, "", "60 S", "5 secs", "TRADES", 1, 1, False)


async def test_fifty_queries_are_open_at_a_time_and_a_head_until_it_is_cancelled() -> None:
    settings = SimulatorSettings(
        clock_speed=0.0, start_time_s=NOW_S, market_hours="exchange", lines=1000, history_latency_s=10.0
    )
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqHeadTimeStamp", 1, AAPL, "TRADES", 1, 1)
        for number in range(2, 52):
            await peer.ask("reqHistoricalData", number, AAPL, "", "1 D", "1 hour", "TRADES", 1, 1, False, [])
        await peer.read_until(lambda it: _errors(peer, 51))
        assert _errors(peer, 51)[0][0] == 322
        assert "Only 50 simultaneous API historical data requests allowed." in _errors(peer, 51)[0][1]
        assert peer.recorder.named("historicalData") == []
        await sim.advance(10.0)
        await peer.read_until(lambda it: len(it.named("historicalDataEnd")) == 49 and it.named("headTimestamp"))
        await peer.ask("reqHeadTimeStamp", 1, AAPL, "BID", 1, 1)
        await peer.ask("cancelHeadTimeStamp", 1)
        await peer.ask("cancelHeadTimeStamp", 1)
        await peer.read_until(lambda it: len(_errors(peer, 1)) == 2)
        assert [code for code, _ in _errors(peer, 1)] == [322, 366]
        assert sim.violations == {
            Rule.HISTORY_OPEN: 1,
            Rule.HISTORY_DUPLICATE_ID: 1,
            Rule.HISTORY_LATE_CANCEL: 1,
        }


async def test_a_query_that_is_cancelled_before_its_answer_is_told_so_and_never_answered() -> None:
    settings = SimulatorSettings(clock_speed=0.0, start_time_s=NOW_S, market_hours="exchange", history_latency_s=2.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqHistoricalData", 1, AAPL, "", "1 D", "1 hour", "TRADES", 1, 1, False, [])
        await peer.ask("reqHistoricalTicks", 2, AAPL, "20231114-15:00:00", "", 10, "TRADES", 1, False, [])
        await peer.ask("cancelHistoricalData", 1)
        await peer.ask("cancelHistoricalTicks", 2)
        await peer.ask("cancelHistoricalData", 3)
        await peer.settle()
        await sim.advance(5.0)
        await peer.settle()
        assert [code for req_id, code in peer.errors() if req_id in (1, 2, 3)] == [162, 366]
        assert peer.recorder.named("historicalData") + peer.recorder.named("historicalTicksLast") == []


async def test_a_client_that_goes_takes_its_queries_along() -> None:
    async with Simulator(STANDING) as sim:
        async with connected(sim) as peer:
            await _bars(peer, 1, "", "600 S", "1 min", "TRADES", 1, 2, True)
        await sim.wait_for(lambda: sim.clients() == [])
        await sim.advance(30.0)
        async with connected(sim) as peer:
            assert await _bars(peer, 1, "", "600 S", "1 min", "TRADES", 1, 2, False)
            await peer.settle()
            assert peer.recorder.named("historicalDataUpdate") == []


async def test_what_the_account_may_not_see_and_what_cannot_expire_are_refused() -> None:
    settings = SimulatorSettings(
        clock_speed=0.0, start_time_s=NOW_S, market_hours="exchange", permissions={"AAPL/history": "none"}
    )
    async with Simulator(settings) as sim, connected(sim) as peer:
        ((code, text),) = await _refused(peer, 1, "", "1 D", "1 hour", "TRADES", 1, 1, False)
        assert code == 162
        assert "No market data permissions for ISLAND STK" in text
        assert await _ticks(peer, 2, "20231114-15:00:00", "", 10, "TRADES", 1, False) == []
        assert [code for code, _ in _errors(peer, 2)] == [10187]
        microsoft = stock("MSFT")
        microsoft.includeExpired = True
        refused = await _refused(peer, 3, "", "1 D", "1 hour", "TRADES", 1, 1, False, contract=microsoft)
        assert [code for code, _ in refused] == [166]


REFUSED = [
    (("", "1 D", "1 sec", "TRADES", 1, 1, False), 321, "Legal ones are: 1 secs, 5 secs"),
    (("", "1 day", "1 min", "TRADES", 1, 1, False), 321, "integer{SPACE}unit"),
    (("", "366 D", "1 day", "TRADES", 1, 1, False), 321, "must be made in years"),
    (("", "1 D", "1 secs", "TRADES", 1, 1, False), 162, "invalid step: 1"),
    (("yesterday", "1 D", "1 min", "TRADES", 1, 1, False), 10314, "End Date/Time"),
    (("20231114-15:00:00", "1 D", "1 min", "TRADES", 1, 1, True), 321, "End date not supported with live updates"),
    (("20231114-15:00:00", "1 D", "1 min", "ADJUSTED_LAST", 1, 1, False), 321, "not supported with adjusted last"),
    (("", "1 D", "1 min", "SCHEDULE", 1, 1, False), 10295, "Only daily resolution"),
]


@pytest.mark.parametrize(("asked", "code", "text"), REFUSED)
async def test_a_request_ib_does_not_take_is_refused_and_counted(asked: tuple[Any, ...], code: int, text: str) -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        ((told, words),) = await _refused(peer, 1, *asked)
        assert told == code
        assert text in words
        assert sum(sim.violations.values()) == 1


async def test_a_long_answer_leaves_the_loop_free_for_others() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        await peer.ask("reqHistoricalData", 1, AAPL, "", "20 Y", "1 day", "TRADES", 1, 1, False, [])
        await peer.settle()
        assert peer.recorder.named("historicalData") == []
        with anyio.fail_after(DEADLINE_S):
            await peer.read_until(lambda it: it.named("historicalDataEnd"))
        bars = [bar for (bar,) in _of(peer, "historicalData", 1)]
        assert (bars[0].date, bars[-1].date) == ("20040123", "20231114")
        assert len(bars) > 4900


@pytest.mark.parametrize("version", [157, 195, 196, 207, 208])
async def test_the_same_bars_come_at_every_version(version: int) -> None:
    settings = SimulatorSettings(
        clock_speed=0.0, start_time_s=NOW_S, seed=7, market_hours="exchange", server_version=version
    )
    async with Simulator(settings) as sim, connected(sim) as peer:
        bars = await _bars(peer, 1, "", "3600 S", "5 mins", "TRADES", 1, 1, False)
        assert [bar.date[9:14] for bar in bars][:2] == ["11:05", "11:10"]
        assert len(bars) == 12
        async with Simulator(STANDING) as other, connected(other) as second:
            assert [vars(bar) for bar in bars] == [
                vars(bar) for bar in await _bars(second, 1, "", "3600 S", "5 mins", "TRADES", 1, 1, False)
            ]
