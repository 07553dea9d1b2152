"""Owns the states of the connection and every legal step between them, and what is known of one connection.

Decides no effect: `core.session` does.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct, field

from ibkr_actor.core.effects import ActorName

# Actors that ask IB and must know when they may.
ASKING: Final[tuple[ActorName, ...]] = ("contracts", "subscriptions", "history")


class State(Enum):
    """Where the connection stands. `degraded` is usable, but TWS itself has lost IB."""

    IDLE = "idle"
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    READY = "ready"
    DEGRADED = "degraded"
    BACKING_OFF = "backing_off"
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
    (State.BACKING_OFF, Input.BACKOFF_OVER): State.CONNECTING,
    (State.BACKING_OFF, Input.STOP): State.STOPPED,
    (State.STOPPING, Input.CLOSED): State.STOPPED,
    (State.FAILED, Input.START): State.CONNECTING,
    (State.FAILED, Input.STOP): State.STOPPED,
}
UP: Final = frozenset({State.READY, State.DEGRADED})
# A socket exists or may come about: events and notices of the present connection count.
OPEN: Final = frozenset({State.CONNECTING, State.HANDSHAKING, State.READY, State.DEGRADED})


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
    heard_s: float = 0.0
    beat_req_id: int | None = None
    beat_sent_s: float | None = None
    # Incoming message id -> frames of it that could not be decoded.
    undecoded: dict[int, int] = field(default_factory=dict)
