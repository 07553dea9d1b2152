"""Owns what a level-1 tick beside the top of book says: IB's marks for what it does not know become None.

Makes no record; the top of book is `core.lines.quote`'s.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.events import TickGeneric, TickPrice, TickSize, TickString
from ibkr_actor.core.lines.quote import NO_SIZE, is_no_price
from ibkr_actor.core.lines.tick_types import HALTED_TICKS, TickType

# A volatility is never negative: that is one IB could not compute, as in option computations.
_VOLATILITIES: Final = frozenset(
    int(tick_type)
    for tick_type in (TickType.OPTION_HISTORICAL_VOL, TickType.OPTION_IMPLIED_VOL, TickType.RT_HISTORICAL_VOL)
)
# Seconds since 1970, "0" of what never traded.
_TIMES: Final = frozenset(
    int(tick_type) for tick_type in (TickType.LAST_TIMESTAMP, TickType.LAST_REG_TIME, TickType.DELAYED_LAST_TIMESTAMP)
)
# Source: IBKR, TWS API, "Halted": -1 where the status is not available.
_NOT_AVAILABLE: Final = -1.0


def price_of_tick(event: TickPrice) -> float | None:
    """-1 without a size is no price: IB sends it for a day without trades and while the market is closed."""
    return None if is_no_price(event.price, event.size) else event.price


def size_of_tick(event: TickSize) -> str | None:
    """-1 is no size."""
    return None if event.size == NO_SIZE else event.size


def value_of_tick(event: TickGeneric | TickString) -> float | str | None:
    """A number or a text."""
    value = event.value
    if isinstance(value, str):
        return None if not value or (value == "0" and event.tick_type in _TIMES) else value
    if value is None or value >= 0:
        return value
    unknown = event.tick_type in _VOLATILITIES or (value == _NOT_AVAILABLE and event.tick_type in HALTED_TICKS)
    return None if unknown else value
