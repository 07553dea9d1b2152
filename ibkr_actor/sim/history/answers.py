"""Owns the making of answers about the past: bars, schedules, heads, histograms and ticks, a turn at a time.

Must not judge a request; what comes here is allowed. What it finds nothing for it says by NoAnswer.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import TypeVar

import anyio.lowlevel

from ibkr_actor.sim.history import rules
from ibkr_actor.sim.history.bars import WITH_VOLUME, Source, Stretch, histogram, segments_from, sessions
from ibkr_actor.sim.history.queries import Query
from ibkr_actor.sim.history.ticks import Picker, TickAsk
from ibkr_actor.sim.history.times import Duration, bar_date, nominal_start_s, start_s, utc_text, zoned_text
from ibkr_actor.sim.market.bars import Bar, BarSize
from ibkr_actor.sim.market.calendar import Calendar, Segment
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire.frames import MAX_FRAME_BYTES
from ibkr_actor.sim.wire.history_wire import encode_bars
from ibkr_actor.sim.world import World

_T = TypeVar("_T")
# Averages of prices have this many digits behind the point at most.
_DIGITS = 8
_SCHEDULE_PIECE_S = 100 * 86_400
# Source: ibapi MIN_SERVER_VER_FRACTIONAL_SIZE_SUPPORT; older clients read whole sizes.
_FRACTIONS_FROM = 163
_PERIOD = re.compile(r"(\d{1,5}) *(second|minute|hour|day|week|month|year)s?")
_PERIOD_UNITS = {
    "second": ("S", 1),
    "minute": ("S", 60),
    "hour": ("S", 3600),
    "day": ("D", 1),
    "week": ("W", 1),
    "month": ("M", 1),
    "year": ("Y", 1),
}  # fmt: skip


class NoAnswer(Exception):
    """Error 162 with this text instead of an answer."""


def parse_period(text: str) -> Duration:
    """A histogram's `3 days`.

    Raises: ValueError for what is no period, or a longer one than bars may have.
    """
    found = _PERIOD.fullmatch(text.strip().lower())
    if found is None or int(found[1]) < 1:
        raise ValueError(text)
    unit, factor = _PERIOD_UNITS[found[2]]
    number = int(found[1]) * factor
    if number > rules.LONGEST[unit]:
        raise ValueError(text)
    return Duration(number, unit)


class BarRequest(h.ReqHistoricalData, frozen=True, kw_only=True):
    """A request for bars that was judged; `end_s` is None for now."""

    size: BarSize
    length: Duration
    view: str
    end_s: float | None = None
    date_format: int = 1


class Answers:
    """Makes answers from the world's tapes and calendars."""

    def __init__(self, world: World) -> None:
        self._world = world

    def tape(self, instrument: Instrument) -> Tape:
        """Raises: KeyError when the instrument's underlying or a leg is unknown."""
        return self._world.tape(instrument)

    def calendar(self, instrument: Instrument) -> Calendar:
        return self._world.calendar(instrument)

    def source(self, instrument: Instrument, view: str) -> Source:
        return Source(instrument, self.tape(instrument), self.calendar(instrument), view)

    # Bars

    async def bars(self, query: Query, request: BarRequest) -> list[Message]:
        """The bars in one frame and, from 196 on, their end.

        Raises: NoAnswer when there are none, or more than a frame holds.
        """
        version = query.session.server_version
        stretch = self._stretch(query.instrument, request)
        count, size, pieces = 0, 0, []
        source = self.source(query.instrument, request.view)
        async with self._world.turns:
            async for piece in _in_turns(self._world, source.pieces(stretch)):
                bars = [self.wire_bar(query, request, bar) for bar in piece]
                if bars:
                    pieces.append(encode_bars(bars, version))
                    count, size = count + len(bars), size + len(pieces[-1])
                if size > MAX_FRAME_BYTES - 1024:
                    raise NoAnswer(f"{rules.HMDS}Time length exceed max.")
        if not count:
            raise NoAnswer(self._nothing(query.instrument, request))
        start, end = self._ends(query.instrument, request)
        answer = h.EncodedHistoricalData(req_id=query.req_id, count=count, pieces=tuple(pieces), start=start, end=end)
        return [answer, h.HistoricalDataEnd(req_id=query.req_id, start=start, end=end)] if version >= 196 else [answer]

    def update(self, query: Query, request: BarRequest, now_s: int) -> Message | None:
        """The bar at `now_s` of a query that is kept up to date; None while nothing trades."""
        bar = self.source(query.instrument, request.view).so_far(now_s, request.size, request.use_rth)
        if bar is None:
            return None
        return h.HistoricalDataUpdate(req_id=query.req_id, bar=self.wire_bar(query, request, bar))

    def wire_bar(self, query: Query, request: BarRequest, bar: Bar) -> h.HistoricalBar:
        instrument = query.instrument
        zone = self.calendar(instrument).zone
        faults = self._world.faults
        date_format = 3 if faults.year_less_dates else request.date_format
        date = bar_date(bar.start_s, bar.trade_date, request.size, date_format, zone, instrument.time_zone_id)
        volume, wap, count = _figures(bar, instrument) if request.view in WITH_VOLUME else (Decimal(-1), -1.0, -1)
        if query.session.server_version < _FRACTIONS_FROM:
            volume = volume.to_integral_value()
        prices = (bar.open, bar.high, bar.low, bar.close)
        unknown = faults.question_mark_prices(instrument)
        opening, high, low, close = ("?" if unknown else round(price, _DIGITS) for price in prices)
        return h.HistoricalBar(
            date=date,
            open=opening,
            high=high,
            low=low,
            close=close,
            volume=volume,
            wap=round(wap, _DIGITS),
            count=count,
        )

    async def schedule(self, query: Query, request: BarRequest) -> list[Message]:
        """The sessions that begin between the start of the duration and the end.

        Raises: NoAnswer when there are none.
        """
        instrument, calendar = query.instrument, self.calendar(query.instrument)
        end_s = self._world.clock.now_s() if request.end_s is None else request.end_s
        first_s = start_s(calendar, end_s, request.length, regular_only=request.use_rth, whole_days=True)
        first_s = max(first_s, self.tape(instrument).head_s)
        segments: list[Segment] = []
        async with self._world.turns:
            async for piece in _in_turns(self._world, _steps(first_s, end_s, _SCHEDULE_PIECE_S)):
                segments += segments_from(calendar, *piece, regular_only=request.use_rth)
        found = sessions(segments)
        if not found:
            raise NoAnswer(self._nothing(instrument, request))

        def text(time_s: float) -> str:
            return zoned_text(time_s, calendar.zone, "").strip().replace(" ", "-")

        answer = h.HistoricalSchedule(
            req_id=query.req_id,
            start=text(found[0].start_s),
            end=text(found[-1].end_s),
            time_zone=instrument.time_zone_id,
            sessions=tuple(
                h.HistoricalSession(
                    start=text(each.start_s), end=text(each.end_s), ref_date=f"{each.trade_date:%Y%m%d}"
                )
                for each in found
            ),
        )
        return [answer]

    def _stretch(self, instrument: Instrument, request: BarRequest) -> Stretch:
        now_s = self._world.clock.now_s()
        end_s = min(now_s if request.end_s is None else request.end_s, now_s)
        first_s = start_s(
            self.calendar(instrument),
            min(end_s, self.tape(instrument).end_s),
            request.length,
            regular_only=request.use_rth,
            whole_days=not request.size.intraday,
        )
        if request.size.seconds <= rules.SMALL_BAR_S:
            first_s = max(first_s, now_s - rules.SMALL_BAR_KEPT_S)
        return Stretch(first_s, end_s, now_s, request.size, request.use_rth)

    def _ends(self, instrument: Instrument, request: BarRequest) -> tuple[str, str]:
        """As historicalDataEnd says them: the end and the end less the duration on the calendar."""
        zone, name = self.calendar(instrument).zone, instrument.time_zone_id
        end_s = self._world.clock.now_s() if request.end_s is None else request.end_s
        return zoned_text(nominal_start_s(end_s, request.length, zone), zone, name), zoned_text(end_s, zone, name)

    def _nothing(self, instrument: Instrument, request: BarRequest) -> str:
        exchange = request.contract.exchange or instrument.exchange
        return rules.nothing_found(instrument.local_symbol or instrument.symbol, exchange, request.view)

    # The rest

    def head(self, query: Query, view: str, *, regular_only: bool, format_date: int | None) -> Message:
        """When data begins.

        Raises: NoAnswer for a kind of data there is none of.
        """
        calendar = self.calendar(query.instrument)
        if not self.source(query.instrument, view).exists:
            raise NoAnswer(f"{rules.HMDS}No head time stamp")
        segment = calendar.after(self.tape(query.instrument).head_s)
        while regular_only and not segment.regular:
            segment = calendar.after(segment.end_s)
        text = utc_text(segment.start_s, query.session.server_version)
        if format_date == 2:
            text = str(segment.start_s)
        elif format_date == 3:
            text = text[4:].replace("-", " ")
        return h.HeadTimestamp(req_id=query.req_id, head_timestamp=text)

    async def histogram(self, query: Query, period: Duration, *, regular_only: bool) -> Message:
        instrument, now_s = query.instrument, self._world.clock.now_s()
        first_s = start_s(self.calendar(instrument), now_s, period, regular_only=regular_only, whole_days=False)
        days = (now_s - first_s) / 86_400
        size = BarSize.parse("1 min" if days <= 4 else "30 mins" if days <= 90 else "1 day")
        bars: list[Bar] = []
        stretch = Stretch(first_s, now_s, now_s, size, regular_only)
        async for piece in _in_turns(self._world, self.source(instrument, "TRADES").pieces(stretch)):
            bars += piece
        table = histogram(bars, float(instrument.min_tick), instrument.decimals)
        entries = tuple(h.HistogramEntry(price, volume) for price, volume in table.items())
        return h.HistogramData(req_id=query.req_id, entries=entries)

    async def ticks(self, query: Query, ask: TickAsk) -> Message:
        now_s = self._world.clock.now_s()
        picker = Picker(self.tape(query.instrument), self.calendar(query.instrument), ask, now_s)
        async with self._world.turns:
            async for _ in _in_turns(self._world, picker.pieces()):
                pass
        kinds: dict[str, Callable[..., Message]] = {
            "BID_ASK": h.HistoricalTicksBidAsk,
            "MIDPOINT": h.HistoricalTicks,
        }
        make = kinds.get(ask.what_to_show, h.HistoricalTicksLast)
        return make(req_id=query.req_id, ticks=tuple(picker.ticks))


def _figures(bar: Bar, instrument: Instrument) -> tuple[Decimal, float, int]:
    """Volume, wap and count; an index has neither volume nor an average."""
    return (bar.volume, bar.wap, bar.count) if instrument.sized else (Decimal(0), 0.0, bar.count)


def _steps(start_s: float, end_s: float, step_s: int) -> Iterator[tuple[float, float]]:
    while start_s < end_s:
        yield start_s, min(start_s + step_s, end_s)
        start_s += step_s


async def _in_turns(world: World, pieces: Iterator[_T]) -> AsyncIterator[_T]:
    """The pieces, with a turn of the loop between them; a stalled simulator gives none."""
    for piece in pieces:
        yield piece
        await anyio.lowlevel.checkpoint()
        await world.gate.wait()
