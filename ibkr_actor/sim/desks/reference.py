"""Owns the answers to questions of reference: option chains, price increments, exchanges, and what an option is worth.

Must not open lines; nothing here goes on after its answer.
"""

from __future__ import annotations

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.refusals import validation
from ibkr_actor.sim.desks.resolving import Resolver
from ibkr_actor.sim.market.instruments import WITH_STRIKE, Instrument
from ibkr_actor.sim.market.pricing import Greeks, greeks, implied_vol, price, years_to
from ibkr_actor.sim.market.venues import DEPTH_EXCHANGES, MARKET_RULES, SMART_COMPONENTS
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire.reference_wire import (
    DepthExchanges,
    MarketRule,
    OptionParameter,
    ReqDepthExchanges,
    ReqImpliedVolatility,
    ReqMarketRule,
    ReqOptionParameters,
    ReqOptionPrice,
    ReqSmartComponents,
    SmartComponentMap,
)
from ibkr_actor.sim.wire.request_base import Cancel
from ibkr_actor.sim.world import World

# The tick type of an answer to a computation that was asked for. Source: ibapi TickTypeEnum.CUST_OPTION_COMPUTATION.
_CUSTOM_COMPUTATION = 53


class ReferenceDesk(Desk):
    """Answers at once; a cancel of a computation finds nothing left to cancel and is taken silently."""

    def __init__(self, world: World, resolver: Resolver) -> None:
        self._world = world
        self._resolver = resolver

    def handlers(self) -> Handlers:
        return {
            ReqOptionParameters: self._option_parameters,
            ReqSmartComponents: self._smart_components,
            ReqMarketRule: self._market_rule,
            ReqDepthExchanges: self._depth_exchanges,
            ReqImpliedVolatility: self._implied_volatility,
            ReqOptionPrice: self._option_price,
            56: self._nothing_to_cancel,
            57: self._nothing_to_cancel,
        }

    def _option_parameters(self, session: Session, request: ReqOptionParameters) -> None:
        """One row for each exchange and class; an underlying without options has an empty answer."""
        try:
            under = self._world.catalogue.instrument(request.con_id)
        except KeyError:
            self._world.error(session, request.req_id, 321, validation("Invalid contract id"))
            return
        if (request.symbol, request.sec_type) != (under.symbol, under.sec_type):
            self._world.error(session, request.req_id, 321, validation("Invalid underlying symbol or security type"))
            return
        for row in self._world.catalogue.option_parameters(under.con_id, request.exchange):
            session.send(OptionParameter(req_id=request.req_id, **row._asdict()), instrument=under.key)
        session.send(m.SecDefOptParameterEnd(req_id=request.req_id))

    def _smart_components(self, session: Session, request: ReqSmartComponents) -> None:
        components = SMART_COMPONENTS.get(request.bbo_exchange)
        if components is None:
            self._world.error(session, request.req_id, 321, validation("Invalid BBO exchange"))
            return
        session.send(SmartComponentMap(req_id=request.req_id, components=components))

    def _market_rule(self, session: Session, request: ReqMarketRule) -> None:
        increments = MARKET_RULES.get(request.market_rule_id)
        if increments is None:
            self._world.error(session, -1, 321, validation("Invalid market rule id"))
            return
        session.send(MarketRule(market_rule_id=request.market_rule_id, increments=increments))

    def _depth_exchanges(self, session: Session, _: ReqDepthExchanges) -> None:
        session.send(DepthExchanges(exchanges=DEPTH_EXCHANGES))

    def _implied_volatility(self, session: Session, request: ReqImpliedVolatility) -> None:
        """Sent with nothing computed when no volatility gives the price."""
        it = self._option(session, request)
        if it is None:
            return
        years = years_to(it.expiry, self._world.today())
        under = request.under_price
        vol = implied_vol(request.option_price, under, it.strike, years, it.right, carry=it.carry_rate)
        self._send_computation(session, request, it, vol, request.option_price)

    def _option_price(self, session: Session, request: ReqOptionPrice) -> None:
        it = self._option(session, request)
        if it is None:
            return
        years = years_to(it.expiry, self._world.today())
        worth = price(request.under_price, it.strike, years, request.volatility, it.right, carry=it.carry_rate)
        self._send_computation(session, request, it, request.volatility, worth)

    def _send_computation(
        self,
        session: Session,
        request: ReqImpliedVolatility | ReqOptionPrice,
        it: Instrument,
        vol: float | None,
        worth: float,
    ) -> None:
        found: Greeks | None = None
        if vol is not None:
            years = years_to(it.expiry, self._world.today())
            found = greeks(request.under_price, it.strike, years, vol, it.right, carry=it.carry_rate)
        message = m.TickOptionComputation(
            req_id=request.req_id,
            tick_type=_CUSTOM_COMPUTATION,
            tick_attrib=0,
            implied_vol=vol,
            delta=None if found is None else found.delta,
            opt_price=worth,
            pv_dividend=0.0,
            gamma=None if found is None else found.gamma,
            vega=None if found is None else found.vega,
            theta=None if found is None else found.theta,
            und_price=request.under_price,
        )
        session.send(message, instrument=it.key)

    def _option(self, session: Session, request: ReqImpliedVolatility | ReqOptionPrice) -> Instrument | None:
        """The option a computation is about; None when the request was answered with an error."""
        it = self._resolver.instrument(session, request.req_id, request.contract)
        if it is None:
            return None
        given = request.option_price if isinstance(request, ReqImpliedVolatility) else request.volatility
        if it.sec_type not in WITH_STRIKE or not (given > 0 and request.under_price > 0):
            cause = "Invalid price, volatility or security type of an option computation"
            self._world.error(session, request.req_id, 321, validation(cause))
            return None
        return it

    def _nothing_to_cancel(self, session: Session, request: Cancel) -> None:
        """The computation is done."""
