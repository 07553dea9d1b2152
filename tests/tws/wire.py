"""Frames and a scripted TCP peer for the tests of this room: an encoder of our own, independent of the simulator.

Holds no expectation; the tests do.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import Any, Self

from ibkr_actor.tws.inbox import FrameBatch

DEADLINE_S = 60.0
NS = 1_700_000_000_123_456_789


def text_frame(server_version: int, message_id: int, *fields: object) -> bytes:
    """A text frame without its length; the id is a field before server version 201 and four bytes from there on."""
    body = b"".join((field if isinstance(field, bytes) else str(field).encode()) + b"\0" for field in fields)
    if server_version < 201:
        return str(message_id).encode() + b"\0" + body
    return message_id.to_bytes(4, "big") + body


def proto_frame(message_id: int, message: Any) -> bytes:
    """A protobuf frame without its length; `message_id` is that of the text twin."""
    body: bytes = message.SerializeToString()
    return (message_id + 200).to_bytes(4, "big") + body


def with_length(frame: bytes) -> bytes:
    return struct.pack(">I", len(frame)) + frame


def stream(*frames: bytes) -> bytes:
    return b"".join(with_length(frame) for frame in frames)


def batch(*frames: bytes, conn: int = 1, ns: int = NS) -> FrameBatch:
    return FrameBatch(conn, ns, list(frames))


def split_frames(data: bytes) -> list[bytes]:
    """Whole frames, with their lengths, of what a client wrote."""
    frames = []
    while len(data) >= 4:
        stop = 4 + int.from_bytes(data[:4], "big")
        assert len(data) >= stop, "half a frame on the wire"
        frames.append(data[:stop])
        data = data[stop:]
    assert not data
    return frames


class PeerConnection:
    """The gateway's end of one accepted connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server_version = 0

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise EOFError(f"closed after {len(data)} of {count} bytes")
            data += piece
        return data

    def read_hello(self) -> str:
        """What the client offers, such as `v100..226 +PACEAPI`."""
        assert self.exactly(4) == b"API\0"
        return self.exactly(int.from_bytes(self.exactly(4), "big")).decode()

    def read_frame(self) -> bytes:
        return self.exactly(int.from_bytes(self.exactly(4), "big"))

    def answer(self, server_version: int, zone: bytes = b"20260301 10:00:00 CET") -> bytes:
        """The bytes of the handshake's answer."""
        return with_length(str(server_version).encode() + b"\0" + zone + b"\0")

    def shake_hands(self, server_version: int) -> str:
        """Hello, answer, startApi; returns the hello."""
        hello = self.read_hello()
        self.server_version = server_version
        self.sock.sendall(self.answer(server_version))
        self.read_frame()
        return hello

    def send(self, *frames: bytes) -> None:
        self.sock.sendall(stream(*frames))

    def wait_closed(self) -> bytes:
        """Reads until the client closes; returns what it still said."""
        data = b""
        while True:
            try:
                piece = self.sock.recv(65536)
            except ConnectionResetError:
                return data
            if not piece:
                return data
            data += piece

    def close(self) -> None:
        self.sock.close()


class Peer:
    """A listening socket on a free port; the test plays the gateway by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE_S)
        self.port: int = self._listener.getsockname()[1]
        self._accepted: list[PeerConnection] = []

    def accept(self) -> PeerConnection:
        connection = PeerConnection(self._listener.accept()[0])
        self._accepted.append(connection)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._accepted:
            connection.close()
        self._listener.close()
