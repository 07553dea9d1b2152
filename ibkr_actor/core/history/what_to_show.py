"""Owns which data bars and ticks are made of: what each type of security has.

Must not send; the history core asks here.
"""

from __future__ import annotations

from typing import Final

# Source: IBKR, Historical Bar Whattoshow.
BARS: Final = (
    "TRADES",
    "MIDPOINT",
    "BID",
    "ASK",
    "BID_ASK",
    "ADJUSTED_LAST",
    "HISTORICAL_VOLATILITY",
    "OPTION_IMPLIED_VOLATILITY",
    "FEE_RATE",
    "YIELD_BID",
    "YIELD_ASK",
    "YIELD_BID_ASK",
    "YIELD_LAST",
    "AGGTRADES",
)
# Source: IBKR, reqHistoricalTicks.
TICKS: Final = ("TRADES", "BID_ASK", "MIDPOINT")
# What is quoted and not traded there has a midpoint only; crypto trades are aggregated (error 10299 says so); a
# combination has no tape of its own. Source: IBKR, "Available Data Per Product".
_USUAL: Final = {
    "CASH": "MIDPOINT",
    "CFD": "MIDPOINT",
    "CMDTY": "MIDPOINT",
    "BAG": "MIDPOINT",
    "CRYPTO": "AGGTRADES",
}


def for_bars(sec_type: str, wanted: str = "") -> str:
    """What to ask for; `wanted` wins in any case of letters.

    Raises: ValueError when `wanted` is not a kind of data bars have.
    """
    return _checked(wanted, BARS) or _USUAL.get(sec_type, "TRADES")


def for_ticks(sec_type: str, wanted: str = "") -> str:
    """The same for historical ticks, which know three kinds only."""
    usual = _USUAL.get(sec_type, "TRADES")
    return _checked(wanted, TICKS) or (usual if usual in TICKS else "TRADES")


def _checked(wanted: str, legal: tuple[str, ...]) -> str:
    text = wanted.upper()
    if text and text not in legal:
        raise ValueError(f"what_to_show {wanted!r} is not one of {', '.join(legal)}")
    return text
