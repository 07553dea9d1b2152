"""Text as IB's escapes leave it, made text that can be written: surrogates joined into the characters they stand for.

Undoes no escapes itself.
"""

from __future__ import annotations


def whole_text(text: str) -> str:
    """`text` with each pair of surrogates as one character, and U+FFFD for one that stands alone.

    TWS escapes as Java does, which writes a character beyond the first plane as two surrogates; Python keeps them
    apart, and such a text can be encoded neither as UTF-8 nor as msgpack or JSON.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
