"""Owns frames and fields: the length prefix, cutting a byte stream into frames, and how values look as text.

Must not know any message.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

# The longest frame the official client takes. Source: ibapi.common MAX_MSG_LEN (0xFFFFFF).
MAX_FRAME_BYTES = 0xFFFFFF
# From this server version on a frame begins with a binary message id. Source: ibapi MIN_SERVER_VER_PROTOBUF.
BINARY_ID_FROM = 201
# Added to a message id whose body is protobuf. Source: ibapi.common PROTOBUF_MSG_ID.
PROTOBUF_ID_OFFSET = 200

Size = Decimal | int | float | str | None


class FrameError(Exception):
    """The byte stream cannot be cut into frames."""


class FrameBuffer:
    """Cuts a byte stream into frame payloads; bytes of an unfinished frame stay for the next `feed`."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def take(self, count: int) -> bytes | None:
        """`count` raw bytes, or None when there are fewer."""
        if len(self._data) < count:
            return None
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    def peek(self) -> bytes:
        """All bytes held, without taking them."""
        return bytes(self._data)

    def next_frame(self) -> bytes | None:
        """The next whole payload, or None.

        Raises: FrameError when the length is above MAX_FRAME_BYTES.
        """
        if len(self._data) < 4:
            return None
        length = int.from_bytes(self._data[:4], "big")
        if length > MAX_FRAME_BYTES:
            raise FrameError(f"frame of {length} bytes")
        if len(self._data) < 4 + length:
            return None
        payload = bytes(self._data[4 : 4 + length])
        del self._data[: 4 + length]
        return payload


def frame(payload: bytes) -> bytes:
    """The payload behind its length."""
    return len(payload).to_bytes(4, "big") + payload


def join_fields(fields: Iterable[str]) -> bytes:
    """Text fields, each ended by a zero byte."""
    return "".join([field + "\0" for field in fields]).encode()


def text_frame(message_id: int, fields: Iterable[str], server_version: int) -> bytes:
    """A text message: id as a field below version 201, as four bytes from then on."""
    if server_version >= BINARY_ID_FROM:
        return frame(message_id.to_bytes(4, "big") + join_fields(fields))
    return frame(f"{message_id}\0".encode() + join_fields(fields))


def protobuf_frame(message_id: int, body: bytes) -> bytes:
    """A protobuf message: id plus 200 as four bytes, then the serialized body."""
    return frame((message_id + PROTOBUF_ID_OFFSET).to_bytes(4, "big") + body)


def split_frame(payload: bytes, server_version: int) -> tuple[int, bytes, bool]:
    """Message id, body and whether the body is protobuf.

    Raises: FrameError when there is no id.
    """
    if server_version >= BINARY_ID_FROM:
        if len(payload) < 4:
            raise FrameError("frame without a message id")
        message_id = int.from_bytes(payload[:4], "big")
        if message_id > PROTOBUF_ID_OFFSET:
            return message_id - PROTOBUF_ID_OFFSET, payload[4:], True
        return message_id, payload[4:], False
    head, separator, body = payload.partition(b"\0")
    if not separator or not head.isdigit() or len(head) > 9:
        raise FrameError("frame without a message id")
    return int(head), body, False


def size_text(value: Size) -> str | None:
    """A size as IB writes it: plain decimal digits, None stays None (an unset value)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() else repr(value)


def number_text(value: float | int | None) -> str:
    """A number as a text field; unset is empty."""
    return "" if value is None else repr(value)


def escape(text: str) -> str:
    """Text in ASCII, as IB sends free text from server version 153 on (unicode-escape)."""
    return text.encode("unicode-escape").decode("ascii")


def ascii_text(text: str, server_version: int) -> str:
    """Free text: escaped from 153 on, as it is before. Source: ibapi MIN_SERVER_VER_ENCODE_MSG_ASCII7."""
    return escape(text) if server_version >= 153 else text
