"""One real server for all bus tests, and a gateway name of its own for each."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.embedded import EmbeddedRedis
from tests.bus.kit import Probe, bus_config, embedded, probing

_numbers = itertools.count(1)


# Not for the session: while an async fixture lives, no test of the same process may call `anyio.run`.
@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[EmbeddedRedis]:
    async with embedded(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def config(server: EmbeddedRedis) -> BusConfig:
    """A gateway that no other test uses, so that keys never meet."""
    return bus_config(server.own_url, f"t{next(_numbers)}")


@pytest.fixture
async def probe(config: BusConfig) -> AsyncIterator[Probe]:
    async with probing(config) as one:
        yield one
