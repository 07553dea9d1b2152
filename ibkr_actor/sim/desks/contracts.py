"""Owns the answers to questions about contracts: details and symbol samples.

Must not open lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import anyio
import anyio.lowlevel

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.refusals import NO_SECURITY_DEFINITION
from ibkr_actor.sim.desks.resolving import Resolver
from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.wire.reference_wire import BondData
from ibkr_actor.sim.world import World

# So many contracts are found and sent before others get a turn.
_CHUNK = 50


class ContractDesk(Desk):
    """Answers of up to one chunk are given at once; longer ones beside the service, until the end or a cancel."""

    def __init__(self, world: World, resolver: Resolver) -> None:
        self._world = world
        self._resolver = resolver
        self._running: dict[tuple[int, int], anyio.CancelScope] = {}

    def handlers(self) -> Handlers:
        return {
            r.ReqContractData: self._contract_data,
            r.ReqMatchingSymbols: self._matching_symbols,
            106: self._cancel,
        }

    def closed(self, session: Session) -> None:
        for number, req_id in [each for each in self._running if each[0] == session.number]:
            self._running.pop((number, req_id)).cancel()

    def _contract_data(self, session: Session, request: r.ReqContractData) -> None:
        if not self._resolver.plausible(session, request.req_id, request.contract, needs_exchange=False):
            return
        rest = self._world.catalogue.matches(request.contract)
        first = list(islice(rest, _CHUNK))
        if not first:
            self._world.error(session, request.req_id, 200, NO_SECURITY_DEFINITION)
            return
        if any(self._resolver.refused(session, request.req_id, each) for each in first):
            return
        answer = _Answer(self._world, session, request)
        answer.send(first)
        if len(first) < _CHUNK:
            answer.end()
        else:
            self._go_on(answer, rest)

    def _go_on(self, answer: _Answer, rest: Iterator[Instrument]) -> None:
        """Send what does not fit into one turn; a request with the id of a running one takes its place."""
        key = (answer.session.number, answer.req_id)
        self._stop(key)

        async def run() -> None:
            await answer.go_on(rest)
            self._running.pop(key, None)

        self._running[key] = self._world.spawn(run)

    def _cancel(self, session: Session, request: r.Cancel) -> None:
        """Ends a running answer without a word; an answer already given leaves nothing to cancel."""
        self._stop((session.number, request.req_id))

    def _stop(self, key: tuple[int, int]) -> None:
        scope = self._running.pop(key, None)
        if scope is not None:
            scope.cancel()

    def _matching_symbols(self, session: Session, request: r.ReqMatchingSymbols) -> None:
        found = self._world.catalogue.samples(request.pattern)
        session.send(m.SymbolSamples(req_id=request.req_id, instruments=found))


class _Answer:
    """The details of one request's contracts, on their way to its client."""

    def __init__(self, world: World, session: Session, request: r.ReqContractData) -> None:
        self.session = session
        self.req_id = request.req_id
        self._world = world
        self._spec: ContractSpec = request.contract
        self._now_s = world.clock.now_s()
        self._hours: dict[tuple[str, ...], tuple[str, str]] = {}

    async def go_on(self, rest: Iterator[Instrument]) -> None:
        """Send the rest by chunks, each once the client has read most of what came before."""
        while chunk := list(islice(rest, _CHUNK)):
            await anyio.lowlevel.checkpoint()
            await self._world.gate.wait()
            if not await self.session.send_bulk(b""):
                return
            self.send(chunk)
        self.end()

    def send(self, instruments: list[Instrument]) -> None:
        for each in instruments:
            trading, liquid = self._hours_of(each)
            kind = m.ContractData if each.bond is None else BondData
            message = kind(
                req_id=self.req_id,
                instrument=each,
                exchange=self._spec.exchange or each.exchange,
                trading_hours=trading,
                liquid_hours=liquid,
            )
            self.session.send(message, instrument=each.key)

    def end(self) -> None:
        self.session.send(m.ContractDataEnd(req_id=self.req_id))

    def _hours_of(self, it: Instrument) -> tuple[str, str]:
        """Trading and liquid hours of the coming days, made once for all contracts that share them."""
        key = (it.hours, it.time_zone_id, it.trading_session, it.liquid_session)
        found = self._hours.get(key)
        if found is None:
            calendar = Calendar(it, self._world.settings.market_hours)
            texts = calendar.trading_hours_text(self._now_s), calendar.liquid_hours_text(self._now_s)
            found = self._hours[key] = texts
        return found
