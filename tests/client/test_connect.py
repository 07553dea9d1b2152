"""Connections whose settings are ours, whatever a URL or another client says."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.client.connect import connect, pooled

pytestmark = pytest.mark.anyio

ODD = "socket_timeout=0.001&decode_responses=yes&protocol=3&legacy_responses=no&retry_on_timeout=yes"


@pytest.fixture(params=["connect", "pooled", "pooled from another client"])
def client(request: pytest.FixtureRequest, server: EmbeddedRedis) -> Redis:
    url = f"{server.url}?{ODD}"
    if request.param == "connect":
        return connect(url)
    return pooled(url) if request.param == "pooled" else pooled(Redis.from_url(server.url, decode_responses=True))


async def test_a_read_that_blocks_and_what_it_gives_are_the_same_whatever_the_url_says(client: Redis) -> None:
    key = f"odd:{id(client)}"
    async with client:
        assert await client.xread({key: "$"}, block=20) == []
        entry_id = await client.xadd(key, {"a": "b"})
        assert await client.xread({key: "0"}) == [[key.encode(), [(entry_id, {b"a": b"b"})]]]
