"""The replaced system's defects at its HTTP service, D22, D26 and D27: each shown not to be ours."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from ibkr_actor import __version__, configs
from ibkr_actor.client import connect
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.http.openapi import document
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath, running_house, running_redis
from tests.http.kit import serving, some, streaming

pytestmark = pytest.mark.anyio

QUOTES = "/api/v1/stream/quotes"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port, heartbeat_s=0.1) as it:
        yield it


@pytest.fixture
async def http(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(house.url, linger_s=0.2, verdict_s=0.2) as client:
        yield client


async def metric(http: httpx.AsyncClient, name: str) -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    (value,) = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name]
    return float(value)


async def test_d22_a_request_that_ends_leaves_the_others_and_the_connection_alone(
    http: httpx.AsyncClient, sim: Simulator, house: House
) -> None:
    async with streaming(http, QUOTES, body={"symbols": ["AAPL"], "hz": 0}) as lasting:
        (first,) = await some(lasting, 1, name="")
        async with streaming(http, QUOTES, body={"symbols": ["AAPL", "MSFT"]}) as ending:
            await some(ending, 2)
        await http.get("/api/v1/contracts/search", params={"q": "AAPL"})
        assert (await http.post(QUOTES, json={"symbols": ["NOSUCH"]})).status_code == 404
        # Long enough for the other's line to be given back, which this stream must not notice.
        with anyio.fail_after(DEADLINE_S):
            while sim.line_count() > 1:
                await some(lasting, 1, name="")
        seqs = [event.data["seq"] for event in await some(lasting, 30, name="")]
    assert seqs == list(range(seqs[0], seqs[0] + 30))
    assert first.data["epoch"] > 0
    assert await metric(http, "ibkr_actor_connections_total") == 1


async def test_d26_health_is_503_while_the_gateway_or_the_sidecar_is_away(
    http: httpx.AsyncClient, sim: Simulator
) -> None:
    assert (await http.get("/health")).status_code == 200
    await sim.refuse_connections(True)
    sim.cut()
    with anyio.fail_after(DEADLINE_S):
        while (down := await http.get("/health")).status_code == 200:
            await breath()
    body = down.json()
    assert (down.status_code, body["status"], body["connected"]) == (503, "unhealthy", False)
    assert body["reasons"]
    assert (await http.get("/ready")).status_code == 503
    await sim.refuse_connections(False)
    with anyio.fail_after(DEADLINE_S):
        while (await http.get("/health")).status_code != 200:
            await breath()


async def test_d26_health_is_503_without_a_sidecar_and_without_redis() -> None:
    async with running_redis() as server, serving(server.own_url) as alone:
        answer = await alone.get("/health")
        assert (answer.status_code, answer.json()["state"]) == (503, "absent")
    async with serving("redis://127.0.0.1:1/0") as alone:
        answer = await alone.get("/health")
        assert (answer.status_code, answer.json()["state"]) == (503, "redis_unavailable")


async def test_d26_connections_are_never_fewer_than_none_and_durations_are_observed(http: httpx.AsyncClient) -> None:
    bodies: list[dict[str, Any]] = [{"symbols": ["NOSUCH"]}, {"symbols": []}]
    for body in bodies:
        assert (await http.post(QUOTES, json=body)).status_code in (400, 404)
    assert await metric(http, "ibkr_active_connections") == 0
    async with streaming(http, QUOTES, body={"symbols": ["AAPL"]}) as stream:
        await some(stream, 1)
        assert await metric(http, "ibkr_active_connections") == 1
    with anyio.fail_after(DEADLINE_S):
        while await metric(http, "ibkr_active_connections"):
            await breath()
    assert await metric(http, f'ibkr_request_duration_seconds_count{{endpoint="{QUOTES}"}}') == 3
    assert await metric(http, f'ibkr_requests_total{{endpoint="{QUOTES}",method="POST"}}') == 3


async def test_d26_errors_have_statuses_of_their_own(http: httpx.AsyncClient) -> None:
    assert (await http.post(QUOTES, json={"symbols": ["NOSUCH"]})).status_code == 404
    assert (await http.post(QUOTES, json={})).status_code == 400
    assert (await http.post("/api/v1/stream/bars", json={"symbols": ["A"], "resolution": "7s"})).status_code == 422


@pytest.mark.parametrize("name", ["IBKR_PORT", "IBKR_GATEWAY_PORT"])
def test_d27_each_variable_of_its_readme_is_read(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in {name: "4001", "IBKR_MARKET_DATA_TYPE": "3", "IBKR_HOST": "gw", "PORT": "9000"}.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings()
    assert (settings.port, settings.market_data_type, settings.host, settings.http_port) == (4001, 3, "gw", 9000)
    assert configs.http(settings).port == 9000


def test_d27_port_is_the_services_and_never_the_gateways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "")
    assert (load_settings().port, load_settings().http_port) == (4002, 8084)
    monkeypatch.setenv("PORT", "9000")
    assert (load_settings().port, load_settings().http_port) == (4002, 9000)
    monkeypatch.setenv("PORT", "ten")
    with pytest.raises(ConfigurationError, match=r"^PORT='ten': input should be a valid integer"):
        load_settings()
    monkeypatch.setenv("IBKR_HTTP_PORT", "9001")
    assert load_settings().http_port == 9001


async def test_d27_there_is_one_version(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health")).json()["version"] == __version__
    assert document()["info"]["version"] == __version__
    assert (await http.get("/api/v1/status")).json()["heartbeat"]["version"] == __version__
    assert importlib.metadata.version("ibkr-actor") == __version__


async def test_d27_an_ingested_tick_is_written_apart_and_marked_as_not_ibs() -> None:
    tick = {"symbol": "AAPL", "price": 123.25, "timestamp": "2026-01-05T14:30:00+00:00"}
    async with running_redis() as server, serving(server.own_url) as alone, connect(server.own_url) as redis:
        answer = await alone.post("/v1/ingest/ibkr/tick", json=tick)
        body = answer.json()
        assert (answer.status_code, body["status"], body["symbol"]) == (200, "ok", "AAPL")
        assert body["stream"] == KEYS.external
        found: Any = await redis.xrange(KEYS.external)
        assert [entry_id.decode() for entry_id, _ in found] == [body["id"]]
        text = found[0][1][b"j"].decode()
        assert '"tag":"external"' in text
        assert '"price":123.25' in text
        assert '"source_ns":"1767623400000000000"' in text
        # No reader of IB's data takes it for a record, and no data stream has it.
        assert decode_record(found[0][1]) is None
        assert await redis.keys("*") == [KEYS.external.encode()]
