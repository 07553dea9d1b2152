"""The reader thread: bytes off the socket, cut into frames, stamped on receipt, handed over one batch per recv.

Decodes nothing, drops nothing, and never ends without saying why.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ibapi.reader import EReader

from ibkr_actor.core.events import ConnectionLost
from ibkr_actor.tws.inbox import FrameBatch, Inbox
from ibkr_actor.tws.recorder import Tap

if TYPE_CHECKING:
    from ibkr_actor.tws.connection import Connection

# Source: ibapi.const.MAX_MSG_LEN; the official client ends the session at a longer one.
FRAME_BYTES_MAX: Final = 0xFFFFFF
# How much of what cannot be read is kept for whoever looks into it.
FAULT_BYTES_MAX: Final = 4096
_LENGTH = struct.Struct(">I").unpack_from

log = logging.getLogger(__name__)


class Framer:
    """Cuts a stream into frames; each byte is copied a bounded number of times, whatever comes in one piece.

    `fault` is set, and nothing more is cut, when a length cannot be true; `fault_bytes` begin with that length.
    `copied_bytes` counts the work.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.fault_bytes = b""
        self.empty_frames = 0
        self.copied_bytes = 0
        # The beginning of a frame that is not whole yet, and how many bytes it needs before looking is worth while.
        self._rest = bytearray()
        self._needed = 4

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes, without their lengths; frames of length zero are only counted."""
        if self._rest:
            self._rest += data
            self.copied_bytes += len(data)
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self.copied_bytes += len(data)
            self._rest = bytearray()
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        add = frames.append
        start, end = 0, len(data)
        needed = 4
        while end - start >= 4:
            (length,) = _LENGTH(data, start)
            if length > FRAME_BYTES_MAX:
                self.fault = f"frame of {length} bytes announced, {FRAME_BYTES_MAX} is the most"
                self.fault_bytes = data[start : start + FAULT_BYTES_MAX]
                return frames
            stop = start + 4 + length
            if stop > end:
                needed = 4 + length
                break
            if length:
                add(data[start + 4 : stop])
            else:
                self.empty_frames += 1
            start = stop
        self._rest += data[start:]
        self._needed = needed
        self.copied_bytes += end
        return frames


class Reader(EReader):
    """Reads connection number `number` until it ends, then puts ConnectionLost and closes the socket.

    The socket's descriptor is closed here only, since a descriptor closed under a reading thread may be another's by
    the time it is read. A daemon, so that it never holds up the end of the process.
    """

    def __init__(
        self,
        connection: Connection,
        inbox: Inbox,
        number: int,
        tap: Tap | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(connection, inbox)
        self.daemon = True
        self.name = f"tws-reader-{number}"
        self.framer = Framer()
        self._connection = connection
        self._inbox = inbox
        self._number = number
        self._tap = tap
        self._now_ns = now_ns

    def run(self) -> None:
        """The thread's body; an unexpected exception still ends with ConnectionLost, then reaches the excepthook."""
        reason = "the reader thread failed"
        try:
            reason = self._read()
        finally:
            if self._tap is not None:
                self._tap.ended(reason, by_gateway=self._connection.isConnected())
            self._connection.close()
            self._inbox.lost(ConnectionLost(self._number, self._now_ns(), reason))
            log.info("gateway_reader_ended conn=%d reason=%r", self._number, reason)

    def _read(self) -> str:
        """Reads until the end; returns the reason for it."""
        recv: Any = self._connection.recvMsg
        feed, put, now_ns, tap = self.framer.feed, self._inbox.put_frames, self._now_ns, self._tap
        while True:
            try:
                data = recv()
            except OSError as error:
                return f"{error.strerror or error}"
            if not data:
                continue
            received_ns = now_ns()
            frames = feed(data)
            if tap is not None and frames:
                tap.received(received_ns, frames, len(data))
            if frames and not put(FrameBatch(self._number, received_ns, frames), len(data)):
                return "closed by us"
            if self.framer.fault is not None:
                if tap is not None:
                    tap.garbage(received_ns, self.framer.fault_bytes)
                return f"corrupt stream: {self.framer.fault}"
