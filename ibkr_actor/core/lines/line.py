"""Owns one line to IB and the streams it feeds: what was asked, what holds it, and what is known of it.

Decides no request (asking, giving back and refusals are `core.lines.book`'s) and makes no record of an event
(`core.lines.publishing` does).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from ibkr_actor.core import events
from ibkr_actor.core.calendar.bar_times import BarTimes
from ibkr_actor.core.holders import NORMAL, Holder
from ibkr_actor.core.kinds import KindRow, what_to_show
from ibkr_actor.core.lines.bar_builder import BarBuilder
from ibkr_actor.core.lines.freshness import Watch
from ibkr_actor.core.lines.kept_bars import KeptBars
from ibkr_actor.core.lines.order_book import Book
from ibkr_actor.core.lines.quote import TopOfBook
from ibkr_actor.core.lines.real_time_bars import RealTimeBars
from ibkr_actor.core.past.healing import Tap
from ibkr_actor.core.past.joining import Joining
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_SNAPSHOT, DataRecord, End, Gap

Item = tuple[Stream, DataRecord]
LineKey = tuple[str, str]


# Headlines come with this generic tick. Source: IBKR, TWS API, "Contract Specific News".
NEWS_TICK: Final = 292


class PendingGap(Struct, frozen=True):
    """A loss that the next record of a stream is to be preceded by."""

    cause: str
    from_ns: int


class Channel:
    """One stream that a line feeds: a kind of an instrument, and who holds it."""

    __slots__ = ("builder", "gap", "holders", "joining", "line", "published", "row", "shown", "stream", "tap")

    def __init__(self, stream: Stream, row: KindRow, line: Line) -> None:
        self.stream = stream
        self.row = row
        self.line = line
        # Of a bar that is made here of those of 5 s.
        self.builder: BarBuilder | None = None
        if row.built:
            self.builder = BarBuilder(BarTimes(row.resolution, line.contract, rth=row.rth))
        # client -> holder; the channel is closed when the last one leaves.
        self.holders: dict[str, Holder] = {}
        # Set while its past is fetched: live records are held until it is there.
        self.joining: Joining | None = None
        # Set while a holder wants its gaps refilled.
        self.tap: Tap | None = None
        # Set when something is lost, cleared by the first record after it.
        self.gap: PendingGap | None = None
        # Whether a reader may have seen data of it: before that nothing can be missing.
        self.published = False
        # What was told last of a stream that level 1 stands in for.
        self.shown: object = None

    @property
    def stands_in(self) -> bool:
        """Whether level 1 stands in for tick by tick."""
        return self.row.line_type == "tick_by_tick" and self.line.row.line_type == "level1"

    @property
    def reason(self) -> str:
        """Why it is in the state of its line, or is fed by that line."""
        return self.line.reason or ("fallback" if self.stands_in else "")

    def lose(self, cause: str, from_ns: int) -> None:
        """Something is lost from now on; an earlier loss that is still open covers it."""
        if self.builder is not None:
            self.builder.lost()
        self.shown = None
        if self.published and self.gap is None:
            self.gap = PendingGap(cause, from_ns)
        elif cause == "competing_session" and self.gap is not None and self.gap.cause == "stall":
            # Why it was silent is known now.
            self.gap = PendingGap(cause, self.gap.from_ns)

    def end(self, reason: str, at_ns: int) -> Item:
        """The record that closes the stream."""
        line = self.line
        return self.stream, End(0, 0, line.con_id, at_ns, None, line.feed, line.flags, reason)


class Candidate(Struct):
    """A second request for a line, with more generic ticks; it takes over with its first data.

    `before` holds, for each client whose wish it carries, its generic ticks until then, None for a new holder.
    """

    req_id: int
    generic_ticks: frozenset[int]
    before: dict[str, frozenset[int] | None]


class Line:
    """One request to IB. It exists as long as one of its channels is held, over any number of connections."""

    __slots__ = (
        "asks", "book", "built", "candidate", "channels", "computed", "con_id", "contract", "doubt", "feed",
        "feed_asked", "feed_at_start", "fives", "flags", "front", "generic_ticks", "greeks", "halted", "ignored",
        "kept", "key", "live", "main", "newest_ns", "opened_by", "proven", "quote", "reason", "req_id", "route", "row",
        "sent", "since_ns", "slotted", "standing_in", "state", "tick", "top", "unheld", "watch", "watched",
        "what_to_show",
    )  # fmt: skip

    def __init__(self, key: LineKey, row: KindRow, contract: Contract, *, opened_by: str, feed: int) -> None:
        self.key = key
        self.row = row
        self.contract = contract
        self.con_id = contract.con_id
        self.what_to_show = what_to_show(row, contract.sec_type)
        self.opened_by = opened_by
        # kind -> channel, and the same by attribute, since the hot path has no time to look them up.
        self.channels: dict[str, Channel] = {}
        self.quote: Channel | None = None
        self.tick: Channel | None = None
        self.greeks: Channel | None = None
        self.main: Channel | None = None
        self.top = TopOfBook()
        # What was computed of an option, the newest of each source.
        self.computed: dict[str, events.TickOptionComputation] = {}
        # Of a depth line only.
        self.book: Book | None = None
        # Of bars that IB keeps up to date; what was told of them outlives a request.
        self.kept: KeptBars | None = None
        if row.line_type == "kept":
            self.kept = KeptBars(BarTimes(row.resolution, contract, rth=row.rth))
        # Streams of bars that are made of this line's.
        self.built: tuple[Channel, ...] = ()
        # Tick-by-tick streams that this line of level 1 stands in for.
        self.standing_in: tuple[Channel, ...] = ()
        # Of bars of 5 s; like `kept` it outlives a request.
        self.fives: RealTimeBars | None = RealTimeBars() if row.line_type == "bars" else None
        # The future that a continuous one shows now.
        self.front: Contract | None = None
        if contract.sec_type == "CONTFUT":
            self.front = structs.replace(contract, sec_type="FUT", instrument="")
        # The market data type to switch to for its requests, 0 for the connection's.
        self.feed_asked = 0
        # The market data type as IB told it; only level 1 comes in others than live.
        self.feed_at_start = feed if row.line_type == "level1" else 1
        self.feed = self.feed_at_start
        self.flags = 0
        # The present request: None while nothing is asked. `sent` once pacing let it go.
        self.req_id: int | None = None
        self.sent = False
        self.generic_ticks: frozenset[int] = frozenset()
        self.candidate: Candidate | None = None
        # The contract whose data IB serves instead; found anew with each request of the line's own.
        self.route: Contract | None = None
        # Requests in a row without data; bounds those that are repeated at once.
        self.asks = 0
        # Whether data came since the last request or loss; whether it ever did, in this process or before a restart.
        self.live = False
        self.proven = False
        # Why IB may refuse it after all, if no data comes in time; cleared by data.
        self.doubt: Rejection | None = None
        # When the newest data left the socket, 0 before the first; whether IB says that trading is halted.
        self.newest_ns = 0
        self.halted = False
        # Made at the first look at how fresh it is.
        self.watch: Watch | None = None
        # Whether the next data changes more than its streams.
        self.watched = True
        # Whether it counts against the budget; False only when restored beyond it.
        self.slotted = False
        # What was last said of it in `SetState`: pending, live or starved, and why; empty before the first time.
        self.state = ""
        self.reason = ""
        self.since_ns = 0
        # Data that nobody holds a channel for, and events that this version publishes nothing of.
        self.unheld = 0
        self.ignored = 0

    def adopt(self, channel: Channel) -> None:
        """Feeds a stream that another line has fed."""
        channel.line, channel.shown = self, None
        self.channels[channel.row.kind] = channel
        self._index()

    @property
    def source(self) -> Contract:
        """The contract that IB is asked for."""
        return self.front or self.contract

    @property
    def streams(self) -> list[Stream]:
        """The streams it feeds."""
        return [channel.stream for channel in self.channels.values()]

    def add_channel(self, row: KindRow) -> Channel:
        """Feeds one more stream."""
        channel = Channel(Stream(row.kind, self.key[0]), row, self)
        self.channels[row.kind] = channel
        self._index()
        return channel

    def remove_channel(self, kind: str) -> None:
        """Feeds one stream less."""
        del self.channels[kind]
        self._index()

    def _index(self) -> None:
        self.quote = self.channels.get("quote")
        self.tick = self.channels.get("tick")
        self.greeks = self.channels.get("greeks")
        self.main = self.channels.get(self.row.kind) if self.row.line_type != "level1" else None
        self.built = tuple(channel for channel in self.channels.values() if channel.builder is not None)
        self.standing_in = tuple(channel for channel in self.channels.values() if channel.stands_in)

    @property
    def priority(self) -> int:
        """That of its most urgent holder; what nobody holds yet counts as normal."""
        holders = (holder for channel in self.channels.values() for holder in channel.holders.values())
        return max((holder.priority for holder in holders), default=NORMAL)

    def wanted_ticks(self) -> frozenset[int]:
        """The generic ticks of all holders together, and what the kinds themselves need."""
        own = {NEWS_TICK} if "news" in self.channels else set()
        return frozenset(
            tick
            for channel in self.channels.values()
            for holder in channel.holders.values()
            for tick in holder.generic_ticks
        ).union(own)

    def renew(self) -> None:
        """Forgets what the last request told: a new one starts with what IB sends now."""
        self.top, self.computed = TopOfBook(), {}
        if self.book is not None:
            self.book = Book(self.book.rows)
        self.feed = self.feed_at_start
        for channel in self.built:
            assert channel.builder is not None
            channel.builder.lost()
        self.live, self.sent, self.watched, self.halted = False, False, True, False

    def lose(self, cause: str, from_ns: int) -> None:
        """Data may be missing from now on in every stream it feeds."""
        for channel in self.channels.values():
            channel.lose(cause, from_ns)
        if self.book is not None:
            self.book.doubtful = True
        if self.watch is not None and cause != "stall":
            self.watch.lone = False
        self.live, self.watched = False, True

    def silenced(self, cause: str, from_ns: int) -> None:
        """What it would have said since then may be missing, though nothing was said of this line."""
        for channel in self.channels.values():
            channel.lose(cause, from_ns)
        if self.watch is not None:
            self.watch.lone = False

    def as_snapshot(self) -> None:
        """One answer and an end, instead of a stream."""
        self.flags |= FLAG_SNAPSHOT


def append(items: list[Item], line: Line, channel: Channel, record: DataRecord) -> None:
    """Publishes a record, after the gap that is open in its stream."""
    gap = channel.gap
    if gap is not None:
        channel.gap = None
        at_ns = record.received_ns
        lost = Gap(0, 0, line.con_id, at_ns, None, line.feed, line.flags, gap.cause, gap.from_ns, at_ns)
        add(items, channel, lost)
        if channel.tap is not None:
            channel.tap.cut(lost)
    if channel.tap is not None:
        channel.tap.note(record)
    add(items, channel, record)


def add(items: list[Item], channel: Channel, record: DataRecord) -> None:
    """Publishes a record, or holds it while the stream's past is fetched."""
    if channel.joining is None:
        items.append((channel.stream, record))
    else:
        channel.joining.hold(record)
