"""Owns the judgement of subscriptions: level 1, tick-by-tick, depth and real-time bars, and their ends.

Must not make ticks; a line that is allowed goes to the stage.
"""

from __future__ import annotations

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.desks.news import NewsDesk
from ibkr_actor.sim.desks.permissions import Data, Permissions, data_venue, smart_depth_notice, venue
from ibkr_actor.sim.desks.refusals import NO_SECURITY_DEFINITION, validation
from ibkr_actor.sim.desks.resolving import Resolver
from ibkr_actor.sim.desks.rules import Rule, tick_by_tick_lines
from ibkr_actor.sim.desks.stage import Stage
from ibkr_actor.sim.history.rules import is_wrong_trades, wrong_trades
from ibkr_actor.sim.market import books, generic_ticks
from ibkr_actor.sim.market.backgrounds import Backgrounds
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.world import World

_TICK_BY_TICK_TYPES = ("Last", "AllLast", "BidAsk", "MidPoint")
# Source: IBKR, TWS API, "Real Time Bars"; AGGTRADES as a gateway answers it, see `wrong_trades`.
_BAR_VIEWS = ("TRADES", "MIDPOINT", "BID", "ASK", "AGGTRADES")
# Of options and combinations there are no live ticks one by one; of indices only those of CME.
# Source: IBKR's page on tick-by-tick data.
_NEVER_TICK_BY_TICK = frozenset({"OPT", "FOP", "BAG", "WAR", "IOPT", "CMDTY", "FUND", "BOND"})
_TICKING_INDEX_EXCHANGES = frozenset({"CME"})
# Rows of a book when none or too many are asked for.
_ROWS_DEFAULT, _ROWS_MAX = 5, 20


