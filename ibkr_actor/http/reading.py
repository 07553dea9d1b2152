"""Owns how requests are read: a body by its Struct, a query by its names, each mistake one clear error.

Does nothing with what was read.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from starlette.requests import Request

from ibkr_actor.http.errors import HttpError
from ibkr_actor.http.service import Service

T = TypeVar("T")


def service_of(request: Request) -> Service:
    """The service that this application works with."""
    service: Service = request.app.state.service
    return service


async def body(request: Request, shape: type[T]) -> T:
    """The JSON body. Raises: HttpError (400, 413, 415)."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        # Also what keeps a foreign page from posting here without being asked first.
        raise HttpError("unsupported_media_type", "send JSON: Content-Type: application/json")
    most = service_of(request).config.body_bytes_max
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > most:
            raise HttpError("too_large", f"a body is at most {most} bytes")
    try:
        return msgspec.json.decode(bytes(raw), type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError("validation_error", f"the body is not as it must be: {error}") from None


def query(request: Request, shape: type[T], *, lists: tuple[str, ...] = ()) -> T:
    """The query as a Struct; `lists` are written with commas. Raises: HttpError (400)."""
    values: dict[str, object] = {}
    for name, text in request.query_params.multi_items():
        if name in lists:
            values[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif name in values:
            raise HttpError("validation_error", f"the parameter {name!r} stands there twice")
        else:
            values[name] = text
    try:
        return msgspec.convert(values, type=shape, strict=False)
    except msgspec.ValidationError as error:
        raise HttpError("validation_error", f"the query is not as it must be: {error}") from None
