"""Owns the cutting of an interval into requests for bars: the fewest that IB's tables allow, forward in time.

Sends nothing and waits for nothing; answers are put together by `core.history.stitch`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.bar_grid import first_start, last_end, period_of
from ibkr_actor.core.calendar.sessions import NS, Session, Sessions
from ibkr_actor.core.history.durations import Duration, Unit, caps
from ibkr_actor.core.history.interval import Asked, Span, minus_months, span_of
from ibkr_actor.core.history.resolutions import Resolution
from ibkr_actor.core.requests import ReqHistoricalData
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Hole

# Bars in one answer. It comes as one frame, which ends at 16 MiB and takes the loop a few ms per thousand bars.
BARS_MAX: Final = 20_000
# The same where one request is all there can be: a bar is at most about 110 bytes as text.
BARS_MAX_ALONE: Final = 100_000
# The shortest duration the tables know. Source: IBKR, Historical Data Limitations, legacy table.
SECONDS_MIN: Final = 60
_DAY: Final = timedelta(days=1)
# How far sessions are continued beyond the interval, so that weeks and months are whole.
_MARGIN: Final = 40 * _DAY
_FINEST_FIRST: Final[tuple[Unit, ...]] = ("S", "D", "W", "M", "Y")
_WHOLE_DATES_FIRST: Final[tuple[Unit, ...]] = ("D", "S", "W", "M", "Y")


class Window(Struct, frozen=True):
    """A part [from_ns, to_ns) of the interval and the request that yields it; its answer may hold more.

    `end` is `yyyyMMdd-HH:mm:ss` in UTC, or "" for now, where IB allows no end.
    """

    from_ns: int
    to_ns: int
    end: str
    duration: Duration
    bar_size: str
    what_to_show: str
    use_rth: bool

    def request(self, contract: Contract) -> ReqHistoricalData:
        """What IB is asked; its id is still to be given."""
        return ReqHistoricalData(
            0, contract, self.end, self.duration.text, self.bar_size, self.what_to_show, self.use_rth
        )


class Plan(Struct, frozen=True):
    """Windows in order of time without overlap, and the parts of the interval that no request can yield."""

    windows: tuple[Window, ...]
    holes: tuple[Hole, ...]
    span: Span
    planner: Planner


def plan(
    asked: Asked,
    resolution: Resolution,
    sessions: Sessions,
    *,
    contract: Contract,
    what_to_show: str,
    use_rth: bool,
    now_ns: int,
    head_ns: int | None = None,
    bars_max: int = BARS_MAX,
    refused: Collection[Duration] = (),
    resume_ns: int = 0,
) -> Plan:
    """The requests for the bars that lie wholly inside an interval.

    `sessions` are those of `use_rth`; what they do not reach over is continued with the week's pattern. `refused` are
    durations that IB did not take at this resolution. With `resume_ns`, the `to_ns` of the last window that is done,
    only what follows is planned, in the same windows as before.
    """
    first, last = asked.days(now_ns)
    margin = _DAY if resolution.intraday else _MARGIN
    ends_now = contract.sec_type == "CONTFUT" or what_to_show == "ADJUSTED_LAST"
    if ends_now:
        last = max(last, datetime.fromtimestamp(now_ns // NS, UTC).date())
    wide = sessions.extended(first - margin, last + margin)
    span = span_of(asked, resolution, wide, contract=contract, now_ns=now_ns, head_ns=head_ns)
    planner = Planner(resolution, wide, what_to_show, use_rth, bars_max=bars_max, refused=refused)
    windows: tuple[Window, ...]
    from_ns = max(span.from_ns, resume_ns)
    if ends_now:
        windows, more = planner.until_now(from_ns, span.to_ns, now_ns)
    else:
        windows, more = planner.cover(from_ns, span.to_ns)
    return Plan(windows, (*span.holes, *more), span, planner)


class _Reach(Struct, frozen=True):
    """How far one request gets."""

    to_ns: int
    duration: Duration


class Planner:
    """Cuts at one resolution, over the sessions of one instrument."""

    def __init__(
        self,
        resolution: Resolution,
        sessions: Sessions,
        what_to_show: str,
        use_rth: bool,
        *,
        bars_max: int = BARS_MAX,
        refused: Collection[Duration] = (),
    ) -> None:
        self.resolution = resolution
        self.sessions = sessions
        self._what_to_show = what_to_show
        self._use_rth = use_rth
        self._bars_max = bars_max
        self._caps = caps(resolution, refused)
        # Bars of all trade dates before each index: what a run of dates holds is one subtraction.
        self._before = [0]
        for session in sessions:
            self._before.append(self._before[-1] + self._bars_of(session))

    def _bars_of(self, session: Session) -> int:
        """How many bars begin with a trade date; one off the grid may bring one more."""
        if self.resolution.intraday:
            return sum(-(-(end - start) // (self.resolution.seconds * NS)) for start, end in session.segments)
        first, _ = period_of(session.trade_date, self.resolution)
        return int(self.sessions[self.sessions.first_on(first)] is session)

    def cover(self, from_ns: int, to_ns: int) -> tuple[tuple[Window, ...], tuple[Hole, ...]]:
        """Windows over all trading in [from_ns, to_ns), each as far as one request reaches."""
        windows: list[Window] = []
        at_ns = self._open(from_ns)
        while at_ns is not None and at_ns < to_ns:
            reach = self._farthest(at_ns, to_ns)
            if reach is None:
                return tuple(windows), (Hole(at_ns, to_ns, "refused", "IB took none of the durations there are"),)
            windows.append(self._window(at_ns, reach.to_ns, _text(reach.to_ns), reach.duration))
            at_ns = self._open(reach.to_ns)
        return tuple(windows), ()

    def until_now(self, from_ns: int, to_ns: int, now_ns: int) -> tuple[tuple[Window, ...], tuple[Hole, ...]]:
        """One window whose request ends now; what it misses is a hole.

        Continuous futures (error 10339) and adjusted prices (error 321) take no other end.
        """
        at_ns = self._open(from_ns)
        if at_ns is None or at_ns >= to_ns:
            return (), ()
        reaches = [each for unit in _FINEST_FIRST if (each := self._back(unit, at_ns, now_ns)) is not None]
        if not reaches:
            return (), (Hole(at_ns, to_ns, "refused", "IB took none of the durations there are"),)
        begin_ns, duration = min(reaches, key=lambda each: each[0])
        holes: tuple[Hole, ...] = ()
        if begin_ns > at_ns:
            message = "IB allows no end date here, and one request that ends now reaches no further"
            holes = (Hole(at_ns, min(begin_ns, to_ns), "no_end_date", message),)
        if begin_ns >= to_ns:
            return (), holes
        return (self._window(begin_ns, to_ns, "", duration),), holes

    def _window(self, from_ns: int, to_ns: int, end: str, duration: Duration) -> Window:
        return Window(from_ns, to_ns, end, duration, self.resolution.bar_size, self._what_to_show, self._use_rth)

    def _open(self, ns: int) -> int | None:
        """Where the next bar begins at or after `ns`."""
        if self.resolution.intraday:
            return first_start(ns, self.resolution, self.sessions)
        index = self.sessions.first_from(ns)
        if index < len(self.sessions) and self.sessions[index].start_ns < ns:
            index += 1
        return self.sessions[index].start_ns if index < len(self.sessions) else None

    def _farthest(self, from_ns: int, to_ns: int) -> _Reach | None:
        """The request that gets farthest towards `to_ns`; of equals, the one that brings least beside it."""
        fitting = [self._reach(unit, from_ns, to_ns, forced=False) for unit in self._order(from_ns, to_ns)]
        found = max((each for each in fitting if each is not None), key=lambda each: each.to_ns, default=None)
        if found is not None:
            return found
        forced = (self._reach(unit, from_ns, to_ns, forced=True) for unit in _FINEST_FIRST)
        return next((each for each in forced if each is not None), None)

    def _order(self, from_ns: int, to_ns: int) -> tuple[Unit, ...]:
        """Seconds fit best inside a trade date, days when all of it is wanted."""
        session = self.sessions[self.sessions.first_from(from_ns)]
        whole = from_ns <= session.start_ns and session.end_ns <= to_ns
        return _WHOLE_DATES_FIRST if whole else _FINEST_FIRST

    def _reach(self, unit: Unit, from_ns: int, to_ns: int, forced: bool) -> _Reach | None:
        """How far the longest legal duration of a unit gets; `forced` takes the shortest whatever it holds."""
        cap = self._caps.get(unit, 0)
        if not cap:
            return None
        if unit == "S":
            return self._seconds(from_ns, to_ns, cap)
        first, last = self.sessions.first_from(from_ns), self.sessions.last_before(to_ns)
        found: _Reach | None = None
        for count, index in self._steps(unit, first, last, cap):
            bars = self._bars(self._first_date(unit, count, self.sessions[index].trade_date, index), index)
            if bars > self._bars_max and not (forced and found is None):
                break
            end_ns = to_ns if index == last else self.sessions[index].end_ns
            if found is None or end_ns > found.to_ns:
                found = _Reach(end_ns, Duration(count, unit))
        return found

    def _steps(self, unit: Unit, first: int, last: int, cap: int) -> Iterator[tuple[int, int]]:
        """Counts of a unit with the last trade date (index) up to which each still reaches back to `first`."""
        if unit == "D":
            # The answer's size grows with each date: jump to the last that fits instead of trying all.
            most = bisect_right(self._before, self._before[first] + self._bars_max) - 2
            index = max(first, min(last, first + cap - 1, most))
            yield index - first + 1, index
            return
        since = self.sessions[first].trade_date
        for count in range(1, cap + 1):
            index = self._whole_periods(min(last, self.sessions.last_on(_latest(unit, count, since))), last)
            if index >= first:
                yield count, index
            if index == last:
                return

    def _whole_periods(self, index: int, last: int) -> int:
        """The last trade date at or before `index` that closes its week or month."""
        if index == last or self.resolution.kind not in {"week", "month"}:
            return index
        begin, end = period_of(self.sessions[index].trade_date, self.resolution)
        return index if self.sessions.last_on(end) <= index else self.sessions.first_on(begin) - 1

    def _seconds(self, from_ns: int, to_ns: int, cap: int) -> _Reach | None:
        """By the clock from begin to end: seconds of trading time, as IB counts them, are never more than that."""
        size = self.resolution.seconds
        most_s = min(cap, max(1, self._bars_max) * size) // size * size
        limit_ns = min(to_ns, from_ns + most_s * NS)
        if len(self._caps) > 1:
            limit_ns = min(limit_ns, self.sessions[self.sessions.first_from(from_ns)].end_ns)
        end_ns = last_end(limit_ns, self.resolution, self.sessions)
        if end_ns is None or end_ns <= from_ns:
            return None
        return _Reach(end_ns, Duration(min(cap, max(SECONDS_MIN, -(-(end_ns - from_ns) // NS))), "S"))

    def _back(self, unit: Unit, from_ns: int, now_ns: int) -> tuple[int, Duration] | None:
        """From where on the bars come of a request that ends now, at best from `from_ns`, and its duration."""
        cap, last = self._caps.get(unit, 0), self.sessions.last_before(now_ns)
        first = self.sessions.first_from(from_ns)
        if not cap or last < first:
            return None
        if unit == "S":
            seconds = max(SECONDS_MIN, -(-(now_ns - from_ns) // NS))
            if seconds <= cap:
                return from_ns, Duration(seconds, unit)
            begin_ns = first_start(now_ns - cap * NS, self.resolution, self.sessions)
            return None if begin_ns is None else (begin_ns, Duration(cap, unit))
        best: tuple[int, Duration] | None = None
        for count in range(1, cap + 1):
            index = self.sessions.first_on(self._first_date(unit, count, self.sessions[last].trade_date, last))
            if best is not None and self._before[last + 1] - self._before[index] > BARS_MAX_ALONE:
                break
            best = max(from_ns, self.sessions[index].start_ns), Duration(count, unit)
            if index <= first:
                break
        return best

    def _first_date(self, unit: Unit, count: int, last_date: date, last: int) -> date:
        """The first trade date in the answer to `count` of a unit that ends on `last_date`, whose index is `last`."""
        if unit == "D":
            return self.sessions[max(0, last - count + 1)].trade_date
        return _minus(unit, count, last_date) + _DAY

    def _bars(self, first_date: date, last: int) -> int:
        """About how many bars the trade dates from `first_date` to that at index `last` have."""
        index = self.sessions.first_on(first_date)
        bars = self._before[last + 1] - self._before[index]
        unknown = (self.sessions[0].trade_date - first_date).days
        if unknown > 0:
            each = self._before[-1] / len(self.sessions)
            bars += round(unknown / 7 * self.sessions.week * each)
        return bars


def _minus(unit: Unit, count: int, day: date) -> date:
    """The day from which on, itself not included, weeks, months or years before the end of `day` reach."""
    if unit == "W":
        return day - 7 * count * _DAY
    return minus_months(day, count * (12 if unit == "Y" else 1))


def _latest(unit: Unit, count: int, since: date) -> date:
    """The latest day on which a request may end to bring all of `since`."""
    if unit == "W":
        return since + (7 * count - 1) * _DAY
    # Months differ in length: the first guess is never too late.
    day = minus_months(since, -count * (12 if unit == "Y" else 1)) - _DAY
    while _minus(unit, count, day + _DAY) < since:
        day += _DAY
    return day


def _text(ns: int) -> str:
    return datetime.fromtimestamp(ns // NS, UTC).strftime("%Y%m%d-%H:%M:%S")


def schedule_request(asked: Asked, now_ns: int) -> tuple[str, str]:
    """End and duration of the request (SCHEDULE, `1 day`) that lists an interval's sessions.

    Weeks and months around it are included. Source: IBKR, historical schedule; counts as in the table of durations.
    """
    first, last = asked.days(now_ns)
    first, last = first - _MARGIN, min(last + _MARGIN, datetime.fromtimestamp(now_ns // NS, UTC).date() + _DAY)
    end_ns = min(now_ns, int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp()) * NS)
    years = 1
    while _minus("Y", years, last) >= first:
        years += 1
    # Years are what both tables allow for daily bars.
    return _text(end_ns), Duration(years, "Y").text
