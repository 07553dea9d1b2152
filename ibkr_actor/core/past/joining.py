"""Owns the seam of a stream that begins with its past: history up to the first live record, what was held, then live.

Asks for nothing (`core.past.backfills` does): it is given history and live records, and says what may be published.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.schema.records import (
    FEED_LIVE,
    FLAG_REFILLED,
    Bar,
    BarRow,
    Bars,
    BidAsk,
    DataRecord,
    Gap,
    MidPoint,
    Ticks,
    Trade,
)

if TYPE_CHECKING:
    from ibkr_actor.core.lines.line import Channel

TickRow = list[int | float | str | bool | None]


class Wish(Struct, frozen=True):
    """What of the past is wanted: `length_s` before the first live record, or all from `start` (ISO 8601)."""

    length_s: int = 0
    start: str = ""


class Fetch(Struct, frozen=True):
    """What of the past is fetched: up to `to_ns`. `final` when live data begins there."""

    from_ns: int | None
    to_ns: int
    final: bool


class Joining:
    """One stream. Bars are known by their start; ticks bear whole seconds: those of the seam are matched one by one."""

    def __init__(self, number: int, channel: Channel, client: str, wish: Wish, *, held_max: int) -> None:
        self.number = number
        self.channel = channel
        self.client = client
        self.wish = wish
        self.fetch: Fetch | None = None
        # Whether what there is was fetched before there was anything live.
        self.early = False
        # All before this stands in the stream.
        self.reached_ns: int | None = None
        self._ticks = channel.row.line_type == "tick_by_tick"
        self._coarse = channel.row.size not in ("", "5s")
        self._held: deque[DataRecord] = deque()
        self._held_max = held_max
        # When the first live record was noticed, in monotonic seconds; set by the caller.
        self.live_s: float | None = None
        self.dropped = 0
        self._dropped_ns: int | None = None
        # Ticks of the newest second seen: more of it may come.
        self._tail: list[tuple[int, DataRecord]] = []
        # The newest second that stood in the stream before a restart, its ticks, and those of them that the present
        # fetch has yet to bring again.
        self._stands_ns = 0
        self._stand: Counter[tuple[object, ...]] = Counter()
        self._again: Counter[tuple[object, ...]] = Counter()

    def resume(self, tail: Sequence[DataRecord]) -> None:
        """Goes on behind the end of the stream: its newest bar, or the ticks of its newest second."""
        last = tail[-1]
        if isinstance(last, Bar):
            self.reached_ns = last.end_ns if last.final else last.start_ns
            return
        self.reached_ns = self._stands_ns = second_of(last)
        self._stand = Counter(record_key(record) for record in tail)

    def begin(self, fetch: Fetch) -> None:
        """What is fetched from now on."""
        self.fetch = fetch
        self._again = self._stand.copy() if fetch.from_ns == self._stands_ns else Counter()

    # ---- live

    def hold(self, record: DataRecord) -> None:
        """Keeps a live record back; the oldest goes when there are too many."""
        if len(self._held) >= self._held_max:
            gone = self._held.popleft()
            self.dropped += 1
            if self._dropped_ns is None and self.fetch is not None and self.fetch.final:
                self._dropped_ns = second_of(gone)
        self._held.append(record)

    @property
    def held(self) -> int:
        """How many are held."""
        return len(self._held)

    @property
    def first_ns(self) -> int | None:
        """Where live data begins: the start of a bar, or the second of a tick."""
        return next((second_of(record) for record in self._held if not isinstance(record, Gap)), None)

    # ---- history

    def take(self, entries: Sequence[DataRecord]) -> list[DataRecord]:
        """The next history; what of it can be published."""
        fetch = self.fetch
        if fetch is None:
            return []
        found: list[DataRecord] = []
        for entry in entries:
            if isinstance(entry, Bars):
                found += self._bars(entry, fetch)
            elif isinstance(entry, Ticks):
                found += self._take_ticks(entry, fetch)
        return found

    def _bars(self, entry: Bars, fetch: Fetch) -> list[DataRecord]:
        found: list[DataRecord] = []
        for row in entry.rows:
            bar = bar_of(entry, row)
            if bar.start_ns >= fetch.to_ns or (self.reached_ns is not None and bar.start_ns < self.reached_ns):
                continue
            self.reached_ns = bar.end_ns
            found.append(bar)
        return found

    def _take_ticks(self, entry: Ticks, fetch: Fetch) -> list[DataRecord]:
        found: list[DataRecord] = []
        for row in entry.rows:
            at_ns = row[0]
            assert isinstance(at_ns, int)
            if at_ns > fetch.to_ns or (at_ns == fetch.to_ns and not fetch.final):
                continue
            record = tick_of(entry, row)
            if at_ns == fetch.from_ns and self._again[record_key(record)] > 0:
                self._again[record_key(record)] -= 1
                continue
            if self._tail and at_ns > self._tail[-1][0]:
                found += self._flush()
            self._tail.append((at_ns, record))
        return found

    def _flush(self) -> list[DataRecord]:
        found = [record for _, record in self._tail]
        self._tail = []
        return found

    def fetched(self, *, whole: bool) -> list[DataRecord]:
        """The early fetch is over; what can be published. What it did not bring is fetched when live data comes."""
        fetch, self.fetch, self.early = self.fetch, None, True
        assert fetch is not None
        if whole and self._coarse:
            # A bar that was going on then is not there yet: the next fetch begins behind the last one that is.
            return self._flush()
        if whole:
            self.reached_ns = max(fetch.to_ns, fetch.from_ns or 0)
            return self._flush()
        if self._tail:
            self.reached_ns = self._tail[0][0]
            self._tail = []
        return []

    def join(self, gaps: Sequence[DataRecord], now_ns: int) -> list[DataRecord]:
        """The end of it: the last second's ticks that are not live, what is missing, and all that was held."""
        found = [*self._before_live(), *gaps]
        if self._dropped_ns is not None:
            found.append(self.gap("overflow", self._dropped_ns, self.first_ns, now_ns))
        for record in self._held:
            if isinstance(record, Bar) and self.reached_ns is not None and record.start_ns < self.reached_ns:
                continue
            found.append(record)
        self._held.clear()
        return found

    def gap(self, cause: str, from_ns: int | None, to_ns: int | None, now_ns: int) -> Gap:
        """A part that is missing."""
        line = self.channel.line
        return Gap(0, 0, line.con_id, now_ns, None, line.feed, line.flags, cause, from_ns, to_ns)

    def _before_live(self) -> list[DataRecord]:
        """Of the seam's second live data holds the end: each live tick takes the last of its equals from history."""
        first_ns = self.first_ns
        live = Counter(record_key(record) for record in self._held if second_of(record) == first_ns)
        found: list[DataRecord] = []
        for at_ns, record in reversed(self._tail):
            if at_ns == first_ns and live[record_key(record)] > 0:
                live[record_key(record)] -= 1
            else:
                found.append(record)
        self._tail = []
        return found[::-1]


