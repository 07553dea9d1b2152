"""The official EClient made sound: its own connect and disconnect, errors of a request as exceptions, no run().

Adds no request of its own: each is the official method. Used for one connection at a time, from one sending thread.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

from ibapi.client import EClient
from ibapi.comm import make_initial_msg
from ibapi.server_versions import MAX_CLIENT_VER, MIN_CLIENT_VER
from ibapi.wrapper import EWrapper

from ibkr_actor.errors import Error, HandshakeFailed, ReadOnlyViolation
from ibkr_actor.tws.connection import Connection
from ibkr_actor.tws.recorder import Tap

# What asks TWS to pace messages itself instead of answering 100 and hanging up. Source: IBKR, "Pacing limitations".
PACE_API: Final = "+PACEAPI"
# The zone behind the handshake's time is the host's own text, in the host's own encoding.
ZONE_ENCODINGS: Final = ("utf-8", "gbk", "latin-1")

# Here, once: the official client logs each request with its arguments at INFO and each recv at DEBUG.
logging.getLogger("ibapi").setLevel(logging.WARNING)

log = logging.getLogger(__name__)


class RequestRefused(Error):
    """The official client would not send a request: `code` is one of its client-side codes, 501 to 589."""

    def __init__(self, req_id: int, code: int, message: str) -> None:
        super().__init__(f"{code} {message}")
        self.req_id = req_id
        self.code = code
        self.message = message


class RequestErrors(EWrapper):
    """What EClient's request methods call when they fail: the failure is raised, where EClient would swallow it."""

    def error(
        self, reqId: int, errorTime: int, errorCode: int, errorString: str, advancedOrderRejectJson: str = ""
    ) -> None:
        """Raises what went wrong inside the request method, or RequestRefused when it just declined."""
        cause = sys.exc_info()[1]
        if isinstance(cause, OSError | ReadOnlyViolation):
            raise cause
        raise RequestRefused(reqId, errorCode, errorString)

    def connectionClosed(self) -> None:
        """Nothing: the reader says when a connection is over, exactly once and with its number."""


class Client(EClient):
    """One client of a gateway. `connect` raises; `disconnect` may be called by any thread at any time.

    `server_version` outlives the connection, so that a request or frame under way meets a number, never None.
    """

    def __init__(
        self,
        *,
        pace_api: bool = True,
        connect_timeout_s: float = 10.0,
        handshake_timeout_s: float = 10.0,
        io_timeout_s: float = 10.0,
        tap: Tap | None = None,
    ) -> None:
        super().__init__(RequestErrors())
        # run() is not used and frames go to the inbox: without the queue nothing can pile up in it.
        self.msg_queue = None
        self.conn: Connection | None = None
        self.connection_time = ""
        self._options = PACE_API if pace_api else None
        self._connect_timeout_s = connect_timeout_s
        self._handshake_timeout_s = handshake_timeout_s
        self._io_timeout_s = io_timeout_s
        self._tap = tap
        self._abandoned = False

    def connect(self, host: str, port: int, clientId: int) -> None:
        """Connects, shakes hands and sends startApi; frames then wait in the socket for a reader.

        Raises:
            OSError: no connection.
            HandshakeFailed: the peer is not TWS, hung up, took too long, or speaks a version we do not.
            RequestRefused: already connected, or startApi could not be written.
        """
        if self.isConnected():
            raise RequestRefused(-1, 501, "already connected")
        self.host, self.port, self.clientId = host or "127.0.0.1", port, clientId
        # Anew for every connection: the official disconnect forgets it.
        self.setConnectOptions(self._options)
        self.conn = connection = Connection(
            self.host,
            port,
            connect_timeout_s=self._connect_timeout_s,
            io_timeout_s=self._io_timeout_s,
            tap=self._tap,
        )
        try:
            if self._abandoned:
                raise ConnectionAbortedError("closed by us")
            self.setConnState(EClient.CONNECTING)
            connection.connect()
            self._shake_hands(connection)
            self.setConnState(EClient.CONNECTED)
            self.startApi()
        except BaseException:
            self.setConnState(EClient.DISCONNECTED)
            connection.close()
            raise

    def _shake_hands(self, connection: Connection) -> None:
        options = f" {self.connectOptions}" if self.connectOptions else ""
        hello = b"API\0" + make_initial_msg(f"v{MIN_CLIENT_VER}..{MAX_CLIENT_VER}{options}")
        version_text, zone_text = connection.exchange_hello(hello, self._handshake_timeout_s)
        version = int(version_text) if version_text.isdigit() else -1
        if not MIN_CLIENT_VER <= version <= MAX_CLIENT_VER:
            raise HandshakeFailed(
                f"{self.host}:{self.port} answers with server version {version_text[:20]!r}, "
                f"this client speaks {MIN_CLIENT_VER} to {MAX_CLIENT_VER}"
            )
        self.serverVersion_ = connection.server_version = version
        self.connTime = zone_text
        self.connection_time = decode_zone(zone_text)
        if self._tap is not None:
            self._tap.opened(version, self.connection_time)

    def abandon(self) -> None:
        """As `disconnect`, and a `connect` that has not begun yet fails at once."""
        self._abandoned = True
        self.disconnect()

    def disconnect(self) -> None:
        """Ends the connection and nothing else: state that a thread may still read stays as it is."""
        self.setConnState(EClient.DISCONNECTED)
        connection = self.conn
        if connection is not None:
            connection.disconnect()

    def isConnected(self) -> bool:
        """Whether requests can be sent."""
        connection = self.conn
        return connection is not None and self.connState == EClient.CONNECTED and connection.isConnected()

    def refused_frames(self) -> int:
        """How many messages the allow-list kept from leaving."""
        return self.conn.refused_frames if self.conn is not None else 0

    def run(self) -> None:
        """Not used.

        Raises:
            RuntimeError: always; frames are decoded on the event loop.
        """
        raise RuntimeError("frames are decoded on the event loop; run() is not used")

    def setConnState(self, connState: int) -> None:
        """Sets the state without the official method's formatted debug line."""
        self.connState = connState

    def logRequest(self, fnName: str, fnParams: object) -> None:
        """Nothing: requests are counted, not logged one by one."""


def decode_zone(text: bytes) -> str:
    """The handshake's time and zone, by the first encoding that fits."""
    for encoding in ZONE_ENCODINGS[:-1]:
        try:
            return text.decode(encoding)
        except UnicodeDecodeError:
            continue
    return text.decode(ZONE_ENCODINGS[-1])
