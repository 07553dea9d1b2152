"""Runs where market-data-pipeline and market-data-store are installed beside ours, with the redis that core pins.

Usage: python probe_core_pipeline.py REDIS_URL. Prints a JSON object: what the pipeline's registry discovers, what its
own IBKR source yields over our provider, and what the store's sink is given of an event that the bridge wrote.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

warnings.simplefilter("ignore")

import ibkr_actor.provider  # noqa: E402 - what it imports warns of itself

# Where the pipeline looks for the replaced package by name.
sys.modules["market_data_ibkr"] = ibkr_actor.provider

from loguru import logger  # noqa: E402
from market_data_pipeline.adapters.providers.provider_registry import ProviderRegistry  # noqa: E402
from market_data_pipeline.orchestration.registry import SourceRegistry  # noqa: E402
from market_data_store.sinks import BarsSink  # noqa: E402
from mds_client.models import Bar as StoreBar  # noqa: E402

from ibkr_actor.provider import IBKRSettings  # noqa: E402
from ibkr_actor.provider.envelope_bus import EnvelopeBus  # noqa: E402

logger.remove()


class Database:
    """In the place of the store's client, which needs a TimescaleDB: keeps what the sink hands over."""

    def __init__(self) -> None:
        self.rows: list[Any] = []

    async def upsert_bars(self, rows: Sequence[Any]) -> None:
        self.rows += rows


def discovered() -> str:
    registry = SourceRegistry()
    registry.discover_entrypoints()
    found = registry.get("ibkr") if hasattr(registry, "get") else registry._sources["ibkr"]
    return f"{found.__module__}.{found.__qualname__}"


async def streamed(url: str) -> list[str]:
    """The symbols that the pipeline's own source yields, in a pipeline that knows nothing of us."""
    source = ProviderRegistry().build("ibkr", symbols=["AAPL"], ibkr_settings=IBKRSettings(redis_url=url))
    await source.start()
    symbols = []
    async for quote in source.stream():
        symbols.append(quote.symbol)
        if len(symbols) == 5:
            break
    await source.stop()
    return symbols


async def stored(url: str) -> dict[str, Any]:
    """One bar of the bridge, as the store's sink writes it."""
    bus, database = EnvelopeBus(url), Database()
    async with aclosing(bus.subscribe("marketdata.bars", group="store", consumer="one")) as envelopes:
        envelope = await anext(envelopes)
        bar: Any = envelope.payload
        row = StoreBar(
            tenant_id="default", vendor="ibkr", symbol=bar.symbol, timeframe=bar.resolution, ts=bar.ts,
            open_price=bar.open, high_price=bar.high, low_price=bar.low, close_price=bar.close, volume=int(bar.volume),
        )  # fmt: skip
        async with BarsSink(database) as sink:
            await sink.write([row])
        await bus.ack("marketdata.bars", envelope.id)
    await bus.close()
    written: dict[str, Any] = database.rows[0].model_dump(mode="json")
    return written


async def main(url: str) -> None:
    found = {
        "entry_point": discovered(),
        "symbols": await asyncio.wait_for(streamed(url), 60),
        "row": await asyncio.wait_for(stored(url), 60),
    }
    print(json.dumps(found))  # noqa: T201 - the answer


asyncio.run(main(sys.argv[1]))
