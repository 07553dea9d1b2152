"""Owns the states of the connection and every legal step between them, and what is known of one connection.

Decides no effect: `core.session.core` does.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct, field

from ibkr_actor.core.effects import ActorName
from ibkr_actor.core.session.pulse import Pulse

# Actors that ask IB and must know when they may.
ASKING: Final[tuple[ActorName, ...]] = ("contracts", "reference", "subscriptions", "history")


class State(Enum):
    """Where the connection stands. `degraded` is usable, but TWS itself has lost IB.

    Three states wait for the next try: `backing_off`; `waiting_for_login`, when the gateway takes connections and is
    never ready; and `scheduled_outage`, in the time of a planned reset or restart.
    """

    IDLE = "idle"
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    READY = "ready"
    DEGRADED = "degraded"
    BACKING_OFF = "backing_off"
    WAITING_FOR_LOGIN = "waiting_for_login"
    SCHEDULED_OUTAGE = "scheduled_outage"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class Input(Enum):
    """What can happen to it."""

    START = "start"
    STOP = "stop"
    CONNECTED = "connected"
    USABLE = "usable"
    USABLE_DEGRADED = "usable_degraded"
    BROKEN = "broken"
    EXHAUSTED = "exhausted"
    LOGIN_NEEDED = "login_needed"
    SCHEDULED = "scheduled"
    UPSTREAM_DOWN = "upstream_down"
    UPSTREAM_UP = "upstream_up"
    BACKOFF_OVER = "backoff_over"
    CLOSED = "closed"


# All legality in one place: what is not here changes nothing.
TABLE: Final[dict[tuple[State, Input], State]] = {
    (State.IDLE, Input.START): State.CONNECTING,
    (State.IDLE, Input.STOP): State.STOPPED,
    (State.CONNECTING, Input.CONNECTED): State.HANDSHAKING,
    (State.CONNECTING, Input.BROKEN): State.BACKING_OFF,
    (State.CONNECTING, Input.EXHAUSTED): State.FAILED,
    (State.CONNECTING, Input.STOP): State.STOPPING,
    (State.HANDSHAKING, Input.USABLE): State.READY,
    (State.HANDSHAKING, Input.USABLE_DEGRADED): State.DEGRADED,
    (State.HANDSHAKING, Input.BROKEN): State.BACKING_OFF,
    (State.HANDSHAKING, Input.EXHAUSTED): State.FAILED,
    (State.HANDSHAKING, Input.STOP): State.STOPPING,
    (State.READY, Input.UPSTREAM_DOWN): State.DEGRADED,
    (State.READY, Input.BROKEN): State.BACKING_OFF,
    (State.READY, Input.EXHAUSTED): State.FAILED,
    (State.READY, Input.STOP): State.STOPPING,
    (State.DEGRADED, Input.UPSTREAM_UP): State.READY,
    (State.DEGRADED, Input.BROKEN): State.BACKING_OFF,
    (State.DEGRADED, Input.EXHAUSTED): State.FAILED,
    (State.DEGRADED, Input.STOP): State.STOPPING,
    (State.CONNECTING, Input.LOGIN_NEEDED): State.WAITING_FOR_LOGIN,
    (State.HANDSHAKING, Input.LOGIN_NEEDED): State.WAITING_FOR_LOGIN,
    (State.CONNECTING, Input.SCHEDULED): State.SCHEDULED_OUTAGE,
    (State.HANDSHAKING, Input.SCHEDULED): State.SCHEDULED_OUTAGE,
    (State.READY, Input.SCHEDULED): State.SCHEDULED_OUTAGE,
    (State.DEGRADED, Input.SCHEDULED): State.SCHEDULED_OUTAGE,
    (State.BACKING_OFF, Input.BACKOFF_OVER): State.CONNECTING,
    (State.BACKING_OFF, Input.STOP): State.STOPPED,
    (State.WAITING_FOR_LOGIN, Input.BACKOFF_OVER): State.CONNECTING,
    (State.WAITING_FOR_LOGIN, Input.STOP): State.STOPPED,
    (State.SCHEDULED_OUTAGE, Input.BACKOFF_OVER): State.CONNECTING,
    (State.SCHEDULED_OUTAGE, Input.STOP): State.STOPPED,
    (State.STOPPING, Input.CLOSED): State.STOPPED,
    (State.FAILED, Input.START): State.CONNECTING,
    (State.FAILED, Input.STOP): State.STOPPED,
}
UP: Final = frozenset({State.READY, State.DEGRADED})
# Nothing is under way: the next try has its time.
WAITING: Final = frozenset({State.BACKING_OFF, State.WAITING_FOR_LOGIN, State.SCHEDULED_OUTAGE})
# Waits that were said once; each try of theirs is nothing new.
PATIENT: Final = WAITING - {State.BACKING_OFF}
# A socket exists or may come about: events and notices of the present connection count.
OPEN: Final = frozenset({State.CONNECTING, State.HANDSHAKING, State.READY, State.DEGRADED})
# Data that come so long after the word that TWS lost IB were not in flight then: it has IB again, though IB's word for
# that (1102) may stay away after 2110.
DATA_AGAIN_NS: Final = 15_000_000_000


# Kinds of unreadable message counted apart; what comes after them is counted together.
_UNDECODED_KINDS_MAX: Final = 100


class Link(Struct):
    """What is known of the present connection; built anew for each."""

    conn: int = 0
    client_id: int = 0
    server_version: int = 0
    connection_time: str = ""
    accounts: int | None = None
    # Notices may overtake the end of the handshake: what they said is kept until it can be used.
    id_seen: bool = False
    upstream_lost: bool = False
    client_id_in_use: bool = False
    ready_s: float | None = None
    pulse: Pulse = field(default_factory=Pulse)
    # Incoming message id -> frames of it that could not be decoded.
    undecoded: dict[int, int] = field(default_factory=dict)

    def status(self) -> dict[str, object]:
        """The connection's part of the status."""
        return {
            "conn": self.conn,
            "client_id": self.client_id,
            "server_version": self.server_version or None,
            "gateway_time_text": self.connection_time or None,
            "undecoded": {str(message_id): count for message_id, count in sorted(self.undecoded.items())},
        }

    def note_undecoded(self, message_id: int, frames: int) -> bool:
        """Counts what could not be read; whether it is the first of its kind."""
        message_id = message_id if len(self.undecoded) < _UNDECODED_KINDS_MAX else -1
        is_first = message_id not in self.undecoded
        self.undecoded[message_id] = self.undecoded.get(message_id, 0) + frames
        return is_first
