"""The application: routes, guard and error answers around one service.

Starts no server. Without one (`serve` has its own) the service runs as long as the application's lifespan.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Lifespan

from ibkr_actor import configs
from ibkr_actor.cli.address import redis_url as running_redis_url
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.http import errors
from ibkr_actor.http.guard import Guard
from ibkr_actor.http.openapi import openapi
from ibkr_actor.http.page_files import page
from ibkr_actor.http.routes import EVENTS, ROWS, Row
from ibkr_actor.http.service import Service
from ibkr_actor.http.websocket import no_upgrade, websocket
from ibkr_actor.settings import Settings

SOCKET = "/api/v1/ws"
USUAL_REDIS = "redis://127.0.0.1:6379/0"


def create_app(settings: Settings, redis_url: str = "") -> Starlette:
    """The whole application for any ASGI server, on the Redis of the settings or of the sidecar's embedded server.

    Where there is neither yet it takes Redis' usual address, so that importing it never fails: /health tells the rest.
    """
    service = Service(configs.http(settings), redis_url or _redis_url(settings))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.run)
            yield
            service.stop()
            tasks.cancel_scope.cancel()

    return application(service, lifespan=lifespan)


def _redis_url(settings: Settings) -> str:
    try:
        return running_redis_url(settings)
    except ConfigurationError:
        return USUAL_REDIS


def _route(row: Row) -> Route:
    route = Route(row.path, row.handler, methods=[row.method])
    if row.media == EVENTS and route.methods is not None:
        # Starlette adds HEAD to GET, and the head of a stream would never be over.
        route.methods.discard("HEAD")
    return route


def application(service: Service, *, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
    """The application around a service that somebody else runs."""
    routes: list[BaseRoute] = [_route(row) for row in ROWS]
    routes += [Route("/openapi.json", openapi, methods=["GET"])]
    routes += [WebSocketRoute(SOCKET, websocket), Route(SOCKET, no_upgrade, methods=["GET"])]
    routes += [Route("/", page, methods=["GET"]), Route("/{name}", page, methods=["GET"])]
    endpoints = frozenset({*(row.path for row in ROWS), "/openapi.json", SOCKET, "/"})
    guard = Middleware(Guard, config=service.config, metrics=service.metrics, endpoints=endpoints)
    handlers = {
        errors.HttpError: errors.on_http_error,
        RedisError: errors.on_redis_error,
        404: errors.on_unknown,
        405: errors.on_unknown,
        500: errors.on_bug,
    }
    app = Starlette(routes=routes, middleware=[guard], exception_handlers=handlers, lifespan=lifespan)
    app.state.service = service
    return app
