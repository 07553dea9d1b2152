"""Owns a provider's connection: the sidecar it reads from, here or elsewhere, and whether that has its gateway.

Subscribes to nothing; says what became of the connection to whoever waits for data.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol
from weakref import WeakSet

import anyio
from market_data_core import ConnectionFailed, MarketDataError

from ibkr_actor.client import Client, connect
from ibkr_actor.client.gateways import nobody
from ibkr_actor.provider.errors import handle_ib_error
from ibkr_actor.provider.metrics import ibkr_connection_uptime_seconds
from ibkr_actor.provider.own_sidecar import OwnSidecar
from ibkr_actor.provider.settings import IBKRSettings
from ibkr_actor.provider.tasks import cancelled
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import System

log = logging.getLogger(__name__)

CLIENT_ID_IN_USE = 326
# Events of topic `connection` after which the gateway is there, or is not. Source: docs/STREAMS.md, "System records".
_UP = frozenset({"ready", "upstream_restored", "data_lost"})
_DOWN = frozenset(
    {
        "lost",
        "unreachable",
        "upstream_lost",
        "waiting_for_login",
        "scheduled_outage",
        "failed",
        "stopping",
        "stopped",
    }
)
_UP_STATES = frozenset({"ready"})
_sessions: WeakSet[IBKRSessionManager] = WeakSet()


class Reading(Protocol):
    """What reads from the sidecar for somebody."""

    def fail(self, error: MarketDataError) -> None:
        """The connection has failed for good."""

    async def stop(self) -> None:
        """The connection is about to be closed: returns when nothing is read any more."""


class IBKRSessionManager:
    """Connects, reconnects, and knows how the connection is. Any task may use it."""

    def __init__(self, settings: IBKRSettings) -> None:
        self.settings = settings
        self._lock = anyio.Lock()
        self._own: OwnSidecar | None = None
        self._client: Client | None = None
        self.url = settings.redis_url or ""  # of the Redis that is read; of this process' own once connected
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = anyio.Event()
        self._changed = anyio.Event()
        self._up = False
        self._failure: MarketDataError | None = None
        self._last_word: System | None = None
        self._up_since_s: float | None = None
        self._reconnect_attempts = 0
        self.readers: set[Reading] = set()  # every stream that is being read
        _sessions.add(self)

    @property
    def client(self) -> Client:
        """The client of the sidecar.

        Raises:
            ConnectionFailed: there is no connection; `connect` first.
        """
        if self._client is None:
            raise ConnectionFailed("not connected")
        return self._client

    async def connect(self) -> None:
        """Connects once; returns at once when that is done already.

        Raises:
            ConnectionFailed: the gateway refused or did not answer, or no sidecar publishes in the Redis named.
            ConfigurationError: the settings are impossible.
        """
        async with self._lock:
            if self._client is not None and self._failure is None:
                return
            await self._end()
            try:
                await self._begin()
            except BaseException as error:
                with anyio.CancelScope(shield=True):
                    await self._end()
                if isinstance(error, Exception):
                    raise handle_ib_error(error) from error
                raise

    async def ensure_connected(self) -> None:
        """Connects when there is no connection. One that is lost and being restored by the sidecar is one."""
        if self._client is None:
            await self.connect()
        elif self._failure is not None and self.settings.reconnect_enabled:
            await self.reconnect()
        elif self._failure is not None:
            await self.connect()

    async def reconnect(self) -> None:
        """Connects anew, with backoff between the attempts, as often as `max_reconnect_attempts` says.

        Raises:
            ConnectionFailed: the last attempt failed.
        """
        settings = self.settings
        self._reconnect_attempts = 0
        while True:
            wait_ms = min(
                settings.reconnect_backoff_ms * 2.0 ** min(self._reconnect_attempts, 20),
                settings.reconnect_backoff_max_ms,
            )
            await self.disconnect()
            await anyio.sleep(wait_ms / 1000)
            self._reconnect_attempts += 1
            try:
                await self.connect()
            except ConnectionFailed:
                if 0 < settings.max_reconnect_attempts <= self._reconnect_attempts:
                    raise
                continue
            self._reconnect_attempts = 0
            return

    async def disconnect(self) -> None:
        """Gives back everything and closes the connection; a sidecar of this process ends."""
        async with self._lock:
            await self._end()

    def is_connected(self) -> bool:
        """Whether the sidecar has its gateway, and that has IB."""
        return self._client is not None and self._up

    @property
    def uptime_s(self) -> float:
        return 0.0 if self._up_since_s is None else time.monotonic() - self._up_since_s

    def update_uptime_metric(self) -> None:
        """Nothing to do: the metric is computed when it is read. Kept for those who call it."""

    def get_connection_stats(self) -> dict[str, Any]:
        """What was asked for and how it is; `uptime_seconds` only while connected."""
        settings = self.settings
        stats: dict[str, Any] = {
            "connected": self.is_connected(),
            "reconnect_attempts": self._reconnect_attempts,
            "host": settings.host,
            "port": settings.port,
            "client_id": settings.client_id,
            "market_data_type": settings.market_data_type,
            "sidecar": "own" if settings.redis_url is None else "running",
        }
        if self.is_connected():
            stats["uptime_seconds"] = self.uptime_s
        return stats

    # ---- beginning and ending

    async def _begin(self) -> None:
        settings = self.settings
        self._closing, self._failure, self._last_word = anyio.Event(), None, None
        url = settings.redis_url
        if url is None:
            self._own = OwnSidecar(settings)
            await self._own.start()
            url = self._own.url
        else:
            await self._find_sidecar(url)
        self.url = url
        opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._hold(url, opened), name="ibkr-actor provider's client")]
        self._client = await opened
        self._tasks.append(asyncio.create_task(self._watch(self._client), name="ibkr-actor provider's watch"))
        if self._own is None:
            await self._look(self._client)
        else:
            self._tasks.append(asyncio.create_task(self._mourn(self._own), name="ibkr-actor provider's mourner"))
            await self._until_up()

    async def _find_sidecar(self, url: str) -> None:
        """Says at once that there is none: a command would wait for one."""
        keys = Keys(self.settings.prefix, self.settings.gateway_name)
        async with connect(url) as redis:
            if not await redis.exists(keys.heartbeat):
                raise ConnectionFailed(await nobody(redis, keys))

    async def _hold(self, url: str, opened: asyncio.Future[Client]) -> None:
        """Holds the client open from one task: what it opens must be closed where it was opened."""
        settings = self.settings
        client = Client(url, prefix=settings.prefix, gateway=settings.gateway_name, lease_s=settings.lease_s)
        try:
            async with client:
                opened.set_result(client)
                await self._closing.wait()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is told to who waits
            if opened.done():
                self._fail(handle_ib_error(error))
            else:
                opened.set_exception(error)

    async def _watch(self, client: Client) -> None:
        """Follows what the sidecar says of its connection."""
        try:
            async for item in client.system(start="first" if self._own is not None else "now"):
                if isinstance(item.record, System) and item.record.topic == "connection":
                    self._heard(item.record)
        except Exception as error:  # noqa: BLE001  # a watch that ends in silence would leave streams waiting for ever
            self._fail(handle_ib_error(error))

    async def _mourn(self, own: OwnSidecar) -> None:
        """Tells who waits when the sidecar of this process ends by itself."""
        why = await own.until_ended()
        self._fail(ConnectionFailed(f"the sidecar in this process has ended: {why}"))

    def _heard(self, record: System) -> None:
        if record.event in _UP:
            self._set_up(True)
        elif record.event in _DOWN:
            self._set_up(False)
        else:
            return
        self._last_word = record
        if record.event == "failed":
            self._fail(ConnectionFailed(record.message, code=f"IBKR_{record.code}" if record.code else None))
        self._change()

    def _set_up(self, up: bool) -> None:
        if up and not self._up:
            self._up_since_s = time.monotonic()
        elif not up:
            self._up_since_s = None
        self._up = up

    def _fail(self, error: MarketDataError) -> None:
        log.warning("provider_failed error=%s", error)
        self._failure = error
        self._set_up(False)
        for reader in list(self.readers):
            reader.fail(error)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _look(self, client: Client) -> None:
        """How a running sidecar is now. One without its gateway is waited for, if reconnecting is wanted."""
        state = (await client.status())["session"]["state"]
        self._set_up(state in _UP_STATES)
        if not self._up and not self.settings.reconnect_enabled:
            raise ConnectionFailed(f"the sidecar is not connected to its gateway: {state}")
        if not self._up:
            log.warning("sidecar_without_gateway state=%s", state)

    async def _until_up(self) -> None:
        """Waits for what becomes of the first attempt: a refused port is said at once, as it always was.

        Only an id that is still in use is tried again: IB keeps that of a program that has just ended for a while.
        """
        while not self._up:
            if self._failure is not None:
                raise self._failure
            word = self._last_word
            if word is not None and (word.code != CLIENT_ID_IN_USE or not self.settings.reconnect_enabled):
                # Nobody tries again behind this error.
                said = word.message.partition(" Trying again in ")[0]
                raise ConnectionFailed(said, code=f"IBKR_{word.code}" if word.code else None)
            await self._changed.wait()

    async def _end(self) -> None:
        """Ends what reads before what it reads with, and that before the sidecar."""
        self._client = None
        self._set_up(False)
        tasks, self._tasks = self._tasks, []
        with anyio.CancelScope(shield=True):
            for reader in list(self.readers):
                await reader.stop()
            await cancelled(tasks[1:])
            self._closing.set()
            if tasks:
                await asyncio.wait(tasks[:1])
            if self._own is not None:
                await self._own.stop()
                self._own = None


ibkr_connection_uptime_seconds.set_function(lambda: max((session.uptime_s for session in _sessions), default=0.0))
