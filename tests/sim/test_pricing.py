"""Owns the proof that the formulas agree with published figures, with each other and with their own derivatives.

Must not know a market.
"""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.pricing import derived_price, forward, greeks, implied_vol, price, years_to

SPOTS = st.floats(20.0, 400.0)
STRIKES = st.floats(20.0, 400.0)
YEARS = st.floats(0.002, 3.0)
VOLS = st.floats(0.05, 1.5)
RIGHTS = st.sampled_from(("C", "P"))
CARRIES = st.sampled_from((None, 0.0, 0.02, -0.01))


def test_textbook_prices_come_out() -> None:
    # J. Hull, Options, Futures and Other Derivatives: spot 42, strike 40, 10 %, 20 %, half a year.
    assert price(42, 40, 0.5, 0.2, "C", 0.1) == pytest.approx(4.76, abs=0.005)
    assert price(42, 40, 0.5, 0.2, "P", 0.1) == pytest.approx(0.81, abs=0.005)
    # The same book, Black's model: future 20, strike 20, 9 %, 25 %, four months.
    assert price(20, 20, 4 / 12, 0.25, "P", 0.09, 0.0) == pytest.approx(1.12, abs=0.005)


@given(SPOTS, STRIKES, YEARS, VOLS, CARRIES)
@settings(max_examples=100, deadline=None)
def test_a_call_less_a_put_is_the_discounted_forward_less_the_strike(
    spot: float, strike: float, years: float, vol: float, carry: float | None
) -> None:
    parity = price(spot, strike, years, vol, "C", 0.04, carry) - price(spot, strike, years, vol, "P", 0.04, carry)
    ahead = forward(spot, years, 0.04 if carry is None else carry)
    assert parity == pytest.approx(forward(ahead - strike, years, -0.04), abs=1e-9)


@given(SPOTS, STRIKES, YEARS, VOLS, RIGHTS, CARRIES)
@settings(max_examples=100, deadline=None)
def test_greeks_are_the_derivatives_of_the_price(
    spot: float, strike: float, years: float, vol: float, right: str, carry: float | None
) -> None:
    def at(spot: float, years: float, vol: float) -> float:
        return price(spot, strike, years, vol, right, 0.04, carry)

    it = greeks(spot, strike, years, vol, right, 0.04, carry)
    step = spot * 1e-5
    up, down, here = at(spot + step, years, vol), at(spot - step, years, vol), at(spot, years, vol)
    scale = max(1.0, it.gamma * spot)
    assert it.delta == pytest.approx((up - down) / (2 * step), abs=1e-4 * scale)
    beside = greeks(spot + step, strike, years, vol, right, 0.04, carry).delta
    before = greeks(spot - step, strike, years, vol, right, 0.04, carry).delta
    assert it.gamma == pytest.approx((beside - before) / (2 * step), rel=1e-3, abs=1e-6)
    assert it.vega == pytest.approx((at(spot, years, vol + 1e-5) - at(spot, years, vol - 1e-5)) / 2e-5 / 100, abs=1e-4)
    passed = years * 1e-5
    slope = (at(spot, years - passed, vol) - at(spot, years + passed, vol)) / (2 * passed)
    assert it.theta == pytest.approx(slope / 365, rel=1e-3, abs=1e-4)
    assert here >= 0.0


@given(SPOTS, STRIKES, YEARS, VOLS, RIGHTS)
@settings(max_examples=60, deadline=None)
def test_the_implied_volatility_gives_the_price_back(
    spot: float, strike: float, years: float, vol: float, right: str
) -> None:
    worth = price(spot, strike, years, vol, right)
    found = implied_vol(worth, spot, strike, years, right)
    assert found is not None
    assert price(spot, strike, years, found, right) == pytest.approx(worth, abs=1e-6)


@given(st.lists(SPOTS, min_size=2), STRIKES, YEARS, VOLS)
@settings(max_examples=60, deadline=None)
def test_prices_follow_the_underlying_one_way(spots: list[float], strike: float, years: float, vol: float) -> None:
    spots.sort()
    calls = [round(price(spot, strike, years, vol, "C"), 9) for spot in spots]
    puts = [round(price(spot, strike, years, vol, "P"), 9) for spot in spots]
    assert calls == sorted(calls)
    assert puts == sorted(puts, reverse=True)


def test_a_price_no_volatility_gives_has_none() -> None:
    assert implied_vol(300.0, 200.0, 210.0, 0.5, "C") is None
    assert implied_vol(1.0, 200.0, 150.0, 0.5, "C") is None
    assert implied_vol(1.0, 200.0, 150.0, 0.0, "C") is None


def test_an_option_past_its_last_day_is_worth_its_exercise() -> None:
    day = datetime.date(2026, 12, 19)
    assert years_to("20261218", day) == 0.0
    assert years_to("20261218", datetime.date(2026, 12, 18)) == pytest.approx(0.5 / 365)
    option = Instrument(
        con_id=1, symbol="X", sec_type="OPT", exchange="SMART", currency="USD", expiry="20261218", strike=90.0,
        right="P", price_model="option", price_con_id=2,
    )  # fmt: skip
    assert derived_price(option, 80.0, day) == 10.0
    assert greeks(80.0, 90.0, 0.0, 0.2, "P") == (-1.0, 0.0, 0.0, 0.0)


def test_a_future_meets_its_spot_at_the_end() -> None:
    future = Instrument(
        con_id=1, symbol="X", sec_type="FUT", exchange="CME", currency="USD", expiry="20261218",
        price_model="forward", price_con_id=2, carry_rate=0.03,
    )  # fmt: skip
    assert derived_price(future, 100.0, datetime.date(2025, 12, 18)) == pytest.approx(103.05, abs=0.01)
    assert derived_price(future, 100.0, datetime.date(2026, 12, 18)) == pytest.approx(100.0, abs=0.01)
    with pytest.raises(ValueError, match="own"):
        derived_price(
            Instrument(con_id=1, symbol="X", sec_type="STK", exchange="SMART", currency="USD"),
            1.0,
            datetime.date(2026, 1, 1),
        )
