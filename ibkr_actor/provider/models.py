"""Owns market-data-core's quote, bar and trade with what they leave out: which contract, and sizes that are not whole.

Each is the model of market-data-core for whoever expects that one; converts nothing.
"""

from __future__ import annotations

from decimal import Decimal

from market_data_core import Bar, Quote, Trade
from pydantic import Field

# Core counts sizes in whole units. Half a coin is no 0 coins, so ours are wider; a whole size is an int as ever.
Size = int | Decimal


class IBKRQuote(Quote):
    """A quote; `instrument` is the canonical id, which tells apart what has the same symbol."""

    bid_size: Size | None = Field(default=None, description="Bid size")  # type: ignore[assignment]  # wider on purpose
    ask_size: Size | None = Field(default=None, description="Ask size")  # type: ignore[assignment]  # wider on purpose
    volume: Size = Field(default=0, description="Volume of the day")  # type: ignore[assignment]  # wider on purpose
    con_id: int = Field(default=0, description="IB's number of the contract")
    instrument: str = Field(default="", description="Canonical id of the contract")


class IBKRBar(Bar):
    """A bar, whose `ts` is its end."""

    con_id: int = Field(default=0, description="IB's number of the contract")
    instrument: str = Field(default="", description="Canonical id of the contract")


class IBKRTrade(Trade):
    """A trade."""

    size: Size = Field(..., description="Trade size")  # type: ignore[assignment]  # wider on purpose
    con_id: int = Field(default=0, description="IB's number of the contract")
    instrument: str = Field(default="", description="Canonical id of the contract")
