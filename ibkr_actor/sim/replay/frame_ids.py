"""Owns where the req_id stands in a frame, in both directions and in both forms, and putting another in its place.

Must not know anything else of a message.
"""

from __future__ import annotations

from ibkr_actor.sim.wire.frames import BINARY_ID_FROM
from ibkr_actor.sim.wire.reading import first_varint

# Text answers: at which field behind the id the req_id stands. Source: ibapi.decoder, each process method.
_BEHIND_VERSION = frozenset((1, 2, 12, 13, 20, 45, 46, 47, 50, 52, 55, 56, 57, 58, 63, 64, 67, 68, 71, 72, 73, 74))
_FIRST = frozenset({11, 17, 21, 75, 76, 77, 79, 81, 82, 83, 84, *range(86, 93), *range(94, 100), *range(103, 109)})
# Below these versions their version field is still there. Source: ibapi MIN_SERVER_VER_ERROR_TIME, _SIZE_RULES.
_FIRST_FROM = {4: 194, 10: 164, 18: 164}
# Protobuf answers whose first field is no req_id. Source: ibapi.protobuf.
_WITHOUT = frozenset(
    {*range(3, 10), 14, 15, 16, 19, 49, 53, 54, 59, 61, 62, 65, 66, 69, 70, 78, 80, 85, 93, 100, 101, 102, 109}
) - {4}
# Answer without a req_id -> the request it answers. Source: ibapi.message.
ANSWER_TO: dict[int, int] = {49: 49, 109: 105, 93: 91, 80: 82, 85: 85, 19: 24}
_REQ_ID_TAG = b"\x08"  # field 1, varint


def answer_req_id(message_id: int, body: bytes, *, protobuf: bool, server_version: int) -> int | None:
    """The req_id in a gateway's frame, -1 in a notice; None when its kind has none."""
    if protobuf:
        if message_id in _WITHOUT or not body.startswith(_REQ_ID_TAG):
            return None
        return first_varint(body)
    place = _place(message_id, server_version)
    if place is None:
        return None
    fields = body.split(b"\0", place + 1)
    try:
        return int(fields[place])
    except (IndexError, ValueError):
        return None


def with_answer_req_id(payload: bytes, req_id: int, *, server_version: int) -> bytes:
    """The payload of a frame that has a req_id, with another one."""
    binary = server_version >= BINARY_ID_FROM
    if binary and int.from_bytes(payload[:4], "big") > 200:
        return payload[:4] + _REQ_ID_TAG + varint(req_id) + payload[5 + _varint_length(payload, 5) :]
    head, body = (payload[:4], payload[4:]) if binary else _text_head(payload)
    message_id = int.from_bytes(head, "big") if binary else int(head[:-1])
    place = _place(message_id, server_version)
    assert place is not None
    fields = body.split(b"\0", place + 1)
    fields[place] = str(req_id).encode()
    return head + b"\0".join(fields)


def request_without_id(body: bytes, req_id: int, *, protobuf: bool) -> bytes:
    """A request's body without its req_id, so that two requests can be compared."""
    if req_id == -1:
        return body
    if protobuf:
        return body[1 + _varint_length(body, 1) :] if body.startswith(_REQ_ID_TAG) else body
    # Behind a version field or, without one, first.
    fields = body.split(b"\0")
    for place in (1, 0) if len(fields) > 2 else (0,):
        if fields[place] == str(req_id).encode():
            return b"\0".join(fields[:place] + fields[place + 1 :])
    return body


def varint(value: int) -> bytes:
    """A 32-bit number as protobuf writes an int32: negative ones in ten bytes."""
    value &= (1 << 64) - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _place(message_id: int, server_version: int) -> int | None:
    first_from = _FIRST_FROM.get(message_id)
    if first_from is not None:
        return 0 if server_version >= first_from else 1
    if message_id in _FIRST:
        return 0
    return 1 if message_id in _BEHIND_VERSION else None


def _text_head(payload: bytes) -> tuple[bytes, bytes]:
    end = payload.index(b"\0") + 1
    return payload[:end], payload[end:]


def _varint_length(data: bytes, start: int) -> int:
    """Bytes of the varint at `start`."""
    length = 1
    while data[start + length - 1] & 0x80:
        length += 1
    return length
