"""Runs where market-data-core[bus] is installed, and none of ours: reads one event of each stream with its own bus.

Usage: python probe_core_bus.py REDIS_URL STREAM ... Prints a JSON object of what it read.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

import market_data_core  # noqa: E402 - it warns of itself
from market_data_core.events.adapters.redis_streams import RedisStreamsBus  # noqa: E402
from pydantic import BaseModel  # noqa: E402

MODELS = {f"_models.{name}": getattr(market_data_core, name) for name in ("Quote", "Trade", "Bar")}


class Bus(RedisStreamsBus):
    """Core's bus, which knows two models by itself and says that a full one would know more. All else is its own."""

    def _resolve_model(self, schema_id: str) -> type[BaseModel]:
        return MODELS.get(schema_id) or super()._resolve_model(schema_id)


async def one(bus: RedisStreamsBus, stream: str) -> dict[str, Any]:
    """The first event that core's reader yields; its group must begin with what is there, which its own does not."""
    redis = await bus._get_redis()
    await redis.xgroup_create(name=f"mdp:{stream}", groupname="probe", id="0", mkstream=True)
    async for envelope in bus.subscribe(stream, group="probe", consumer="one"):
        entries: Any = await redis.xrange(f"mdp:{stream}", envelope.id, envelope.id)
        payload = json.loads(entries[0][1]["data"])["payload"]
        computed = hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()
        return {
            "model": type(envelope.payload).__name__,
            "key": envelope.key,
            "hash": envelope.meta.hash == computed,
            "payload": envelope.payload.model_dump(mode="json"),
        }
    raise AssertionError("a subscription does not end")


async def main(url: str, *streams: str) -> None:
    found = {}
    for stream in streams:
        bus = Bus(redis_url=url)
        found[stream] = await asyncio.wait_for(one(bus, stream), 60)
        await bus.close()
    plain = RedisStreamsBus(redis_url=url)  # what it knows by itself, with nothing added
    found["telemetry.feedback"] = await asyncio.wait_for(one(plain, "telemetry.feedback"), 60)
    await plain.close()
    print(json.dumps(found))  # noqa: T201 - the answer


asyncio.run(main(*sys.argv[1:]))
