"""Owns the way from a contract description to the one instrument it means, or to the error IB answers instead.

Must not know what the instrument is asked for; permissions of market data are the subscription desk's.
"""

from __future__ import annotations

from ibkr_actor.sim.desks.refusals import NO_SECURITY_DEFINITION, Refusals, ambiguous, validation
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.market.instruments import SEC_TYPES, ContractSpec, Instrument
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.world import World


class Resolver:
    """For every desk: the contract of a request. Each method that returns None or False has answered the request.

    A desk asks `instrument()` for a request that must mean exactly one contract (all but reqContractDetails), and
    keeps nothing of it. `duplicate()` is for desks whose requests are no lines of `world.lines`.
    """

    def __init__(self, world: World, refusals: Refusals) -> None:
        self._world = world
        self.refusals = refusals

    def instrument(
        self, session: Session, req_id: int, spec: ContractSpec, *, needs_exchange: bool = True
    ) -> Instrument | None:
        """The one instrument meant. Answers 102 for an id of an open line, 321 for a description no gateway looks up,
        200 for none or several, and whatever a test asked for with `Simulator.refuse`.
        """
        if self.duplicate(session, req_id) or not self.plausible(session, req_id, spec, needs_exchange=needs_exchange):
            return None
        found = self._world.catalogue.match(spec, 2)
        if len(found) != 1:
            text = ambiguous(spec) if found else NO_SECURITY_DEFINITION
            self._world.error(session, req_id, 200, text)
            return None
        return None if self.refused(session, req_id, found[0]) else found[0]

    def duplicate(self, session: Session, req_id: int) -> bool:
        """Whether the id is that of an open line; 102 was sent when it is."""
        if self._world.lines.get(session, req_id) is None:
            return False
        self._world.violate(session, Rule.DUPLICATE_ID)
        self._world.error(session, req_id, 102, "Duplicate ticker id")
        return True

    def plausible(self, session: Session, req_id: int, spec: ContractSpec, *, needs_exchange: bool = True) -> bool:
        """Whether the description is one a gateway looks up at all; 321 was sent when not."""
        if (spec.sec_type or not spec.con_id) and spec.sec_type not in SEC_TYPES:
            self._world.error(session, req_id, 321, validation("Please enter a valid security type"))
            return False
        if needs_exchange and not spec.exchange:
            self._world.error(session, req_id, 321, validation("Please enter exchange"))
            return False
        return True

    def refused(self, session: Session, req_id: int, instrument: Instrument) -> bool:
        """Whether a test has an error in store for the instrument; it was sent when so."""
        refusal = self.refusals.take_instrument(instrument.con_id)
        if refusal is not None:
            self._world.error(session, req_id, refusal.code, refusal.text)
        return refusal is not None
