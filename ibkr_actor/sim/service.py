"""Owns the beginning of a conversation and the way of every request after it to the desk that answers it.

Must not know sockets or frames, nor answer for a desk.
"""

from __future__ import annotations

import logging

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.account import AccountDesk
from ibkr_actor.sim.desks.contracts import ContractDesk
from ibkr_actor.sim.desks.desk import Desk, Handlers
from ibkr_actor.sim.desks.news import NewsDesk
from ibkr_actor.sim.desks.permissions import Permissions
from ibkr_actor.sim.desks.reference import ReferenceDesk
from ibkr_actor.sim.desks.refusals import CLIENT_ID_IN_USE, FARM_NOTICES, Refusals
from ibkr_actor.sim.desks.resolving import Resolver
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.desks.scanner import ScannerDesk
from ibkr_actor.sim.desks.stage import Stage
from ibkr_actor.sim.desks.subscriptions import SubscriptionDesk
from ibkr_actor.sim.history.desk import HistoryDesk
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)


class Service:
    """Answers one request at a time. `refusals` are errors a test has asked for; a new desk is one line in `desks`."""

    def __init__(self, world: World, stage: Stage) -> None:
        self._world = world
        self.refusals = Refusals()
        resolver = Resolver(world, self.refusals)
        self.permissions = Permissions(world.settings.permissions)
        self.news = news = NewsDesk(world)
        self._accounts = AccountDesk(world)
        self._desks: tuple[Desk, ...] = (
            SubscriptionDesk(world, stage, resolver, self.permissions, news),
            news,
            ScannerDesk(world),
            ContractDesk(world, resolver),
            ReferenceDesk(world, resolver),
            HistoryDesk(world, resolver, self.permissions),
        )
        self._handlers: Handlers = {}
        for desk in self._desks:
            self._handlers |= desk.handlers()

    def start(self, session: Session, request: r.StartApi) -> bool:
        """Begin the conversation. False when it may not; a taken client id was answered."""
        if not self.admit(session, request):
            return False
        self.welcome(session)
        logger.info("client_started client_id=%d session=%d", request.client_id, session.number)
        return True

    def admit(self, session: Session, request: r.StartApi) -> bool:
        """Give the client its id, as `start` does, without a word of welcome."""
        world = self._world
        if len(world.sessions) >= world.settings.clients_max:
            logger.warning("too_many_clients clients_max=%d", world.settings.clients_max)
            return False
        if request.client_id in world.sessions:
            world.violate(session, Rule.CLIENT_ID)
            world.error(session, -1, 326, CLIENT_ID_IN_USE)
            return False
        session.client_id = request.client_id
        world.sessions[request.client_id] = session
        return True

    def welcome(self, session: Session) -> None:
        """What a gateway says after startApi."""
        world = self._world
        session.send(m.NextValidId(order_id=world.next_valid_id, req_id=-1))
        session.send(m.ManagedAccounts(accounts=world.settings.accounts, req_id=-1))
        for code, text in FARM_NOTICES:
            world.error(session, -1, code, text)

    def handle(self, session: Session, request: r.Request) -> None:
        """Answer any request after startApi."""
        refusal = None if isinstance(request, r.Cancel) else self.refusals.take_req_id(request.req_id)
        if refusal is not None:
            self._world.error(session, request.req_id, refusal.code, refusal.text)
            return
        by_id = isinstance(request, (r.Cancel, r.Plain))
        handler = self._handlers.get(request.message_id if by_id else type(request), self._accounts.handle)
        handler(session, request)

    def closed(self, session: Session) -> None:
        """The session is over: its lines go, and what the desks keep of it."""
        for line in self._world.lines.of_session(session):
            self._world.lines.remove(line)
        for desk in self._desks:
            desk.closed(session)
