"""Owns what [start, end] of a history command means: trade dates or times, and how much of it can be had at all.

Looks at no clock: the present is given. Plans no request.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.bar_grid import first_start, last_end, period_bounds
from ibkr_actor.core.calendar.sessions import NS, Sessions
from ibkr_actor.core.history.resolutions import Resolution
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Hole

_DAY: Final = timedelta(days=1)
# Source: IBKR, Historical Data Limitations, "Unavailable Historical Data": bars of 30 seconds or less older than six
# months; futures expired for more than two years; expired options, futures options and warrants.
# Six months are 180 days here: no calendar's are less, and a window does not get too old while it waits for its turn.
SMALL_BARS_DAYS: Final = 180
FUTURES_MONTHS: Final = 24
_GONE_AT_EXPIRY: Final = frozenset({"OPT", "FOP", "WAR"})


class Asked(Struct, frozen=True):
    """An interval as it was asked for: a `date` means a whole trade date, a `datetime` (in UTC) that very time.

    `until` None means now.
    """

    since: datetime | date
    until: datetime | date | None

    def days(self, now_ns: int) -> tuple[date, date]:
        """The calendar days that hold it in any time zone, at most until tomorrow: what sessions must be known of."""
        today = _utc(now_ns).date()
        first, last = _day(self.since), today if self.until is None else _day(self.until)
        return first - _DAY, min(last, today) + _DAY


class Span(Struct, frozen=True):
    """The part of an interval for which IB can have bars: [from_ns, to_ns), empty when they are equal.

    `holes` are the parts that are cut off, each with its reason.
    """

    from_ns: int
    to_ns: int
    holes: tuple[Hole, ...] = ()


def asked(start: str, end: str, now_ns: int) -> Asked:
    """Reads both texts (ISO 8601); an empty `end` is now, and so is one in the future.

    Raises: ValueError with one clear line for what cannot be read, is turned round, or has not begun.
    """
    now = _utc(now_ns)
    since = _read("start", start)
    until = _read("end", end) if end else None
    if until is not None and _turned(since, until):
        raise ValueError(f"end {end!r} is before start {start!r}")
    # A trade date may begin the evening before its own day, and elsewhere the day has begun already.
    begun = since - _DAY <= now.date() if not isinstance(since, datetime) else since <= now
    if not begun:
        raise ValueError(f"start {start!r} is in the future")
    return Asked(since, until)


def _read(name: str, text: str) -> datetime | date:
    try:
        if len(text) <= 10:
            return date.fromisoformat(text)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{name} {text!r} is neither a date (2024-01-31) nor a time (2024-01-31T09:30:00Z) of ISO 8601"
        ) from None
    if not 1970 <= at.year <= 2261:
        raise ValueError(f"{name} {text!r} is not between 1970 and 2261")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _turned(since: datetime | date, until: datetime | date) -> bool:
    if isinstance(since, datetime) and isinstance(until, datetime):
        return until < since
    # A date lies somewhere in three calendar days of UTC.
    slack = timedelta() if isinstance(since, datetime) == isinstance(until, datetime) else _DAY
    return _day(until) + slack < _day(since)


def span_of(
    asked: Asked,
    resolution: Resolution,
    sessions: Sessions,
    *,
    contract: Contract,
    now_ns: int,
    head_ns: int | None = None,
) -> Span:
    """What is left of an interval, cut where there can be no bars and drawn in to where bars begin and end.

    `sessions` reaches over the whole interval. `head_ns` is IB's head timestamp where it is known.
    """
    from_ns, to_ns = bounds(asked, sessions, now_ns)
    to_ns = min(to_ns, now_ns)
    holes: list[Hole] = []
    floor_ns, reason, message = _floor(resolution, sessions, now_ns, head_ns)
    ceiling_ns = _expiry(contract, sessions, now_ns)
    if ceiling_ns is not None and ceiling_ns < to_ns:
        if sessions.any_in(max(from_ns, ceiling_ns), to_ns):
            holes.append(Hole(max(from_ns, ceiling_ns), to_ns, "expired", f"expired on {contract.last_trade_date[:8]}"))
        to_ns = max(from_ns, ceiling_ns)
    if floor_ns > from_ns and from_ns < to_ns:
        cut_ns = min(floor_ns, to_ns)
        if sessions.any_in(from_ns, cut_ns):
            holes.insert(0, Hole(from_ns, cut_ns, reason, message))
        from_ns = cut_ns
    begin_ns, end_ns = _drawn_in(from_ns, to_ns, resolution, sessions)
    return Span(begin_ns, end_ns, tuple(holes))


def bounds(asked: Asked, sessions: Sessions, now_ns: int) -> tuple[int, int]:
    """The interval in UTC: dates are whole trade dates, the last one included. It may be empty, never turned round."""
    from_ns = _begin(asked.since, sessions)
    if asked.until is None:
        return from_ns, max(from_ns, now_ns)
    if isinstance(asked.until, datetime):
        return from_ns, max(from_ns, _ns(asked.until))
    index = sessions.last_on(asked.until)
    return from_ns, max(from_ns, sessions[index].end_ns if index >= 0 else from_ns)


def _begin(since: datetime | date, sessions: Sessions) -> int:
    if isinstance(since, datetime):
        return _ns(since)
    index = sessions.first_on(since)
    if index < len(sessions):
        return sessions[index].start_ns
    return _ns(datetime(since.year, since.month, since.day, tzinfo=sessions.zone))


def _floor(resolution: Resolution, sessions: Sessions, now_ns: int, head_ns: int | None) -> tuple[int, str, str]:
    """Before this IB has nothing, and why. A whole trade date is too old as soon as its begin is."""
    floor_ns, reason, message = 0, "", ""
    if head_ns is not None:
        index = sessions.first_from(head_ns)
        # The trade date in which data begins is asked for whole; a head in closed time means the next one.
        floor_ns = sessions[index].start_ns if index < len(sessions) else head_ns
        reason, message = "before_head", f"data begins at {_utc(head_ns).isoformat()}"
        if not resolution.intraday and index < len(sessions):
            period = period_bounds(sessions[index].trade_date, resolution, sessions)
            floor_ns = period[0] if period else floor_ns
    if resolution.small:
        oldest_ns = now_ns - SMALL_BARS_DAYS * 86_400 * NS
        index = sessions.first_from(oldest_ns)
        if index < len(sessions):
            index += sessions[index].start_ns < oldest_ns
            oldest_ns = sessions[index].start_ns if index < len(sessions) else oldest_ns
        if oldest_ns > floor_ns:
            floor_ns, reason = oldest_ns, "too_old"
            message = "bars of 30 seconds and less are kept for six months"
    return floor_ns, reason, message


def _expiry(contract: Contract, sessions: Sessions, now_ns: int) -> int | None:
    """After this there are no bars of the contract; 0 when all of them are gone."""
    if contract.sec_type not in {"FUT", *_GONE_AT_EXPIRY} or len(contract.last_trade_date) < 8:
        return None
    try:
        last = date.fromisoformat(contract.last_trade_date[:8])
    except ValueError:
        return None
    session = sessions.on(last)
    day_end = datetime(last.year, last.month, last.day, tzinfo=sessions.zone) + _DAY
    end_ns = session.end_ns if session is not None else _ns(day_end)
    if end_ns >= now_ns:
        return None
    gone = contract.sec_type in _GONE_AT_EXPIRY or end_ns < _months_before(now_ns, FUTURES_MONTHS)
    return 0 if gone else end_ns


def _drawn_in(from_ns: int, to_ns: int, resolution: Resolution, sessions: Sessions) -> tuple[int, int]:
    """From where the first whole bar begins to where the last whole one ends."""
    if resolution.intraday:
        begin_ns, end_ns = first_start(from_ns, resolution, sessions), last_end(to_ns, resolution, sessions)
    else:
        begin_ns, end_ns = _first_period(from_ns, resolution, sessions), _last_period(to_ns, resolution, sessions)
    if begin_ns is None or end_ns is None or begin_ns >= end_ns:
        return from_ns, from_ns
    return begin_ns, end_ns


def _first_period(from_ns: int, resolution: Resolution, sessions: Sessions) -> int | None:
    for index in range(sessions.first_from(from_ns), len(sessions)):
        found = period_bounds(sessions[index].trade_date, resolution, sessions)
        if found is not None and found[0] >= from_ns:
            return found[0]
    return None


def _last_period(to_ns: int, resolution: Resolution, sessions: Sessions) -> int | None:
    for index in range(sessions.last_before(to_ns), -1, -1):
        found = period_bounds(sessions[index].trade_date, resolution, sessions)
        if found is not None and found[1] <= to_ns:
            return found[1]
    return None


def _months_before(ns: int, months: int) -> int:
    at = _utc(ns)
    return _ns(datetime.combine(minus_months(at.date(), months), at.timetz()))


def minus_months(day: date, months: int) -> date:
    """The same day that many months earlier, or the last one of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    after = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return date(year, month + 1, min(day.day, (after - _DAY).day))


def _utc(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC)


def _day(at: datetime | date) -> date:
    return at.date() if isinstance(at, datetime) else at


def _ns(at: datetime) -> int:
    """Nanoseconds without rounding."""
    return int(at.replace(microsecond=0).timestamp()) * NS + at.microsecond * 1_000
