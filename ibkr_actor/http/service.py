"""The service: this process's connections to Redis, and the parts that all requests share.

Knows no route; `run` must run while requests are served.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from typing import Any, Final

import anyio
import msgspec
from redis.exceptions import RedisError

from ibkr_actor import __version__
from ibkr_actor.client import Client, connect
from ibkr_actor.client.gateways import nobody
from ibkr_actor.http.asking import Asking
from ibkr_actor.http.config import HttpConfig
from ibkr_actor.http.errors import HttpError, of_redis
from ibkr_actor.http.hub import Hub
from ibkr_actor.http.leases import Leases
from ibkr_actor.http.metrics import Metrics
from ibkr_actor.http.outlet import Notice, Outlet
from ibkr_actor.schema.commands import AnyCommand, List, Reply, StatusCommand
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)

# Pages that are open in many browsers ask the sidecar once for all.
ANSWER_KEPT_S: Final = 0.5


class Service:
    """What the routes work with."""

    def __init__(self, config: HttpConfig, redis_url: str) -> None:
        self.config = config
        self.keys = Keys(config.prefix, config.gateway)
        self.redis = connect(redis_url)
        self._reading = connect(redis_url)
        self.metrics = Metrics()
        self.asking = Asking(self.redis, self.keys, f"http-{uuid.uuid4().hex[:12]}", timeout_s=config.answer_s)
        self.leases = Leases(self.asking, self.keys, lease_s=config.lease_s, linger_s=config.linger_s)
        self.hub = Hub(self._reading, observe=self.metrics.note_read)
        self.outlets: set[Outlet] = set()
        # For history jobs; there while `run` runs.
        self.client: Client | None = None
        self._redis_url = redis_url
        self._kept: dict[type[AnyCommand], tuple[float, Reply]] = {}
        self._asking_once = {StatusCommand: anyio.Lock(), List: anyio.Lock()}

    async def run(self) -> None:
        """Reads and renews until cancelled, then gives everything back."""
        try:
            config = self.config
            jobs = Client(self._redis_url, prefix=config.prefix, gateway=config.gateway, timeout_s=config.answer_s)
            async with jobs as self.client, anyio.create_task_group() as tasks:
                tasks.start_soon(self.hub.run)
                tasks.start_soon(self.asking.run)
                tasks.start_soon(self.leases.run)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2.0):
                with suppress(RedisError, OSError):
                    await self.leases.close()
                for redis in (self.redis, self._reading):
                    await redis.aclose()

    def stop(self) -> None:
        """Ends every stream with a notice."""
        for outlet in tuple(self.outlets):
            outlet.say(Notice("bye", {"reason": "stopping", "message": "the service stops; connect again"}, last=True))

    async def heartbeat(self) -> dict[str, Any] | None:
        """What the sidecar wrote last, None when no sidecar publishes.

        Raises:
            HttpError: Redis is away.
        """
        return await self._json(self.keys.heartbeat)

    async def nobody(self) -> str:
        """That no sidecar publishes for this gateway, and for which one does. Raises: HttpError."""
        try:
            return await nobody(self.redis, self.keys)
        except (RedisError, OSError) as error:
            raise of_redis(error) from None

    async def figures(self) -> dict[str, Any] | None:
        """The sidecar's own figures, as it writes them beside the heartbeat. Raises: HttpError."""
        return await self._json(self.keys.metrics)

    async def ask_once(self, command: StatusCommand | List) -> dict[str, Any]:
        """The answer to a question that many ask, at most half a second old. Raises: HttpError."""
        kind = type(command)
        async with self._asking_once[kind]:
            at_s, reply = self._kept.get(kind, (float("-inf"), None))
            if reply is None or anyio.current_time() - at_s > ANSWER_KEPT_S:
                reply = await self.asking.ask(command)
                self._kept[kind] = (anyio.current_time(), reply)
        return reply.result if isinstance(reply.result, dict) else {}

    async def redis_state(self) -> dict[str, Any]:
        """How Redis is, as this process sees it. Raises: HttpError."""
        began_s = time.perf_counter()
        try:
            answered: Any = self.redis.ping()
            await answered
            ping_ms = (time.perf_counter() - began_s) * 1000
            memory: Any = await self.redis.info("memory")
        except (RedisError, OSError) as error:
            raise of_redis(error) from None
        used, most = memory.get("used_memory"), memory.get("maxmemory")
        return {"ping_ms": round(ping_ms, 3), "used_memory_bytes": used, "maxmemory_bytes": most or None}

    def own_state(self) -> dict[str, Any]:
        """This process's own figures, for the page."""
        return {
            "version": __version__,
            "clients": len(self.outlets),
            "streams_read": self.hub.streams,
            "entries_read": self.hub.entries,
            "leases": len(self.leases),
            "client_name": self.asking.client,
        }

    async def _json(self, key: str) -> dict[str, Any] | None:
        try:
            value = await self.redis.get(key)
        except (RedisError, OSError) as error:
            raise of_redis(error) from None
        if value is None:
            return None
        try:
            found = msgspec.json.decode(value)
        except msgspec.DecodeError:
            raise HttpError("internal", f"the key {key} holds no JSON") from None
        return found if isinstance(found, dict) else None
