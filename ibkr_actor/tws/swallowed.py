"""Frames inside frames: a length too large makes one frame of several, and what it covers would be lost unnoticed.

Looks only at bytes; what follows is `decode`'s.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

# A frame inside one of text: the end of a field, a length below 32, a message id in text or in four bytes. TWS has sent
# frames whose length covered the ones behind them; the stream is then out of step.
# Source: github.com/erdewit/ib_insync/issues/393.
IN_TEXT: Final = re.compile(rb"\0\0\0\0[\x01-\x1f](?:[0-9]{1,3}\0|\0\0(?:\0[\x01-\xff]|\x01[\0-\x8f]))")
_ID_BYTES: Final = 4
_HEAD_BYTES: Final = 8
_TEXT_ID_MAX: Final = 200
# Types of fields on the wire that IB's messages have. Source: protobuf, "Encoding": varint, fixed64, bytes, fixed32.
_WIRE_TYPES: Final = frozenset({0, 1, 2, 5})


def in_protobuf(frame: bytes, ids: Container[int]) -> bool:
    """Whether a frame that cannot be parsed ends in others, the last of them perhaps cut. `ids` are those there are.

    A message never parses with a frame behind it: the first byte of a length is zero, and no field has that number.
    """
    at = frame.find(b"\0", _ID_BYTES)
    while 0 <= at <= len(frame) - _HEAD_BYTES:
        if _frames_to_the_end(frame, at, ids):
            return True
        at = frame.find(b"\0", at + 1)
    return False


def _frames_to_the_end(frame: bytes, at: int, ids: Container[int]) -> bool:
    while at <= len(frame) - _HEAD_BYTES:
        length = int.from_bytes(frame[at : at + 4], "big")
        number = int.from_bytes(frame[at + 4 : at + _HEAD_BYTES], "big")
        if length < _ID_BYTES or number not in ids:
            return False
        tag = frame[at + _HEAD_BYTES : at + _HEAD_BYTES + 1]
        if number > _TEXT_ID_MAX and length > _ID_BYTES and tag and (tag[0] < 8 or tag[0] & 7 not in _WIRE_TYPES):
            return False
        at += 4 + length
    # What is left is nothing, or the beginning of one more length.
    return at >= len(frame) or frame[at] == 0
