"""The sidecar's figures: one JSON object a second, from which /metrics is made in whatever process serves it.

Measures nothing itself and asks no actor: it reads what the parts have counted, all on one loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from ibkr_actor import __version__
from ibkr_actor.actors.clock import Clock
from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.bus.bus import Bus
from ibkr_actor.core.effects import ActorName
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.core.session.readiness import readiness
from ibkr_actor.core.session.states import State
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.tws.gateway import Gateway

CONNECTED: Final = (State.READY, State.DEGRADED)


class Figures:
    """What `docs/STREAMS.md` calls the metrics key. Call it for the bytes."""

    def __init__(
        self,
        *,
        session: SessionCore,
        subscriptions: SubscriptionsCore,
        pacing: PacingCore,
        gateway: Gateway,
        bus: Callable[[], Bus],
        mailboxes: Mapping[ActorName, Mailbox],
        clock: Clock,
    ) -> None:
        self._session = session
        self._subscriptions = subscriptions
        self._pacing = pacing
        self._gateway = gateway
        self._bus = bus
        self._mailboxes = mailboxes
        self._clock = clock
        self._started_ns = time.time_ns()
        self._connected: tuple[object, float] | None = None  # number of the connection, and since when it is usable

    def __call__(self) -> bytes:
        now = self._clock()
        bus = self._bus()
        session = self._session.status(now)
        subscriptions = self._subscriptions.status()
        return msgspec.json.encode(
            {
                "at_ns": str(time.time_ns()),
                "version": __version__,
                "pid": os.getpid(),
                "epoch": bus.epoch,
                "started_ns": str(self._started_ns),
                "connected": self._session.state in CONNECTED,
                "uptime_s": round(self._uptime_s(session["conn"]), 3),
                "session": session,
                "ready": readiness(self._session.state, {"subscriptions": subscriptions}),
                "subscriptions": subscriptions,
                "pacing": self._pacing.figures(now),
                "gateway": self._gateway.counters(),
                "redis": bus.counters(),
                "mailboxes": {name: len(box) for name, box in self._mailboxes.items()},
                **bus.figures(),
            }
        )

    def _uptime_s(self, conn: object) -> float:
        """Seconds since the connection became usable, 0 without one."""
        if self._session.state not in CONNECTED:
            self._connected = None
            return 0.0
        if self._connected is None or self._connected[0] != conn:
            self._connected = (conn, time.monotonic())
        return time.monotonic() - self._connected[1]
