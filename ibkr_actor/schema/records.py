"""Records: what stands in the data streams and in `system`, as tagged Structs.

On msgpack a record is a positional array `[tag, epoch, seq, ...]`; fields are only ever appended, with defaults.
Every data record begins with the common eight (tag included). `epoch` and `seq` are 0 until the publisher stamps them.
Units: `*_ns` are UTC nanoseconds since 1970; prices are float64 in the contract's currency; sizes and volumes are text,
the shortest plain decimal; null means unknown.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ibkr_actor.schema.board_records import Bulletin as Bulletin
from ibkr_actor.schema.board_records import Ranked as Ranked
from ibkr_actor.schema.board_records import Ranking as Ranking
from ibkr_actor.schema.record_base import Record as Record

FEED_LIVE: Final = 1
FEED_FROZEN: Final = 2
FEED_DELAYED: Final = 3
FEED_DELAYED_FROZEN: Final = 4

FLAG_REFILLED: Final = 1
FLAG_BUILT: Final = 2
FLAG_FALLBACK: Final = 4
FLAG_SNAPSHOT: Final = 8
# Of a gap that newer records stand behind already.
FLAG_LATE: Final = 16

GAP_CAUSES: Final = (
    "disconnect",
    "farm",
    "competing_session",
    "overflow",
    "conflated",
    "restart",
    "stall",
    "bust",
    "no_history",
    "evicted",
)
# `custom` is IB's answer to a computation with a price or volatility of the caller's.
GREEKS_SOURCES: Final = ("bid", "ask", "last", "model", "custom")
# `opened`: the first; `spot`: the underlying moved; `expiry`: contracts came or went; `lines`: more or fewer lines;
# `refused`: IB refused members.
CHAIN_REASONS: Final = ("opened", "spot", "expiry", "lines", "refused", "empty")
END_REASONS: Final = ("no_holders", "failed", "expired")


class Quote(Record, tag="quote", array_like=True, gc=False):
    """Merged top of book after one IB price or size message. `changed` is the IB tick type that caused it."""

    bid: float | None
    ask: float | None
    last: float | None
    bid_size: str | None
    ask_size: str | None
    last_size: str | None
    volume: str | None
    changed: int


class Tick(Record, tag="tick", array_like=True, gc=False):
    """Any other level-1 tick. `tick_type` is IB's number; `value` a float, IB's text, or null."""

    tick_type: int
    value: float | str | None


class Trade(Record, tag="trade", array_like=True, gc=False):
    """Tick-by-tick Last or AllLast (streams `trade` and `alltrade`)."""

    price: float | None
    size: str | None
    exchange: str
    conditions: str
    past_limit: bool
    unreported: bool


class BidAsk(Record, tag="bidask", array_like=True, gc=False):
    """Tick-by-tick BidAsk."""

    bid: float | None
    ask: float | None
    bid_size: str | None
    ask_size: str | None
    bid_past_low: bool
    ask_past_high: bool


class MidPoint(Record, tag="midpoint", array_like=True, gc=False):
    """Tick-by-tick MidPoint."""

    price: float | None


class Bar(Record, tag="bar", array_like=True, gc=False):
    """A bar over [start_ns, end_ns). `count` is the number of trades; `session_date` is YYYYMMDD for daily bars."""

    start_ns: int
    end_ns: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None
    wap: str | None
    count: int | None
    final: bool
    revision: int
    what_to_show: str
    session_date: str | None = None


class Greeks(Record, tag="greeks", array_like=True, gc=False):
    """An option computation: what IB makes of the price that `source` names, one of `GREEKS_SOURCES`."""

    source: str
    implied_vol: float | None
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    option_price: float | None
    pv_dividend: float | None
    underlying_price: float | None


class News(Record, tag="news", array_like=True, gc=False):
    """A headline about an instrument, at `source_ns`; `news_article` answers the text behind it."""

    provider: str
    article_id: str
    headline: str
    extra: str


class Computed(Struct, array_like=True, frozen=True, gc=False):
    """What IB computes of an option from one price; null what it could not."""

    implied_vol: float | None
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    option_price: float | None
    pv_dividend: float | None
    underlying_price: float | None


class Option(Record, tag="option", array_like=True, gc=False):
    """All that is known of one member of a chain, after a burst of data; `con_id` is the option's.

    `implied_vol` to `underlying_price` are IB's model; what it makes of the bid, the ask and the last price stands in
    the three after them. `on_line` is false in the last record of a member's turn: from then on its values age.
    """

    instrument: str
    expiry: str
    right: str
    strike: float
    bid: float | None
    ask: float | None
    last: float | None
    bid_size: str | None
    ask_size: str | None
    last_size: str | None
    volume: str | None
    open_interest: str | None
    close: float | None
    implied_vol: float | None
    delta: float | None
    gamma: float | None
    vega: float | None
    theta: float | None
    option_price: float | None
    pv_dividend: float | None
    underlying_price: float | None
    bid_greeks: Computed | None
    ask_greeks: Computed | None
    last_greeks: Computed | None
    on_line: bool


class ChainWindow(Record, tag="chain", array_like=True, gc=False):
    """What a chain consists of from here on; `con_id` is the underlying's. Each such record replaces the one before.

    `reason` is one of `CHAIN_REASONS`, `spot` the underlying's price the window is laid around. Its members are the
    options of `expiries` and `strikes` (both ascending) that are listed, `members` of them, with the `rights` C, P or
    both; `left_out` more are in the window but were refused by IB. `lines` of them have data at a time; when that is
    less than all, each has its turn within `rotation_s`, else that is 0; null without any line. While the window holds
    no listed option (`reason` empty) there are none of all these, until the price moves.
    """

    reason: str
    spot: float | None
    expiries: list[str]
    strikes: list[float]
    rights: str
    members: int
    lines: int
    rotation_s: float | None
    left_out: int = 0


class Depth(Record, tag="depth", array_like=True, gc=False):
    """A change of one row of an order book, or the whole book.

    `operation` is insert, update, delete or snapshot; `side` bid or ask. A snapshot has no row but `bids` and `asks`,
    best first, each row [price, size, market_maker]; it replaces all that was known before. A change has none of both.
    An insert moves the rows at and behind `position` (0 is the best) back by one, a delete moves those behind it up.
    `market_maker` is who stands in the row, or in a smart book the exchange.
    """

    side: str | None
    position: int | None
    operation: str
    price: float | None
    size: str | None
    market_maker: str | None
    smart: bool
    bids: list[tuple[float | None, str | None, str | None]] | None = None
    asks: list[tuple[float | None, str | None, str | None]] | None = None


BarRow = tuple[
    int, int, float | None, float | None, float | None, float | None, str | None, str | None, int | None, str | None
]


class Bars(Record, tag="bars", array_like=True, gc=False):
    """Up to 500 bars of a history job, oldest first; one entry of `history:<job>`. `seq` counts the job's entries.

    A row is [start_ns, end_ns, open, high, low, close, volume, wap, count, session_date], as in `bar`.
    """

    what_to_show: str
    bar: str
    rows: list[BarRow]


class Ticks(Record, tag="ticks", array_like=True, gc=False):
    """Up to 500 ticks of a history job, oldest first; `time_ns` of a row is a whole second.

    A row is [time_ns, price, size, exchange, conditions, past_limit, unreported] for TRADES, [time_ns, price] for
    MIDPOINT, and [time_ns, bid, ask, bid_size, ask_size, bid_past_low, ask_past_high] for BID_ASK.
    """

    what_to_show: str
    rows: list[list[int | float | str | bool | None]]


class Hole(Struct, array_like=True, frozen=True):
    """A part of a job's interval for which there is nothing, and why (`no_data`, `no_permission`, `too_old`, ...)."""

    from_ns: int
    to_ns: int
    reason: str
    message: str = ""
    ib_code: int | None = None


