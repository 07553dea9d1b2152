"""IB's spellings of numbers made plain: sizes as the shortest decimal text, prices as floats, "nothing" as None.

Knows sentinels and spelling only; not which message a number came from.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Final

# Source: ibapi.const.
UNSET_INTEGER: Final = 2**31 - 1
UNSET_DOUBLE: Final = 1.7976931348623157e308
# Values that mean "no size". Source: ibapi.utils.decode and ibapi.const.UNSET_DECIMAL.
UNSET_SIZES: Final = frozenset(
    {
        Decimal(2147483647),
        Decimal(9223372036854775807),
        Decimal(-9223372036854775808),
        Decimal("1.7976931348623157E308"),
        Decimal(2**127 - 1),
    }
)
# Prices inside these bounds need no second look: beyond lie the sentinel, the infinities and (by comparing false) NaN.
PLAIN_MIN: Final = -1e300
PLAIN_MAX: Final = 1e300
# A size with more digits than this, written out, is a broken number and not a size.
SIZE_DIGITS_MAX: Final = 400
_CACHED_SIZES: Final = 16_384
# Longer ones, volumes above all, hardly ever come again.
_CACHED_LENGTH: Final = 6


def price_or_none(value: float) -> float | None:
    """A price, or None for the sentinel, the infinities and NaN: none of these is a price one can compute with."""
    return value if math.isfinite(value) and value != UNSET_DOUBLE else None


def plain_size(text: str) -> str | None:
    """The shortest plain decimal of a size: no exponent, no trailing zeros; None for empty and sentinels.

    Raises:
        ValueError: it is no number, or one of absurd length.
    """
    if not text:
        return None
    if len(text) > SIZE_DIGITS_MAX:
        raise ValueError(f"a size of {len(text)} characters")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"size {text!r} is no number") from None
    if not value.is_finite() or value in UNSET_SIZES:
        return None
    if abs(value.adjusted()) > SIZE_DIGITS_MAX:
        raise ValueError(f"size {text!r} is out of range")
    plain = format(value, "f")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return "0" if plain in ("-0", "") else plain


class SizesOfText(dict[str, str | None]):
    """`plain_size` by text, short ones remembered: most sizes in a market come again within seconds. Bounded."""

    def __missing__(self, text: str) -> str | None:
        # Short plain integers are what they should be already; below ten digits none is a sentinel.
        short = len(text) < 10 and text.isdigit() and text.isascii() and (text[0] != "0" or text == "0")
        plain = text if short else plain_size(text)
        if len(text) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_SIZES:
                self.clear()
            self[text] = plain
        return plain


class SizesOfBytes(dict[bytes, str | None]):
    """As `SizesOfText`, by the bytes of a text frame."""

    def __missing__(self, raw: bytes) -> str | None:
        short = len(raw) < 10 and raw.isdigit() and (raw[0] != 48 or raw == b"0")
        text = raw.decode("ascii")
        plain = text if short else plain_size(text)
        if len(raw) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_SIZES:
                self.clear()
            self[raw] = plain
        return plain
