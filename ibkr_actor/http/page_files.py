"""The status page's files, served from the package as they are.

Builds nothing and serves nothing else.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ibkr_actor.http.errors import HttpError

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}
INDEX: Final = "index.html"


async def page(request: Request) -> Response:
    """`/` or one of the page's files by its name."""
    name = request.path_params.get("name") or INDEX
    suffix = name[name.rfind(".") :] if "." in name else ""
    # Names come from the directory, never from the request: nothing outside it can be reached.
    there = {entry.name: entry for entry in files("ibkr_actor.http").joinpath("page").iterdir() if entry.is_file()}
    if name not in there or suffix not in TYPES:
        raise HttpError("not_found", f"nothing is served at {request.url.path}")
    content = there[name].read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=TYPES[suffix])
