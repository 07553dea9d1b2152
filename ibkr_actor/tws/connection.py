"""The official Connection made sound: whole sends, no byte lost on a time-out, an end any thread may ask for.

Knows the socket and the handshake's frames; not what the messages mean, except for the allow-list it enforces.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any, Final

from ibapi.connection import Connection as OfficialConnection

from ibkr_actor.errors import HandshakeFailed, ReadOnlyViolation
from ibkr_actor.tws.allowlist import check_outgoing
from ibkr_actor.tws.recorder import Tap

RECV_BYTES: Final = 256 * 1024
# A handshake answer is a version and a date; what announces more is not TWS.
HELLO_BYTES_MAX: Final = 4096
# The official client has seen other messages before the answer; so many are skipped.
HELLO_FRAMES_MAX: Final = 16
# Probe a silent peer after 30 s, then every 10 s, and give up after three: a pulled cable ends within a minute.
KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Connection(OfficialConnection):
    """One TCP connection; used once, then replaced by a new one.

    `connect_timeout_s` bounds the connect over all addresses of the host. `io_timeout_s` bounds one send; a send that
    does not finish in time leaves half a message, so the connection is at its end. `tap` is told of every frame out.
    """

    def __init__(
        self, host: str, port: int, *, connect_timeout_s: float, io_timeout_s: float, tap: Tap | None = None
    ) -> None:
        super().__init__(host, port)
        self.socket: socket.socket | None = None
        # The version agreed on; until it is set only the handshake can leave.
        self.server_version: int | None = None
        self.refused_frames = 0
        self.tap = tap
        self._connect_timeout_s = connect_timeout_s
        self._io_timeout_s = io_timeout_s
        # Set when somebody asked for the end; and when a send broke off, after which nothing may follow it.
        self._ended = False
        self._broken = False

    def connect(self) -> None:
        """Connects to the first address that answers.

        Raises:
            OSError: none did, or `disconnect` was called meanwhile.
        """
        deadline = time.monotonic() + self._connect_timeout_s
        failure: OSError | None = None
        for family, kind, protocol, address in self._addresses():
            if self._ended:
                break
            # Held in self while connecting, so that `disconnect` can end the wait.
            self.socket = candidate = socket.socket(family, kind, protocol)
            try:
                candidate.settimeout(max(deadline - time.monotonic(), 0.001))
                candidate.connect(address)
                self._tune(candidate)
            except OSError as error:
                failure = error
                self.close_socket()
                continue
            if not self._ended:
                return
        self.close()
        if self._ended and failure is None:
            raise ConnectionAbortedError(errno.ECONNABORTED, "closed by us")
        raise failure or OSError(errno.EADDRNOTAVAIL, f"{self.host} has no address")

    def _addresses(self) -> list[tuple[int, int, int, Any]]:
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError(errno.EINVAL, f"{self.host!r} is no host name: {error}") from None
        return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]

    def _tune(self, candidate: socket.socket) -> None:
        candidate.settimeout(self._io_timeout_s)
        candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):
                candidate.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def exchange_hello(self, hello: bytes, timeout_s: float) -> list[bytes]:
        """Sends the first bytes and returns the two fields of the answer, version and time.

        Reads not one byte more than the answer, so what comes glued to it is left for the reader.

        Raises:
            HandshakeFailed: no such answer came within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        peer = self._require_socket()
        try:
            peer.settimeout(max(timeout_s, 0.001))
            if self.tap is not None:
                self.tap.sent(hello[8:])  # behind the API prefix and the length
            peer.sendall(hello)
            for _ in range(HELLO_FRAMES_MAX):
                fields = self._hello_frame(peer, deadline).split(b"\0")
                if len(fields) == 3 and not fields[2]:
                    peer.settimeout(self._io_timeout_s)
                    return fields[:2]
        except TimeoutError:
            raise HandshakeFailed(
                f"{self.host}:{self.port} accepted the connection but did not complete the handshake in {timeout_s:g} s"
            ) from None
        except OSError as error:
            reason = "we closed it" if self._ended else error.strerror or str(error)
            raise HandshakeFailed(f"{self.host}:{self.port} ended the connection in the handshake: {reason}") from None
        raise HandshakeFailed(f"{self.host}:{self.port} does not answer as TWS or IB Gateway does")

    def _hello_frame(self, peer: socket.socket, deadline: float) -> bytes:
        head = self._exactly(peer, 4, deadline)
        length = int.from_bytes(head, "big")
        if length > HELLO_BYTES_MAX:
            raise HandshakeFailed(
                f"{self.host}:{self.port} does not answer as TWS or IB Gateway does: its first bytes are {head!r}"
            )
        payload = self._exactly(peer, length, deadline)
        if self.tap is not None:
            self.tap.received(time.time_ns(), [payload], length)
        return payload

    def _exactly(self, peer: socket.socket, count: int, deadline: float) -> bytes:
        data = b""
        while len(data) < count:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            peer.settimeout(remaining_s)
            piece = peer.recv(count - len(data))
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "closed by the peer")
            data += piece
        return data

    def sendMsg(self, msg: bytes) -> int:
        """Sends one whole message if it is on the allow-list.

        Raises:
            ReadOnlyViolation: it is not; not one byte of it left.
            OSError: it could not be sent, or not in time.
        """
        try:
            if self.server_version is None:
                raise ReadOnlyViolation("nothing may be sent before the handshake")
            check_outgoing(msg, self.server_version)
        except ReadOnlyViolation:
            self.refused_frames += 1
            raise
        with self.lock:
            if not self.isConnected():
                raise ConnectionAbortedError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
            if self.tap is not None:
                self.tap.sent(msg[4:])  # before it leaves, so that it stands before its answer
            try:
                self._require_socket().sendall(msg)
            except OSError:
                # Half a message may have left: what follows it would be read as its rest. The socket is left to the
                # caller, who shuts it when it has said why.
                self._broken = True
                raise
        return len(msg)

    def recvMsg(self) -> bytes:
        """What one recv gives, empty when the time-out passed with nothing taken from the socket.

        Raises:
            OSError: the connection is at its end.
        """
        try:
            data = self._require_socket().recv(RECV_BYTES)
        except TimeoutError as error:
            # A time-out of ours has no errno; ETIMEDOUT is the kernel's word that the peer is gone.
            if error.errno is None:
                return b""
            raise
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed by us" if self._ended else "closed by the peer")
        return data

    def isConnected(self) -> bool:
        """Whether messages can be sent: the socket is there, whole, and nobody asked for its end."""
        return self.socket is not None and not self._ended and not self._broken

    def disconnect(self) -> None:
        """Asks for the end, from any thread and any number of times; wakes whoever reads, sends or connects.

        Takes no lock: a sender may hold it for as long as the peer does not read.
        """
        self._ended = True
        current = self.socket
        if current is not None:
            try:
                current.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # not connected any more, which is what was asked for

    def close(self) -> None:
        """Ends the connection and gives the descriptor back; for the thread that reads, or when none does."""
        self.disconnect()
        with self.lock:
            self.close_socket()

    def close_socket(self) -> None:
        """Gives the descriptor back."""
        current, self.socket = self.socket, None
        if current is not None:
            current.close()

    def _require_socket(self) -> socket.socket:
        current = self.socket
        if current is None:
            raise ConnectionAbortedError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return current
