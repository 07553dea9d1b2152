"""The application by itself, for any ASGI server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ibkr_actor.http.app import USUAL_REDIS, create_app
from ibkr_actor.load_settings import load_settings
from tests.e2e.kit import running_redis

pytestmark = pytest.mark.anyio


async def test_it_runs_as_long_as_its_lifespan() -> None:
    async with running_redis() as server:
        app = create_app(load_settings(redis_url=server.own_url))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            answer = await client.get("/health")
            assert (answer.status_code, answer.json()["state"]) == (503, "absent")


def test_it_can_be_made_before_there_is_a_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IBKR_REDIS_URL", raising=False)
    pool = create_app(load_settings(data_dir=tmp_path)).state.service.redis.connection_pool
    assert f"{pool.connection_kwargs['host']}:{pool.connection_kwargs['port']}" in USUAL_REDIS
