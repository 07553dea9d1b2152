"""The instruments and records of a benchmark, the same for all who write them.

Connects to nothing.
"""

from __future__ import annotations

import time

from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Quote

GATEWAY = "bench"
KEYS = Keys(gateway=GATEWAY)
EPOCH = 1
_FIRST_CON_ID = 900_000_000


def symbol(place: int) -> str:
    """The simulator's test stocks SIM000..SIM999."""
    return f"SIM{place:03d}"


def stream_key(place: int) -> str:
    return KEYS.stream("quote", instrument(place))


def instrument(place: int) -> str:
    return f"{symbol(place)}.STK.SMART.USD"


def quote(place: int, number: int) -> Quote:
    """What the sidecar makes of tick `number` of the blast, its time being now."""
    is_ask = number % 2 == 0
    price = 100.0 + number % 100 / 100
    bid_size, ask_size = (str(number - 1), str(number)) if is_ask else (str(number), str(number - 1))
    received_ns = time.time_ns()
    return Quote(
        EPOCH,
        number,
        _FIRST_CON_ID + place,
        received_ns,
        None,
        1,
        0,
        price,
        price + 0.02 if number > 1 else None,
        None,
        bid_size,
        ask_size if number > 1 else None,
        None,
        None,
        2 if is_ask else 1,
    )
