"""Owns the way from our streams to market-data-core's event streams: records in, its models in its envelopes out.

Runs when somebody asks for it, beside the sidecar and never in its path; a JSON text and a hash for each event cost
more than all else that happens to a tick.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import anyio
from pydantic import BaseModel
from redis.exceptions import ConnectionError, TimeoutError

from ibkr_actor.client import Client
from ibkr_actor.provider import mapping
from ibkr_actor.provider.envelope_bus import EnvelopeBus
from ibkr_actor.schema.instruments import parse_instrument
from ibkr_actor.schema.keys import KINDS
from ibkr_actor.schema.records import Bar, Quote, Trade

log = logging.getLogger(__name__)

QUOTES: Final = "marketdata.quotes"
BARS: Final = "marketdata.bars"
TRADES: Final = "marketdata.trades"
# What has a model in market-data-core that is a record of ours.
BRIDGED: Final = tuple(kind for kind in KINDS if kind in ("quote", "trade", "alltrade") or kind.startswith("bar."))
_AGAIN_S: Final = (0.1, 5.0)

Event = tuple[str, BaseModel, str | None]  # stream, value, key


async def run_bridge(
    client: Client, bus: EnvelopeBus, kinds: Sequence[str], *instruments: str, group: str = ""
) -> None:
    """Publishes what comes of these kinds and instruments, until it is cancelled.

    Its place in our streams is kept in Redis under `group` (`bridge-<namespace>` when not given): what it read and
    could not publish yet is read again after a restart, so each event is there once, or twice at worst.

    Raises:
        ValueError: a kind for which market-data-core has no model.
        ibkr_actor.client.errors.MarketDataError: the sidecar or IB refused.
    """
    for kind in kinds:
        if kind not in BRIDGED:
            raise ValueError(f"{kind!r} cannot be bridged: quote, trade, alltrade and the kinds of bars can")
    feed: Any = client.stream(list(kinds), *instruments, group=group or f"bridge-{bus.namespace}")
    async with feed:
        while True:
            batch = await feed.read()
            await _publish(bus, [event for item in batch if (event := to_event(item)) is not None])
            await feed.ack()


def to_event(item: Any) -> Event | None:
    """The event of an item; None for what core has no model of: gaps, resets, bars that are not over."""
    record, instrument = item.record, item.instrument
    match record:
        case Quote():
            return QUOTES, mapping.to_quote(record, _symbol(instrument), instrument), instrument
        case Trade():
            trade = mapping.to_trade(record, _symbol(instrument), instrument)
            return None if trade is None else (TRADES, trade, instrument)
        case Bar(final=True):
            bar = mapping.to_bar(record, _symbol(instrument), item.kind.split(".")[1], instrument)
            return None if bar is None else (BARS, bar, instrument)
    return None


async def _publish(bus: EnvelopeBus, events: Iterable[Event]) -> None:
    """Waits for a Redis that is away; what it had taken of these by then, it gets again."""
    events = list(events)
    wait_s, longest_s = _AGAIN_S
    while True:
        try:
            await bus.publish_all(events)
            return
        except (ConnectionError, TimeoutError) as error:
            log.warning("bridge_waits wait_s=%g error=%s", wait_s, error)
            await anyio.sleep(wait_s)
            wait_s = min(longest_s, wait_s * 2)


def _symbol(instrument: str) -> str:
    return parse_instrument(instrument).symbol
