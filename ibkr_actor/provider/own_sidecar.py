"""Owns the sidecar that a provider starts in its own process when no Redis is named, with a Redis of its own.

Connects nobody: the provider is a client of it as of any other sidecar.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from market_data_core import ConfigurationError, ConnectionFailed

from ibkr_actor.errors import ConfigurationError as OurConfigurationError
from ibkr_actor.errors import Error
from ibkr_actor.provider.settings import IBKRSettings

if TYPE_CHECKING:
    from ibkr_actor.settings import Settings

log = logging.getLogger(__name__)

# Of the settings here, those that the sidecar has under the same name.
_SAME = (
    "host",
    "port",
    "client_id",
    "read_timeout_sec",
    "market_data_type",
    "reconnect_enabled",
    "reconnect_backoff_ms",
    "reconnect_backoff_max_ms",
    "max_reconnect_attempts",
    "hist_pacing_window_sec",
    "hist_max_bars_per_request",
    "options_semaphore_size",
    "options_base_delay",
    "options_max_contracts",
    "options_max_retries",
    "options_backoff_multiplier",
    "prefix",
    "gateway_name",
)
_STOP_S = 15.0


class OwnSidecar:
    """Runs in a task of its own, so that any task may end it. `url` is its Redis, once started."""

    def __init__(self, settings: IBKRSettings) -> None:
        self._given = settings
        self._stopping = anyio.Event()
        self._task: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Returns when it takes commands; whether it has the gateway by then is told in its `system` stream.

        Raises:
            ConfigurationError: the extra `sidecar` is not installed, or a setting is impossible.
            ConnectionFailed: it could not start.
        """
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(started), name="ibkr-actor sidecar")
        self._task.add_done_callback(lambda task: _tell(task, started))
        try:
            self.url = await asyncio.shield(started)
        except Error as error:
            kind = ConfigurationError if isinstance(error, OurConfigurationError) else ConnectionFailed
            raise kind(str(error)) from error
        except ImportError as error:
            raise ConfigurationError(
                f"a sidecar in this process needs the package {error.name!r}: pip install 'ibkr-actor[sidecar,core]', "
                "or name the Redis of a running one in redis_url or IBKR_REDIS_URL"
            ) from error
        except BaseException:
            await self.stop()
            raise

    async def until_ended(self) -> str:
        """Returns when it has ended, with why."""
        if self._task is None:
            return "it was not started"
        task = self._task
        await asyncio.wait({task})
        error = None if task.cancelled() else _only(task.exception())
        if error is None:
            return "it stopped"
        log.error("sidecar_failed", exc_info=error)
        return f"{type(error).__name__}: {error}"

    async def stop(self) -> None:
        """Gives back lines, closes the connection to the gateway and ends the Redis."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(_STOP_S):
                await asyncio.wait({task})
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _run(self, started: asyncio.Future[str]) -> None:
        # Imported here: whoever reads from a running sidecar needs neither ibapi nor a Redis server.
        from ibkr_actor import app
        from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis

        async with AsyncExitStack() as stack:
            folder = self._given.data_dir
            if folder is None:
                folder = Path(tempfile.mkdtemp(prefix="ibkr-"))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = await stack.enter_async_context(EmbeddedRedis(EmbeddedConfig(data_dir=folder)))
            settings = _sidecar_settings(self._given, server.own_url)

            def tell(_: app.Sidecar) -> None:
                if not started.done():
                    started.set_result(server.own_url)

            await app.run(settings, stopping=self._stopping, started=tell)


def _tell(task: asyncio.Task[None], started: asyncio.Future[str]) -> None:
    """A sidecar that ended before it had started: whoever waits gets the reason."""
    if started.done():
        # Fetched, or asyncio says at the end that nobody looked; the lost connection itself is told by the stream.
        if not task.cancelled():
            task.exception()
        return
    error = None if task.cancelled() else _only(task.exception())
    started.set_exception(error or Error("the sidecar ended before it had started"))


def _only(error: BaseException | None) -> BaseException | None:
    """The first failure within groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _sidecar_settings(given: IBKRSettings, redis_url: str) -> Settings:
    """What is not said here comes from IBKR_* variables and `.env`, as for any sidecar."""
    from ibkr_actor.load_settings import load_settings
    from ibkr_actor.settings import Settings

    values: dict[str, Any] = {name: getattr(given, name) for name in _SAME}
    # One provider is no service: the page and the metrics are those of `ibkr-actor run`.
    if "http_enabled" in Settings.model_fields:
        values["http_enabled"] = False
    return load_settings(redis_url=redis_url, **values)
