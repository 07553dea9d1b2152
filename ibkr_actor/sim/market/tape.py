"""Owns everything that ever happened to one instrument: its bars of every size, its ticks, its state at any time.

Must not keep running state; every answer depends on the seed, the instrument and the time alone.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from ibkr_actor.sim.market.bars import Bar, BarSize, DaySoFar, Quote, State, Trade
from ibkr_actor.sim.market.calendar import Calendar, Segment
from ibkr_actor.sim.market.cells import Cells, Part
from ibkr_actor.sim.market.dated import Dated
from ibkr_actor.sim.market.grid import Grid, Session
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.leaves import Leaves, Rhythm, rhythm_of, unit_mean_of, unit_of
from ibkr_actor.sim.market.path import LEAF_S, LEVELS, Cell, Path
from ibkr_actor.sim.market.quoting import VIEWS, Prices, Quoting
from ibkr_actor.sim.market.runner import Runner
from ibkr_actor.sim.market.volume import Volumes

__all__ = ["Bar", "BarSize", "DaySoFar", "Quote", "State", "Tape", "Trade"]

_NOTHING = Decimal(0)


class Figures(NamedTuple):
    """A trade date up to a time, in prices and units; `value` is the sum of price times units."""

    open: float
    high: float
    low: float
    units: int
    value: float
    trades: int


class Tape:
    """One instrument's past and future. Times are seconds since 1970; what lies before `head_s` or at or after `end_s`
    (the end of its last trade date) is empty.

    what_to_show: TRADES, BID, ASK, MIDPOINT, BID_ASK; `shows` has those that exist for the instrument. Bars of trades,
    quotes and ticks agree exactly at every size: open, high, low, close, volume and count. Not so `wap`: it is the mean
    of the four prices in a cell of 5 s, 1, 5 or 30 min or 4 h, weighted with the volume where a bar has more cells.
    Open and close of BID_ASK, the averages of bid and ask, are means of that kind too, not weighted.
    """

    def __init__(
        self,
        instrument: Instrument,
        *,
        name: str,
        calendar: Calendar,
        path: Path,
        quoting: Quoting,
        rhythm: Rhythm | None = None,
    ) -> None:
        """`name` is of this seed and instrument only: equal names give equal tapes."""
        self.instrument = instrument
        self.calendar = calendar
        self.path = path
        self.quoting = quoting
        rhythm = rhythm or rhythm_of(instrument, 0)
        volumes = Volumes(name, calendar, rhythm.points, unit_mean_of(instrument))
        self.leaves = Leaves(instrument, name, path, volumes, rhythm)
        self._cells = Cells(path, volumes)
        self._unit = unit_of(instrument)
        self._sized = instrument.sized
        self._whole_units = self._unit == 1
        first = _date(instrument.list_date) or datetime.date(2004, 1, 23)
        last = datetime.date(9000, 1, 1)
        # What a continuous future shows for an expiry is its front month's.
        self._has_end = bool(instrument.expiry) and instrument.price_model != "front"
        if self._has_end:
            last = _date(instrument.expiry) or last
        self.grid = Grid(calendar, first, last)
        self._dates = Dated(self.grid, calendar, self._bar)
        self.shows = frozenset(
            (("TRADES",) if instrument.trades else ())
            + (("BID", "ASK", "MIDPOINT", "BID_ASK") if instrument.quotes else ())
        )
        self._head_s: int | None = None
        # The figures of the last half hour asked for, up to its start: the next ask is most often of the same.
        self._half: tuple[tuple[datetime.date, int], Figures | None] | None = None
        # Where the last look at what holds has walked to.
        self._looked: Runner | None = None
        self._end_s: float | None = None if self._has_end else math.inf

    @property
    def head_s(self) -> int:
        """When trading began."""
        if self._head_s is None:
            dates = self.calendar.trade_dates(self.grid.first, self.grid.first + datetime.timedelta(days=30))
            self._head_s = self.calendar.day(dates[0])[0].start_s
        return self._head_s

    @property
    def end_s(self) -> float:
        """When trading ends for good; infinite without an expiry."""
        if self._end_s is None:
            first = self.grid.last - datetime.timedelta(days=30)
            dates = self.calendar.trade_dates(first, self.grid.last)
            self._end_s = float(self.calendar.day(dates[-1])[-1].end_s)
        return self._end_s

    # Bars

    def bars(
        self, start_s: float, end_s: float, size: BarSize, what_to_show: str = "TRADES", regular_only: bool = False
    ) -> list[Bar]:
        """Bars that start in [start_s, end_s), in order.

        Intraday bars begin at full multiples of their size on the exchange's clock, the first of a session where the
        session begins; days have a bar for each trade date.
        Raises: ValueError for what the instrument does not have.
        """
        self._check(what_to_show)
        if not size.intraday:
            return list(self._dates.bars(start_s, end_s, size, what_to_show, regular_only))
        found: list[Bar] = []
        for session in self.grid.between(start_s, end_s, regular_only=regular_only):
            if size.seconds < LEAF_S:
                found += self._seconds(max(start_s, session.start_s), min(end_s, session.end_s), session, what_to_show)
            elif size.seconds <= 1_800:
                found += self._short(start_s, end_s, session, size.seconds, what_to_show)
            else:
                cuts = self.grid.cuts(session, size.seconds)
                for left, right in itertools.pairwise(cuts):
                    if start_s <= left < end_s:
                        found.append(self._bar(left, right, session.trade_date, [(left, right)], what_to_show))
        return found

    def bar_so_far(
        self, now_s: float, size: BarSize, what_to_show: str = "TRADES", regular_only: bool = False
    ) -> Bar | None:
        """The bar in which `now_s` is, made of the whole 5 s before `now_s`; None while there are none.

        Its `end_s` is that of the whole bar. A week or month goes on through closed hours, a day through its breaks.
        """
        self._check(what_to_show)
        upto_s = int(now_s // LEAF_S) * LEAF_S
        if not size.intraday:
            return self._dates.so_far(upto_s, size, what_to_show, regular_only)
        for session in self.grid.between(now_s, now_s + 1e-6, regular_only=regular_only):
            cuts = self.grid.cuts(session, max(size.seconds, LEAF_S))
            left = max(cut for cut in cuts if cut <= now_s)
            right = min(cut for cut in cuts if cut > now_s)
            if left < upto_s:
                return self._bar(left, right, session.trade_date, [(left, upto_s)], what_to_show)
        return None

    def _check(self, what_to_show: str) -> None:
        if what_to_show not in self.shows:
            raise ValueError(f"{self.instrument.key} has no {what_to_show}")

    def _short(self, start_s: float, end_s: float, session: Session, seconds: int, show: str) -> Iterator[Bar]:
        """Bars of up to half an hour: all whole ones at once from the cells they are made of."""
        opens_s, closes_s, day = session
        whole_s = -(-opens_s // seconds) * seconds
        if opens_s < whole_s and start_s <= opens_s < end_s:
            right = min(whole_s, closes_s)
            yield self._bar(opens_s, right, day, [(opens_s, right)], show)
        first_s = max(whole_s, math.ceil(start_s / seconds) * seconds)
        tail_s = closes_s // seconds * seconds
        last_s = min(tail_s, math.ceil(min(end_s, closes_s) / seconds) * seconds)
        if first_s < last_s:
            yield from self._whole(first_s, last_s, seconds, day, show)
        if max(tail_s, whole_s) < closes_s and start_s <= tail_s < end_s:
            yield self._bar(tail_s, closes_s, day, [(tail_s, closes_s)], show)

    def _whole(self, start_s: int, end_s: int, seconds: int, day: datetime.date, show: str) -> Iterator[Bar]:
        level = next(each for each in LEVELS[1:] if seconds % each == 0)
        row = self._cells.row(level, start_s, end_s, with_units=show == "TRADES")
        if level == seconds and show in VIEWS:
            yield from self._plain(row, start_s, seconds, day, self.quoting.prices(show, day))
            return
        step = seconds // level
        for position in range(0, len(row.cells), step):
            left = start_s + position * level
            yield self._make(left, left + seconds, day, row.slice(position, position + step), show)

    def _plain(self, row: Part, start_s: int, seconds: int, day: datetime.date, prices: Prices) -> Iterator[Bar]:
        """One bar for each cell, the way that has to be fast."""
        falls, size = self.quoting.falls, self.size
        cells, units, counts = row
        left = start_s
        for position, (first, high, low, last) in enumerate(cells):
            opens, top, bottom, closes = prices[first], prices[high], prices[low], prices[last]
            if falls:
                top, bottom = bottom, top
            right = left + seconds
            if units and self._sized:
                mean = (opens + top + bottom + closes) / 4
                mean = top if mean > top else bottom if mean < bottom else mean
                volume, count = size(units[position]), counts[position]
                yield Bar(left, right, day, opens, top, bottom, closes, volume, mean, count)
            else:
                yield Bar(
                    left, right, day, opens, top, bottom, closes, _NOTHING, closes, counts[position] if counts else 0
                )
            left = right

    def _bar(self, left: int, right: int, day: datetime.date, spans: Iterable[tuple[int, int]], show: str) -> Bar:
        """A bar of whatever cells cover the spans, as few as possible."""
        return self._make(left, right, day, self._cells.cover(spans, with_units=show == "TRADES"), show)

    def _make(self, left: int, right: int, day: datetime.date, part: Part, show: str) -> Bar:
        if show == "BID_ASK":
            return self._bid_ask(left, right, day, part)
        prices = self.quoting.prices(show, day)
        opens, high, low, closes = self._priced(part.whole, prices)
        if not part.counts or not self._sized:
            return Bar(left, right, day, opens, high, low, closes, _NOTHING, closes, sum(part.counts))
        total = sum(part.units)
        wap = min(high, max(low, part.value(prices) / total))
        return Bar(left, right, day, opens, high, low, closes, self.size(total), wap, sum(part.counts))

    def _bid_ask(self, left: int, right: int, day: datetime.date, part: Part) -> Bar:
        bids, asks = self.quoting.prices("BID", day), self.quoting.prices("ASK", day)
        lowest, highest = self._priced(part.whole, bids)[2], self._priced(part.whole, asks)[1]
        mean = part.mean(asks)
        return Bar(left, right, day, part.mean(bids), highest, lowest, mean, _NOTHING, mean, 0)

    def _priced(self, cell: Cell, prices: Prices) -> tuple[float, float, float, float]:
        """Open, high, low and close in money."""
        opens, high, low, closes = cell
        if self.quoting.falls:
            high, low = low, high
        return prices[opens], prices[high], prices[low], prices[closes]

    def _seconds(self, start_s: float, end_s: float, session: Session, show: str) -> Iterator[Bar]:
        """Bars of a second; one in which nothing happened stands at the price before, with no volume."""
        first_s, last_s = math.ceil(start_s), math.ceil(end_s)
        if first_s >= last_s:
            return
        views = ("BID", "ASK") if show == "BID_ASK" else (show,)
        maps = [self.quoting.prices(view, session.trade_date) for view in views]
        for leaf_s in range(first_s - first_s % LEAF_S, last_s, LEAF_S):
            leaf = self.leaves.leaf(leaf_s)
            wanted = [slot for slot in leaf.slots if slot.trade == (show == "TRADES")]
            ticks = leaf.prices[0]
            for second_s in range(leaf_s, leaf_s + LEAF_S):
                points = [slot.point for slot in wanted if int(slot.after_s) == second_s - leaf_s]
                seen = [leaf.prices[point] for point in points] or [ticks]
                ticks = seen[-1]
                if not first_s <= second_s < last_s:
                    continue
                cell = Cell(seen[0], max(seen), min(seen), seen[-1])
                units = [leaf.units[point] for point in points] if show == "TRADES" else []
                yield self._second(second_s, session.trade_date, cell, units, maps)

    def _second(self, left: int, day: datetime.date, cell: Cell, units: Sequence[int], maps: Sequence[Prices]) -> Bar:
        if len(maps) == 2:
            return self._bid_ask(left, left + 1, day, Part([cell], [], []))
        opens, high, low, closes = self._priced(cell, maps[0])
        wap = min(high, max(low, (opens + high + low + closes) / 4)) if units and self._sized else closes
        return Bar(left, left + 1, day, opens, high, low, closes, self.size(sum(units)), wap, len(units))

    # Ticks and states

    def ticks(self, start_s: float, end_s: float, regular_only: bool = False) -> list[Quote | Trade]:
        """What happened in [start_s, end_s), in order of time."""
        runner = Runner(self, max(start_s, float(self.head_s)))
        found: list[Quote | Trade] = []
        while runner.next_s is not None and runner.next_s < end_s:
            if regular_only and (pause := self._pause(runner.next_s)) is not None:
                runner.seek(pause)
                continue
            found.append(runner.step())
        return found

    def _pause(self, time_s: float) -> float | None:
        """When the regular hours begin after a time outside them, None inside them."""
        segment = self.segment_from(time_s)
        while segment is not None and not segment.regular:
            segment = self.segment_from(segment.end_s)
        if segment is None:
            return self.end_s
        return None if segment.start_s <= time_s else float(segment.start_s)

    def day_so_far(self, now_s: float) -> DaySoFar:
        """The figures of the trade date at `now_s`; when closed, those of the last one."""
        runner = self._runner_at(now_s)
        figures = self.figures(runner.trade_date, int(now_s // LEAF_S) * LEAF_S)
        return DaySoFar(
            runner.trade_date, runner.open, runner.high, runner.low, runner.volume, runner.vwap, figures.trades,
            runner.close,
        )  # fmt: skip

    def state_at(self, now_s: float) -> State:
        """What holds at `now_s`; when closed, what held at the close."""
        runner = self._runner_at(now_s)
        sizes = runner.bid_size, runner.ask_size
        return State(now_s, runner.bid, runner.ask, *sizes, runner.last, runner.last_size, runner.last_time_s)

    def _runner_at(self, now_s: float) -> Runner:
        """A walk as far as `now_s`: that of the look before, where it is on the way."""
        if self._looked is None or not self._looked.go_on(now_s):
            self._looked = Runner(self, now_s)
        return self._looked

    def figures(self, day: datetime.date, upto_s: int) -> Figures:
        """A trade date up to a multiple of 5 s; at its very beginning the price it begins at."""
        half_s = upto_s - upto_s % 1_800
        if self._half is None or self._half[0] != (day, half_s):
            self._half = ((day, half_s), self._between(day, 0, half_s))
        parts = [each for each in (self._half[1], self._between(day, half_s, upto_s)) if each is not None]
        if not parts:
            sessions = self.grid.of_date(day, regular_only=False)
            first_s = sessions[0].start_s if sessions else upto_s
            price = self.quoting.price(self.path.cell(LEAF_S, first_s).open, day)
            return Figures(price, price, price, 0, 0.0, 0)
        return Figures(
            parts[0].open,
            max(each.high for each in parts),
            min(each.low for each in parts),
            sum(each.units for each in parts),
            sum(each.value for each in parts),
            sum(each.trades for each in parts),
        )

    def _between(self, day: datetime.date, start_s: int, end_s: int) -> Figures | None:
        sessions = self.grid.of_date(day, regular_only=False)
        spans = [(max(start_s, each.start_s), min(each.end_s, end_s)) for each in sessions]
        spans = [span for span in spans if span[0] < span[1]]
        if not spans:
            return None
        prices = self.quoting.prices("TRADES", day)
        part = self._cells.cover(spans, with_units=True)
        opens, high, low, _ = self._priced(part.whole, prices)
        total = sum(part.units) if self.instrument.trades else 0
        return Figures(opens, high, low, total, part.value(prices) if total else 0.0, sum(part.counts))

    def close_before(self, day: datetime.date) -> float:
        """The price at the end of regular hours of the trade date before."""
        before = self.calendar.previous(day)
        segments = self.calendar.day(before)
        regular = [each for each in segments if each.regular] or segments
        return self.quoting.price(self.last_ticks(regular[-1].end_s - LEAF_S), before)

    def last_ticks(self, leaf_s: int) -> int:
        """The path's price at the end of the five seconds from `leaf_s`."""
        return self.path.cell(LEAF_S, leaf_s).close

    def segment_from(self, time_s: float) -> Segment | None:
        """The segment in which a time is, or the next; None when trading has ended."""
        segment = self.calendar.after(time_s)
        return segment if segment.trade_date <= self.grid.last else None

    def leaf_before(self, start_s: int) -> tuple[int, datetime.date]:
        """The last five seconds of trading that end by `start_s`, and their trade date."""
        segment = self.calendar.before(start_s)
        if self._has_end and segment.end_s > self.end_s:
            segment = self.calendar.before(self.end_s)
        return min(start_s, segment.end_s) - LEAF_S, segment.trade_date

    def size(self, units: int) -> Decimal:
        """Units as a size; 0 for what has none."""
        if not self._sized:
            return _NOTHING
        return Decimal(units) if self._whole_units else units * self._unit

    def lots(self, count: int) -> Decimal:
        """Lots as the size of a quote."""
        return Decimal(count * self.instrument.lot) if self._sized else _NOTHING


def _date(text: str) -> datetime.date | None:
    return datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])) if len(text) == 8 else None
