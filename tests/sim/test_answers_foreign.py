"""Owns the proof that ib_async, which is not ours, gets IB's answer to what an honest program meets too: wrong
contracts, missing permissions, prices that cannot be had; and that its own limits are IB's.

Must not use ibapi or sleep: the clock stands and is moved.
"""

from __future__ import annotations

import asyncio
import datetime
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ib_async
import pytest

from ibkr_actor.sim import Rule, Simulator, SimulatorSettings
from tests.sim.test_docs import rows

pytestmark = pytest.mark.anyio

# Tuesday 2023-11-14 12:02:30 in New York.
NOW_S = 1_699_981_350.0
_FARMS = (2104, 2106, 2158)
# grant -> the error where live data, where delayed data is asked for, and the type of data that then flows.
GRANTS: dict[str, tuple[int | None, int | None, int | None]] = {
    "any": (None, None, 3),
    "live": (None, None, 1),
    "delayed": (354, 10167, 3),
    "none": (354, 354, None),
    "delayed_disabled": (10168, 10168, None),
    "api": (10089, 10167, 3),
    "part": (10090, 10090, None),
    "api_part": (10091, 10091, None),
}


class Meeting:
    """ib_async connected to a simulator whose clock stands."""

    def __init__(self, sim: Simulator, ib: ib_async.IB) -> None:
        self.sim = sim
        self.ib = ib
        self._told: list[tuple[int, str]] = []
        ib.errorEvent += lambda req_id, code, text, *_: self._told.append((code, text))

    async def settle(self) -> None:
        """Return once everything said so far has been read: requests are answered in order."""
        await asyncio.wait_for(self.ib.reqCurrentTimeAsync(), 10)

    async def codes(self) -> list[int]:
        """The errors so far, but for the farms' good news."""
        await self.settle()
        return [code for code, _ in self._told if code not in _FARMS]

    async def qualified(self, contract: ib_async.Contract) -> ib_async.Contract:
        [found] = await self.ib.qualifyContractsAsync(contract)
        assert isinstance(found, ib_async.Contract)
        return found

    async def bars(self, contract: ib_async.Contract, end: str = "", view: str = "TRADES") -> list[Any]:
        """Hourly bars of a day; empty when they are refused."""
        return list(await self.ib.reqHistoricalDataAsync(contract, end, "1 D", "1 hour", view, False))

    def text_of(self, code: int) -> str:
        return [text for each, text in self._told if each == code][-1]


@asynccontextmanager
async def meeting(**settings: Any) -> AsyncIterator[Meeting]:
    still: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": NOW_S, "seed": 7, "enforce_message_rate": False}
    async with Simulator(SimulatorSettings(**(still | settings))) as sim:
        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", sim.port, clientId=7, timeout=60)
        try:
            yield Meeting(sim, ib)
        finally:
            ib.disconnect()
            await sim.wait_for(lambda: sim.clients() == [])


def _stock(symbol: str = "AAPL") -> ib_async.Stock:
    return ib_async.Stock(symbol, "SMART", "USD")


def test_every_grant_of_the_page_is_tried() -> None:
    assert list(rows("Permissions")) == list(GRANTS)


@pytest.mark.parametrize("grant", GRANTS)
async def test_a_missing_permission_is_told_with_ibs_code_and_delayed_data_follows_where_it_may(grant: str) -> None:
    live, delayed, flows = GRANTS[grant]
    async with meeting(permissions={"AAPL": grant}) as met:
        apple = await met.qualified(_stock())
        first = met.ib.reqMktData(apple)
        assert await met.codes() == [code for code in (live,) if code is not None]
        assert math.isnan(first.bid) == (live is not None)
        met.ib.cancelMktData(apple)
        before = await met.codes()
        met.ib.reqMarketDataType(3)
        second = met.ib.reqMktData(apple)
        assert (await met.codes())[len(before) :] == [code for code in (delayed,) if code is not None]
        assert math.isnan(second.bid) == (flows is None)
        if flows is not None:
            assert second.marketDataType == flows
        earlier = second.time
        await met.sim.advance(5.0)
        await met.settle()
        assert (second.time != earlier) == (flows is not None)
        assert not [rule for rule in met.sim.violations if rule is not Rule.LATE_CANCEL]


async def test_contracts_that_are_none_or_several_are_200() -> None:
    async with meeting() as met:
        assert await met.ib.reqContractDetailsAsync(_stock("NOSUCH")) == []
        assert await met.codes() == [200]
        assert "No security definition has been found" in met.text_of(200)
        assert await met.bars(ib_async.Stock("RY", "SMART", "")) == []
        assert await met.codes() == [200, 200]
        assert "ambiguous" in met.text_of(200)
        assert await met.bars(ib_async.Future("ES", "", "CME")) == []
        assert (await met.codes())[2:] == [200]
        # To contract details several matches are an answer.
        assert len(await met.ib.reqContractDetailsAsync(ib_async.Stock("RY", "SMART", ""))) == 2
        assert not met.sim.violations


async def test_a_time_without_a_zone_is_warned_of_and_served() -> None:
    async with meeting() as met:
        assert await met.bars(_stock(), "20231114 16:00:00")
        assert await met.codes() == [2174]
        bars = await met.bars(_stock(), "20231114 10:30:00 US/Eastern")
        assert bars[-1].date == datetime.datetime(2023, 11, 14, 15, 0, tzinfo=datetime.UTC)
        assert await met.codes() == [2174]
        assert not met.sim.violations