def second_of(record: DataRecord) -> int:
    """The start of a bar; the second of a tick; when a gap came."""
    if isinstance(record, Bar):
        return record.start_ns
    at_ns = record.received_ns if record.source_ns is None else record.source_ns
    return at_ns // NS * NS


def record_key(record: DataRecord) -> tuple[object, ...]:
    """What makes two ticks of one second equal."""
    match record:
        case Trade():
            return record.price, record.size, record.exchange, record.conditions
        case BidAsk():
            return record.bid, record.ask, record.bid_size, record.ask_size
        case MidPoint():
            return (record.price,)
    return (type(record),)


def bar_of(entry: Bars, row: BarRow, flags: int = FLAG_REFILLED) -> Bar:
    """A row as a record of its stream."""
    start_ns, end_ns, begin, high, low, close, volume, wap, count, day = row
    head = (0, 0, entry.con_id, entry.received_ns, None, FEED_LIVE, flags)
    show = entry.what_to_show
    # A stream bears the trade date of bars of a day and more.
    day = None if RESOLUTIONS[entry.bar].intraday else day
    return Bar(*head, start_ns, end_ns, begin, high, low, close, volume, wap, count, True, 0, show, day)


def tick_of(entry: Ticks, row: TickRow, flags: int = FLAG_REFILLED) -> DataRecord:
    """The same for a tick."""
    at_ns, *values = row
    head = (0, 0, entry.con_id, entry.received_ns, at_ns, FEED_LIVE, flags)
    return _MAKE[entry.what_to_show](*head, *values)


_MAKE: Final[dict[str, Callable[..., DataRecord]]] = {"TRADES": Trade, "BID_ASK": BidAsk, "MIDPOINT": MidPoint}
