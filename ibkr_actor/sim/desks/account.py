"""Owns what an account with nothing in it answers, the refusal of every order, and of all that is not served.

Must not know the market.
"""

from __future__ import annotations

import logging

from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.refusals import ORDER_MESSAGES, READ_ONLY, SILENT_MESSAGES, unserved, validation
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire import requests as r
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)


class AccountDesk:
    """The last desk: it answers every request that no other desk took."""

    def __init__(self, world: World) -> None:
        self._world = world

    def handle(self, session: Session, request: r.Request) -> None:
        """Answer what no other desk took."""
        answers = self._answers(request)
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

    def _answers(self, request: r.Request) -> list[m.Message] | None:
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
            case 104:
                return [m.UserInfo(req_id=req_id)]
            case 99:
                return [m.CompletedOrdersEnd()]
            case 105:
                return [m.CurrentTimeInMillis(time_ms=world.now_ms())]
            case _:
                return None
