"""Owns the judgement of requests about the past, and the queries open at a time: what is answered, what is refused.

Must not make an answer; `history_answers` does.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.permissions import Data, Permissions, data_venue
from ibkr_actor.sim.desks.refusals import validation
from ibkr_actor.sim.desks.resolving import Resolver
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.history import rules
from ibkr_actor.sim.history.answers import Answers, BarRequest, NoAnswer, parse_period
from ibkr_actor.sim.history.queries import Queries, Query
from ibkr_actor.sim.history.rules import Refusal
from ibkr_actor.sim.history.ticks import TickAsk
from ibkr_actor.sim.history.times import Moment, parse_duration, parse_moment
from ibkr_actor.sim.history.updates import Ticker
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import history_messages as h
from ibkr_actor.sim.wire.request_base import Cancel, Request
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_CANCEL_BARS, _CANCEL_HISTOGRAM, _CANCEL_HEAD, _CANCEL_TICKS = 25, 89, 90, 107
_EXPIRES = frozenset({"FUT", "OPT", "FOP", "WAR", "BOND", "CONTFUT", "BAG"})
_OPTIONS = frozenset({"OPT", "FOP", "WAR"})


class HistoryDesk(Desk):
    """Answers bars, head timestamps, histograms, ticks and schedules, each judged by IB's limits on history.

    The limits are of the account: all clients share them.
    """

    def __init__(self, world: World, resolver: Resolver, permissions: Permissions) -> None:
        self._world = world
        self._resolver = resolver
        self._permissions = permissions
        self._answers = Answers(world)
        self._queries = Queries()
        self._small_bars = rules.SmallBars(world.real_time_bars_window)
        world.faults.live_updates_lost.append(self.end_updates)

    def handlers(self) -> Handlers:
        return {
            h.ReqHistoricalData: self._bars,
            h.ReqHeadTimestamp: self._head,
            h.ReqHistogramData: self._histogram,
            h.ReqHistoricalTicks: self._ticks,
            _CANCEL_BARS: self._cancel,
            _CANCEL_HISTOGRAM: self._cancel,
            _CANCEL_HEAD: self._cancel,
            _CANCEL_TICKS: self._cancel,
        }

    def closed(self, session: Session) -> None:
        for query in self._queries.of_session(session):
            self._queries.remove(query)

    def end_updates(self) -> int:
        """End every query that is kept up to date with 10182, as a gateway does that lost its data; how many."""
        kept = self._queries.kept()
        for query in kept:
            self._queries.remove(query)
            text = "Failed to request live updates (disconnected)."
            self._world.error(query.session, query.req_id, 10182, text)
        self._world.changed()
        return len(kept)

    # What is asked

    def _bars(self, session: Session, request: h.ReqHistoricalData) -> None:
        judged = self._judged_bars(session, request)
        if judged is None:
            return
        query, bars = judged
        if bars.view == "SCHEDULE":
            self._answer(query, lambda: self._answers.schedule(query, bars))
        elif bars.keep_up_to_date:
            self._answer(query, lambda: self._answers.bars(query, bars), then=lambda: self._keep(query, bars))
        else:
            self._answer(query, lambda: self._answers.bars(query, bars))

    def _judged_bars(self, session: Session, request: h.ReqHistoricalData) -> tuple[Query, BarRequest] | None:
        instrument = self._instrument(session, request.req_id, request.contract)
        if instrument is None:
            return None
        try:
            end = self._moment(request.end_date_time, "End Date/Time")
            length = _legal(Rule.HISTORY_DURATION, parse_duration, request.duration)
            size = _legal(Rule.HISTORY_BAR_SIZE, rules.legal_bar_size, request.bar_size)
        except _Refused as refused:
            self._refuse(session, request.req_id, refused.refusal)
            return None
        view, date_format = request.what_to_show.upper(), 1 if request.format_date is None else request.format_date
        ask = rules.BarAsk(
            sec_type=request.contract.sec_type or instrument.sec_type,
            what_to_show=view,
            end_given=end is not None,
            size=size,
            duration=length,
            format_date=date_format,
            keep_up_to_date=request.keep_up_to_date,
        )
        exchange = request.contract.exchange or instrument.exchange
        refusal = rules.refusal_of(ask) or self._denied(instrument, request.contract)
        if refusal is None and size.seconds <= rules.SMALL_BAR_S:
            identity = (instrument.con_id, exchange, *msgspec.structs.astuple(request)[3:])
            refusal = self._paced(identity, (instrument.con_id, exchange, view), 2 if view == "BID_ASK" else 1)
        if refusal is None and view != "SCHEDULE" and not self._answers.source(instrument, view).exists:
            text = rules.no_such_data(instrument.symbol, instrument.sec_type, exchange, view, size.seconds)
            refusal = Refusal(None, 162, text)
        if refusal is not None:
            self._refuse(session, request.req_id, refusal)
            return None
        self._warn(session, request.req_id, end)
        fields = {name: getattr(request, name) for name in request.__struct_fields__}
        end_s = None if end is None else float(end.time_s)
        judged = BarRequest(**fields, size=size, length=length, view=view, end_s=end_s, date_format=date_format)
        query = self._opened(session, request, _CANCEL_BARS, instrument)
        return None if query is None else (query, judged)

    def _head(self, session: Session, request: h.ReqHeadTimestamp) -> None:
        instrument = self._instrument(session, request.req_id, request.contract)
        if instrument is None:
            return
        view = request.what_to_show.upper()
        exchange = request.contract.exchange or instrument.exchange
        refusal = self._denied(instrument, request.contract)
        if view not in rules.BAR_VIEWS:
            cause = "Historical data request what to show field is missing or incorrect."
            refusal = Refusal(Rule.HISTORY_VIEW, 321, validation(cause))
        if refusal is None:
            identity = ("head", instrument.con_id, exchange, view, request.use_rth)
            refusal = self._paced(identity, (instrument.con_id, exchange, view), 1)
        if refusal is not None:
            self._refuse(session, request.req_id, refusal)
            return
        query = self._opened(session, request, _CANCEL_HEAD, instrument)
        if query is None:
            return

        async def work() -> list[Message]:
            head = self._answers.head(query, view, regular_only=request.use_rth, format_date=request.format_date)
            return [head]

        # IB counts it as open until it is cancelled.
        self._answer(query, work, then=lambda: None)

    def _histogram(self, session: Session, request: h.ReqHistogramData) -> None:
        instrument = self._instrument(session, request.req_id, request.contract)
        if instrument is None:
            return
        try:
            period = parse_period(request.time_period)
        except ValueError:
            cause = validation("Historical data requested duration is invalid.")
            self._refuse(session, request.req_id, Refusal(Rule.HISTORY_DURATION, 321, cause))
            return
        if not self._answers.source(instrument, "TRADES").exists or not self._granted(instrument):
            text = f"Failed to request histogram data:No market data permissions for {data_venue(instrument)}"
            self._world.error(session, request.req_id, 10188, text)
            return
        query = self._opened(session, request, _CANCEL_HISTOGRAM, instrument)
        if query is not None:

            async def work() -> list[Message]:
                return [await self._answers.histogram(query, period, regular_only=request.use_rth)]

            self._answer(query, work)

    def _ticks(self, session: Session, request: h.ReqHistoricalTicks) -> None:
        # The fields before the contract: the text form of a combination comes without its legs, so none would be found.
        try:
            start = self._moment(request.start_date_time, "Start Date/Time")
            end = self._moment(request.end_date_time, "End Date/Time")
        except _Refused as refused:
            self._refuse(session, request.req_id, refused.refusal)
            return
        view, given = request.what_to_show.upper(), (start is not None) + (end is not None)
        refusal = rules.ticks_refusal_of(request.contract.sec_type, view, request.number_of_ticks, given)
        if refusal is not None:
            self._refuse(session, request.req_id, refusal)
            return
        instrument = self._instrument(session, request.req_id, request.contract)
        if instrument is None:
            return
        self._warn(session, request.req_id, start, end)
        if view == "AGGTRADES" and instrument.sec_type != "CRYPTO":
            self._world.error(session, request.req_id, 10299, rules.wrong_trades(view))
        view = "MIDPOINT" if view.endswith("TRADES") and instrument.sec_type == "CASH" else view
        view = "TRADES" if view == "AGGTRADES" else view
        if not self._answers.source(instrument, view).exists or not self._granted(instrument):
            text = f"Failed to request historical ticks:No market data permissions for {data_venue(instrument)}"
            self._world.error(session, request.req_id, 10187, text)
            return
        query = self._opened(session, request, _CANCEL_TICKS, instrument)
        if query is None:
            return
        ask = TickAsk(
            what_to_show=view,
            number=request.number_of_ticks,
            start_s=None if start is None else float(start.time_s),
            end_s=None if end is None else float(end.time_s),
            regular_only=request.use_rth,
            ignore_size=request.ignore_size,
        )

        async def work() -> list[Message]:
            return [await self._answers.ticks(query, ask)]

        self._answer(query, work)

    def _cancel(self, session: Session, request: Cancel) -> None:
        """A query that is still at work or kept up to date is told its end by 162; an answered head goes in silence."""
        query = self._queries.get(session, request.req_id)
        if query is None or query.cancel_id != request.message_id:
            self._world.violate(session, Rule.HISTORY_LATE_CANCEL)
            self._world.error(session, request.req_id, 366, f"{rules.QUERY_NOT_FOUND}{request.req_id}")
            return
        self._queries.remove(query)
        if query.cancel_id == _CANCEL_BARS:
            self._world.error(session, request.req_id, 162, rules.cancelled(request.req_id))
        self._world.changed()

    # Judging

    def _instrument(self, session: Session, req_id: int, spec: ContractSpec) -> Instrument | None:
        """The instrument of a request whose id is free; it was answered when there is none."""
        if self._queries.get(session, req_id) is not None:
            self._refuse(session, req_id, Refusal(Rule.HISTORY_DUPLICATE_ID, 322, rules.DUPLICATE_ID))
            return None
        return self._resolver.instrument(session, req_id, spec)

    def _granted(self, instrument: Instrument) -> bool:
        return self._permissions.granted(instrument, Data.HISTORY)

    def _denied(self, instrument: Instrument, spec: ContractSpec) -> Refusal | None:
        """What the instrument, not the request, is refused for."""
        if spec.include_expired and instrument.sec_type not in _EXPIRES:
            return Refusal(Rule.HISTORY_EXPIRED, 166, rules.CANNOT_EXPIRE)
        if not self._granted(instrument):
            text = f"{rules.HMDS}No market data permissions for {data_venue(instrument)}"
            return Refusal(None, 162, text)
        gone_s = self._world.clock.now_s() - self._answers.tape(instrument).end_s
        kept_s = 0 if instrument.sec_type in _OPTIONS else rules.EXPIRED_FUTURE_KEPT_S
        if gone_s > kept_s:
            exchange = spec.exchange or instrument.exchange
            return Refusal(None, 162, rules.nothing_found(instrument.local_symbol, exchange, "TRADES"))
        return None

    def _paced(self, identity: tuple[Any, ...], subject: tuple[Any, ...], cost: int) -> Refusal | None:
        rule = self._small_bars.breach(identity, subject, cost, self._world.clock.now_s())
        return None if rule is None else Refusal(rule, 162, rules.PACING)

    def _moment(self, text: str, which: str) -> Moment | None:
        """Raises: _Refused for what cannot be read."""
        try:
            return parse_moment(text, self._world.clock.now_s(), self._world.settings.host_zone_offset_s)
        except (ValueError, OverflowError):
            raise _Refused(rules.bad_date(which)) from None

    def _warn(self, session: Session, req_id: int, *moments: Moment | None) -> None:
        for moment in moments:
            if moment is not None and moment.implied:
                self._world.error(session, req_id, 2174, rules.IMPLIED_ZONE)

    def _refuse(self, session: Session, req_id: int, refusal: Refusal) -> None:
        if refusal.rule is not None:
            self._world.violate(session, refusal.rule)
        self._world.error(session, req_id, refusal.code, refusal.text)

    # Answering

    def _opened(self, session: Session, request: Request, cancel_id: int, instrument: Instrument) -> Query | None:
        """An open query; None when there are as many as IB allows."""
        if len(self._queries) >= rules.OPEN_REQUESTS:
            self._refuse(session, request.req_id, Refusal(Rule.HISTORY_OPEN, 322, rules.TOO_MANY_OPEN))
            return None
        query = Query(session, request.req_id, cancel_id, instrument)
        self._queries.add(query)
        self._world.changed()
        return query

    def _answer(
        self, query: Query, work: Callable[[], Awaitable[list[Message]]], then: Callable[[], None] | None = None
    ) -> None:
        """Do the work beside the loop and send what comes of it. With `then` the query stays open after it."""

        async def job() -> None:
            latency_s = self._world.settings.history_latency_s
            if latency_s > 0:
                await self._world.sleep_until(self._world.clock.now_s() + latency_s)
            await self._world.gate.wait()
            try:
                messages = await work()
            except NoAnswer as nothing:
                self._world.error(query.session, query.req_id, 162, str(nothing))
                self._end(query)
                return
            except Exception:
                logger.exception("query_failed req_id=%d client_id=%s", query.req_id, query.session.client_id)
                self._world.failed(query.session, query.req_id)
                self._end(query)
                return
            for message in messages:
                query.session.send(message, instrument=query.instrument.key)
            query.answered = True
            if then is None:
                self._end(query)
            else:
                query.scope = None
                then()
                self._world.changed()

        query.scope = self._world.spawn(job)

    def _end(self, query: Query) -> None:
        """Over by itself: its own scope must not be cancelled from inside."""
        query.scope = None
        self._queries.remove(query)
        self._world.changed()

    def _keep(self, query: Query, request: BarRequest) -> None:
        def tell(now_s: int) -> None:
            message = self._answers.update(query, request, now_s)
            held_back = self._world.faults.silent_history(query.session, query.instrument)
            if message is not None and not held_back:
                query.session.send(message, instrument=query.instrument.key)

        query.ticker = Ticker(self._world, tell)


class _Refused(Exception):
    """A field of a request that no gateway takes."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _legal(rule: Rule, parse: Callable[[str], _T], text: str) -> _T:
    """Raises: _Refused with the cause."""
    try:
        return parse(text)
    except ValueError as cause:
        raise _Refused(Refusal(rule, 321, validation(str(cause)))) from None
