"""Frames to events, one decoder per connection: hot kinds directly, everything else through the official decoder.

A frame that cannot be decoded costs itself only; a stream that cannot be believed ends the decoder. Asks nothing of IB.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from ibapi.decoder import Decoder as OfficialDecoder
from ibapi.utils import BadMessage

from ibkr_actor.core.events import DecodeFailed, Event
from ibkr_actor.tws import exchanges, history, proto, text
from ibkr_actor.tws.allowlist import BINARY_ID_VERSION, PROTOBUF_OFFSET
from ibkr_actor.tws.broken import FRAME_ERRORS, BadFrame, CorruptStream
from ibkr_actor.tws.inbox import FrameBatch
from ibkr_actor.tws.swallowed import IN_TEXT, in_protobuf
from ibkr_actor.tws.wrapper import Wrapper

# IB's incoming ids end at 111 today, their protobuf twins at 311: what lies beyond was never a message id.
TEXT_ID_MAX: Final = 199
PROTO_ID_MAX: Final = 399
# Orders, accounts and positions: never asked for, but TWS tells some clients of them anyway. Not even decoded.
# Source: ibapi.message.IN.
PRIVATE_IDS: Final = frozenset(
    {3, 5, 6, 7, 8, 11, 16, 53, 54, 55, 59, 61, 62, 63, 64, 65, 66, 69, 70, 71, 72, 73, 74, 77, 78}
    | {94, 95, 100, 101, 102, 103, 107, 110, 111}
)
LOG_INTERVAL_S: Final = 10.0

log = logging.getLogger(__name__)


class LengthCheckingDecoder(OfficialDecoder):
    """The official decoder, which logs a text message of unexpected length and forgets it; here that is an error."""

    def interpretWithSignature(self, fields: tuple[bytes, ...], handleInfo: Any) -> None:
        """Calls the wrapper with the fields it takes; a newer server's further fields are left out.

        Raises:
            BadFrame: there are fewer fields than parameters.
        """
        wanted = len(handleInfo.wrapperParams)
        if len(fields) < wanted:
            raise BadFrame(f"{len(fields)} fields, {wanted} expected")
        super().interpretWithSignature(fields[:wanted], handleInfo)


class Decoder:
    """Decodes the batches of connection `conn`. `fault` says why nothing more will come of it."""

    def __init__(self, conn: int, server_version: int) -> None:
        self.conn = conn
        self.server_version = server_version
        self.fault: str | None = None
        self.failed_frames = 0
        self.ignored_frames = 0
        self._binary_ids = server_version >= BINARY_ID_VERSION
        texts: dict[int, Any] = {**text.handlers(server_version), **history.text_handlers(server_version)}
        texts |= exchanges.text_handlers(server_version)
        protos: dict[int, Any] = {**proto.HANDLERS, **history.PROTO_HANDLERS}
        self._text = {str(number).encode(): handle for number, handle in texts.items()}
        self._hot: dict[bytes, Any] = {number.to_bytes(4, "big"): handle for number, handle in protos.items()}
        for number, handle in texts.items():
            self._hot[number.to_bytes(4, "big")] = _behind_binary_id(handle)
        self._wrapper = Wrapper(conn)
        self._official = LengthCheckingDecoder(self._wrapper, server_version)
        self._known = {*map(int, self._official.msgId2handleInfo)}
        self._known_proto = {*map(int, self._official.msgId2handleInfoProtoBuf)}
        self._ids = self._known | {number + PROTOBUF_OFFSET for number in self._known_proto}
        # Message id -> the failures of the batch at hand, told together at its end.
        self._failures: dict[int, DecodeFailed] = {}
        self._next_log_s = 0.0

    def decode(self, batch: FrameBatch) -> list[Event]:
        """The events of a batch in their order, then what failed. Never raises for what a peer sent."""
        events: list[Event] = []
        if self.fault is not None:
            return events
        try:
            if self._binary_ids:
                self._decode_binary(batch, events)
            else:
                self._decode_text(batch, events)
        except CorruptStream as error:
            self.fault = str(error)
        if self._failures:
            events.extend(self._failures.values())
            self._report()
            self._failures = {}
        return events

    def _decode_binary(self, batch: FrameBatch, events: list[Event]) -> None:
        hot, add, received_ns = self._hot.get, events.append, batch.received_ns
        for frame in batch.frames:
            handle = hot(frame[:4])
            try:
                if handle is not None:
                    add(handle(frame, received_ns))
                else:
                    self._decode_cold(_binary_id(frame), frame[4:], received_ns, events)
            except FRAME_ERRORS as error:
                number = int.from_bytes(frame[:4], "big")
                if number > PROTOBUF_OFFSET and in_protobuf(frame, self._ids):
                    raise CorruptStream(f"a frame of message {number} holds the beginning of another") from error
                self._failed(number, received_ns, error)

    def _decode_text(self, batch: FrameBatch, events: list[Event]) -> None:
        hot, add, received_ns = self._text.get, events.append, batch.received_ns
        for frame in batch.frames:
            fields = frame.split(b"\0")
            handle = hot(fields[0])
            try:
                if handle is not None:
                    add(handle(fields, received_ns))
                else:
                    self._decode_cold(_text_id(fields[0]), frame[len(fields[0]) + 1 :], received_ns, events)
            except FRAME_ERRORS as error:
                self._failed(int(fields[0]), received_ns, error)

    def _decode_cold(self, number: int, body: bytes, received_ns: int, events: list[Event]) -> None:
        plain = number - PROTOBUF_OFFSET if number > PROTOBUF_OFFSET else number
        if plain in PRIVATE_IDS:
            self.ignored_frames += 1
            return
        if plain not in (self._known_proto if number > PROTOBUF_OFFSET else self._known):
            raise BadFrame("the official client does not know this message")
        wrapper = self._wrapper
        wrapper.received_ns = received_ns
        wrapper.events = events
        if number > PROTOBUF_OFFSET:
            self._official.processProtoBuf(body, plain)
            return
        if IN_TEXT.search(body):
            raise CorruptStream(f"a frame of message {number} holds the beginning of another")
        self._official.interpret(tuple(body.split(b"\0")[:-1]), plain)

    def _failed(self, number: int, received_ns: int, error: Exception) -> None:
        self.failed_frames += 1
        earlier = self._failures.get(number)
        frames = earlier.frames + 1 if earlier else 1
        reason = earlier.reason if earlier else f"{type(error).__name__}: {_reason(error)}"
        self._failures[number] = DecodeFailed(self.conn, received_ns, number, frames, reason)

    def _report(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_log_s:
            return
        self._next_log_s = now_s + LOG_INTERVAL_S
        for failure in self._failures.values():
            log.warning(
                "gateway_decode_failed conn=%d message=%d frames=%d reason=%r failed_so_far=%d",
                self.conn,
                failure.message_id,
                failure.frames,
                failure.reason,
                self.failed_frames,
            )


def _behind_binary_id(handle: text.Handler) -> proto.Handler:
    """A text layout behind a binary id: from server version 201 on, for kinds that are not protobuf yet."""

    def decode(frame: bytes, received_ns: int) -> Any:
        return handle((b"\0" + frame[4:]).split(b"\0"), received_ns)

    return decode


def _binary_id(frame: bytes) -> int:
    """The id of a frame of a server from version 201 on.

    Raises:
        CorruptStream: no message has such an id.
    """
    number = int.from_bytes(frame[:4], "big") if len(frame) >= 4 else 0
    if not 0 < number <= PROTO_ID_MAX or number == PROTOBUF_OFFSET:
        raise CorruptStream(f"a frame begins with {frame[:4]!r}, which is no message id")
    return number


def _text_id(raw: bytes) -> int:
    """The id of a frame of a server before version 201.

    Raises:
        CorruptStream: no message has such an id.
    """
    if not raw.isdigit() or len(raw) > 3 or not 0 < int(raw) <= TEXT_ID_MAX:
        raise CorruptStream(f"a frame begins with {raw[:16]!r}, which is no message id")
    return int(raw)


def _reason(error: Exception) -> str:
    """The error's text, short. The official decoder stumbles over its own report of a frame that ends too early."""
    if isinstance(error, BadMessage) or isinstance(error.__context__, BadMessage):
        return "the frame ends too early"
    return str(error)[:200]
