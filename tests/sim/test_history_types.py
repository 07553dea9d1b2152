"""Owns the proof that every type of instrument has the history IB has of it, and that they agree with each other.

Must not repeat what test_history.py shows of stocks.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ibapi.contract import ComboLeg, Contract

from ibkr_actor.sim import Rule, Simulator, SimulatorSettings
from tests.sim.peers import Peer, connected, stock

pytestmark = pytest.mark.anyio

# Tuesday 2023-11-14 12:02:30 in New York.
STANDING = SimulatorSettings(clock_speed=0.0, start_time_s=1_699_981_350.0, seed=7, market_hours="exchange")


def _contract(symbol: str, sec_type: str, exchange: str, **more: Any) -> Contract:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol, sec_type, exchange, "USD"
    for name, value in more.items():
        setattr(contract, name, value)
    return contract


class _Asker:
    """Asks for bars and gives what came: the bars, or the code of the error."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._req_id = 0

    async def __call__(
        self,
        contract: Contract,
        show: str,
        size: str = "1 hour",
        duration: str = "2 D",
        end: str = "",
        keep: bool = False,
    ) -> Any:
        self._req_id += 1
        req_id = self._req_id
        await self._peer.ask("reqHistoricalData", req_id, contract, end, duration, size, show, 1, 2, keep, [])
        await self._peer.read_until(
            lambda it: any(call[0] == req_id for call in it.named("historicalDataEnd") + it.named("error"))
        )
        codes = [call[2] for call in self._peer.recorder.named("error") if call[0] == req_id]
        return (
            codes[0]
            if codes
            else [call[1] for call in self._peer.recorder.named("historicalData") if call[0] == req_id]
        )

    async def option(self, right: str) -> Contract:
        """An AAPL option in the middle of a chain."""
        wanted = _contract("AAPL", "OPT", "SMART", lastTradeDateOrContractMonth="20231215", right=right)
        already = len(self._peer.recorder.named("contractDetailsEnd"))
        self._peer.recorder.calls = [call for call in self._peer.recorder.calls if call[0] != "contractDetails"]
        await self._peer.ask("reqContractDetails", 9000 + already, wanted)
        await self._peer.read_until(lambda it: len(it.named("contractDetailsEnd")) > already)
        found = sorted((call[1] for call in self._peer.recorder.named("contractDetails")), key=_strike)
        return _contract("", "", "SMART", conId=found[len(found) // 2].contract.conId)


def _moves(bars: list[Any]) -> list[int]:
    """Of each close against the one before: 1 up, -1 down."""
    return [(after.close > before.close) - (after.close < before.close) for before, after in itertools.pairwise(bars)]


def _strike(details: Any) -> float:
    return float(details.contract.strike)


async def test_a_continuous_future_has_the_prices_of_its_front_month() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        front = await bars(_contract("ES", "FUT", "CME", lastTradeDateOrContractMonth="202312"), "TRADES")
        continuous = await bars(_contract("ES", "CONTFUT", "CME"), "TRADES")
        assert [vars(bar) for bar in front] == [vars(bar) for bar in continuous]
        assert await bars(_contract("ES", "CONTFUT", "CME"), "TRADES", end="20231101-00:00:00") == 10339
        assert sim.violations == {Rule.HISTORY_END: 1}


async def test_an_expired_future_ends_with_its_last_trade_date() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        expired = _contract("ES", "FUT", "CME", lastTradeDateOrContractMonth="202209", includeExpired=True)
        days = await bars(expired, "TRADES", "1 day", "1 W")
        assert days[-1].date == "20220916"
        assert not sim.violations


async def test_an_index_has_trades_without_volume_and_no_quotes() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        index = _contract("SPX", "IND", "CBOE")
        found = await bars(index, "TRADES")
        assert {(float(bar.volume), float(bar.wap)) for bar in found} == {(0.0, 0.0)}
        assert all(bar.barCount > 0 for bar in found)
        assert await bars(index, "MIDPOINT") == 162


async def test_a_call_rises_and_a_put_falls_with_the_stock() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        under = await bars(stock("AAPL"), "MIDPOINT")
        call = await bars(await bars.option("C"), "MIDPOINT")
        put = await bars(await bars.option("P"), "MIDPOINT")
        starts = [int(bar.date) for bar in under]
        triples = zip(_moves(under), _moves(call), _moves(put), itertools.pairwise(starts), strict=True)
        together = [
            (stock_move, call_move, put_move)
            for stock_move, call_move, put_move, (before_s, after_s) in triples
            if stock_move and call_move and put_move and after_s - before_s < 7200
        ]
        assert len(together) >= 5
        assert all(stock_move == call_move == -put_move for stock_move, call_move, put_move in together)


async def test_a_bond_has_yields_against_its_prices_and_a_stock_has_none() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        bond = next(each for each in sim.world.catalogue.all() if each.sec_type == "BOND")
        contract = _contract("", "", bond.exchange, conId=bond.con_id)
        prices = await bars(contract, "BID", "1 day", "1 M")
        yields = await bars(contract, "YIELD_BID", "1 day", "1 M")
        asks = await bars(contract, "YIELD_ASK", "1 day", "1 M")
        by_price = sorted(zip(prices, yields, strict=True), key=lambda pair: float(pair[0].close))
        assert by_price[0][1].close > by_price[-1][1].close
        assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in yields)
        assert all(bid.high >= ask.high for bid, ask in zip(yields, asks, strict=True))
        assert await bars(stock("AAPL"), "YIELD_BID") == 162


async def test_a_combination_has_the_difference_of_its_legs_and_is_not_kept_up_to_date() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        legs = []
        for right, action in (("C", "BUY"), ("P", "SELL")):
            leg = ComboLeg()
            leg.conId, leg.ratio, leg.action, leg.exchange = (await bars.option(right)).conId, 1, action, "SMART"
            legs.append(leg)
        spread = _contract("AAPL", "BAG", "SMART", comboLegs=legs)
        found = await bars(spread, "MIDPOINT", "5 secs", "60 S")
        call, put = [
            await bars(_contract("", "", "SMART", conId=leg.conId), "MIDPOINT", "5 secs", "60 S") for leg in legs
        ]
        for bar, bought, sold in zip(found, call, put, strict=True):
            assert bar.close == pytest.approx(bought.close - sold.close, rel=0.05)
        assert await bars(spread, "MIDPOINT", keep=True) == 321


async def test_types_without_trades_have_quotes_only() -> None:
    async with Simulator(STANDING) as sim, connected(sim) as peer:
        bars = _Asker(peer)
        gold = _contract("XAUUSD", "CMDTY", "SMART")
        assert await bars(gold, "TRADES") == 162
        assert len(await bars(gold, "MIDPOINT")) > 24
