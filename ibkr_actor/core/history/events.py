"""Events that answer requests of history: bars, ticks, head timestamps, schedules, histograms.

Shapes only; values are plain as in `core.events`, and times are IB's own texts, which `core` reads.
"""

from __future__ import annotations

from msgspec import Struct

from ibkr_actor.core.events import Event


class HistoryEvent(Event, frozen=True):
    """Owned by the history actor: the answer to one request, or a part of it."""

    req_id: int
    received_ns: int


class HistoricalBar(Struct, frozen=True, array_like=True, gc=False):
    """One bar. `date` is IB's own text: epoch seconds of its start, or yyyyMMdd for daily bars and longer."""

    date: str
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None = None
    wap: str | None = None
    count: int | None = None


class HistoricalBars(HistoryEvent, frozen=True):
    """All bars of one message, oldest first. `complete` when nothing more follows (servers before 196)."""

    bars: tuple[HistoricalBar, ...]
    complete: bool


class HistoricalBarsEnd(HistoryEvent, frozen=True):
    """No more bars for the request."""


class HistoricalTick(Struct, frozen=True, array_like=True, gc=False):
    """One tick; `time_s` is whole seconds since 1970. MIDPOINT has only a price, BID_ASK only bid to ask_past_high."""

    time_s: int
    price: float | None = None
    size: str | None = None
    exchange: str = ""
    conditions: str = ""
    past_limit: bool = False
    unreported: bool = False
    bid: float | None = None
    ask: float | None = None
    bid_size: str | None = None
    ask_size: str | None = None
    bid_past_low: bool = False
    ask_past_high: bool = False


class HistoricalTicks(HistoryEvent, frozen=True):
    """One page of ticks, oldest first; `what_to_show` TRADES, BID_ASK or MIDPOINT."""

    what_to_show: str
    ticks: tuple[HistoricalTick, ...]
    done: bool


class HeadTimestamp(HistoryEvent, frozen=True):
    """`head` is IB's own text, epoch seconds as asked for."""

    head: str


class ScheduleSession(Struct, frozen=True, array_like=True):
    """IB's own texts: `yyyyMMdd-HH:mm:ss` in the schedule's zone, and the trade date `yyyyMMdd`."""

    start: str
    end: str
    ref_date: str


class HistoricalSchedule(HistoryEvent, frozen=True):
    """Trading sessions, oldest first, in `time_zone` (IB's own text)."""

    time_zone: str
    sessions: tuple[ScheduleSession, ...]


class HistogramData(HistoryEvent, frozen=True):
    """`rows` are (price, size)."""

    rows: tuple[tuple[float | None, str | None], ...]
