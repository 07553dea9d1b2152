"""Values as Python programs want them: decimals for sizes, datetimes for nanoseconds.

Reads nothing; what is unknown stays None.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, overload

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@overload
def as_decimal(text: str) -> Decimal: ...
@overload
def as_decimal(text: None) -> None: ...
def as_decimal(text: str | None) -> Decimal | None:
    """A size or volume, exactly as IB sent it."""
    return None if text is None else Decimal(text)


@overload
def as_datetime(at_ns: int) -> datetime: ...
@overload
def as_datetime(at_ns: None) -> None: ...
def as_datetime(at_ns: int | None) -> datetime | None:
    """A time in UTC, to the microsecond, which is as fine as a `datetime` is; what lies below is cut off."""
    return None if at_ns is None else _EPOCH + timedelta(microseconds=at_ns // 1_000)