class SubscriptionDesk(Desk):
    """Opens and closes lines, each judged by IB's limits and the account's permissions."""

    def __init__(
        self, world: World, stage: Stage, resolver: Resolver, permissions: Permissions, news: NewsDesk
    ) -> None:
        self._world = world
        self._stage = stage
        self._resolver = resolver
        self._permissions = permissions
        self._news = news
        self._backgrounds = Backgrounds(world)

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
        """The instrument of a live request. A continuous future has a past only."""
        found = self._resolver.instrument(session, req_id, spec)
        if found is not None and found.sec_type == "CONTFUT":
            self._world.error(session, req_id, 200, NO_SECURITY_DEFINITION)
            return None
        return found

    # Level 1

    def _market_data(self, session: Session, request: r.ReqMarketData) -> None:
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        parts = [part for part in request.generic_ticks.replace(" ", "").split(",") if part]
        snapshot = request.snapshot or request.regulatory_snapshot
        cause = generic_ticks.complaint(instrument, parts)
        if snapshot and parts:
            cause = "Snapshot market data subscription is not applicable to generic ticks"
        if cause is not None:
            self._world.error(session, request.req_id, 321, validation(cause))
            return
        under = self._rerouted(instrument)
        if under is not None:
            session.send(
                m.RerouteMarketData(req_id=request.req_id, con_id=under.con_id, exchange=under.exchange),
                instrument=instrument.key,
            )
            return
        line = Line(
            session,
            request.req_id,
            Kind.MARKET_DATA,
            instrument,
            generic_ticks=generic_ticks.numbers(parts),
            exchange=request.contract.exchange,
            background=self._backgrounds.of(instrument),
        )
        if not snapshot and not self._has_line(session, request.req_id):
            return
        if not self._permitted(line, regulatory=request.regulatory_snapshot):
            return
        if snapshot:
            self._world.lines.add(line)
            self._stage.snapshot(line, self.drop)
            return
        if instrument.sec_type == "NEWS":
            # It has headlines, of its own provider, and no market.
            self._world.lines.add(line)
            self._news.follow(line, (instrument.exchange,))
            return
        self._open(line)
        if generic_ticks.NEWS in line.generic_ticks:
            self._news.follow(line, generic_ticks.news_providers(parts))

    def _permitted(self, line: Line, *, regulatory: bool) -> bool:
        """Ask the account's permissions, tell what they say, set what flows. A regulatory snapshot needs none."""
        asked = line.session.market_data_type
        if regulatory:
            line.market_data_type = 1
            return True
        verdict = self._permissions.level_1(line.instrument, asked)
        if verdict.code:
            self._world.error(line.session, line.req_id, verdict.code, verdict.text)
        if not verdict.market_data_type:
            return False
        line.reduced = verdict.reduced
        line.market_data_type = self._flowing(line.instrument, verdict.market_data_type)
        return True

    def _flowing(self, instrument: Instrument, market_data_type: int) -> int:
        """Frozen data flows only while the market is closed; IB names the type that flows, not the one asked for."""
        if market_data_type in (2, 4) and self._stage.is_open(instrument):
            return market_data_type - 1
        return market_data_type

    def _rerouted(self, instrument: Instrument) -> Instrument | None:
        """The underlying of a CFD that has no market data of its own."""
        if instrument.sec_type != "CFD" or not instrument.underlying_con_id:
            return None
        return self._world.catalogue.instrument(instrument.underlying_con_id)

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
        session.market_data_type = request.market_data_type

    # Tick by tick

    def _tick_by_tick(self, session: Session, request: r.ReqTickByTick) -> None:
        if request.tick_type not in _TICK_BY_TICK_TYPES:
            self._world.violate(session, Rule.TICK_TYPE)
            self._world.error(session, request.req_id, 321, validation("Invalid tick-by-tick type"))
            return
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        cause = self._tick_by_tick_refusal(instrument, request.tick_type)
        if cause is not None:
            text = f"Failed to request tick-by-tick data.{cause}"
            self._world.error(session, request.req_id, 10189, text)
            return
        rule = self._tick_by_tick_breach(instrument)
        if rule is not None:
            self._world.violate(session, rule)
            text = "Max number of tick-by-tick requests has been reached."
            self._world.error(session, request.req_id, 10190, text)
            return
        self._open(
            Line(
                session,
                request.req_id,
                Kind.TICK_BY_TICK,
                instrument,
                view=request.tick_type,
                exchange=request.contract.exchange,
                ignore_size=request.ignore_size,
            )
        )

    def _tick_by_tick_refusal(self, instrument: Instrument, tick_type: str) -> str | None:
        """Why there are no such ticks, in the words of error 10189; None when there are."""
        if not self._permissions.granted(instrument, Data.TICK_BY_TICK):
            return f"No market data permissions for {data_venue(instrument)}."
        never = instrument.sec_type in _NEVER_TICK_BY_TICK
        never |= instrument.sec_type == "IND" and instrument.exchange not in _TICKING_INDEX_EXCHANGES
        never |= not (instrument.trades if tick_type in ("Last", "AllLast") else instrument.quotes)
        return f"{tick_type} tick-by-tick requests are not supported for {instrument.local_symbol}." if never else None

    def _tick_by_tick_breach(self, instrument: Instrument) -> Rule | None:
        world = self._world
        if world.lines.count(Kind.TICK_BY_TICK) >= tick_by_tick_lines(world.settings.lines):
            return Rule.TICK_BY_TICK_LINES
        if not world.tick_by_tick_cooldown.take(instrument.con_id, world.clock.now_s()):
            return Rule.TICK_BY_TICK_INTERVAL
        return None

    # Real-time bars

    def _real_time_bars(self, session: Session, request: r.ReqRealTimeBars) -> None:
        if request.what_to_show not in _BAR_VIEWS:
            text = validation("What to show field is missing or incorrect.")
            self._world.error(session, request.req_id, 321, text)
            return
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        if is_wrong_trades(instrument.sec_type, request.what_to_show):
            self._world.error(session, request.req_id, 10299, wrong_trades(request.what_to_show))
            return
        view = "TRADES" if request.what_to_show == "AGGTRADES" else request.what_to_show
        exists = instrument.trades if view == "TRADES" else instrument.quotes
        if not exists or not self._permissions.granted(instrument, Data.BARS):
            text = "Invalid Real-time Query:No market data permissions for"
            self._world.error(session, request.req_id, 420, f"{text} {data_venue(instrument)}")
            return
        if not self._has_line(session, request.req_id):
            return
        if not self._world.real_time_bars_window.take(self._world.clock.now_s()):
            self._world.violate(session, Rule.REAL_TIME_BARS_RATE)
            text = "Invalid Real-time Query:Historical data request pacing violation"
            self._world.error(session, request.req_id, 420, text)
            return
        self._open(
            Line(
                session,
                request.req_id,
                Kind.REAL_TIME_BARS,
                instrument,
                view=view,
                exchange=request.contract.exchange,
                regular_only=request.use_rth,
            )
        )

    # Depth

    def _depth(self, session: Session, request: r.ReqMarketDepth) -> None:
        instrument = self._resolve(session, request.req_id, request.contract)
        if instrument is None:
            return
        under = self._rerouted(instrument)
        if under is not None:
            session.send(
                m.RerouteMarketDepth(req_id=request.req_id, con_id=under.con_id, exchange=under.exchange),
                instrument=instrument.key,
            )
            return
        exchange = request.contract.exchange
        if not books.has_book(instrument, exchange):
            text = "Deep market data is not supported for this combination of security type/exchange"
            self._world.error(session, request.req_id, 10092, text)
            return
        smart = request.is_smart_depth and exchange == "SMART"
        if not smart and not self._permissions.granted(instrument, Data.DEPTH):
            named = f"{instrument.symbol} {venue(instrument)}/DEEP/ALL"
            text = f"Requested market data is not subscribed.Delayed market data is not available.{named}"
            self._world.error(session, request.req_id, 354, text)
            return
        if self._world.lines.count(Kind.DEPTH) >= self._world.settings.depth_lines:
            self._world.violate(session, Rule.DEPTH_LINES)
            text = f"Max number ({self._world.settings.depth_lines}) of market depth requests has been reached"
            self._world.error(session, request.req_id, 309, text)
            return
        venues = books.venues(instrument) if smart else []
        permitted = self._permissions.permitted_venues(venues)
        rows = max(1, min(request.rows or _ROWS_DEFAULT, _ROWS_MAX))
        line = Line(session, request.req_id, Kind.DEPTH, instrument, rows=rows, smart_depth=smart, exchange=exchange)
        line.owners = tuple(permitted) if smart else books.owners(instrument, exchange)
        self._open(line)
        notice = smart_depth_notice(permitted, venues)
        if notice is not None:
            self._world.error(session, request.req_id, 2152, notice)

    def _cancel(self, session: Session, request: r.Cancel) -> None:
        line = self._world.lines.get(session, request.req_id)
        if line is None or line.kind.value != request.message_id:
            self._world.violate(session, Rule.LATE_CANCEL)
            if request.message_id == Kind.DEPTH.value:
                text = f"Can't find the subscribed market depth with tickerId:{request.req_id}"
                self._world.error(session, request.req_id, 310, text)
                return
            self._world.error(session, request.req_id, 300, f"Can't find EId with tickerId:{request.req_id}")
            return
        self.drop(line)
