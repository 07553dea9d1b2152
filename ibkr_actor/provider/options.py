"""Owns the way from a chain's stream to market-data-core's option snapshots.

Which options a chain holds, and how it stays within the lines there are, is the sidecar's.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from market_data_core import OptionSnapshot, ValidationError

from ibkr_actor.client import Client
from ibkr_actor.provider.mapping import DELAYED, price, size
from ibkr_actor.provider.settings import IBKRSettings
from ibkr_actor.schema.instruments import parse_instrument
from ibkr_actor.schema.records import Option

# Source: market-data-core, `MarketDataProvider.stream_options`.
MONEYNESS_DEFAULT: Final = 0.2


async def stream_chain(
    client: Client,
    settings: IBKRSettings,
    underlying: str,
    expiry: str | None,
    strike_range: tuple[float, float] | None,
    moneyness_range: float,
) -> AsyncGenerator[list[OptionSnapshot]]:
    """Snapshots in batches, under the underlying's symbol, of what `checked` has let pass."""
    both = strike_range is not None and moneyness_range != MONEYNESS_DEFAULT
    feed = client.chain(
        underlying,
        expiry=expiry or "nearest",
        # A strike range replaces the usual window; together with one of the caller's it means what lies in both.
        moneyness_range=moneyness_range if strike_range is None or both else None,
        strike_range=strike_range,
        lines=settings.options_max_contracts,
    )
    symbol = parse_instrument(underlying).symbol
    async with feed:
        while True:
            batch = await feed.read()
            found = [to_snapshot(item.record, symbol) for item in batch if isinstance(item.record, Option)]
            if found:
                yield found


def checked(expiry: str | None, strike_range: tuple[float, float] | None, moneyness_range: float) -> None:
    """Refuses a range or an expiry that is none.

    Raises:
        ValidationError: the message says which.
    """
    if not math.isfinite(moneyness_range) or moneyness_range <= 0:
        raise ValidationError("moneyness_range must be above 0", field="moneyness_range", value=moneyness_range)
    if strike_range is not None and not strike_range[0] <= strike_range[1]:
        raise ValidationError("strike_range must be (lowest, highest)", field="strike_range", value=strike_range)
    if expiry is not None and not (len(expiry) == 8 and expiry.isdigit()):
        raise ValidationError("expiry must be YYYYMMDD", field="expiry", value=expiry)


def to_snapshot(record: Option, symbol: str) -> OptionSnapshot:
    """The snapshot of a member. What IB has not computed yet is None."""
    return OptionSnapshot(
        symbol=symbol,
        expiry=datetime.strptime(record.expiry, "%Y%m%d").replace(tzinfo=UTC),
        strike=Decimal(repr(record.strike)),
        option_type="C" if record.right == "C" else "P",
        bid=price(record.bid),
        ask=price(record.ask),
        last=price(record.last),
        # Contracts are whole.
        volume=int(size(record.volume) or 0),
        open_interest=int(size(record.open_interest) or 0),
        implied_volatility=price(record.implied_vol),
        delta=price(record.delta),
        gamma=price(record.gamma),
        theta=price(record.theta),
        vega=price(record.vega),
        delayed=record.feed in DELAYED,
    )
