"""What the provider's tests share: a simulator, a sidecar that runs already, and providers of either kind.

Waits on events and on what Redis says, never on time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

import anyio

from ibkr_actor.provider import IBKRProvider, IBKRSettings
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, clock_of, running_house, running_redis

T = TypeVar("T")
DEADLINE_S = 60.0


@asynccontextmanager
async def own_provider(sim: Simulator, **settings: Any) -> AsyncIterator[IBKRProvider]:
    """A provider that starts its own sidecar."""
    async with IBKRProvider(IBKRSettings(port=sim.port, redis_url=None, **settings)) as provider:
        yield provider


@asynccontextmanager
async def two_of_a_house(**market: Any) -> AsyncIterator[tuple[Simulator, House, IBKRSettings]]:
    """A sidecar that runs already, and the settings with which providers read from it; both of the simulator's day."""
    async with (
        Simulator(SimulatorSettings(**{"ticks_per_s": 50.0} | market)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, clock=clock_of(sim)) as house,
    ):
        yield sim, house, IBKRSettings(redis_url=server.own_url)


async def first(source: AsyncGenerator[T], count: int) -> list[T]:
    """The first few of a generator, which is then left as by `break`, and closed."""
    found: list[T] = []
    with anyio.fail_after(DEADLINE_S):
        async with aclosing(source) as items:
            async for item in items:
                found.append(item)
                if len(found) == count:
                    break
    return found
