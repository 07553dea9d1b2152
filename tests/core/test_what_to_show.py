from __future__ import annotations

import pytest

from ibkr_actor.core.history.what_to_show import for_bars, for_ticks


@pytest.mark.parametrize(
    ("sec_type", "bars", "ticks"),
    [
        ("STK", "TRADES", "TRADES"),
        ("FUT", "TRADES", "TRADES"),
        ("OPT", "TRADES", "TRADES"),
        ("IND", "TRADES", "TRADES"),
        ("BOND", "TRADES", "TRADES"),
        ("FUND", "TRADES", "TRADES"),
        ("CASH", "MIDPOINT", "MIDPOINT"),
        ("CFD", "MIDPOINT", "MIDPOINT"),
        ("CMDTY", "MIDPOINT", "MIDPOINT"),
        ("CRYPTO", "AGGTRADES", "TRADES"),
    ],
)
def test_each_type_of_security_has_its_own_data(sec_type: str, bars: str, ticks: str) -> None:
    assert (for_bars(sec_type), for_ticks(sec_type)) == (bars, ticks)


def test_what_was_asked_for_wins() -> None:
    assert for_bars("CASH", "bid_ask") == "BID_ASK"
    assert for_ticks("STK", "MIDPOINT") == "MIDPOINT"


def test_an_unknown_kind_is_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match="is not one of TRADES, MIDPOINT, BID"):
        for_bars("STK", "TRADE")
    with pytest.raises(ValueError, match="is not one of TRADES, BID_ASK, MIDPOINT"):
        for_ticks("STK", "ASK")
