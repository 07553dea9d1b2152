"""The gateway port: opens, closes and writes on a thread of its own, and decodes what the reader handed over.

Never blocks the loop, never decides when to reconnect, and has no way to send anything but market-data requests.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import anyio.to_thread
from msgspec import Struct

from ibkr_actor.core.events import Connected, ConnectFailed, ConnectionLost, ErrorNotice, Event
from ibkr_actor.core.requests import AnyRequest, Request
from ibkr_actor.errors import HandshakeFailed, ReadOnlyViolation
from ibkr_actor.tws.client import Client, RequestRefused
from ibkr_actor.tws.decode import Decoder
from ibkr_actor.tws.inbox import FrameBatch, Inbox
from ibkr_actor.tws.outgoing import WRITERS
from ibkr_actor.tws.reader import Reader
from ibkr_actor.tws.recorder import Recorder, Tap
from ibkr_actor.tws.sender import SenderThread

# Codes for a request that never left. Source: ibapi.errors.NOT_CONNECTED; the API guide, "error reading request".
NOT_CONNECTED: Final = 504
UNREADABLE_REQUEST: Final = 320

log = logging.getLogger(__name__)


class GatewayConfig(Struct, frozen=True, kw_only=True):
    """Where the gateway is and how long it may take. `outbound_max` bounds requests that wait for the socket.

    `io_timeout_s` bounds one send; a peer that does not take a message for so long is given up. `close_grace_s` is how
    long a close waits for messages that were queued before it, the cancels of a shutdown.
    """

    host: str = "127.0.0.1"
    port: int = 4002
    connect_timeout_s: float = 10.0
    handshake_timeout_s: float = 10.0
    io_timeout_s: float = 10.0
    close_grace_s: float = 1.0
    pace_api: bool = True
    outbound_max: int = 10_000


class _Open(Struct, frozen=True):
    conn: int
    client_id: int
    port: int


class _Close(Struct, frozen=True):
    conn: int
    done: threading.Event


class _Live(Struct):
    """The connection that is up or coming up. One object, so that both threads always see its parts together."""

    conn: int
    client: Client
    reader: Reader | None = None
    tap: Tap | None = None


class Gateway:
    """One TWS or IB Gateway, one connection at a time, each with a client, a reader and a decoder of its own.

    The loop calls `open`, `close`, `send`, `decode` and `counters`; everything that may block is done by the sender
    thread, which starts with the first `open` and ends with `stop`. Connection numbers only grow.
    """

    def __init__(
        self,
        config: GatewayConfig,
        inbox: Inbox,
        recorder: Recorder | None = None,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`now_ns` stamps what comes: another than the system's clock only beside a simulator."""
        self._config = config
        self._now_ns = now_ns
        self._inbox = inbox
        self._recorder = recorder
        self._sender = SenderThread(self._perform, self._sender_failed)
        # The latest connection: set by the sender thread, never cleared.
        self._live: _Live | None = None
        # Connection -> decoder: set by the sender thread before the first frame, removed by the loop when it is over.
        self._decoders: dict[int, Decoder] = {}
        # Set when the latest close with messages before it is done.
        self._closing: threading.Event | None = None
        self._opened = self._connected = self._corrupt = 0
        self._sent = self._refused = self._violations = 0
        self._dropped_full = self._dropped_not_connected = 0
        self._late_frames = self._failed_frames = self._ignored_frames = 0

    # ---- called by the loop

    def open(self, conn: int, client_id: int, port: int | None = None) -> None:
        """Opens connection `conn`; answered in the inbox by Connected or ConnectFailed. `port` None is as configured.

        Raises:
            RuntimeError: the gateway was stopped.
        """
        for number in list(self._decoders):
            if number < conn:
                self._forget(number)
        self._sender.start_once()
        self._sender.put(_Open(conn, client_id, port or self._config.port))

    def close(self, conn: int) -> None:
        """Closes connection `conn`; ConnectionLost(wanted=True) follows if it was up. What it still sent is dropped.

        Requests queued before it are still written, but a peer that takes none is given up after `close_grace_s`.
        """
        was_up = self._inbox.lost(ConnectionLost(conn, self._now_ns(), "closed by us", wanted=True))
        self._forget(conn)
        if was_up and not self._sender.idle():
            self._closing = threading.Event()
            self._sender.put(_Close(conn, self._closing))
            grace = threading.Timer(self._config.close_grace_s, self._abandon, (conn,))
            grace.daemon = True
            grace.start()
        else:
            self._abandon(conn)

    def send(self, request: AnyRequest) -> None:
        """Queues a request. Without a connection, or with a full queue, it is counted and dropped.

        Raises:
            ReadOnlyViolation: there is no such market-data request.
        """
        if type(request) not in WRITERS:
            self._violations += 1
            raise ReadOnlyViolation(f"{type(request).__name__} is not a market-data request")
        if self._sender.waiting() >= self._config.outbound_max:
            self._dropped_full += 1
            return
        self._sender.put(request)

    def decode(self, batch: FrameBatch) -> list[Event]:
        """The events of a batch, in order. Frames of a connection that is over are counted and dropped.

        A corrupt stream ends its connection: the last event is then ConnectionLost, as for any other loss.
        """
        decoder = self._decoders.get(batch.conn)
        if decoder is None:
            self._late_frames += len(batch.frames)
            return []
        events = decoder.decode(batch)
        if decoder.fault is not None:
            self._corrupt += 1
            reason = f"corrupt stream: {decoder.fault}"
            log.error("gateway_corrupt conn=%d reason=%r", batch.conn, reason)
            if self._inbox.end(batch.conn):
                events.append(ConnectionLost(batch.conn, batch.received_ns, reason))
            self._forget(batch.conn)
            self._abandon(batch.conn)
        return events

    def counters(self) -> dict[str, int | float | str | None]:
        """Figures since the start; `server_version` of the present connection, None without one."""
        client = self._live.client if self._live is not None else None
        present = list(self._decoders.values())
        return {
            "connections_opened": self._opened,
            "connections_made": self._connected,
            "connections_corrupt": self._corrupt,
            "server_version": client.serverVersion() if client is not None and client.isConnected() else None,
            "requests_sent": self._sent,
            "requests_refused": self._refused,
            "requests_waiting": self._sender.waiting(),
            "requests_dropped_full": self._dropped_full,
            "requests_dropped_not_connected": self._dropped_not_connected,
            "read_only_violations": self._violations + (client.refused_frames() if client is not None else 0),
            "frames_late": self._late_frames,
            "frames_failed": self._failed_frames + sum(decoder.failed_frames for decoder in present),
            "frames_ignored": self._ignored_frames + sum(decoder.ignored_frames for decoder in present),
            **self._inbox.counters(),
            **(self._recorder.counters() if self._recorder is not None else {}),
        }

    async def aclose(self) -> None:
        """As `stop`, waiting for the threads off the loop."""
        await anyio.to_thread.run_sync(self.stop)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ends the connection and all threads; blocks until they are gone or `timeout_s` has passed for each."""
        if self._closing is not None:
            self._closing.wait(timeout_s)
        self._sender.stop()
        self._close_live()
        self._sender.join(timeout_s)
        # The sender may have come up with a connection meanwhile.
        self._close_live()
        live = self._live
        if live is not None and live.reader is not None and live.reader.is_alive():
            live.reader.join(timeout_s)
        if self._recorder is not None:
            self._recorder.stop(timeout_s)

    def _close_live(self) -> None:
        if self._live is not None:
            self.close(self._live.conn)

    def _abandon(self, conn: int) -> None:
        live = self._live
        if live is not None and live.conn == conn:
            live.client.abandon()

    def _forget(self, conn: int) -> None:
        decoder = self._decoders.pop(conn, None)
        if decoder is not None:
            self._failed_frames += decoder.failed_frames
            self._ignored_frames += decoder.ignored_frames

    # ---- called by the sender thread

    def _perform(self, job: Struct) -> None:
        match job:
            case _Open():
                self._connect(job)
            case Request():
                self._write(job)
            case _Close():
                self._abandon(job.conn)
                job.done.set()

    def _connect(self, job: _Open) -> None:
        config, conn = self._config, job.conn
        if self._live is not None:
            # Before the new one can be up: its reader may notice the end only after that.
            self._inbox.lost(ConnectionLost(self._live.conn, self._now_ns(), "replaced by a new one", wanted=True))
            self._live.client.abandon()
            self._violations += self._live.client.refused_frames()
        tap = self._recorder.tap(conn) if self._recorder is not None else None
        client = Client(
            pace_api=config.pace_api,
            connect_timeout_s=config.connect_timeout_s,
            handshake_timeout_s=config.handshake_timeout_s,
            io_timeout_s=config.io_timeout_s,
            tap=tap,
        )
        # Shown to `close` before looking whether it was called: one of the two sees the other.
        self._live = live = _Live(conn, client, tap=tap)
        self._opened += 1
        try:
            if self._inbox.is_over(conn):
                raise ConnectionAbortedError("closed by us")
            client.connect(config.host, job.port, job.client_id)
            self._begin_reading(live)
        except (OSError, HandshakeFailed, RequestRefused) as error:
            reason = str(error) if isinstance(error, HandshakeFailed) else self._explained(error, job.port)
            client.abandon()
            if tap is not None and live.reader is None:
                tap.ended(reason, by_gateway=False)
            log.debug("gateway_connect_failed conn=%d reason=%r", conn, reason)
            taken = isinstance(error, HandshakeFailed)
            self._inbox.put(ConnectFailed(conn, self._now_ns(), reason, taken))

    def _begin_reading(self, live: _Live) -> None:
        conn, client = live.conn, live.client
        connection, version = client.conn, client.serverVersion()
        assert connection is not None
        self._decoders[conn] = Decoder(conn, version)
        reader = Reader(connection, self._inbox, conn, live.tap, self._now_ns)
        if not self._inbox.connected(Connected(conn, self._now_ns(), version, client.connection_time)):
            self._decoders.pop(conn, None)
            connection.close()
            raise ConnectionAbortedError("closed by us")
        self._connected += 1
        log.info("gateway_connected conn=%d server_version=%d", conn, version)
        live.reader = reader
        reader.start()

    def _explained(self, error: Exception, port: int) -> str:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return f"{self._config.host}:{port}: {text}"

    def _write(self, request: Request) -> None:
        live = self._live
        if live is None or not live.client.isConnected():
            self._dropped_not_connected += 1
            return
        try:
            WRITERS[type(request)](live.client, request)
            self._sent += 1
        except RequestRefused as error:
            if error.code == NOT_CONNECTED:
                self._dropped_not_connected += 1
            else:
                self._refuse(live, request, error.code, error.message)
        except ReadOnlyViolation as error:
            # Counted by the connection. Nothing left; the owner must not wait for an answer.
            self._refuse(live, request, UNREADABLE_REQUEST, str(error))
        except OSError as error:
            reason = f"send failed: {error.strerror or error}"
            # Announced before the socket is shut, or the reader might be first, with less of a reason.
            self._inbox.lost(ConnectionLost(live.conn, self._now_ns(), reason))
            live.client.abandon()
        except (TypeError, ValueError) as error:
            # The official client converts some fields before it looks for errors, a multiplier that is no number.
            self._refuse(live, request, UNREADABLE_REQUEST, f"{type(error).__name__}: {error}")

    def _refuse(self, live: _Live, request: Request, code: int, message: str) -> None:
        self._refused += 1
        log.warning("gateway_request_refused request=%s code=%d reason=%r", type(request).__name__, code, message)
        self._inbox.put(ErrorNotice(live.conn, self._now_ns(), request.req_id, code, message))

    def _sender_failed(self) -> None:
        """A bug: whoever waits for an answer gets one, and the next `open` raises."""
        now_ns, live = self._now_ns(), self._live
        if live is not None:
            was_over = self._inbox.is_over(live.conn)
            was_up = self._inbox.lost(ConnectionLost(live.conn, now_ns, "the sender thread failed"))
            if not was_up and not was_over:
                self._inbox.put(ConnectFailed(live.conn, now_ns, "the sender thread failed"))
            live.client.abandon()
