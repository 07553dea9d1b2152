"""Owns what is known of exchanges apart from contracts: price increments, letters of the tape, and books.

Must not know instruments; they name a market rule by its id.
"""

from __future__ import annotations

from typing import NamedTuple


class PriceIncrement(NamedTuple):
    """From `low_edge` on prices move by `increment`."""

    low_edge: float
    increment: float


class SmartComponent(NamedTuple):
    """One exchange of a consolidated quote: its bit, and the letter in the exchange strings of ticks 32, 33 and 84."""

    bit_number: int
    exchange: str
    exchange_letter: str


class DepthExchange(NamedTuple):
    """A book that can be asked for; `service_data_type` Deep2 has market makers, Deep has none."""

    exchange: str
    sec_type: str
    listing_exchange: str = ""
    service_data_type: str = "Deep"
    agg_group: int = 2**31 - 1


# Ids 26, 32, 67, 109, 110 and 239 are IB's; those from 1000 on are this simulator's.
MARKET_RULES: dict[int, tuple[PriceIncrement, ...]] = {
    3: (PriceIncrement(0.0, 0.005),),
    26: (PriceIncrement(0.0, 0.01),),
    32: (PriceIncrement(0.0, 0.1),),
    67: (PriceIncrement(0.0, 0.25),),
    109: (PriceIncrement(0.0, 0.05),),
    110: (PriceIncrement(0.0, 0.5),),
    239: (PriceIncrement(0.0, 0.00005),),
    240: (PriceIncrement(0.0, 0.0001),),
    1001: (PriceIncrement(0.0, 0.001),),
    1002: (PriceIncrement(0.0, 1.0),),
    # The spread table of SEHK, shortened; the tick size table of Xetra for liquid shares.
    2201: tuple(
        PriceIncrement(*row)
        for row in ((0.0, 0.001), (0.25, 0.005), (0.5, 0.01), (10.0, 0.02), (20.0, 0.05), (100.0, 0.1), (200.0, 0.2),
                    (500.0, 0.5), (1000.0, 1.0), (2000.0, 2.0), (5000.0, 5.0))
    ),
    2202: tuple(
        PriceIncrement(*row)
        for row in ((0.0, 0.001), (5.0, 0.002), (10.0, 0.005), (20.0, 0.01), (50.0, 0.02), (100.0, 0.05), (200.0, 0.1))
    ),
}  # fmt: skip

US_BBO_EXCHANGE = "9c0001"
_US_LETTERS = (
    ("AMEX", "A"), ("BEX", "B"), ("NYSENAT", "C"), ("ISE", "I"), ("EDGEA", "J"), ("DRCTEDGE", "K"), ("LTSE", "L"),
    ("CHX", "M"), ("NYSE", "N"), ("ARCA", "P"), ("NASDAQ", "Q"), ("MEMX", "U"), ("IEX", "V"), ("CBOE", "W"),
    ("PSX", "X"), ("BYX", "Y"), ("BATS", "Z"), ("PEARL", "H"),
)  # fmt: skip
# Key: the code a client finds in tickReqParams.
SMART_COMPONENTS: dict[str, tuple[SmartComponent, ...]] = {
    US_BBO_EXCHANGE: tuple(SmartComponent(bit, *row) for bit, row in enumerate(_US_LETTERS)),
    "9c0002": (SmartComponent(0, "TSE", "T"), SmartComponent(1, "CHIX", "X"), SmartComponent(2, "ALPHA", "A")),
    "9c0003": (SmartComponent(0, "IBIS", "E"), SmartComponent(1, "FWB", "F"), SmartComponent(2, "GETTEX", "G")),
}

DEPTH_EXCHANGES: tuple[DepthExchange, ...] = (
    *(
        DepthExchange(venue, "STK", agg_group=1)
        for venue in ("ARCA", "BATS", "BYX", "BEX", "DRCTEDGE", "EDGEA", "MEMX")
    ),
    *(DepthExchange(venue, "STK", service_data_type="Deep2", agg_group=1) for venue in ("NASDAQ", "IEX", "NYSE")),
    *(DepthExchange(venue, "STK") for venue in ("SEHK", "IBIS", "TSE", "CHIX", "ALPHA")),
    *(DepthExchange(venue, "FUT") for venue in ("CME", "NYMEX", "COMEX", "EUREX")),
    DepthExchange("CME", "FOP"),
    DepthExchange("FWB", "WAR"),
    DepthExchange("IDEALPRO", "CASH", agg_group=4),
)
