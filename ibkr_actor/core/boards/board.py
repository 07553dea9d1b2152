"""Owns one stream that is of no instrument (what a scan ranks, IB's bulletins): who holds it and what is known of it.

Asks nothing of IB and decides nothing: `core.boards.boards` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from ibkr_actor.core.boards.scans import ScanSpec
from ibkr_actor.core.effects import Effect, HolderWrite, Instant, SetState
from ibkr_actor.core.held import HeldStream, StreamHolder
from ibkr_actor.core.holders import holder_field
from ibkr_actor.core.lines.line import Item, PendingGap
from ibkr_actor.core.reference.events import NewsBulletin, ScanRow
from ibkr_actor.core.requests import ReqNewsBulletins, ReqScan
from ibkr_actor.schema.keys import ALL_BULLETINS, BULLETIN, SCAN, Stream
from ibkr_actor.schema.records import FEED_LIVE, Bulletin, DataRecord, End, Gap

# How many bulletins of the past are told apart: IB sends those of the day again after each break.
_SEEN_MAX: Final = 1_000


class StoredBoard(Struct, frozen=True):
    """The value of a field `scan:<name>:<client>` or `bulletin:all:<client>` of the `subscriptions` hash."""

    lease_s: float
    command_id: str
    since_ns: int
    spec: ScanSpec | None = None


_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(StoredBoard)


class Board(HeldStream[StreamHolder]):
    """One such stream, as long as it is held. `spec` is the scan; None for the bulletins."""

    def __init__(self, spec: ScanSpec | None) -> None:
        super().__init__(Stream(BULLETIN, ALL_BULLETINS) if spec is None else Stream(SCAN, spec.name))
        self.spec = spec
        # The present request, whether pacing let it go, and how many were made in a row that brought nothing.
        self.req_id: int | None = None
        self.sent = False
        self.asks = 0
        # How often it was asked anew in a row because it was silent.
        self.silences = 0
        # Rows of the ranking that is coming in.
        self.rows: list[ScanRow] = []
        # Rankings that the present request has brought.
        self.rankings = 0
        # Whether data came since the last request or loss; whether it ever did, in this process or before a restart.
        self.live = False
        self.proven = False
        # Whether a reader may have seen data of it: before that nothing can be missing.
        self.published = False
        self.newest_ns = 0
        self.state = ""
        self.reason = ""
        self.since_ns = 0
        self._gap: PendingGap | None = None
        # Numbers of bulletins that were told, the oldest first.
        self._seen: dict[int, None] = {}

    def request(self, req_id: int) -> ReqScan | ReqNewsBulletins:
        """What IB is asked; of bulletins those of the day too, so that a break loses none of them."""
        return ReqNewsBulletins(req_id, True) if self.spec is None else self.spec.request(req_id)

    def lose(self, cause: str, from_ns: int) -> None:
        """Something may be missing from now on; an earlier loss that is still open covers it."""
        self.live, self.rows = False, []
        if self.published and self._gap is None:
            self._gap = PendingGap(cause, from_ns)

    def items(self, record: DataRecord) -> list[Item]:
        """A record, after the gap that it ends."""
        out: list[Item] = []
        gap, self._gap = self._gap, None
        at_ns = record.received_ns
        if gap is not None:
            out.append((self.stream, Gap(0, 0, 0, at_ns, None, FEED_LIVE, 0, gap.cause, gap.from_ns, at_ns)))
        self.published, self.newest_ns = True, at_ns
        out.append((self.stream, record))
        return out

    def bulletin(self, event: NewsBulletin) -> list[Item]:
        """A bulletin that was not told yet."""
        if event.bulletin_id in self._seen:
            return []
        self._seen[event.bulletin_id] = None
        if len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        values = (event.bulletin_id, event.bulletin_type, event.text, event.exchange)
        return self.items(Bulletin(0, 0, 0, event.received_ns, None, FEED_LIVE, 0, *values))

    def end(self, reason: str, at_ns: int) -> Item:
        """The record that closes the stream."""
        return self.stream, End(0, 0, 0, at_ns, None, FEED_LIVE, 0, reason)

    def set_state(self, state: str, reason: str, now: Instant) -> list[Effect]:
        """Says a change of its state."""
        if (self.state, self.reason) == (state, reason):
            return []
        self.state, self.reason, self.since_ns = state, reason, now.ns
        return [SetState(self.stream, state, reason, now.ns)]

    # ---- what survives a restart

    def write(self, holder: StreamHolder) -> HolderWrite:
        """Keeps a holder over a restart."""
        stored = StoredBoard(holder.lease_s, holder.command_id, holder.since_ns, self.spec)
        return HolderWrite(holder_field(self.stream, holder.client), _encode(stored))


def is_board(field: str) -> bool:
    """Whether a field of the hash of subscriptions is that of such a stream."""
    return field.startswith((f"{SCAN}:", f"{BULLETIN}:"))


def read(kept: HolderWrite) -> tuple[ScanSpec | None, StreamHolder]:
    """The scan, None for bulletins, and the holder, as stored.

    Raises:
        ValueError: the field or the value is not of such a stream.
    """
    parts = kept.field.split(":", 2)
    if len(parts) != 3 or kept.value is None or not is_board(kept.field):
        raise ValueError(f"field {kept.field!r} is not scan:name:client")
    stored = _decoder.decode(kept.value)
    if (parts[0] == SCAN) != (stored.spec is not None):
        raise ValueError(f"field {kept.field!r} and its value are not of one kind")
    return stored.spec, StreamHolder(parts[2], stored.lease_s, stored.command_id, stored.since_ns)


def row(board: Board, key: str, holders: list[dict[str, object]]) -> dict[str, object]:
    """A stream among the subscriptions of a `list`; it has no freshness, since IB need not say anything."""
    return {
        "instrument": board.stream.instrument,
        "kind": board.stream.kind,
        "stream": key,
        "con_id": 0,
        "state": board.state,
        "reason": board.reason,
        "since_ns": str(board.since_ns),
        "freshness": None,
        "freshness_since_ns": None,
        "received_ns": str(board.newest_ns) if board.newest_ns else None,
        "feed": FEED_LIVE,
        "generic_ticks": [],
        "holders": holders,
    }


def names_of(boards: Sequence[Board]) -> str:
    """Who holds them, for a sentence."""
    return ", ".join(sorted({client for board in boards for client in board.holders})) or "nobody"
