"""Who may come in: tokens, hosts, origins; and what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from ibkr_actor.http.config import HttpConfig
from ibkr_actor.http.serve import bound, serve
from tests.e2e.kit import running_redis
from tests.http.kit import error_of, serving, some, streaming

pytestmark = pytest.mark.anyio

TOKEN = "a-token-of-the-tests"
SYSTEM = "/api/v1/stream/system"


@pytest.fixture(scope="module")
async def redis_url() -> AsyncIterator[str]:
    async with running_redis() as server:
        yield server.own_url


@pytest.fixture
async def locked(redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(redis_url, token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/ready", "/metrics", "/api/v1/status", SYSTEM, "/openapi.json", "/page.js"])
async def test_a_token_is_asked_for_everywhere_but_at_health(locked: httpx.AsyncClient, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        refused = await locked.get(path, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (401, "unauthorized")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert (await locked.get("/health")).status_code == 503  # there is no sidecar, but no token is missing


async def test_a_token_is_taken_from_the_header_the_query_and_the_pages_cookie(locked: httpx.AsyncClient) -> None:
    assert (await locked.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200
    assert (await locked.get("/metrics", params={"access_token": TOKEN})).status_code == 200
    page = await locked.get("/", params={"access_token": TOKEN})
    assert page.status_code == 200
    assert "httponly" in page.headers["set-cookie"].lower()
    assert "samesite=strict" in page.headers["set-cookie"].lower()
    assert (await locked.get("/page.js")).status_code == 200  # httpx keeps the cookie, as a browser does


async def test_a_websocket_without_the_token_is_refused(locked: httpx.AsyncClient) -> None:
    address = str(locked.base_url).replace("http", "ws") + "/api/v1/ws"
    with pytest.raises(InvalidStatus):
        async with connect_websocket(address):
            pass
    async with connect_websocket(f"{address}?access_token={TOKEN}") as socket:
        await socket.send('{"op":"ping"}')
        assert await socket.recv() == '{"event":"pong"}'


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8084", "", "127.0.0.1.evil.example"])
async def test_on_a_loopback_address_other_names_are_refused(redis_url: str, host: str) -> None:
    async with serving(redis_url) as http:
        refused = await http.get("/metrics", headers={"host": host})
        assert (refused.status_code, error_of(refused)["code"]) == (421, "wrong_host")
        assert (await http.get("/metrics", headers={"host": "localhost:1"})).status_code == 200


async def test_on_any_other_address_every_name_will_do(redis_url: str) -> None:
    async with serving(redis_url, host="0.0.0.0") as http:
        address = f"http://127.0.0.1:{http.base_url.port}/metrics"
        assert (await http.get(address, headers={"host": "ibkr:8084"})).status_code == 200


async def test_foreign_pages_may_neither_post_nor_read_unless_they_are_allowed(redis_url: str) -> None:
    tick = {"symbol": "A", "price": 1.0, "timestamp": "2026-01-01T00:00:00Z"}
    foreign, friend = {"origin": "https://evil.example"}, {"origin": "https://desk.example"}
    async with serving(redis_url, cors_origins=("https://desk.example",)) as http:
        refused = await http.post("/v1/ingest/ibkr/tick", json=tick, headers=foreign)
        assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden_origin")
        assert "access-control-allow-origin" not in (await http.get("/metrics", headers=foreign)).headers
        allowed = await http.post("/v1/ingest/ibkr/tick", json=tick, headers=friend)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://desk.example"
        asking = friend | {"access-control-request-method": "POST"}
        asked = await http.options("/v1/ingest/ibkr/tick", headers=asking)
        assert (asked.status_code, asked.headers["access-control-allow-methods"]) == (204, "GET, POST")
        address = str(http.base_url).replace("http", "ws") + "/api/v1/ws"
        with pytest.raises(InvalidStatus):
            async with connect_websocket(address, origin=Origin("https://evil.example")):
                pass


async def test_by_default_no_foreign_page_may_read(redis_url: str) -> None:
    async with serving(redis_url) as http:
        answer = await http.get("/metrics", headers={"origin": "https://desk.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_a_stop_ends_streams_with_a_word(redis_url: str) -> None:
    config = HttpConfig(port=0)
    listener, stopping = bound(config), anyio.Event()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, config, redis_url, listener, stopping)
        async with httpx.AsyncClient(base_url=address, trust_env=False) as http, streaming(http, SYSTEM) as stream:
            stopping.set()
            (event,) = await some(stream, 1, name="bye")
            assert event.data["reason"] == "stopping"
