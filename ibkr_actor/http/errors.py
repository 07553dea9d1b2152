"""Owns every error the service answers with: its status, its canonical code and its JSON.

Raises nothing by itself; what refuses a request raises `HttpError`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from ibkr_actor.client.errors import advice_on
from ibkr_actor.schema.commands import Rejection

JSON: Final = "application/json"

# Canonical code -> HTTP status. The first part are the rejection codes of docs/STREAMS.md, "Replies".
STATUS: Final[dict[str, int]] = {
    "validation_error": 400,
    "permissions_missing": 403,
    "invalid_instrument": 404,
    "ambiguous_instrument": 409,
    "unsupported": 422,
    "pacing_violation": 429,
    "line_limit": 429,
    "internal": 500,
    "configuration_error": 500,
    "connection_failed": 503,
    "competing_session": 503,
    "busy": 503,
    "farm_transient": 504,
    "expired": 504,
    # The service's own.
    "unauthorized": 401,
    "forbidden_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "unsupported_media_type": 415,
    "unknown_field": 422,
    "upgrade_required": 426,
    "wrong_host": 421,
    "no_sidecar": 503,
    "redis_unavailable": 503,
    "too_many_clients": 503,
    "timeout": 504,
}
# When to try again if the sidecar did not say, in seconds.
RETRY_AFTER_S: Final[dict[str, float]] = {
    "pacing_violation": 15.0,
    "line_limit": 30.0,
    "connection_failed": 5.0,
    "competing_session": 60.0,
    "busy": 1.0,
    "no_sidecar": 5.0,
    "redis_unavailable": 2.0,
    "too_many_clients": 5.0,
}


class HttpError(Exception):
    """A request that is refused. `details` stand beside code and message in the body."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUS[code]
        self.retry_after_s = RETRY_AFTER_S.get(code) if retry_after_s is None else retry_after_s
        self.details = details

    @property
    def body(self) -> dict[str, Any]:
        """`{"error": {...}}`, as it is sent in an answer or in an `error` event."""
        told = {"code": self.code, "message": self.message, "retryable": self.retry_after_s is not None}
        return {"error": told | {"retry_after_s": self.retry_after_s} | self.details}

    @property
    def headers(self) -> dict[str, str]:
        """`Retry-After` where it helps, and what a 401 must say."""
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.status == 426:
            # Source: RFC 9110, 15.5.22: a 426 names the protocol.
            return {"upgrade": "websocket", "connection": "upgrade"}
        return {} if self.retry_after_s is None else {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}


def of_rejection(rejection: Rejection, **details: Any) -> HttpError:
    """What the sidecar refused, as an HTTP error."""
    if rejection.ib_code is not None:
        details["ib_code"] = rejection.ib_code
    if rejection.candidates:
        details["candidates"] = msgspec.to_builtins(rejection.candidates)
    if advice := advice_on(rejection):
        details["advice"] = advice
    wait_s = rejection.retry_after_s
    if wait_s is None and rejection.retryable:
        wait_s = RETRY_AFTER_S.get(rejection.code, 1.0)
    return HttpError(rejection.code, rejection.message, retry_after_s=wait_s, **details)


def of_redis(error: Exception) -> HttpError:
    """Redis does not answer, or refuses."""
    words = " ".join(str(error).split()) or type(error).__name__
    return HttpError("redis_unavailable", f"Redis does not answer: {words}")


def answer(error: HttpError) -> Response:
    """The error as a response."""
    content = msgspec.json.encode(error.body)
    return Response(content, status_code=error.status, headers=error.headers, media_type=JSON)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for `HttpError`."""
    assert isinstance(error, HttpError)
    return answer(error)


async def on_redis_error(request: Request, error: Exception) -> Response:
    """Starlette's handler for a Redis that went away in the middle of a request."""
    assert isinstance(error, RedisError | OSError)
    return answer(of_redis(error))


async def on_unknown(request: Request, error: Exception) -> Response:
    """Starlette's handler for paths and methods there are none of."""
    status = getattr(error, "status_code", 404)
    if status == 405:
        refused = HttpError("method_not_allowed", f"{request.method} is not served at {request.url.path}")
    else:
        refused = HttpError("not_found", f"nothing is served at {request.url.path}")
    response = answer(refused)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def on_bug(request: Request, error: Exception) -> Response:
    """Starlette's handler for everything else; the server logs it."""
    return answer(HttpError("internal", "an error that has no better name; the log says more"))
