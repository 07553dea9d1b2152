"""Owns what each kind of stream is fed by: which request to IB, and which instruments have it.

Keeps no line: `core.lines.line` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.core.history.resolutions import RESOLUTIONS, Resolution
from ibkr_actor.core.requests import (
    AnyRequest,
    ReqHistoricalData,
    ReqMktData,
    ReqMktDepth,
    ReqRealTimeBars,
    ReqTickByTick,
    TickByTickType,
)
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import BAR_HOURS, BAR_SHOWS, BAR_SIZES, BUILT_SIZES, KINDS, KINDS_HELP, bar_kind, no_kind

# `bars` are real-time bars of 5 s, `kept` those of other sizes that IB keeps up to date.
LineType = Literal["level1", "tick_by_tick", "depth", "bars", "kept"]
# Line types with the same pool share IB's budget.
POOL_OF: Final[dict[LineType, str]] = {
    "level1": "market data lines",
    "bars": "market data lines",
    "tick_by_tick": "tick-by-tick streams",
    "depth": "order books",
    "kept": "live requests of history",
}


# The slot that all kinds of level 1 of an instrument share.
LEVEL1: Final = "level1"


class KindRow(Struct, frozen=True):
    """One kind. Kinds with the same `slot` of one instrument share one request; a slot is named like one of its kinds.

    `size` is a bar's, `built` says that it is made here of those of 5 s.
    """

    kind: str
    line_type: LineType
    slot: str
    tick_type: TickByTickType | None = None
    what_to_show: str = ""
    rth: bool = False
    smart: bool = False
    size: str = ""
    built: bool = False

    @property
    def resolution(self) -> Resolution:
        """The size of its bars."""
        return RESOLUTIONS[self.size]


_SHOWN: Final = {"": "TRADES", ".bid": "BID", ".ask": "ASK", ".midpoint": "MIDPOINT"}


def _bar(size: str, show: str, hours: str, *, built: bool = False) -> KindRow:
    kind = bar_kind(size, show, hours, built=built)
    real_time = size == "5s" or built
    return KindRow(
        kind,
        "bars" if real_time else "kept",
        bar_kind("5s", show, hours) if built else kind,
        what_to_show=_SHOWN[show],
        rth=hours == ".rth",
        size=size,
        built=built,
    )


ROWS: Final[dict[str, KindRow]] = {
    row.kind: row
    for row in (
        KindRow("quote", "level1", "level1"),
        KindRow("tick", "level1", "level1"),
        KindRow("greeks", "level1", "level1"),
        KindRow("news", "level1", "level1"),
        KindRow("trade", "tick_by_tick", "trade", "Last"),
        KindRow("alltrade", "tick_by_tick", "alltrade", "AllLast"),
        KindRow("bidask", "tick_by_tick", "bidask", "BidAsk"),
        KindRow("midpoint", "tick_by_tick", "midpoint", "MidPoint"),
        KindRow("depth", "depth", "depth"),
        KindRow("depth.smart", "depth", "depth.smart", smart=True),
        *(_bar(size, show, hours) for size in BAR_SIZES for hours in BAR_HOURS for show in BAR_SHOWS),
        *(_bar(size, show, hours, built=True) for size in BUILT_SIZES for hours in BAR_HOURS for show in BAR_SHOWS),
    )
}
# What stands for trades where IB has none: forex, metals and CFDs are quoted, and crypto trades come aggregated.
# Source: IBKR, TWS API, "Historical what_to_show"; code 10299 names AGGTRADES for crypto, of real-time bars too
# (github.com/wboayue/rust-ibapi/pull/693, tried at a gateway).
_TRADES_OF: Final = {"CASH": "MIDPOINT", "CMDTY": "MIDPOINT", "CFD": "MIDPOINT", "CRYPTO": "AGGTRADES"}
# Source: IBKR, TWS API, "Live Updating Historical Data": TRADES, MIDPOINT, BID and ASK can be kept up to date.
_KEPT_TRADES_OF: Final = {**_TRADES_OF, "CRYPTO": "MIDPOINT"}
# Source: IBKR, TWS API, "Tick-by-Tick Data": no trades for forex and metals, nothing for options and combinations.
_NO_TRADES: Final = frozenset({"CASH", "CMDTY", "CFD"})
_NO_TICK_BY_TICK: Final = frozenset({"OPT", "FOP", "WAR", "BAG", "BOND", "FUND"})
# What IB computes greeks of.
_OPTIONS: Final = frozenset({"OPT", "FOP", "WAR"})
# An index is computed and a fund has one price a day: nobody quotes them.
_NO_BOOK: Final = frozenset({"IND", "FUND"})


def known_kinds(kinds: Sequence[str], *, use_rth: bool) -> list[str]:
    """The kinds asked for, once each and in KINDS' order; with `use_rth` bars mean regular hours.

    Raises:
        ValueError: none, or one that is no kind; the message lists those there are.
    """
    if not kinds:
        raise ValueError(f"kinds is empty; known: {KINDS_HELP}")
    wanted = {_in_regular_hours(kind) if use_rth and kind.startswith("bar.") else kind for kind in kinds}
    unknown = sorted(wanted - set(ROWS))
    if unknown:
        raise ValueError(no_kind(unknown[0]))
    return [kind for kind in KINDS if kind in wanted]


def _in_regular_hours(kind: str) -> str:
    plain, built = kind.removesuffix(".built"), ".built" if kind.endswith(".built") else ""
    return kind if plain.endswith(".rth") else f"{plain}.rth{built}"


def why_not(kind: str, sec_type: str, exchange: str = "") -> str | None:
    """Why IB has no such kind for the type of security (at an exchange); None when it may have it."""
    row = ROWS[kind]
    if sec_type == "NEWS" and kind != "news":
        return "a feed of news has headlines only; use news"
    if kind == "greeks" and sec_type not in _OPTIONS:
        return f"IB computes no greeks of {sec_type}"
    if row.line_type == "depth":
        if sec_type in _NO_BOOK or sec_type == "BAG":  # a request for a book cannot even name the legs
            return f"there is no order book of {sec_type}"
        if row.smart and exchange != "SMART":
            return "the book of all exchanges is that of an instrument at SMART; use depth"
        return None
    if row.line_type in ("kept", "bars") and sec_type == "BAG":
        # Source: the gateway's own 321, "Live updates for combos are not supported"; a request for bars of 5 s has no
        # fields for the legs (ibapi, EClient.reqRealTimeBars).
        return "IB has no live bars of combinations; use history, or quote"
    if row.line_type != "tick_by_tick":
        return None
    if sec_type in _NO_TICK_BY_TICK:
        return f"IB serves no tick-by-tick data for {sec_type}; use quote and tick"
    if sec_type in _NO_TRADES and row.tick_type in ("Last", "AllLast"):
        return f"IB serves no tick-by-tick trades for {sec_type}; use bidask or midpoint"
    return None


def line_type_of(slot: str) -> LineType:
    """The type of line that a slot is."""
    return "level1" if slot == LEVEL1 else ROWS[slot].line_type


def level1_may_stand_in(row: KindRow, sec_type: str) -> bool:
    """Whether level 1 has what a tick-by-tick kind would tell."""
    if row.line_type != "tick_by_tick" or sec_type in _NO_BOOK:
        return False
    return sec_type not in _NO_TRADES or row.tick_type not in ("Last", "AllLast")


def what_to_show(row: KindRow, sec_type: str) -> str:
    """What a bar is made of."""
    if row.what_to_show != "TRADES":
        return row.what_to_show
    instead = _KEPT_TRADES_OF if row.line_type == "kept" else _TRADES_OF
    return instead.get(sec_type, "TRADES")


def request_of(
    row: KindRow,
    req_id: int,
    contract: Contract,
    *,
    generic_ticks: frozenset[int],
    snapshot: bool,
    depth_rows: int = 10,
    duration: str = "",
    shown: str = "",
    feeds: tuple[int, int] = (0, 0),
) -> AnyRequest:
    """The request that feeds a kind. `duration` is that of kept bars, `shown` what IB said it shows instead.

    `feeds` are the market data type to switch to for the request, 0 for none, and the one to switch back to.
    """
    if row.line_type == "level1":
        return ReqMktData(req_id, contract, tuple(sorted(generic_ticks)), snapshot, False, *feeds)
    if row.line_type == "depth":
        return ReqMktDepth(req_id, contract, depth_rows, row.smart)
    if row.tick_type is not None:
        return ReqTickByTick(req_id, contract, row.tick_type)
    shown = shown or what_to_show(row, contract.sec_type)
    if row.line_type == "kept":
        bar_size = row.resolution.bar_size
        return ReqHistoricalData(req_id, contract, "", duration, bar_size, shown, row.rth, keep_up_to_date=True)
    return ReqRealTimeBars(req_id, contract, shown, row.rth)
