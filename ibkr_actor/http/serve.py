"""The server: uvicorn on a port that was taken before anything else, beside the sidecar or by itself.

Leaves signals and the process's end to whoever runs it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import uvicorn

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.http.app import application
from ibkr_actor.http.config import HttpConfig
from ibkr_actor.http.service import Service

log = logging.getLogger(__name__)

BACKLOG = 2048
GRACE_S = 2


class _Server(uvicorn.Server):
    """uvicorn that neither takes the process's signals nor raises them again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bound(config: HttpConfig) -> socket.socket:
    """The listening socket.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"IBKR_HTTP_PORT={config.port}: cannot listen on {config.host}:{config.port} ({error.strerror or error}); "
            "choose another, or IBKR_HTTP_ENABLED=false"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where it is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def serve(config: HttpConfig, redis_url: str, listener: socket.socket, stopping: anyio.Event) -> None:
    """Serves until `stopping` is set, then ends all streams with a notice."""
    service = Service(config, redis_url)
    settings = uvicorn.Config(
        application(service),
        lifespan="off",
        log_config=None,
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=config.body_bytes_max,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(settings)
    log.info("http_serving address=%s", address_of(listener))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(service.run)

        async def end() -> None:
            await stopping.wait()
            service.stop()
            server.should_exit = True

        tasks.start_soon(end)
        # A cancelled server would leave its sockets: it is told to end, and waited for.
        try:
            await server.serve(sockets=[listener])
        finally:
            listener.close()
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def beside(config: HttpConfig, redis_url: str) -> AsyncIterator[str]:
    """The service as long as the block runs; gives its address.

    Raises:
        ConfigurationError: the port is taken.
    """
    listener = bound(config)
    stopping = anyio.Event()
    failed: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, config, redis_url, listener, stopping)
        try:
            yield address_of(listener)
        except Exception as error:  # noqa: BLE001 - raised again below, as itself instead of in a group
            failed = error
        finally:
            stopping.set()
    if failed is not None:
        raise failed
