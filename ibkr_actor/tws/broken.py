"""What can be wrong with a frame: either it alone is broken, or the stream is.

Names the failures only; `decode` decides what follows from them.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError
from ibapi.utils import BadMessage


class BadFrame(ValueError):
    """One frame that says less, or something else, than its kind must say."""


class CorruptStream(Exception):
    """The frames are not where their lengths say: nothing after this can be believed."""


# What decoding a frame may raise, in our code and in the official decoder. A bug elsewhere is none of these. Warnings
# are among them, since Python's codecs warn of some escapes in a text and warnings can be made errors.
FRAME_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    BadMessage,
    DecodeError,
    LookupError,
    TypeError,
    ValueError,
    Warning,
)