class Done(Record, tag="done", array_like=True, gc=False):
    """Closes `history:<job>`. `outcome` is complete, incomplete (see `holes`), failed or cancelled.

    `rows` counts all bars or ticks delivered, `requests` what IB was asked for them, `cached` the windows it was not.
    """

    outcome: str
    rows: int
    entries: int
    requests: int
    cached: int
    from_ns: int | None
    to_ns: int | None
    holes: list[Hole]
    message: str = ""


class Gap(Record, tag="gap", array_like=True, gc=False):
    """An announced loss in this stream: the interval, and the records dropped when they were counted.

    `first_seq`..`seq` were dropped here when `lost` counts our own records; `lost` is null when IB did not say.
    """

    cause: str
    from_ns: int | None
    to_ns: int | None
    first_seq: int | None = None
    lost: int | None = None
    refilled: bool = False


class Reset(Record, tag="reset", array_like=True, gc=False):
    """The first record of a stream in each epoch, and the proof of what the last one held."""

    reason: str
    prev_epoch: int | None
    prev_seq: int | None
    prev_id: str | None


class Roll(Record, tag="roll", array_like=True, gc=False):
    """From here on a continuous future's stream shows another future, whose con_id its records bear.

    The symbols are IB's local ones (ESZ6). `at_ns` is when it was decided.
    """

    from_con_id: int
    to_con_id: int
    from_symbol: str
    to_symbol: str
    at_ns: int


class End(Record, tag="end", array_like=True, gc=False):
    """Closes a stream whose line is given back. `reason` is one of `END_REASONS`."""

    reason: str


class System(Struct, tag="system", array_like=True, tag_field="tag", gc=False):
    """One change of connection, farm, subscription, gap, pacing or leader, for the `system` stream.

    `topic` is one of connection, farm, subscription, gap, pacing, leader, redis, command; `event` a past fact in
    snake_case (`connected`, `lost`, `starved`, ...); `subject` what it is about (a farm, `kind:instrument`, ...);
    `message` one plain sentence for a person; `code` the IB code when one caused it.
    """

    epoch: int
    seq: int
    at_ns: int
    topic: str
    event: str
    subject: str
    message: str
    code: int | None = None
    conn: int | None = None


DataRecord = (
    Quote
    | Tick
    | Trade
    | BidAsk
    | MidPoint
    | Bar
    | Greeks
    | News
    | Ranking
    | Bulletin
    | Option
    | ChainWindow
    | Depth
    | Bars
    | Ticks
    | Done
    | Gap
    | Reset
    | Roll
    | End
)
AnyRecord = DataRecord | System