async def test_history_without_permission_is_162_10187_and_10188() -> None:
    async with meeting(permissions={"AAPL/history": "none"}) as met:
        assert await met.bars(_stock()) == []
        end = datetime.datetime(2023, 11, 14, 16, 0, tzinfo=datetime.UTC)
        assert await met.ib.reqHistoricalTicksAsync(_stock(), "", end, 10, "TRADES", True) == []
        assert await met.ib.reqHistogramDataAsync(_stock(), True, "1 week") == []
        assert await met.codes() == [162, 10187, 10188]
        assert not met.sim.violations


async def test_what_has_no_book_no_ticks_or_no_bars_is_told_so() -> None:
    async with meeting(permissions={"NYSE/depth": "none", "MSFT/bars": "none"}) as met:
        met.ib.reqMktDepth(await met.qualified(ib_async.Index("SPX", "CBOE", "USD")))
        met.ib.reqMktDepth(await met.qualified(_stock()), isSmartDepth=True)
        met.ib.reqTickByTickData(await met.qualified(ib_async.Forex("EURUSD")), "Last")
        met.ib.reqRealTimeBars(_stock("MSFT"), 5, "TRADES", False)
        assert await met.codes() == [10092, 2152, 10189, 420]
        assert not met.sim.violations


async def test_crypto_has_aggtrades_and_a_continuous_future_no_end() -> None:
    async with meeting() as met:
        bitcoin, future = ib_async.Crypto("BTC", "PAXOS", "USD"), ib_async.ContFuture("ES", "CME")
        assert await met.bars(bitcoin) == []
        assert await met.bars(bitcoin, view="AGGTRADES")
        assert await met.bars(future, "20231114-15:00:00") == []
        assert await met.bars(future)
        assert await met.codes() == [10299, 10339]
        assert met.sim.violations == Counter({Rule.HISTORY_VIEW: 1, Rule.HISTORY_END: 1})


async def test_ib_async_meets_the_limits_of_lines_books_and_streams() -> None:
    async with meeting(lines=40) as met:
        stocks = [_stock(f"SIM{number:03d}") for number in range(41)]
        await met.ib.qualifyContractsAsync(*stocks)
        for stock in stocks[:3]:
            met.ib.reqTickByTickData(stock, "Last")
        for stock in stocks[:4]:
            met.ib.reqMktDepth(stock, isSmartDepth=True)
        for stock in stocks:
            met.ib.reqMktData(stock)
        assert await met.codes() == [10190, 309, 101]
        met.ib.cancelTickByTickData(stocks[0], "Last")
        met.ib.reqTickByTickData(stocks[0], "Last")
        assert (await met.codes())[3:] == [10190]
        await met.sim.advance(15.0)
        met.ib.reqTickByTickData(stocks[0], "MidPoint")
        assert (await met.codes())[4:] == []
        broken = (Rule.TICK_BY_TICK_LINES, Rule.DEPTH_LINES, Rule.LINES, Rule.TICK_BY_TICK_INTERVAL)
        assert met.sim.violations == Counter(dict.fromkeys(broken, 1))


async def test_ib_async_meets_every_limit_of_small_bars() -> None:
    async def small(met: Meeting, symbol: str, duration: str = "60 S", view: str = "TRADES") -> int:
        return len(await met.ib.reqHistoricalDataAsync(_stock(symbol), "", duration, "5 secs", view, False))

    async with meeting() as met:
        assert await small(met, "AAPL")
        assert await small(met, "AAPL") == 0
        assert [await small(met, "AAPL", f"{70 + number} S") > 0 for number in range(5)] == [True] * 4 + [False]
        for number in range(27):
            assert await small(met, f"SIM{number:03d}", view="BID_ASK")
        assert await small(met, "SIM100") > 0
        assert await small(met, "SIM101", view="BID_ASK") == 0
        await met.sim.advance(600.0)
        assert await small(met, "SIM101", view="BID_ASK") > 0
        assert await met.codes() == [162, 162, 162]
        small_bars = (Rule.HISTORY_IDENTICAL, Rule.HISTORY_BURST, Rule.HISTORY_RATE)
        assert met.sim.violations == Counter(dict.fromkeys(small_bars, 1))


async def test_small_bars_are_kept_for_six_months() -> None:
    async with meeting() as met:
        old, young = "20230501-15:00:00", "20230601-15:00:00"
        for end, size, there in ((old, "5 secs", False), (old, "1 min", True), (young, "5 secs", True)):
            bars = await met.ib.reqHistoricalDataAsync(_stock(), end, "60 S", size, "TRADES", False)
            assert (len(bars) > 0) == there
        assert await met.codes() == [162]
        assert "HMDS query returned no data" in met.text_of(162)
        assert not met.sim.violations


async def test_ib_async_without_its_own_brake_meets_the_message_rate() -> None:
    async with meeting(lines=40, enforce_message_rate=True) as met:
        met.ib.client.MaxRequests = 0
        await met.sim.advance(1.0)
        before = met.sim.messages_received[8]
        for _ in range(21):
            met.ib.client.reqIds(1)  # type: ignore[no-untyped-call]  # the client is untyped
        await met.sim.wait_for(lambda: met.sim.errors_sent[100] == 1)
        await met.sim.advance(1.0)
        assert await met.codes() == [100]
        assert met.sim.violations == Counter({Rule.MESSAGE_RATE: 1})
        assert met.sim.messages_received[8] - before == 21
