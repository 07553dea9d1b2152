"""Owns what the account may see: a grant for each instrument and kind of data, and IB's words when it may not.

Must not send anything; desks ask and answer.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from ibkr_actor.sim.market.instruments import Instrument

Grant = Literal["any", "live", "delayed", "none", "delayed_disabled", "api", "part", "api_part"]
GRANTS: tuple[Grant, ...] = get_args(Grant)


class Data(enum.StrEnum):
    """Kinds of data with permissions of their own; the words behind the `/` of a setting's key."""

    LEVEL_1 = "level1"
    TICK_BY_TICK = "ticks"
    DEPTH = "depth"
    BARS = "bars"
    HISTORY = "history"


class Verdict(NamedTuple):
    """What comes of asking for level 1: the type of data that flows (0: the request ends), and what to send of it.

    `reduced`: only ticks that need no permission flow.
    """

    market_data_type: int
    code: int = 0
    text: str = ""
    reduced: bool = False


# The venues as permissions name them. Source: texts of errors 354, 420 and 10189 in public threads.
_VENUES = {"NASDAQ": "NASDAQ.NMS", "SMART": "NASDAQ.NMS"}
_DATA_VENUES = {"NASDAQ": "ISLAND", "SMART": "ISLAND"}
_NOT_SUBSCRIBED = "Requested market data is not subscribed."
_ADDITIONAL = "See link in 'Market Data Connections' dialog for more details."
_AVAILABLE = "Delayed market data is available."
_NOT_AVAILABLE = "Delayed market data is not available."


class Permissions:
    """Grants by key. A key is an instrument's key, con_id, symbol, exchange or sec_type, or `*`, the first of these
    that is set counting, each optionally with `/` and a kind of data, which counts before the same without it.

    `any`: whatever type of data is asked for flows. `live`: live data flows even where delayed data was asked for.
    `delayed`: 354 for live data, 10167 and delayed data where that was asked for. `none`: 354. `delayed_disabled`:
    10168. `api`: like `delayed`, but 10089 instead of 354. `part`: 10090, and what needs no permission flows.
    `api_part`: 10091, alike.
    """

    def __init__(self, grants: Mapping[str, str] | None) -> None:
        """Raises: ValueError for an unknown grant or kind of data."""
        self._grants: dict[str, Grant] = {}
        for key, wanted in (grants or {}).items():
            grant = next((each for each in GRANTS if each == wanted), None)
            kind = key.rpartition("/")[2] if "/" in key else ""
            if grant is None or (kind and kind not in list(Data)):
                raise ValueError(f"permission {key!r}: {wanted!r}: grants are {GRANTS}, kinds {[*map(str, Data)]}")
            self._grants[key] = grant

    def grant(self, instrument: Instrument, data: Data) -> Grant:
        """What the account has for this kind of data of the instrument; `any` where nothing is set."""
        if not self._grants:
            return "any"
        it = instrument
        for name in (it.key, str(it.con_id), it.symbol, it.primary_exchange, it.exchange, it.sec_type, "*"):
            found = self._grants.get(f"{name}/{data}") or self._grants.get(name)
            if found is not None and name:
                return found
        return "any"

    def granted(self, instrument: Instrument, data: Data) -> bool:
        """Whether live data of this kind is served; the rule for history, bars and ticks."""
        return self.grant(instrument, data) in ("any", "live")

    def level_1(self, instrument: Instrument, asked: int) -> Verdict:
        """What comes of asking for level 1 with market data type `asked` (1 live, 2 frozen, 3 delayed, 4 both)."""
        grant = self.grant(instrument, Data.LEVEL_1)
        named = f"{instrument.symbol} {venue(instrument)}/TOP/ALL"
        delayed = asked >= 3
        match grant:
            case "any":
                return Verdict(asked)
            case "live":
                return Verdict(asked - 2 if delayed else asked)
            case "delayed" | "api" if delayed:
                return Verdict(asked, 10167, f"{_NOT_SUBSCRIBED} Displaying delayed market data.")
            case "delayed":
                return Verdict(0, 354, f"{_NOT_SUBSCRIBED}{_AVAILABLE}{named}")
            case "delayed_disabled":
                return Verdict(0, 10168, f"{_NOT_SUBSCRIBED} Delayed market data is not enabled.")
            case "api":
                text = f"Requested market data requires additional subscription for API. {_ADDITIONAL}"
                return Verdict(0, 10089, f"{text}{_AVAILABLE}{named}")
            case "part" | "api_part":
                return _part(grant, asked, named)
            case _:
                return Verdict(0, 354, f"{_NOT_SUBSCRIBED}{_NOT_AVAILABLE}{named}")

    def permitted_venues(self, venues: list[str]) -> list[str]:
        """Those of the exchanges whose books may be seen; a key is the exchange, with `/depth` or without."""
        return [
            venue
            for venue in venues
            if (self._grants.get(f"{venue}/{Data.DEPTH}") or self._grants.get(venue, "any")) in ("any", "live")
        ]


def smart_depth_notice(permitted: list[str], venues: list[str]) -> str | None:
    """The text of notice 2152 when books are missing from a smart one; None when none is.

    Source: such notices in public recordings of real gateways.
    """
    missing = [venue for venue in venues if venue not in permitted]
    if not missing:
        return None
    have = f"Depth: {'; '.join(permitted)}; " if permitted else ""
    return f"Exchanges - {have}Need additional market data permissions - Depth: {'; '.join(missing)}; "


def _part(grant: Grant, asked: int, named: str) -> Verdict:
    if grant == "api_part":
        text = f"Part of requested market data requires additional subscription for API. {_ADDITIONAL}"
        return Verdict(asked, 10091, f"{text}{_NOT_AVAILABLE}{named}", reduced=True)
    text = "Part of requested market data is not subscribed. Subscription-independent ticks are still active."
    return Verdict(asked, 10090, f"{text}{_NOT_AVAILABLE}{named}", reduced=True)


def venue(instrument: Instrument) -> str:
    """The exchange in the texts of level-1 permissions, `NASDAQ.NMS`."""
    exchange = instrument.primary_exchange or instrument.exchange
    return _VENUES.get(exchange, exchange)


def data_venue(instrument: Instrument) -> str:
    """Exchange and type in the texts of errors 162, 420 and 10189, `ISLAND STK`."""
    exchange = instrument.primary_exchange or instrument.exchange
    return f"{_DATA_VENUES.get(exchange, exchange)} {instrument.sec_type}"
