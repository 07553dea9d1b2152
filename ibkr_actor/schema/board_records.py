"""Records of streams that are of no instrument: what a scan ranks, and IB's bulletins.

As in `schema.records`, where the rest stand and these are listed too.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.schema.record_base import Record


class Ranked(Struct, array_like=True, frozen=True, gc=False):
    """One row of a ranking, 0 the best; what a contract does not have is empty, and null a strike.

    `distance`, `benchmark` and `projection` are IB's own texts, mostly empty; `legs` are those of a combination.
    """

    rank: int
    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    currency: str
    local_symbol: str
    trading_class: str
    last_trade_date: str
    strike: float | None
    right: str
    distance: str
    benchmark: str
    projection: str
    legs: str


class Ranking(Record, tag="scan", array_like=True):
    """What a scan ranks from here on, best first; each replaces the one before. Of no contract: `con_id` is 0."""

    rows: list[Ranked]


class Bulletin(Record, tag="bulletin", array_like=True, gc=False):
    """A bulletin of IB; of no contract: `con_id` is 0. `bulletin_id` is IB's own number.

    `bulletin_type` 1 is news, 2 says that `exchange` is no longer available, 3 that it is again.
    """

    bulletin_id: int
    bulletin_type: int
    text: str
    exchange: str
