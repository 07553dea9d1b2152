"""Owns the shape of a desk: a part of the service that answers one family of requests.

Must not know any family; the service only asks a desk for its handlers and tells it who left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire.request_base import Request

Handler = Callable[[Session, Any], None]
# A request's type, or its message id for a Cancel and for a Plain request, whose types tell nothing.
Handlers = dict[type[Request] | int, Handler]


class Desk(Protocol):
    """What the service expects of every desk. A handler is synchronous; what takes long it gives to `world.spawn`."""

    def handlers(self) -> Handlers:
        """Each request this desk answers, and the function that does."""
        ...

    def closed(self, session: Session) -> None:
        """The session is over: forget what the desk keeps of it. Lines in `world.lines` go without this."""
        return
