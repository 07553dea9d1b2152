"""One real server for the client's tests, and a gateway name of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.embedded import EmbeddedRedis
from ibkr_actor.client import connect
from ibkr_actor.schema.keys import Keys
from tests.bus.kit import bus_config, embedded

_numbers = itertools.count(1)


# Not for the session: while an async fixture lives, no test of the same process may call `anyio.run`.
@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[EmbeddedRedis]:
    async with embedded(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def config(server: EmbeddedRedis) -> BusConfig:
    """A gateway that no other test uses, so that keys never meet."""
    return bus_config(server.own_url, f"c{next(_numbers)}")


@pytest.fixture
def keys(config: BusConfig) -> Keys:
    return Keys(config.prefix, config.gateway)


@pytest.fixture
async def redis(server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with connect(server.own_url) as it:
        yield it
