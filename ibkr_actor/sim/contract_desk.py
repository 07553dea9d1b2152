"""Owns the answers to questions about contracts: details and symbol samples.

Must not open lines.
"""

from __future__ import annotations

from ibkr_actor.sim import messages as m
from ibkr_actor.sim import requests as r
from ibkr_actor.sim.desk import Desk, Handlers
from ibkr_actor.sim.instruments import hours_text
from ibkr_actor.sim.refusals import NO_SECURITY_DEFINITION
from ibkr_actor.sim.resolving import Resolver
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.world import World


class ContractDesk(Desk):
    """Answers at once; a cancel finds nothing left to cancel and is taken silently."""

    def __init__(self, world: World, resolver: Resolver) -> None:
        self._world = world
        self._resolver = resolver

    def handlers(self) -> Handlers:
        return {
            r.ReqContractData: self._contract_data,
            r.ReqMatchingSymbols: self._matching_symbols,
            106: lambda session, request: None,
        }

    def _contract_data(self, session: Session, request: r.ReqContractData) -> None:
        if not self._resolver.plausible(session, request.req_id, request.contract, needs_exchange=False):
            return
        found = self._world.catalogue.match(request.contract)
        if not found:
            self._world.error(session, request.req_id, 200, NO_SECURITY_DEFINITION)
            return
        if any(self._resolver.refused(session, request.req_id, each) for each in found):
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
