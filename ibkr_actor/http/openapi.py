"""Owns the OpenAPI 3.1 document, made of the table of routes and the Structs they take and answer.

Describes only; serves one document.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ibkr_actor import __version__
from ibkr_actor.http.bodies import ErrorAnswer
from ibkr_actor.http.errors import STATUS
from ibkr_actor.http.routes import ROWS, Row
from ibkr_actor.http.status_routes import as_json

REF: Final = "#/components/schemas/{name}"
# What every route may answer.
EVERYWHERE: Final = ("unauthorized", "wrong_host", "internal", "redis_unavailable")
LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "go on behind what was had",
}


def document() -> dict[str, Any]:
    """The whole document."""
    shapes = {shape for row in ROWS for shape in (row.body, row.answer, *row.also.values()) if shape is not None}
    shapes.add(ErrorAnswer)
    ordered = sorted(shapes, key=lambda shape: shape.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=REF)
    refs = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ibkr_actor",
            "version": __version__,
            "summary": "Interactive Brokers market data, read from Redis Streams",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


async def openapi(request: Request) -> Response:
    """The document."""
    return as_json(document())


def _operation(row: Row, refs: dict[type[Struct], dict[str, Any]]) -> dict[str, Any]:
    name = row.path.strip("/").replace("/", "_").replace(".", "_")
    found: dict[str, Any] = {
        "operationId": f"{row.method.lower()}_{name}",
        "summary": row.summary,
        "responses": _responses(row, refs),
        # Either: a token is asked for only where one is set.
        "security": [{}] if row.path == "/health" else [{}, {"token": []}],
    }
    parameters = _parameters(row.query) if row.query is not None else []
    if row.media == "text/event-stream":
        parameters.append(LAST_EVENT_ID)
    if parameters:
        found["parameters"] = parameters
    if row.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": refs[row.body]}}}
    return found


def _responses(row: Row, refs: dict[type[Struct], dict[str, Any]]) -> dict[str, Any]:
    schema = refs[row.answer] if row.answer is not None else {"type": "string"}
    if row.answer is None and row.media == "application/json":
        schema = {"type": "object"}
    out: dict[str, Any] = {"200": {"description": "done", "content": {row.media: {"schema": schema}}}}
    codes: dict[int, list[str]] = {}
    for code in (*row.errors, *EVERYWHERE):
        codes.setdefault(STATUS[code], []).append(code)
    for status, names in sorted(codes.items()):
        schemas = [refs[shape] for at, shape in row.also.items() if at == status] + [refs[ErrorAnswer]]
        content = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
        out[str(status)] = {"description": ", ".join(names), "content": {"application/json": content}}
    return out


def _parameters(query: type[Struct]) -> list[dict[str, Any]]:
    """Each field of a query Struct; lists are written with commas."""
    (_,), components = msgspec.json.schema_components([query], ref_template=REF)
    schema = components[query.__name__]
    out = []
    for name, shape in schema["properties"].items():
        parameter: dict[str, Any] = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "schema": shape,
        }
        if shape.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        out.append(parameter)
    return out
