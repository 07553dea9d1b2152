"""Owns what every request passes: who may come in, what is counted, and the headers of every answer.

Knows the routes' templates only, never what they do.
"""

from __future__ import annotations

import hmac
import json
import time
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ibkr_actor.http.config import HttpConfig
from ibkr_actor.http.errors import HttpError, answer
from ibkr_actor.http.metrics import Metrics

COOKIE: Final = "ibkr_token"
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
# The page is served from here alone: no foreign script, style, picture or connection.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY: Final = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
# Methods that are counted by name: a client may make up any other.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
OPEN: Final = frozenset({"/health"})
# Fields of a body that meant nothing, named in the answer.
NAMED_MAX: Final = 10


class Guard:
    """ASGI middleware: host, origin and token are checked; requests counted and timed; headers set."""

    def __init__(self, app: ASGIApp, *, config: HttpConfig, metrics: Metrics, endpoints: frozenset[str]) -> None:
        self._app = app
        self._config = config
        self._metrics = metrics
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path, method = scope["path"], scope.get("method", "WEBSOCKET")
        endpoint = path if path in self._endpoints else "other"
        counted = method if endpoint != "other" and method in METHODS else "other"
        self._metrics.requests.labels(endpoint=endpoint, method=counted).inc()
        began_s, headers = time.perf_counter(), Headers(scope=scope)
        observed = False

        async def sending(message: Message) -> None:
            nonlocal observed
            if message["type"] == "http.response.start":
                self._metrics.responses.labels(status=str(message["status"])).inc()
                self._dress(message, headers, scope)
            if not observed and message["type"] in ("http.response.body", "websocket.accept", "websocket.close"):
                observed = True
                self._metrics.durations.labels(endpoint=endpoint).observe(time.perf_counter() - began_s)
            await send(message)

        try:
            self._check(scope, headers)
        except HttpError as error:
            if scope["type"] == "websocket":
                # Refused before it is accepted: the server answers 403.
                await receive()
                await sending({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
            else:
                await answer(error)(scope, receive, sending)
            return
        if method == "OPTIONS" and "access-control-request-method" in headers:
            await sending({"type": "http.response.start", "status": 204, "headers": []})
            await sending({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises: HttpError."""
        self._check_host(headers)
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if origin is not None and changes and not self._is_allowed(origin, headers):
            raise HttpError("forbidden_origin", f"pages of {origin} may not use this service (IBKR_HTTP_CORS_ORIGINS)")
        preflight = scope.get("method") == "OPTIONS" and "access-control-request-method" in headers
        if self._config.token and scope["path"] not in OPEN and not preflight and not self._is_known(scope, headers):
            raise HttpError("unauthorized", "a token is needed: Authorization: Bearer ...")

    def _check_host(self, headers: Headers) -> None:
        """On a loopback address only its own names: a foreign name that leads here is an attack (DNS rebinding)."""
        if self._config.host not in LOOPBACK:
            return
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        if name not in LOOPBACK:
            raise HttpError("wrong_host", f"{host!r} is not this service's name")

    def _is_allowed(self, origin: str, headers: Headers) -> bool:
        allowed = self._config.cors_origins
        return urlsplit(origin).netloc == headers.get("host") or "*" in allowed or origin in allowed

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        token = self._config.token.encode()
        return any(hmac.compare_digest(given.encode(), token) for given in _tokens(scope, headers))

    def _dress(self, message: Message, headers: Headers, scope: Scope) -> None:
        answered = MutableHeaders(scope=message)
        if ignored := scope.get("state", {}).get("ignored"):
            # As JSON within ASCII: any text may be a name.
            answered["ignored-fields"] = json.dumps([name[:40] for name in ignored[:NAMED_MAX]])
        for name, value in SECURITY.items():
            answered.setdefault(name, value)
        origin = headers.get("origin")
        if origin is not None and (origin in self._config.cors_origins or "*" in self._config.cors_origins):
            answered["access-control-allow-origin"] = origin
            answered["vary"] = "Origin"
            if scope.get("method") == "OPTIONS":
                answered["access-control-allow-methods"] = "GET, POST"
                answered["access-control-allow-headers"] = "authorization, content-type, last-event-id"
                answered["access-control-max-age"] = "600"
        if self._config.token and scope["path"] == "/" and message["status"] == 200:
            # What the page loads and its event streams cannot send a header: the page's visitor gets a cookie.
            cookie = f"{COOKIE}={self._config.token}; Path=/; HttpOnly; SameSite=Strict"
            answered.append("set-cookie", cookie)


def _tokens(scope: Scope, headers: Headers) -> list[str]:
    """What the request gives as its token: header, cookie, or `access_token` (RFC 6750, 2.3) for EventSource."""
    found: list[str] = []
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(value.strip())
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        cookie = None
    if cookie is not None:
        found.append(cookie.value)
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return found + query.get("access_token", [])
