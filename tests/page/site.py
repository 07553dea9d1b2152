"""Everything that the status page stands on, each part to be stopped by itself: gateway, Redis, sidecar, HTTP service.

Runs in a thread of its own, since a browser's driver waits for it without an event loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from typing import TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from ibkr_actor import configs
from ibkr_actor.http.serve import beside
from ibkr_actor.load_settings import load_settings
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import House, free_port, running_house, running_redis

T = TypeVar("T")


class Site:
    """The parts in the order they begin; `stop` ends one that others do not need to end first."""

    def __init__(self, portal: BlockingPortal, stack: ExitStack, *, ticks_per_s: float) -> None:
        self._portal = portal
        self._stack = stack
        self._parts: dict[str, AbstractContextManager[object]] = {}
        self._gateway_port = free_port()
        self._ticks_per_s = ticks_per_s
        redis = self._start("redis", running_redis())
        settings = load_settings(redis_url=redis.own_url, http_port=free_port())
        self.redis_url = redis.own_url
        self.url = self._start("http", beside(configs.http(settings), redis.own_url)) + "/"
        self.start_gateway()
        house = running_house(
            redis.own_url,
            self._gateway_port,
            http_enabled=False,
            heartbeat_s=0.2,
            reconnect_backoff_max_ms=100,
        )
        self._house: House = self._start("sidecar", house)

    def subscribe(self, instrument: str, *kinds: str, client: str = "strat-1") -> None:
        """Holds lines until the end."""

        async def subscribe() -> None:
            await self._house.subscribe(instrument, *kinds, client=client)

        self._portal.call(subscribe)

    def start_gateway(self) -> None:
        """A simulated gateway, always at the same port."""
        settings = SimulatorSettings(port=self._gateway_port, market_hours="always", ticks_per_s=self._ticks_per_s)
        self._start("gateway", Simulator(settings))

    def stop(self, part: str) -> None:
        """Ends `gateway`, `sidecar`, `redis` or `http`."""
        self._parts.pop(part).__exit__(None, None, None)

    def _start(self, name: str, part: AbstractAsyncContextManager[T]) -> T:
        manager = self._portal.wrap_async_context_manager(part)
        value = manager.__enter__()
        self._parts[name] = manager
        self._stack.callback(self._stop_if_running, name, manager)
        return value

    def _stop_if_running(self, name: str, manager: AbstractContextManager[object]) -> None:
        if self._parts.get(name) is manager:
            self.stop(name)


@contextmanager
def running_site(*, ticks_per_s: float = 8.0) -> Iterator[Site]:
    """All of it; `ticks_per_s` is what the market does in each instrument."""
    with start_blocking_portal() as portal, ExitStack() as stack:
        yield Site(portal, stack, ticks_per_s=ticks_per_s)
