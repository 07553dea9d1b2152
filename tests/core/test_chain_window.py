"""The wish for a chain in words, its expiries, and the window that follows the price without flapping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.core.chains.window import (
    ChainSpec,
    Window,
    chain_name,
    choose_expiries,
    read_spec,
    today,
    until_roll_s,
)
from ibkr_actor.schema.reference_commands import Chain
from tests.core.kit import at

AAPL = "AAPL.STK.SMART.USD"
LISTED = ["20260102", "20260109", "20260116", "20260220"]


def test_without_a_range_the_window_is_a_fifth_to_either_side() -> None:
    spec = read_spec(Chain(instrument="AAPL"))
    assert (spec.expiry, spec.moneyness, spec.strike_range, spec.rights) == ("nearest", 0.2, None, "CP")
    fixed = read_spec(Chain(instrument="AAPL", strike_range=(90.0, 110.0)))
    assert (fixed.moneyness, fixed.strike_range) == (None, (90.0, 110.0))


def test_equal_wishes_have_one_name_and_no_name_breaks_a_key() -> None:
    days = Chain(instrument="AAPL", expiry=["20260116", "20260109", "20260109"], right="P", trading_class="AAPL")
    assert chain_name(AAPL, read_spec(days)) == f"{AAPL}~20260109+20260116~P~m0.2~cAAPL"
    both = Chain(instrument="AAPL", expiry=3, strike_range=(-5.0, 62.5), moneyness_range=0.1, exchange="CBOE")
    assert chain_name(AAPL, read_spec(both)) == f"{AAPL}~3~CP~s-5to62.5~m0.1~xCBOE"


@pytest.mark.parametrize(
    ("expiry", "meant"),
    [
        ("nearest", ["20260109"]),
        ("all", ["20260109", "20260116", "20260220"]),
        (2, ["20260109", "20260116"]),
        (("20260102", "20260220"), ["20260220"]),
        (("20260117",), []),
    ],
)
def test_expiries_that_are_over_are_never_meant(expiry: str | int | tuple[str, ...], meant: list[str]) -> None:
    assert choose_expiries(expiry, LISTED, "20260105") == meant


def test_the_window_stays_where_it_is_until_the_price_has_moved_enough() -> None:
    window = Window(ChainSpec("nearest", "both", None, 0.1))
    strikes = [float(strike) for strike in range(80, 121)]
    assert window.strikes(strikes, None) == []
    assert window.follow(100.0)
    assert window.strikes(strikes, 100.0) == [float(strike) for strike in range(90, 111)]
    # A tenth of the half width, 1.0, is not enough; more is. It does not come back for less either.
    assert [window.follow(price) for price in (100.9, 99.1, 101.0, 100.0)] == [False] * 4
    assert window.follow(101.1)
    assert not window.follow(100.2)
    assert window.strikes(strikes, 101.1)[0] == 91.0


def test_both_ranges_mean_what_lies_in_both() -> None:
    window = Window(ChainSpec("nearest", "both", (95.0, 200.0), 0.1))
    window.follow(100.0)
    assert window.strikes([90.0, 95.0, 100.0, 105.0, 120.0], 100.0) == [95.0, 100.0, 105.0]


def test_a_range_far_from_the_price_holds_nothing_until_the_price_is_near() -> None:
    window = Window(ChainSpec("nearest", "both", (140.0, 200.0), 0.1))
    window.follow(100.0)
    assert window.strikes([140.0, 145.0, 200.0], 100.0) == []
    window.follow(130.0)
    assert window.strikes([140.0, 145.0, 200.0], 130.0) == [140.0]


prices = st.floats(0.01, 10_000.0, allow_nan=False)


@given(st.lists(st.floats(0.01, 10_000.0), min_size=1, max_size=40, unique=True), st.lists(prices, min_size=1),
       st.floats(0.001, 5.0))  # fmt: skip
def test_the_window_always_covers_the_price(listed: list[float], path: list[float], moneyness: float) -> None:
    strikes = sorted(listed)
    window = Window(ChainSpec("nearest", "both", None, moneyness))
    for price in path:
        window.follow(price)
        chosen = window.strikes(strikes, price)
        assert chosen == sorted(set(chosen))
        # The strikes next to the price on either side, as far as there are any.
        below = [strike for strike in strikes if strike <= price]
        above = [strike for strike in strikes if strike >= price]
        assert not below or below[-1] in chosen
        assert not above or above[0] in chosen
        # And everything near it: the price is never further from the middle than a tenth of the half width.
        assert window.anchor is not None
        assert abs(price - window.anchor) <= 0.1 * moneyness * window.anchor + 1e-9


def test_a_day_of_expiries_is_over_at_five_in_utc() -> None:
    five = at(5 * 3600).ns
    assert (today(five - 1), today(five)) == ("20251231", "20260101")
    assert until_roll_s(five - 1_000_000_000) == 1
    assert until_roll_s(five) == 86_400
