"""Owns the answers to requests: what is served, what is refused, and with which of IB's codes.

Must not know sockets or frames; it reads Request structs and speaks through the world.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ibkr_actor.sim import messages as m
from ibkr_actor.sim import requests as r
from ibkr_actor.sim.instruments import ContractSpec, Instrument, hours_text
from ibkr_actor.sim.lines import Kind, Line
from ibkr_actor.sim.refusals import (
    FARM_NOTICES,
    NO_SECURITY_DEFINITION,
    ORDER_MESSAGES,
    READ_ONLY,
    SILENT_MESSAGES,
    Refusals,
    ambiguous,
    bad_generic_ticks,
    unserved,
    validation,
)
from ibkr_actor.sim.rules import Rule, tick_by_tick_lines
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.stage import Stage
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)

_TICK_BY_TICK_TYPES = ("Last", "AllLast", "BidAsk", "MidPoint")
_BAR_VIEWS = ("TRADES", "MIDPOINT", "BID", "ASK")


class Service:
    """Answers one request at a time. `refusals` are errors a test has asked for."""

    def __init__(self, world: World, stage: Stage) -> None:
        self._world = world
        self._stage = stage
        self.refusals = Refusals()
        self._handlers: dict[type[r.Request], Callable[[Session, Any], None]] = {
            r.ReqContractData: self._contract_data,
            r.ReqMarketData: self._market_data,
            r.ReqMarketDataType: self._market_data_type,
            r.ReqMarketDepth: self._depth,
            r.ReqMatchingSymbols: self._matching_symbols,
            r.ReqRealTimeBars: self._real_time_bars,
            r.ReqTickByTick: self._tick_by_tick,
            r.Cancel: self._cancel,
            r.Plain: self._plain,
        }

    def start(self, session: Session, request: r.StartApi) -> bool:
        """Begin the conversation. False when it may not; a taken client id was answered."""
        world = self._world
        if len(world.sessions) >= world.settings.clients_max:
            logger.warning("too_many_clients clients_max=%d", world.settings.clients_max)
            return False
        if request.client_id in world.sessions:
            world.violate(session, Rule.CLIENT_ID)
            text = "Unable to connect as the client id is already in use. Retry with a unique client id."
            world.error(session, -1, 326, text)
            return False
        session.client_id = request.client_id
        world.sessions[request.client_id] = session
        session.send(m.NextValidId(order_id=world.next_valid_id, req_id=-1))
        session.send(m.ManagedAccounts(accounts=world.settings.accounts, req_id=-1))
        for code, text in FARM_NOTICES:
            world.error(session, -1, code, text)
        logger.info("client_started client_id=%d session=%d", request.client_id, session.number)
        return True

    def handle(self, session: Session, request: r.Request) -> None:
        """Answer any request after startApi."""
        refusal = None if isinstance(request, r.Cancel) else self.refusals.take_req_id(request.req_id)
        if refusal is not None:
            self._world.error(session, request.req_id, refusal.code, refusal.text)
            return
        handler = self._handlers.get(type(request))
        if handler is None:
            self._world.error(session, request.req_id, 321, validation("Unexpected message"))
            return
        handler(session, request)

    def drop(self, line: Line) -> None:
        """Close a line without a word."""
        self._world.lines.remove(line)
        self._world.changed()

    # Contracts

    def _contract_data(self, session: Session, request: r.ReqContractData) -> None:
        if not self._plausible(session, request.req_id, request.contract, needs_exchange=False):
            return
        found = self._world.catalogue.match(request.contract)
        if not found:
            self._world.error(session, request.req_id, 200, NO_SECURITY_DEFINITION)
            return
        if any(self._refused(session, request.req_id, each) for each in found):
            return
        now_s = self._world.clock.now_s()
        for each in found:
            message = m.ContractData(
                req_id=request.req_id,
                instrument=each,
                exchange=request.contract.exchange or each.exchange,
                trading_hours=hours_text(each, each.trading_session, now_s),
                liquid_hours=hours_text(each, each.liquid_session, now_s),
            )
            session.send(message, instrument=each.key)
        session.send(m.ContractDataEnd(req_id=request.req_id))

    def _matching_symbols(self, session: Session, request: r.ReqMatchingSymbols) -> None:
        found = self._world.catalogue.samples(request.pattern)
        session.send(m.SymbolSamples(req_id=request.req_id, instruments=found))

    def _plausible(self, session: Session, req_id: int, spec: ContractSpec, *, needs_exchange: bool = True) -> bool:
        """Whether the description is one a gateway looks up at all; it was answered when not."""
        if not spec.con_id and not spec.sec_type:
            self._world.error(session, req_id, 321, validation("Please enter a valid security type"))
            return False
        if needs_exchange and not spec.exchange:
            self._world.error(session, req_id, 321, validation("Please enter exchange"))
            return False
        return True

    def _refused(self, session: Session, req_id: int, instrument: Instrument) -> bool:
        refusal = self.refusals.take_instrument(instrument.con_id)
        if refusal is not None:
            self._world.error(session, req_id, refusal.code, refusal.text)
        return refusal is not None

    def _resolve(self, session: Session, req_id: int, spec: ContractSpec) -> Instrument | None:
        """The one instrument a subscription means; None when the request was answered with an error."""
        if self._world.lines.get(session, req_id) is not None:
            self._world.violate(session, Rule.DUPLICATE_ID)
            self._world.error(session, req_id, 102, "Duplicate ticker id")
            return None
        if not self._plausible(session, req_id, spec):
            return None
        found = self._world.catalogue.match(spec)
        if len(found) != 1:
            text = ambiguous(spec) if found else NO_SECURITY_DEFINITION
            self._world.error(session, req_id, 200, text)
            return None
        return None if self._refused(session, req_id, found[0]) else found[0]

    # Subscriptions

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
        if request.message_id == 106:
            return
        line = self._world.lines.get(session, request.req_id)
        if line is None or line.kind.value != request.message_id:
            self._world.violate(session, Rule.LATE_CANCEL)
            self._world.error(session, request.req_id, 300, f"Can't find EId with tickerId:{request.req_id}")
            return
        self.drop(line)

    # Everything else

    def _plain(self, session: Session, request: r.Plain) -> None:
        answers = self._plain_answers(request)
        if answers is not None:
            for answer in answers:
                session.send(answer)
            return
        if request.message_id in SILENT_MESSAGES:
            return
        if request.message_id in ORDER_MESSAGES:
            self._world.violate(session, Rule.ORDER)
            logger.error("order_refused id=%d client_id=%s", request.message_id, session.client_id)
            self._world.error(session, request.req_id, 321, validation(READ_ONLY))
            return
        logger.warning("request_not_served id=%d client_id=%s", request.message_id, session.client_id)
        code, text = unserved(request)
        self._world.error(session, request.req_id, code, text)

    def _plain_answers(self, request: r.Plain) -> list[m.Message] | None:
        """What an account with nothing in it answers; None when the request is not one of these."""
        world, req_id = self._world, request.req_id
        match request.message_id:
            case 5 | 16:
                return [m.OpenOrderEnd()]
            case 6:
                return [m.AccountDownloadEnd(account=world.settings.accounts[0])]
            case 7:
                return [m.ExecutionDataEnd(req_id=req_id)]
            case 8:
                return [m.NextValidId(order_id=world.next_valid_id)]
            case 17:
                return [m.ManagedAccounts(accounts=world.settings.accounts)]
            case 49:
                return [m.CurrentTime(time=int(world.clock.now_s()))]
            case 61:
                return [m.PositionEnd()]
            case 62:
                return [m.AccountSummaryEnd(req_id=req_id)]
            case 74:
                return [m.PositionMultiEnd(req_id=req_id)]
            case 76:
                return [m.AccountUpdateMultiEnd(req_id=req_id)]
            case 78:
                return [m.SecDefOptParameterEnd(req_id=req_id)]
            case 99:
                return [m.CompletedOrdersEnd()]
            case 105:
                return [m.CurrentTimeInMillis(time_ms=world.now_ms())]
            case _:
                return None
