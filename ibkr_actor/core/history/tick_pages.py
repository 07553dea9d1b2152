"""Owns the paging of historical ticks: which page to ask for next, and which of its ticks are new.

Sends nothing. IB's time of a tick is a whole second, so a page's last second is compared tick by tick.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS, Sessions
from ibkr_actor.core.history.events import HistoricalTick
from ibkr_actor.schema.records import Hole

# Source: IBKR, reqHistoricalTicks: "Number of distinct data points. Max is 1000 per request."
PAGE_MAX: Final = 1_000

TickRow = list[int | float | str | bool | None]


class Page(Struct, frozen=True):
    """A request for at most `count` ticks from `start` (`yyyyMMdd-HH:mm:ss` in UTC) on."""

    start: str
    count: int


class Seam(Struct, frozen=True):
    """Where paging stands: the second the next page begins with, and the ticks of it that are delivered.

    It is all that a restart needs. `crosses` is set when IB was seen to go on into the next trade date.
    """

    next_s: int
    seen: tuple[HistoricalTick, ...] = ()
    crosses: bool = False


class Turned(Struct, frozen=True):
    """What a page brought: new ticks in order, holes, and the seam for the next page; None when all is delivered."""

    ticks: tuple[HistoricalTick, ...]
    holes: tuple[Hole, ...]
    seam: Seam | None


def first_seam(from_ns: int, to_ns: int, sessions: Sessions) -> Seam | None:
    """Where to begin: at `from_ns` or the next time there is trading; None when there is none until `to_ns`."""
    return _seam_at(-(-from_ns // NS), to_ns, sessions, crosses=False)


def page_of(seam: Seam, count: int = PAGE_MAX) -> Page:
    """The request for the page at a seam."""
    return Page(datetime.fromtimestamp(seam.next_s, UTC).strftime("%Y%m%d-%H:%M:%S"), min(count, PAGE_MAX))


def turn(seam: Seam, ticks: Sequence[HistoricalTick], to_ns: int, sessions: Sessions, count: int = PAGE_MAX) -> Turned:
    """Takes the whole answer to the page at `seam`.

    `to_ns` is included. A page has `count` ticks and what else its last second holds; when it has exactly `count` and
    all are of one second, that second may hold more which cannot be asked for: a hole `page_limit`.
    """
    end_s = to_ns // NS
    page = sorted((tick for tick in ticks if tick.time_s >= seam.next_s), key=lambda tick: tick.time_s)
    fresh = tuple(tick for tick in _unseen(page, seam) if tick.time_s <= end_s)
    if not page:
        return _after_silence(seam, to_ns, sessions)
    last_s = page[-1].time_s
    crosses = seam.crosses or _date_index(page[0].time_s, sessions) < _date_index(last_s, sessions)
    if last_s > end_s:
        return Turned(fresh, (), None)
    if len(page) < count:
        # A short page ends what IB has, or, where it stops at the end of a trade date, that date.
        after = None if crosses else _seam_at(_date_end_s(last_s, sessions), to_ns, sessions, crosses=False)
        return Turned(fresh, (), after)
    if last_s == seam.next_s:
        # A whole page of one second: asking for it again would bring the same.
        holes = (_full_second(last_s),) if len(page) == count else ()
        return Turned(fresh, holes, _seam_at(last_s + 1, to_ns, sessions, crosses=crosses))
    seen = tuple(tick for tick in page if tick.time_s == last_s)
    return Turned(fresh, (), Seam(last_s, seen, crosses))


def skip(
    seam: Seam, to_ns: int, sessions: Sessions, reason: str, message: str = "", ib_code: int | None = None
) -> Turned:
    """IB refused the page at `seam`: all trading that is left is a hole."""
    hole = Hole(seam.next_s * NS, to_ns, reason, message, ib_code)
    return Turned((), (hole,) if sessions.any_in(hole.from_ns, hole.to_ns) else (), None)


def row_of(what_to_show: str, tick: HistoricalTick) -> TickRow:
    """A tick as a row of a `ticks` record."""
    time_ns = tick.time_s * NS
    if what_to_show == "MIDPOINT":
        return [time_ns, tick.price]
    if what_to_show == "BID_ASK":
        sizes = (tick.bid_size, tick.ask_size)
        return [time_ns, tick.bid, tick.ask, *sizes, tick.bid_past_low, tick.ask_past_high]
    return [time_ns, tick.price, tick.size, tick.exchange, tick.conditions, tick.past_limit, tick.unreported]


def _unseen(page: Sequence[HistoricalTick], seam: Seam) -> list[HistoricalTick]:
    """All but those of the first second that were delivered; equal ones count as often as they came."""
    left = Counter(seam.seen)
    fresh = []
    for tick in page:
        if tick.time_s == seam.next_s and left[tick] > 0:
            left[tick] -= 1
        else:
            fresh.append(tick)
    return fresh


def _after_silence(seam: Seam, to_ns: int, sessions: Sessions) -> Turned:
    """An empty page: nothing more at all, or nothing in this trade date."""
    if seam.crosses:
        return Turned((), (), None)
    end_s = _date_end_s(seam.next_s, sessions)
    # Ticks of its first second were there before, so the date is not without any.
    holes = () if seam.seen else (Hole(seam.next_s * NS, min(end_s * NS, to_ns), "no_data"),)
    return Turned((), holes, _seam_at(end_s, to_ns, sessions, crosses=False))


def _seam_at(at_s: int, to_ns: int, sessions: Sessions, *, crosses: bool) -> Seam | None:
    """The seam at a second, or at the next one with trading; one may still print in the second a session ends with."""
    if at_s * NS > to_ns:
        return None
    segment = sessions.open_from(at_s * NS)
    if segment is None or segment[0] > to_ns:
        return None
    return Seam(max(at_s, segment[0] // NS), crosses=crosses)


def _date_index(at_s: int, sessions: Sessions) -> int:
    # The last prints of a session bear the second it ends with.
    return sessions.first_from(at_s * NS - 1)


def _date_end_s(at_s: int, sessions: Sessions) -> int:
    """The end of the trade date of `at_s`; later than `at_s` in any case."""
    index = _date_index(at_s, sessions)
    end_s = sessions[index].end_ns // NS if index < len(sessions) else at_s
    return max(end_s, at_s + 1)


def _full_second(at_s: int) -> Hole:
    message = "this second may have more ticks than a page can hold"
    return Hole(at_s * NS, (at_s + 1) * NS, "page_limit", message)
