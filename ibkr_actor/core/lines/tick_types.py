"""Owns IB's level-1 tick type numbers by name, and which of them make up the top of book.

Holds no values: merging them is `core.lines.quote`'s.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class TickType(IntEnum):
    """IB's number of each level-1 tick. Source: `ibapi.ticktype.TickTypeEnum` of 10.50.2, names unchanged."""

    BID_SIZE = 0
    BID = 1
    ASK = 2
    ASK_SIZE = 3
    LAST = 4
    LAST_SIZE = 5
    HIGH = 6
    LOW = 7
    VOLUME = 8
    CLOSE = 9
    BID_OPTION_COMPUTATION = 10
    ASK_OPTION_COMPUTATION = 11
    LAST_OPTION_COMPUTATION = 12
    MODEL_OPTION = 13
    OPEN = 14
    LOW_13_WEEK = 15
    HIGH_13_WEEK = 16
    LOW_26_WEEK = 17
    HIGH_26_WEEK = 18
    LOW_52_WEEK = 19
    HIGH_52_WEEK = 20
    AVG_VOLUME = 21
    OPEN_INTEREST = 22
    OPTION_HISTORICAL_VOL = 23
    OPTION_IMPLIED_VOL = 24
    OPTION_BID_EXCH = 25
    OPTION_ASK_EXCH = 26
    OPTION_CALL_OPEN_INTEREST = 27
    OPTION_PUT_OPEN_INTEREST = 28
    OPTION_CALL_VOLUME = 29
    OPTION_PUT_VOLUME = 30
    INDEX_FUTURE_PREMIUM = 31
    BID_EXCH = 32
    ASK_EXCH = 33
    AUCTION_VOLUME = 34
    AUCTION_PRICE = 35
    AUCTION_IMBALANCE = 36
    MARK_PRICE = 37
    BID_EFP_COMPUTATION = 38
    ASK_EFP_COMPUTATION = 39
    LAST_EFP_COMPUTATION = 40
    OPEN_EFP_COMPUTATION = 41
    HIGH_EFP_COMPUTATION = 42
    LOW_EFP_COMPUTATION = 43
    CLOSE_EFP_COMPUTATION = 44
    LAST_TIMESTAMP = 45
    SHORTABLE = 46
    NOT_USED = 47
    RT_VOLUME = 48
    HALTED = 49
    BID_YIELD = 50
    ASK_YIELD = 51
    LAST_YIELD = 52
    CUST_OPTION_COMPUTATION = 53
    TRADE_COUNT = 54
    TRADE_RATE = 55
    VOLUME_RATE = 56
    LAST_RTH_TRADE = 57
    RT_HISTORICAL_VOL = 58
    IB_DIVIDENDS = 59
    BOND_FACTOR_MULTIPLIER = 60
    REGULATORY_IMBALANCE = 61
    NEWS_TICK = 62
    SHORT_TERM_VOLUME_3_MIN = 63
    SHORT_TERM_VOLUME_5_MIN = 64
    SHORT_TERM_VOLUME_10_MIN = 65
    DELAYED_BID = 66
    DELAYED_ASK = 67
    DELAYED_LAST = 68
    DELAYED_BID_SIZE = 69
    DELAYED_ASK_SIZE = 70
    DELAYED_LAST_SIZE = 71
    DELAYED_HIGH = 72
    DELAYED_LOW = 73
    DELAYED_VOLUME = 74
    DELAYED_CLOSE = 75
    DELAYED_OPEN = 76
    RT_TRD_VOLUME = 77
    CREDITMAN_MARK_PRICE = 78
    CREDITMAN_SLOW_MARK_PRICE = 79
    DELAYED_BID_OPTION = 80
    DELAYED_ASK_OPTION = 81
    DELAYED_LAST_OPTION = 82
    DELAYED_MODEL_OPTION = 83
    LAST_EXCH = 84
    LAST_REG_TIME = 85
    FUTURES_OPEN_INTEREST = 86
    AVG_OPT_VOLUME = 87
    DELAYED_LAST_TIMESTAMP = 88
    SHORTABLE_SHARES = 89
    DELAYED_HALTED = 90
    REUTERS_2_MUTUAL_FUNDS = 91
    ETF_NAV_CLOSE = 92
    ETF_NAV_PRIOR_CLOSE = 93
    ETF_NAV_BID = 94
    ETF_NAV_ASK = 95
    ETF_NAV_LAST = 96
    ETF_FROZEN_NAV_LAST = 97
    ETF_NAV_HIGH = 98
    ETF_NAV_LOW = 99
    SOCIAL_MARKET_ANALYTICS = 100
    ESTIMATED_IPO_MIDPOINT = 101
    FINAL_IPO_LAST = 102
    DELAYED_YIELD_BID = 103
    DELAYED_YIELD_ASK = 104
    ODD_LOT_BID = 105
    ODD_LOT_ASK = 106
    ODD_LOT_BID_SIZE = 107
    ODD_LOT_ASK_SIZE = 108
    ODD_LOT_BID_EXCH = 109
    ODD_LOT_ASK_EXCH = 110


# Prices and sizes that make up the top of book, live and delayed: these become `quote`, all others `tick`.
# Plain ints, since they are looked up for every tick.
QUOTE_PRICES: Final = frozenset(
    int(tick_type)
    for tick_type in (
        TickType.BID,
        TickType.ASK,
        TickType.LAST,
        TickType.DELAYED_BID,
        TickType.DELAYED_ASK,
        TickType.DELAYED_LAST,
    )
)
QUOTE_SIZES: Final = frozenset(
    int(tick_type)
    for tick_type in (
        TickType.BID_SIZE,
        TickType.ASK_SIZE,
        TickType.LAST_SIZE,
        TickType.VOLUME,
        TickType.DELAYED_BID_SIZE,
        TickType.DELAYED_ASK_SIZE,
        TickType.DELAYED_LAST_SIZE,
        TickType.DELAYED_VOLUME,
    )
)
# Source: IBKR, TWS API, "Halted": 1 for a regulatory, 2 for a volatility halt, 0 for none, -1 where it is not known.
HALTED_TICKS: Final = frozenset({int(TickType.HALTED), int(TickType.DELAYED_HALTED)})
# Data that come late, and so tell the feed of a line even before IB has named it.
DELAYED_TICKS: Final = frozenset(int(tick_type) for tick_type in TickType if tick_type.name.startswith("DELAYED_"))
# The price an option computation is made of, one of `schema.records.GREEKS_SOURCES`.
GREEKS_SOURCE_OF: Final[dict[int, str]] = {
    int(TickType.BID_OPTION_COMPUTATION): "bid",
    int(TickType.ASK_OPTION_COMPUTATION): "ask",
    int(TickType.LAST_OPTION_COMPUTATION): "last",
    int(TickType.MODEL_OPTION): "model",
    int(TickType.CUST_OPTION_COMPUTATION): "custom",
    int(TickType.DELAYED_BID_OPTION): "bid",
    int(TickType.DELAYED_ASK_OPTION): "ask",
    int(TickType.DELAYED_LAST_OPTION): "last",
    int(TickType.DELAYED_MODEL_OPTION): "model",
}
