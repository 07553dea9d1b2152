"""Owns how requests are read: a body by its Struct, a query by its names, each mistake one clear error.

Does nothing with what was read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import Request

from ibkr_actor.http.errors import HttpError
from ibkr_actor.http.service import Service

T = TypeVar("T", bound=Struct)
# What a query may hold beside the names of its route: a token, where to go on (the third as a polyfill of EventSource
# writes it), and what keeps caches from answering.
ELSEWHERE: Final = frozenset({"access_token", "last_event_id", "lastEventId", "_"})
# How alike two names are of which one is meant to be the other.
ALIKE: Final = 0.75


def service_of(request: Request) -> Service:
    """The service that this application works with."""
    service: Service = request.app.state.service
    return service


async def body(request: Request, shape: type[T]) -> T:
    """The JSON body; fields that mean nothing here are named in the answer. Raises: HttpError (400, 413, 415, 422)."""
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
        found = msgspec.json.decode(bytes(raw), type=shape)
        request.state.ignored = _ignored(msgspec.json.decode(bytes(raw)), shape)
        return found
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HttpError("validation_error", f"the body is not as it must be: {error}") from None


def query(request: Request, shape: type[T], *, lists: tuple[str, ...] = ()) -> T:
    """The query as a Struct; `lists` are written with commas. Raises: HttpError (400, 422)."""
    values: dict[str, object] = {}
    known = _fields(shape)
    for name, text in request.query_params.multi_items():
        if name in ELSEWHERE:
            continue
        if name not in known:
            raise _unknown(name, known)
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


def _fields(shape: type[Struct]) -> Sequence[str]:
    return [field.name for field in msgspec.structs.fields(shape)]


def _ignored(found: Iterable[str], shape: type[Struct]) -> list[str]:
    """The names that the shape does not have.

    The replaced system took any further field of a body and did nothing with it: so does this, but it says so. A query
    had no names then, and nothing in it goes unnoticed.

    Raises:
        HttpError: one is so near to one that the shape has that it is meant.
    """
    known = _fields(shape)
    unknown = [name for name in found if name not in known]
    for name in unknown:
        if difflib.get_close_matches(name.lower(), known, 1, ALIKE):
            raise _unknown(name, known)
    return unknown


def _unknown(name: str, known: Sequence[str]) -> HttpError:
    near = difflib.get_close_matches(name.lower(), known, 1, ALIKE)
    meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
    return HttpError("unknown_field", f"nothing is called {name[:100]!r} here; {meant}", field=name[:100])
