"""Owns what a scan of the market is: its wish, its name, its request, and the record of a ranking.

Holds nothing and asks nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from msgspec import Struct, structs

from ibkr_actor.core.codes.meaning import CodeRow
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.pacing.limits import SCANS_MAX
from ibkr_actor.core.reference.events import ScanRow
from ibkr_actor.core.replies import rejection_of
from ibkr_actor.core.requests import ReqScan
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import strike_text
from ibkr_actor.schema.records import FEED_LIVE, Ranked, Ranking
from ibkr_actor.schema.reference_commands import ScanWish

# Source: IBKR, TWS API, "Market Scanner".
ROWS_MAX: Final = 50
# One is left for the questions of `scanner`, which would wait for ever.
SCAN_STREAMS_MAX: Final = SCANS_MAX - 1
# "no items retrieved", with or without an empty ranking behind it. Source: IBKR, TWS API message codes.
NOTHING_FOUND: Final = 165
# How long the end of a ranking may take after that.
SETTLE_S: Final = 2.0
_TEXT_MAX: Final = 200
_FILTERS_MAX: Final = 50


class ScanSpec(Struct, frozen=True):
    """A scan as it was wished for; the filters by name."""

    scan_code: str
    scan_instrument: str
    location: str
    rows: int
    above_price: float | None = None
    below_price: float | None = None
    above_volume: int | None = None
    filters: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """The same for equal wishes: it ends the key of its stream."""
        parts = [self.scan_code, self.scan_instrument, self.location, str(self.rows)]
        for letter, price in (("a", self.above_price), ("b", self.below_price)):
            if price is not None:
                parts.append(letter + strike_text(price))
        if self.above_volume is not None:
            parts.append(f"v{self.above_volume}")
        parts += [f"{name}={value}" for name, value in self.filters]
        return "~".join(quote(part, safe="._-=").replace("~", "%7E") for part in parts)

    def request(self, req_id: int) -> ReqScan:
        """What IB is asked."""
        return ReqScan(req_id, *structs.astuple(self))


def read_scan(command: ScanWish) -> ScanSpec:
    """The wish of a command.

    Raises:
        ValueError: a field is out of range; the message says which.
    """
    for name in ("scan_code", "scan_instrument", "location"):
        check_text(name, getattr(command, name))
    if not 0 < command.rows <= ROWS_MAX:
        raise ValueError(f"rows is 1 to {ROWS_MAX}")
    for name in ("above_price", "below_price"):
        price = getattr(command, name)
        if price is not None and not math.isfinite(price):
            raise ValueError(f"{name} is a price")
    if command.above_volume is not None and not 0 <= command.above_volume < 2**31:
        raise ValueError("above_volume is a number of shares")
    if len(command.filters) > _FILTERS_MAX:
        raise ValueError(f"filters are {_FILTERS_MAX} at most")
    for name, value in command.filters.items():
        check_text("the name of a filter", name)
        check_text(f"filter {name}", value)
    return ScanSpec(
        command.scan_code,
        command.scan_instrument,
        command.location,
        command.rows,
        command.above_price,
        command.below_price,
        command.above_volume,
        tuple(sorted(command.filters.items())),
    )


def check_text(name: str, value: str) -> None:
    """Refuses what is no text for IB.

    Raises:
        ValueError: it is empty, too long or not printable.
    """
    if not 0 < len(value) <= _TEXT_MAX or not value.isprintable():
        raise ValueError(f"{name} is 1 to {_TEXT_MAX} characters")


def refusal_of(row: CodeRow, event: ErrorNotice, *, proven: bool = False) -> Rejection:
    """What IB's refusal of a scan means. Its one code (162) for all of history's ills has no pacing for scans.

    So it says that there is no such scan, or of one that was `proven` that there is none for now.
    """
    rejection = rejection_of(row, event)
    if row.kind != "historical":
        return rejection
    return structs.replace(rejection, code="farm_transient" if proven else "validation_error", retryable=proven)


def ranking(rows: Sequence[ScanRow], received_ns: int) -> Ranking:
    """The record of a complete ranking, whatever order its rows came in."""
    return Ranking(0, 0, 0, received_ns, None, FEED_LIVE, 0, [_ranked(row) for row in in_order(rows)])


def in_order(rows: Sequence[ScanRow]) -> list[ScanRow]:
    """The best first."""
    return sorted(rows, key=lambda row: row.rank)


def _ranked(row: ScanRow) -> Ranked:
    it = row.contract
    return Ranked(
        row.rank,
        it.con_id,
        it.symbol,
        it.sec_type,
        it.exchange,
        it.currency,
        it.local_symbol,
        it.trading_class,
        it.last_trade_date,
        it.strike,
        it.right,
        row.distance,
        row.benchmark,
        row.projection,
        row.legs,
    )
