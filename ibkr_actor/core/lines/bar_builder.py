"""Owns the making of longer bars out of bars of 5 s: what one bar has come to, when it is over, whether it is whole.

Knows no stream and no request; which bar a moment lies in is `core.calendar.bar_times`'.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from decimal import Decimal, InvalidOperation

from msgspec import Struct

from ibkr_actor.core.calendar.bar_times import BarTimes, Span
from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.events import RealTimeBar
from ibkr_actor.schema.instruments import Contract

# Source: IBKR, "5 Second Bars": real-time bars have this one size.
STEP_NS = 5 * NS
# How many of the newest bars of 5 s may still be told anew.
_CORRECTABLE = 12


class Shape(Struct, frozen=True):
    """What a bar shows: prices as numbers, volume and average as text, None where it is not known."""

    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None
    wap: str | None
    count: int | None


class Told(Struct, frozen=True):
    """A bar as it is to be told. `revision` counts what was told of it, from 0; `refilled`: it came from history."""

    span: Span
    shape: Shape
    final: bool
    revision: int
    refilled: bool = False


class BarBuilder:
    """The bars of one size. A bar is final when all of it was seen; one that data is missing of never is."""

    def __init__(self, times: BarTimes) -> None:
        self._times = times
        # From when on nothing is missing; None before the first bar of 5 s and after a loss.
        self._seen_from_ns: int | None = None
        self._span: Span | None = None
        self._sum: _Sum | None = None
        self._revision = 0
        # Whether it was told as final: then only a correction by IB is told of it.
        self._final = False

    def take(self, bar: RealTimeBar) -> list[Told]:
        """The next bar of 5 s, or one of the last anew: what is over now, and the bar that it belongs to.

        A bar that belongs to an earlier one is left out.
        """
        span = self._span
        if span is not None and bar.start_ns < span.start_ns:
            return []
        told: list[Told] = []
        if self._seen_from_ns is None:
            self._seen_from_ns = bar.start_ns
        if span is None or bar.start_ns >= span.end_ns:
            told += self._close()
            self._begin(self._times.around(bar.start_ns))
        assert self._span is not None
        if self._sum is None or bar.start_ns < self._span.start_ns or not self._sum.take(bar):
            return told
        ends = bar.start_ns + STEP_NS >= self._span.end_ns
        self._final = self._final or (ends and self._whole)
        return told + self._tell(final=self._final)

    def lost(self) -> None:
        """Data may be missing from here on: the bar that goes on cannot become whole any more."""
        self._seen_from_ns = None

    def new_hours(self, contract: Contract) -> None:
        """IB has told the hours anew: the bar that goes on ends by them too, if it is not over already."""
        self._times.new_hours(contract)
        if self._span is not None and not self._final:
            span = self._times.around(self._span.start_ns)
            if span.start_ns == self._span.start_ns:
                self._span = span

    @property
    def closes_ns(self) -> int | None:
        """When the bar that goes on is over; None when there is none that could become final."""
        return self._span.end_ns if self._span is not None and not self._final and self._whole else None

    def due(self, now_ns: int) -> list[Told]:
        """The bar that goes on, if its time is over: nothing more traded in it."""
        closes_ns = self.closes_ns
        return self._close() if closes_ns is not None and closes_ns <= now_ns else []

    @property
    def _whole(self) -> bool:
        assert self._span is not None
        return self._seen_from_ns is not None and self._seen_from_ns <= self._span.start_ns

    def _begin(self, span: Span) -> None:
        self._span, self._sum = span, _Sum()
        self._revision, self._final = 0, False

    def _close(self) -> list[Told]:
        """Says the bar for the last time, when it is whole."""
        if self._span is None or self._final or not self._whole:
            return []
        self._final = True
        return self._tell(final=True)

    def _tell(self, *, final: bool) -> list[Told]:
        assert self._span is not None
        assert self._sum is not None
        told = Told(self._span, self._sum.shape(), final, self._revision)
        self._revision += 1
        return [told]


class _Sum:
    """Bars of 5 s added up; the newest of them are kept as they are, since IB may tell one of those anew."""

    def __init__(self) -> None:
        self._settled = _Totals()
        self._settled_until_ns = 0
        # start_ns -> bar.
        self._newest: dict[int, RealTimeBar] = {}
        self._last_ns = -1
        # Both together, as long as each bar came behind the one before; None until they are added up anew.
        self._all: _Totals | None = _Totals()

    def take(self, bar: RealTimeBar) -> bool:
        """Takes a bar in, in the place of the one that it corrects; False for one too old for that."""
        if bar.start_ns < self._settled_until_ns:
            return False
        self._newest[bar.start_ns] = bar
        if bar.start_ns <= self._last_ns:
            self._all = None
        elif self._all is not None:
            self._all.add(bar)
        self._last_ns = max(self._last_ns, bar.start_ns)
        if len(self._newest) > _CORRECTABLE:
            oldest = self._newest.pop(min(self._newest))
            self._settled.add(oldest)
            self._settled_until_ns = oldest.start_ns + STEP_NS
        return True

    def shape(self) -> Shape:
        if self._all is None:
            self._all = copy(self._settled)
            for start_ns in sorted(self._newest):
                self._all.add(self._newest[start_ns])
        return self._all.shape()


class _Totals:
    """The average is weighted with the volume; without any it is that of the last bar."""

    def __init__(self) -> None:
        self._prices: tuple[float | None, float | None, float | None, float | None] = (None, None, None, None)
        self._volume: Decimal | None = None
        self._turnover = Decimal(0)
        self._weighed = Decimal(0)
        self._wap: str | None = None
        self._count: int | None = None

    def add(self, bar: RealTimeBar) -> None:
        begin, high, low, close = self._prices
        self._prices = (
            bar.open if begin is None else begin,
            _either(max, high, bar.high),
            _either(min, low, bar.low),
            close if bar.close is None else bar.close,
        )
        volume, wap = _decimal(bar.volume), _decimal(bar.wap)
        if bar.wap is not None:
            self._wap = bar.wap
        if bar.count is not None and bar.count >= 0:
            self._count = (self._count or 0) + bar.count
        if volume is None or volume < 0:
            return
        self._volume = volume if self._volume is None else self._volume + volume
        if wap is not None:
            self._turnover += volume * wap
            self._weighed += volume

    def shape(self) -> Shape:
        volume = None if self._volume is None else _text(self._volume)
        # As many digits as IB's own averages have.
        wap = _text(round(self._turnover / self._weighed, 8)) if self._weighed else self._wap
        begin, high, low, close = self._prices
        return Shape(begin, high, low, close, volume, wap if self._volume is not None else None, self._count)


def _either(choose: Callable[[float, float], float], known: float | None, new: float | None) -> float | None:
    return new if known is None else known if new is None else choose(known, new)


def _decimal(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        return None


def _text(value: Decimal) -> str:
    """The shortest plain decimal."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
