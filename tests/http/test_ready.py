"""/ready: what makes the data unfit to rely on, and what does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from ibkr_actor.client import connect
from ibkr_actor.core.session.readiness import readiness
from ibkr_actor.core.session.states import State
from tests.e2e.kit import KEYS, running_redis
from tests.http.kit import serving

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def redis_url() -> AsyncIterator[str]:
    async with running_redis() as server:
        yield server.own_url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with connect(redis_url) as it:
        await it.flushall()
        yield it


def figures(freshness: dict[str, Any]) -> str:
    """What a sidecar whose connection stands tells of these lines."""
    subscriptions = {"freshness": freshness}
    told = readiness(State.READY, {"subscriptions": subscriptions})
    return json.dumps({"subscriptions": subscriptions, "ready": told})


async def ready(redis_url: str) -> tuple[int, dict[str, Any]]:
    async with serving(redis_url) as http:
        answer = await http.get("/ready")
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    "freshness", [{}, {"fresh": 3}, {"fresh": 1, "quiet": 5, "stale_lines": []}, {"quiet": 9}, {"unknown": 1}]
)
async def test_a_closed_market_and_a_line_that_has_yet_to_speak_are_no_reason(
    redis_url: str, redis: Redis, freshness: dict[str, Any]
) -> None:
    await redis.set(KEYS.heartbeat, '{"state":"ready"}')
    await redis.set(KEYS.metrics, figures(freshness))
    status, body = await ready(redis_url)
    assert (status, body["status"], body["reasons"]) == (200, "ready", [])
    assert body["freshness"] == {name: n for name, n in freshness.items() if name != "stale_lines"}


async def test_stale_lines_are_named(redis_url: str, redis: Redis) -> None:
    await redis.set(KEYS.heartbeat, '{"state":"ready"}')
    await redis.set(KEYS.metrics, figures({"fresh": 1, "stale": 1, "stale_lines": ["quote:AAPL.STK.SMART.USD"]}))
    status, body = await ready(redis_url)
    assert (status, body["status"]) == (503, "not_ready")
    assert body["reasons"] == ["1 line is stale: quote:AAPL.STK.SMART.USD"]


@pytest.mark.parametrize("state", ["backing_off", "waiting_for_login", "degraded", "redis_down"])
async def test_what_is_not_healthy_is_not_ready(redis_url: str, redis: Redis, state: str) -> None:
    await redis.set(KEYS.heartbeat, json.dumps({"state": state}))
    await redis.set(KEYS.metrics, figures({}))
    status, body = await ready(redis_url)
    assert (status, body["reasons"]) == (503, [f"the sidecar runs, but is {state}"])


async def test_without_a_sidecar_or_its_figures_nothing_is_known(redis_url: str, redis: Redis) -> None:
    assert (await ready(redis_url))[0] == 503
    await redis.set(KEYS.heartbeat, '{"state":"ready"}')
    assert (await ready(redis_url))[1]["reasons"] == ["the sidecar tells nothing of its lines"]
