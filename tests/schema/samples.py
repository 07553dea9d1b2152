"""One full record of every kind, with literal values: what the golden files and round trips are made of."""

from __future__ import annotations

from ibkr_actor.schema.records import (
    AnyRecord,
    Bar,
    Bars,
    BidAsk,
    ChainWindow,
    Computed,
    Depth,
    Done,
    End,
    Gap,
    Greeks,
    Hole,
    MidPoint,
    News,
    Option,
    Quote,
    Reset,
    Roll,
    System,
    Tick,
    Ticks,
    Trade,
)

RECEIVED = 1_767_225_600_123_456_789
SOURCE = 1_767_225_600_000_000_000
COMMON = (1_767_225_599, 42, 265598, RECEIVED)

SAMPLES: dict[str, AnyRecord] = {
    "quote": Quote(*COMMON, None, 1, 0, 189.5, 189.52, None, "100", "2", None, "1234567.5", 1),
    "tick": Tick(*COMMON, None, 3, 8, 45, "1767225600"),
    "trade": Trade(*COMMON, SOURCE, 1, 0, -37.63, "0.0001", "ARCA", " T I", False, True),
    "bidask": BidAsk(*COMMON, SOURCE, 1, 0, 0.0, 1.25, "1000000", "5", True, False),
    "midpoint": MidPoint(*COMMON, SOURCE, 1, 0, 1.08765),
    "bar": Bar(
        *COMMON, None, 1, 2, SOURCE, SOURCE + 5_000_000_000, 1.0, 2.0, 0.5, 1.5, "7", "1.25", 3, True, 0, "TRADES", None
    ),
    "greeks": Greeks(*COMMON, None, 1, 0, "model", 0.25, 0.5, 0.01, 0.1, -0.02, 5.5, None, 190.0),
    "news": News(*COMMON, SOURCE, 1, 0, "BRFG", "BRFG$04507322", "Apple beats, shares rise", "K:0.54"),
    "option": Option(
        *COMMON,
        None,
        3,
        0,
        "AAPL.OPT.SMART.USD.20261218.C.230.AAPL",
        "20261218",
        "C",
        230.0,
        0.0,
        8.1,
        None,
        "12",
        "7",
        None,
        "1234",
        "20500",
        7.9,
        0.25,
        0.46,
        0.012,
        0.31,
        -0.08,
        8.02,
        0.0,
        227.5,
        Computed(None, None, None, None, None, 0.0, None, 227.5),
        Computed(0.26, 0.461, 0.012, 0.312, -0.081, 8.1, 0.0, 227.5),
        None,
        True,
    ),
    "chain": ChainWindow(*COMMON, None, 1, 0, "opened", -3.5, ["20261218"], [-5.0, 0.0, 2.5], "CP", 5, 4, 2.5, 1),
    "depth": Depth(*COMMON, None, 1, 0, "bid", 2, "update", -0.25, "0.5", "NSDQ", True),
    "depth.snapshot": Depth(
        *COMMON, None, 1, 8, None, None, "snapshot", None, None, None, False, [(0.0, "7", None)], [(None, None, "NSDQ")]
    ),
    "bars": Bars(
        *COMMON,
        None,
        1,
        0,
        "TRADES",
        "1d",
        [
            (SOURCE, SOURCE + 23_400_000_000_000, -1.5, 2.0, -3.25, 0.0, "7", "1.25", 3, "20260105"),
            (RECEIVED, RECEIVED + 1, None, None, None, None, None, None, None, None),
        ],
    ),
    "ticks": Ticks(*COMMON, None, 1, 0, "TRADES", [[SOURCE, -37.63, "0.0001", "ARCA", " T I", False, True]]),
    "done": Done(
        *COMMON,
        None,
        1,
        0,
        "incomplete",
        12_000,
        24,
        4,
        1,
        SOURCE,
        RECEIVED,
        [Hole(SOURCE, SOURCE + 5, "no_data", "HMDS query returned no data", 162)],
        "a part could not be had",
    ),
    "gap": Gap(*COMMON, None, 1, 0, "disconnect", SOURCE, RECEIVED, 40, 3, False),
    "roll": Roll(*COMMON, None, 1, 0, 495512563, 495512566, "ESU6", "ESZ6", RECEIVED),
    "reset": Reset(*COMMON, None, 1, 0, "start", 1_767_225_000, 41, "1767225590000-0"),
    "end": End(*COMMON, None, 1, 0, "no_holders"),
    "system": System(
        1_767_225_599, 7, RECEIVED, "farm", "down", "usfarm", "Data farm usfarm: market data farm broken.", 2103, 2
    ),
}
