"""Owns what plays on each line: the market's events, bars on the 5 s grid, snapshots and replayed recordings.

Must not judge requests; a line that reaches the stage is allowed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.clock import Entry
from ibkr_actor.sim.desks import feed
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.market.bars import BarSize
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.market import BAR_S, InstrumentMarket
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.replay.rows import Cursor, Recording, load_recording
from ibkr_actor.sim.world import World

# A market that fell this far behind (a busy or stalled process) goes on from now instead of catching up. In these real
# seconds a clock that runs fast has as much more to do: there a busy process is given longer.
_CATCH_UP_S = 1.0
_CATCH_UP_FAST_S = 5.0
_FIVE_SECONDS = BarSize.parse("5 secs")


class Stage:
    """con_id -> market, and con_id -> its next event, while it has lines and up to five seconds longer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._markets: dict[int, InstrumentMarket] = {}
        self._next: dict[int, Entry] = {}
        self._bars: Entry | None = None
        speed = world.settings.clock_speed
        self._behind_s = _CATCH_UP_S if speed <= 1 else _CATCH_UP_FAST_S * speed
        self._recording: Recording | None = None
        self.replayed: Instrument | None = None
        if world.settings.replay_file is not None:
            self._recording = load_recording(world.settings.replay_file)
            self.replayed = world.catalogue.find_or_add(world.settings.replay_instrument)

    def tape(self, instrument: Instrument) -> Tape:
        """Everything that ever happens to an instrument."""
        return self._world.tape(instrument)

    def is_open(self, instrument: Instrument) -> bool:
        """Whether it trades now."""
        return self._world.calendar(instrument).at(self._world.clock.now_s()) is not None

    def market(self, instrument: Instrument) -> InstrumentMarket:
        """The instrument's market as it is now: the one that lines follow, or one for this look only."""
        found = self._markets.get(instrument.con_id)
        if found is None:
            found = InstrumentMarket(self._world.tape(instrument), self._world.clock.now_s())
        return found

    def open(self, line: Line) -> None:
        """Play the beginning of a new line and, unless it is replayed or silent, let its market run."""
        if line.kind is Kind.MARKET_DATA:
            self._deliver_all(line, feed.start_messages(line))
        if self.replayed is not None and line.instrument.con_id == self.replayed.con_id:
            if line.kind is Kind.MARKET_DATA:
                self._replay(line)
        elif not self._world.silent(line.instrument):
            self._deliver_all(line, self._beginning(line))
            self._run_market(line.instrument)

    def snapshot(self, line: Line, ended: Callable[[Line], None]) -> None:
        """Play the present state and the end of a snapshot; `ended` is called before the end is sent."""
        self._deliver_all(line, feed.start_messages(line))
        if self.replayed is None or line.instrument.con_id != self.replayed.con_id:
            self._deliver_all(line, feed.first_ticks(line, self.market(line.instrument), self._world.clock.now_s()))

        def end(_: float) -> None:
            ended(line)
            self._world.deliver(line, m.TickSnapshotEnd())

        if self._world.settings.snapshot_s == 0:
            end(0.0)
        else:
            line.timer = self._world.schedule.at(self._world.clock.now_s() + self._world.settings.snapshot_s, end)

    def _beginning(self, line: Line) -> list[m.Message]:
        market = self.market(line.instrument)
        if not self._world.settings.initial_ticks:
            return []
        if line.kind is Kind.MARKET_DATA:
            return feed.first_ticks(line, market, self._world.clock.now_s())
        return feed.first_depth(line, market) if line.kind is Kind.DEPTH else []

    def _deliver_all(self, line: Line, messages: list[m.Message]) -> None:
        for message in messages:
            self._world.deliver(line, message)

    def _run_market(self, instrument: Instrument) -> None:
        if self._world.settings.ticks_per_s == 0 or instrument.con_id in self._markets:
            return
        market = self._markets[instrument.con_id] = self.market(instrument)
        self._schedule_step(market)
        if self._bars is None:
            self._schedule_bars(self._world.clock.now_s())

    def _schedule_step(self, market: InstrumentMarket) -> None:
        """An instrument that has expired keeps its last values."""
        if market.next_s is not None:
            entry = self._world.schedule.at(market.next_s, lambda _: self._step(market))
            self._next[market.instrument.con_id] = entry

    def _forget(self, market: InstrumentMarket) -> None:
        entry = self._next.pop(market.instrument.con_id, None)
        if entry is not None:
            entry.cancel()
        del self._markets[market.instrument.con_id]

    def _step(self, market: InstrumentMarket) -> None:
        lines = self._world.lines.of_instrument(market.instrument)
        if not lines:
            self._forget(market)
            return
        event = market.step()
        for line in lines:
            self._deliver_all(line, feed.event_messages(line, event, market))
        now_s = self._world.clock.now_s()
        if market.next_s is not None and market.next_s < now_s - self._behind_s:
            self._jump(market, lines, now_s)
        self._schedule_step(market)

    def _jump(self, market: InstrumentMarket, lines: list[Line], now_s: float) -> None:
        """Leave out what happened meanwhile. Events say what differs from now on, so lines must be told what is now."""
        market.seek(now_s)
        for line in lines:
            self._deliver_all(line, feed.present_messages(line, market, now_s))

    def _schedule_bars(self, now_s: float) -> None:
        boundary_s = (math.floor(now_s / BAR_S) + 1) * BAR_S
        self._bars = self._world.schedule.at(boundary_s, self._finish_bars)

    def _finish_bars(self, boundary_s: float) -> None:
        """Send the bars that end at `boundary_s`; each carries the time it began. A closed market has none."""
        start_s = int(boundary_s) - BAR_S
        for market in list(self._markets.values()):
            lines = self._world.lines.of_instrument(market.instrument)
            if not lines:
                self._forget(market)
            for line in lines:
                if line.kind is Kind.REAL_TIME_BARS:
                    self._send_bar(line, market.tape, start_s)
        self._bars = None
        if self._markets:
            self._schedule_bars(max(boundary_s, self._world.clock.now_s() - max(BAR_S, self._behind_s)))

    def _send_bar(self, line: Line, tape: Tape, start_s: int) -> None:
        for bar in tape.bars(start_s, start_s + 1, _FIVE_SECONDS, line.view, line.regular_only):
            self._world.deliver(line, feed.bar_message(bar, line, start_s))

    def _replay(self, line: Line) -> None:
        assert self._recording is not None
        settings = self._world.settings
        cursor = Cursor(self._recording, start_s=self._world.clock.now_s(), speed=settings.replay_speed)

        def play(due_s: float) -> None:
            self._deliver_all(line, cursor.take_due(max(due_s, self._world.clock.now_s())))
            next_s = cursor.next_s()
            line.timer = None if next_s is None else self._world.schedule.at(next_s, play)

        play(self._world.clock.now_s())
