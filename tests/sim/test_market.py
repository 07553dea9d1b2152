"""Owns the tests of the price process, the instruments, their hours, and of time.

Must not open a socket.
"""

from __future__ import annotations

import pytest

from ibkr_actor.sim.clock import Clock, Schedule
from ibkr_actor.sim.market.catalogue import Catalogue, default_catalogue
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument, split_key
from ibkr_actor.sim.market.market import InstrumentMarket, Quote, Trade
from ibkr_actor.sim.market.tapes import Tapes

CATALOGUE = default_catalogue()


NOON_S = 1_717_430_400.0


def market(name: str = "AAPL", seed: int = 1, time_s: float = NOON_S) -> InstrumentMarket:
    made = Tapes(CATALOGUE, seed=seed, ticks_per_s=4.0, market_hours="always")
    return InstrumentMarket(made.tape(CATALOGUE.find(name)), time_s)


@pytest.mark.parametrize("name", ["AAPL", "EUR.USD", "USD.JPY", "SPY", "700", "SIM000", "SIM001", "SIM003"])
def test_prices_stay_on_the_tick_grid_and_quotes_never_cross(name: str) -> None:
    here = market(name)
    tick = float(here.instrument.min_tick)
    for _ in range(1000):
        event = here.step()
        assert here.low <= here.last <= here.high
        if isinstance(event, Quote):
            assert 0 < event.bid < event.ask
            assert event.bid_size > 0
            assert event.ask_size > 0
            assert any((event.bid_moved, event.ask_moved, event.bid_resized, event.ask_resized))
            assert abs(event.bid / tick - round(event.bid / tick)) < 1e-6
        else:
            assert here.bid <= event.price <= here.ask
            assert event.size > 0


def test_volume_grows_by_what_is_traded() -> None:
    here = market()
    volume = here.volume
    for _ in range(500):
        event = here.step()
        if isinstance(event, Trade):
            volume += event.size
            assert event.volume == here.volume == volume


def test_a_market_is_decided_by_its_seed_and_time_alone() -> None:
    def events(seed: int, time_s: float = NOON_S) -> list[Quote | Trade]:
        here = market(seed=seed, time_s=time_s)
        return [here.step() for _ in range(200)]

    assert events(1) == events(1)
    assert events(1) != events(2)
    assert events(1, NOON_S + 10.0)[:100] == events(1)[40:140]


def test_a_market_that_fell_behind_goes_on_from_where_it_is_put() -> None:
    behind, fresh = market(), market(time_s=NOON_S + 3_600.5)
    behind.step()
    behind.seek(NOON_S + 3_600.5)
    assert behind.next_s is not None
    assert behind.next_s >= NOON_S + 3_600.5
    assert [behind.step() for _ in range(50)] == [fresh.step() for _ in range(50)]


def test_the_rows_of_a_book_lead_away_from_the_best_quote() -> None:
    here = market()
    bids, asks = ([here.level(side, position) for position in range(5)] for side in (1, 0))
    assert (bids[0], asks[0]) == ((here.bid, here.bid_size), (here.ask, here.ask_size))
    assert [price for price, _ in bids] == sorted({price for price, _ in bids}, reverse=True)
    assert [price for price, _ in asks] == sorted({price for price, _ in asks})
    assert all(size > 0 for _, size in bids + asks)


def test_contracts_match_by_what_is_given() -> None:
    by_isin = CATALOGUE.match(ContractSpec(sec_id_type="ISIN", sec_id="US0378331005", sec_type="STK"))
    assert [each.symbol for each in by_isin] == ["AAPL"]
    assert CATALOGUE.match(ContractSpec(con_id=265598, exchange="NASDAQ"))
    assert not CATALOGUE.match(ContractSpec(con_id=265598, exchange="LSE"))
    assert not CATALOGUE.match(ContractSpec(con_id=1))
    assert not CATALOGUE.match(ContractSpec(sec_type="STK", currency="USD"))
    assert not CATALOGUE.match(ContractSpec(symbol="AAPL", sec_type="STK", right="C"))
    assert len(CATALOGUE.match(ContractSpec(symbol="RY", sec_type="STK"))) == 2
    pair = CATALOGUE.match(ContractSpec(local_symbol="EUR.USD", sec_type="CASH", exchange="IDEALPRO"))
    assert [each.con_id for each in pair] == [12087792]


def test_con_ids_and_keys_are_unique() -> None:
    everything = CATALOGUE.all()
    assert len({each.con_id for each in everything}) == len(everything)
    assert len({each.key for each in everything}) == len(everything)
    with pytest.raises(ValueError, match="265598"):
        Catalogue(everything).add(
            Instrument(con_id=265598, symbol="X", sec_type="STK", exchange="SMART", currency="USD")
        )


def test_a_key_has_four_parts_and_the_symbol_may_hold_points() -> None:
    assert split_key("BRK.B.STK.SMART.USD") == ("BRK.B", "STK", "SMART", "USD")
    with pytest.raises(ValueError, match="AAPL"):
        split_key("AAPL")


def test_a_schedule_runs_what_is_due_in_order_and_skips_what_was_cancelled() -> None:
    ran: list[str] = []
    earlier: list[None] = []
    schedule = Schedule(lambda: earlier.append(None))
    schedule.at(2.0, lambda _: ran.append("two"))
    schedule.at(1.0, lambda _: ran.append("one"))
    schedule.at(1.0, lambda _: ran.append("one again"))
    schedule.at(1.5, lambda _: ran.append("never")).cancel()
    assert len(earlier) == 2
    assert schedule.run_due(1.9, at_most=1) is True
    assert schedule.run_due(1.9, at_most=9) is False
    assert (ran, schedule.next_s()) == (["one", "one again"], 2.0)
    assert schedule.run_due(2.0, at_most=9) is False
    assert (ran[-1], schedule.next_s()) == ("two", None)


def test_a_standing_clock_moves_only_forward_and_only_by_hand() -> None:
    clock = Clock(speed=0.0, start_s=100.0)
    clock.set(105.0)
    assert (clock.now_s(), clock.real_delay_s(105.0), clock.real_delay_s(106.0)) == (105.0, 0.0, float("inf"))
    with pytest.raises(ValueError, match="forward"):
        clock.set(104.0)
    fast = Clock(speed=1000.0, start_s=100.0)
    assert fast.real_delay_s(1_000_100.0) <= 1000.0
    assert fast.real_delay_s(None) == float("inf")
