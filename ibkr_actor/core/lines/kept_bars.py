"""Owns the bars of one line that IB keeps up to date: which goes on, what was said of each, and when one is over.

Asks for nothing and publishes nothing: it is given IB's bars and the time, and answers what to tell.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.core.calendar.bar_times import BarTimes, Span
from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.events import HistoricalBarUpdate
from ibkr_actor.core.history.durations import UNIT_S, Duration, Unit, caps
from ibkr_actor.core.history.events import HistoricalBar
from ibkr_actor.core.history.resolutions import Resolution
from ibkr_actor.core.lines.bar_builder import Shape, Told
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Bar

# How many bars are remembered, so that a correction by IB can be told as one.
_REMEMBERED: Final = 100
# The shortest length that is asked for: the bar that goes on and those just before it.
_BARS_MIN: Final = 3
_SECONDS_MIN: Final = 120


class _Known(Struct):
    """What was told of a bar last."""

    span: Span
    shape: Shape
    final: bool
    revision: int


class KeptBars:
    """One line's bars. After a break IB's answer brings those that were missed, and shows which it has corrected."""

    def __init__(self, times: BarTimes) -> None:
        self._times = times
        # start_ns -> what was told of that bar; the newest last.
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self.unreadable = 0

    def resume(self, bar: Bar) -> None:
        """An earlier process told this bar last: what IB has from there on is news."""
        span = Span(bar.start_ns, bar.end_ns, bar.session_date)
        shape = Shape(bar.open, bar.high, bar.low, bar.close, bar.volume, bar.wap, bar.count)
        self._known[bar.start_ns] = _Known(span, shape, bar.final, bar.revision)

    @property
    def _newest(self) -> _Known | None:
        return next(reversed(self._known.values()), None)

    @property
    def closes_ns(self) -> int | None:
        """When the bar that goes on is over; None when there is none."""
        newest = self._newest
        return None if newest is None or newest.final else newest.span.end_ns

    def duration(self, now_ns: int) -> str:
        """How far back to ask, as IB reads it: to the oldest bar whose correction could be told, or all that is new."""
        newest = self._newest
        back_s = 0 if newest is None else max(0, now_ns - newest.span.start_ns) // NS
        return _shortest(self._times.resolution, back_s)

    def answer(self, bars: Sequence[HistoricalBar]) -> list[Told]:
        """IB's first answer to a request, oldest first; its last bar is the one that goes on.

        Of a line that told nothing yet only that one is news: what was before, `history` has.
        """
        placed = [(span, _shape(bar)) for bar in bars if (span := self._span(bar.date)) is not None]
        if not self._known:
            placed = placed[-1:]
        told: list[Told] = []
        for number, (span, shape) in enumerate(placed, 1):
            goes_on = number == len(placed)
            told += self._close_before(span)
            told += self._tell(span, shape, final=not goes_on, refilled=not goes_on)
        return told

    def update(self, bar: HistoricalBarUpdate) -> list[Told]:
        """The bar that goes on, as it stands; the first of a new one says that the one before is over."""
        span = self._span(bar.date)
        if span is None:
            return []
        return self._close_before(span) + self._tell(span, _shape(bar), final=False, refilled=False)

    def due(self, now_ns: int) -> list[Told]:
        """The bar that goes on, if its time is over: IB is silent when nothing happens any more."""
        newest = self._newest
        return [] if newest is None or newest.final or newest.span.end_ns > now_ns else self._close(newest)

    def new_hours(self, contract: Contract) -> None:
        """IB has told the hours anew: the bar that goes on ends by them too, if it is not over already."""
        self._times.new_hours(contract)
        newest = self._newest
        if newest is not None and not newest.final:
            named = newest.span.session_date
            span = self._times.named(named if named is not None else str(newest.span.start_ns // NS))
            if span.start_ns == newest.span.start_ns:
                newest.span = span

    def _span(self, date: str) -> Span | None:
        try:
            return self._times.named(date)
        except (ValueError, OverflowError, OSError):
            self.unreadable += 1
            return None

    def _close_before(self, span: Span) -> list[Told]:
        """The bar that went on is over when there is news of a later one."""
        newest = self._newest
        return self._close(newest) if newest is not None and newest.span.start_ns < span.start_ns else []

    def _close(self, known: _Known) -> list[Told]:
        if known.final:
            return []
        known.final = True
        known.revision += 1
        return [Told(known.span, known.shape, True, known.revision)]

    def _tell(self, span: Span, shape: Shape, *, final: bool, refilled: bool) -> list[Told]:
        known = self._known.get(span.start_ns)
        if known is None:
            newest = self._newest
            if newest is not None and span.start_ns < newest.span.start_ns:
                return []  # from before what was told, or forgotten: not news
            known = self._known[span.start_ns] = _Known(span, shape, final, 0)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return [Told(span, shape, final, 0, refilled)]
        final = final or known.final
        if known.shape == shape and known.final == final:
            return []
        # A week's trade date is the last one so far: the span is that of the newest news.
        known.span, known.shape, known.final = span, shape, final
        known.revision += 1
        return [Told(span, shape, final, known.revision, refilled)]


def _shape(bar: HistoricalBar | HistoricalBarUpdate) -> Shape:
    """A bar of quotes has no volume, which IB writes as -1, and then neither average nor count."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    if bar.volume is None or bar.volume.startswith("-"):
        return Shape(*prices, None, None, None)
    return Shape(*prices, bar.volume, bar.wap, None if bar.count is not None and bar.count < 0 else bar.count)


def _shortest(resolution: Resolution, back_s: int) -> str:
    """The shortest duration that goes with the size and reaches so far back; the longest when none does."""
    wanted_s = max(back_s + _BARS_MIN * resolution.seconds, _SECONDS_MIN)
    legal: list[tuple[Unit, int]] = list(caps(resolution).items())
    wanted = [(Duration(-(-wanted_s // UNIT_S[unit]), unit), count) for unit, count in legal]
    fitting = [duration for duration, count in wanted if duration.count <= count]
    if fitting:
        return min(fitting, key=lambda each: each.nominal_s).text
    return max((Duration(count, unit) for unit, count in legal), key=lambda each: each.nominal_s).text
