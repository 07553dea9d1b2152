"""Owns the way from a chain's stream to market-data-core's option snapshots.

Which options a chain holds, and how it stays within the lines there are, is the sidecar's.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import anyio
from market_data_core import OptionSnapshot, ValidationError

from ibkr_actor.client import Client
from ibkr_actor.provider.mapping import DELAYED, price, size
from ibkr_actor.provider.session import IBKRSessionManager
from ibkr_actor.provider.settings import IBKRSettings
from ibkr_actor.schema.commands import Unsubscribe
from ibkr_actor.schema.keys import CHAIN
from ibkr_actor.schema.records import Option
from ibkr_actor.schema.reference_commands import Chain

_MONEYNESS_DEFAULT: Final = 0.2
_LEAVE_S: Final = 2.0


async def stream_chain(
    session: IBKRSessionManager,
    settings: IBKRSettings,
    underlying: str,
    expiry: str | None,
    strike_range: tuple[float, float] | None,
    moneyness_range: float,
) -> AsyncGenerator[list[OptionSnapshot]]:
    """Snapshots in batches, under the underlying's symbol. Holds the chain under a name of its own while it runs.

    Raises:
        ValidationError: a range or an expiry that is none.
    """
    command = chain_command(settings, underlying, expiry, strike_range, moneyness_range)
    symbol = underlying.partition(".")[0]
    async with Client(
        session.url, prefix=settings.prefix, gateway=settings.gateway_name, lease_s=settings.lease_s
    ) as client:
        reply = await client.call(command)
        name = str(reply.result["chain"]) if isinstance(reply.result, dict) else ""
        try:
            feed = client.watch(f"{CHAIN}:{name}")
            async with feed:
                while True:
                    batch = await feed.read()
                    found = [to_snapshot(item.record, symbol) for item in batch if isinstance(item.record, Option)]
                    if found:
                        yield found
        finally:
            with anyio.move_on_after(_LEAVE_S, shield=True):
                await client.call(Unsubscribe(chain=name))


def chain_command(
    settings: IBKRSettings,
    underlying: str,
    expiry: str | None,
    strike_range: tuple[float, float] | None,
    moneyness_range: float,
) -> Chain:
    """The command; a strike range replaces the usual window, and both together mean what lies in both."""
    if not math.isfinite(moneyness_range) or moneyness_range <= 0:
        raise ValidationError("moneyness_range must be above 0", field="moneyness_range", value=moneyness_range)
    if strike_range is not None and not strike_range[0] <= strike_range[1]:
        raise ValidationError("strike_range must be (lowest, highest)", field="strike_range", value=strike_range)
    if expiry is not None and not (len(expiry) == 8 and expiry.isdigit()):
        raise ValidationError("expiry must be YYYYMMDD", field="expiry", value=expiry)
    both = strike_range is not None and moneyness_range != _MONEYNESS_DEFAULT
    fields: dict[str, Any] = {"instrument": underlying, "expiry": expiry or "nearest"}
    if strike_range is not None:
        fields["strike_range"] = strike_range
    if strike_range is None or both:
        fields["moneyness_range"] = moneyness_range
    return Chain(lines=settings.options_max_contracts, lease_s=settings.lease_s, **fields)


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
