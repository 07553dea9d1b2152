"""The HTTP service of the tests: a real server on a free port, before a real Redis, and what a client reads from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from msgspec import Struct

from ibkr_actor.http.config import HttpConfig
from ibkr_actor.http.serve import beside
from tests.e2e.kit import DEADLINE_S

JSON = {"content-type": "application/json"}


class Event(Struct):
    """One server-sent event. `name` is empty when it has none."""

    name: str
    data: Any
    id: str


@asynccontextmanager
async def serving(redis_url: str, **config: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service of its own."""
    async with (
        beside(HttpConfig(port=0, **config), redis_url) as address,
        httpx.AsyncClient(base_url=address, timeout=DEADLINE_S, trust_env=False) as client,
    ):
        yield client


async def events(response: httpx.Response) -> AsyncIterator[Event]:
    """The events of a stream, comments and `retry` left out."""
    name, data, id_ = "", "", ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if not line:
            if data:
                yield Event(name, json.loads(data), id_)
            name, data = "", ""
        elif field == "event":
            name = value
        elif field == "data":
            data = value
        elif field == "id":
            id_ = value


@asynccontextmanager
async def streaming(
    client: httpx.AsyncClient, path: str, *, body: Any = None, last_event_id: str = "", **query: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of `GET path`, or of `POST path` with a body; the answer must be 200."""
    headers = {"last-event-id": last_event_id} if last_event_id else {}
    with anyio.fail_after(DEADLINE_S):
        request = (
            client.stream("GET", path, params=query or None, headers=headers)
            if body is None
            else client.stream("POST", path, json=body, headers=headers)
        )
        async with request as response:
            if response.status_code != 200:
                raise AssertionError((await response.aread()).decode())
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events(response)


async def some(stream: AsyncIterator[Event], count: int, name: str | None = None) -> list[Event]:
    """The next `count` events, or those of one name."""
    found: list[Event] = []
    async for event in stream:
        if name is None or event.name == name:
            found.append(event)
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {len(found)}")


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error in an answer."""
    assert response.headers["content-type"] == "application/json", response.text
    error: dict[str, Any] = response.json()["error"]
    return error
