"""Owns the judgement of subscriptions: level 1, tick-by-tick, depth and real-time bars, and their ends.

Must not make ticks; a line that is allowed goes to the stage.
"""

from __future__ import annotations

from ibkr_actor.sim import requests as r
from ibkr_actor.sim.desk import Desk, Handlers
from ibkr_actor.sim.instruments import ContractSpec, Instrument
from ibkr_actor.sim.lines import Kind, Line
from ibkr_actor.sim.refusals import bad_generic_ticks, validation
from ibkr_actor.sim.resolving import Resolver
from ibkr_actor.sim.rules import Rule, tick_by_tick_lines
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.stage import Stage
from ibkr_actor.sim.world import World

_TICK_BY_TICK_TYPES = ("Last", "AllLast", "BidAsk", "MidPoint")
_BAR_VIEWS = ("TRADES", "MIDPOINT", "BID", "ASK")


class SubscriptionDesk(Desk):
    """Opens and closes lines, each judged by IB's limits."""

    def __init__(self, world: World, stage: Stage, resolver: Resolver) -> None:
        self._world = world
        self._stage = stage
        self._resolver = resolver

    def handlers(self) -> Handlers:
        return {
            r.ReqMarketData: self._market_data,
            r.ReqMarketDataType: self._market_data_type,
            r.ReqMarketDepth: self._depth,
            r.ReqRealTimeBars: self._real_time_bars,
            r.ReqTickByTick: self._tick_by_tick,
            **{kind.value: self._cancel for kind in Kind},
        }

    def drop(self, line: Line) -> None:
        """Close a line without a word."""
        self._world.lines.remove(line)
        self._world.changed()

    def _resolve(self, session: Session, req_id: int, spec: ContractSpec) -> Instrument | None:
        return self._resolver.instrument(session, req_id, spec)

    def _market_data(self, session: Session, request: r.ReqMarketData) -> None:
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        generic = [part for part in request.generic_ticks.split(",") if part]
        complaint = bad_generic_ticks(instrument, generic)
        snapshot = request.snapshot or request.regulatory_snapshot
        if snapshot and generic:
            text = "Snapshot market data subscription is not applicable to generic ticks"
            self._world.error(session, request.req_id, 321, validation(text))
            return
        if complaint is not None:
            self._world.error(session, request.req_id, 321, validation(complaint))
            return
        line = Line(
            session,
            request.req_id,
            Kind.MARKET_DATA,
            instrument,
            generic_ticks=frozenset(int(part) for part in generic if part.isascii() and part.isdigit()),
            market_data_type=session.market_data_type,
        )
        if snapshot:
            self._world.lines.add(line)
            self._stage.snapshot(line, self.drop)
        elif self._has_line(session, request.req_id):
            self._open(line)

    def _has_line(self, session: Session, req_id: int) -> bool:
        if self._world.lines.count(Kind.MARKET_DATA, Kind.REAL_TIME_BARS) < self._world.settings.lines:
            return True
        self._world.violate(session, Rule.LINES)
        self._world.error(session, req_id, 101, "Max number of tickers has been reached")
        return False

    def _open(self, line: Line) -> None:
        self._world.lines.add(line)
        self._stage.open(line)

    def _market_data_type(self, session: Session, request: r.ReqMarketDataType) -> None:
        if request.market_data_type not in (1, 2, 3, 4):
            self._world.error(session, -1, 321, validation("Invalid market data type"))
            return
        # This market never closes, so frozen data is live data; IB says which one flows, not which was asked for.
        session.market_data_type = 1 if request.market_data_type <= 2 else 3

    def _tick_by_tick(self, session: Session, request: r.ReqTickByTick) -> None:
        if request.tick_type not in _TICK_BY_TICK_TYPES:
            self._world.violate(session, Rule.TICK_TYPE)
            self._world.error(session, request.req_id, 321, validation("Invalid tick-by-tick type"))
            return
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        if not instrument.trades and request.tick_type in ("Last", "AllLast"):
            text = "Failed to request tick-by-tick data:No market data permissions"
            self._world.error(
                session, request.req_id, 10189, f"{text} for {instrument.exchange} {instrument.sec_type}."
            )
            return
        rule = self._tick_by_tick_breach(instrument)
        if rule is not None:
            self._world.violate(session, rule)
            text = "Max number of tick-by-tick requests has been reached."
            self._world.error(session, request.req_id, 10190, text)
            return
        self._open(Line(session, request.req_id, Kind.TICK_BY_TICK, instrument, view=request.tick_type))

    def _tick_by_tick_breach(self, instrument: Instrument) -> Rule | None:
        world = self._world
        if world.lines.count(Kind.TICK_BY_TICK) >= tick_by_tick_lines(world.settings.lines):
            return Rule.TICK_BY_TICK_LINES
        if not world.tick_by_tick_cooldown.take(instrument.con_id, world.clock.now_s()):
            return Rule.TICK_BY_TICK_INTERVAL
        return None

    def _real_time_bars(self, session: Session, request: r.ReqRealTimeBars) -> None:
        if request.what_to_show not in _BAR_VIEWS:
            text = validation("What to show field is missing or incorrect.")
            self._world.error(session, request.req_id, 321, text)
            return
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        if not instrument.trades and request.what_to_show == "TRADES":
            text = "Invalid Real-time Query:No market data permissions for"
            self._world.error(session, request.req_id, 420, f"{text} {instrument.exchange} {instrument.sec_type}")
            return
        if not self._has_line(session, request.req_id):
            return
        if not self._world.real_time_bars_window.take(self._world.clock.now_s()):
            self._world.violate(session, Rule.REAL_TIME_BARS_RATE)
            self._world.error(
                session, request.req_id, 420, "Invalid Real-time Query:Historical data request pacing violation"
            )
            return
        self._open(Line(session, request.req_id, Kind.REAL_TIME_BARS, instrument, view=request.what_to_show))

    def _depth(self, session: Session, request: r.ReqMarketDepth) -> None:
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        if self._world.lines.count(Kind.DEPTH) >= self._world.settings.depth_lines:
            self._world.violate(session, Rule.DEPTH_LINES)
            text = f"Max number ({self._world.settings.depth_lines}) of market depth requests has been reached"
            self._world.error(session, request.req_id, 309, text)
            return
        rows = max(1, min(request.rows or 5, 20))
        line = Line(session, request.req_id, Kind.DEPTH, instrument, rows=rows, smart_depth=request.is_smart_depth)
        self._open(line)

    def _cancel(self, session: Session, request: r.Cancel) -> None:
        line = self._world.lines.get(session, request.req_id)
        if line is None or line.kind.value != request.message_id:
            self._world.violate(session, Rule.LATE_CANCEL)
            self._world.error(session, request.req_id, 300, f"Can't find EId with tickerId:{request.req_id}")
            return
        self.drop(line)
