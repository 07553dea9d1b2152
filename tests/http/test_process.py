"""The service as processes, with the curl lines of the replaced system's README as they are printed there."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import Process, SocketAttribute

from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, breath, own_environment, running_house, running_redis
from tests.http.kit import some, streaming

pytestmark = pytest.mark.anyio

CURL = shutil.which("curl")
ROOT = Path(__file__).parents[2]
# As printed under "HTTP API Endpoints"; only the port is another, since 8084 may be taken where the tests run.
QUOTES = """\
curl -X POST http://localhost:8084/api/v1/stream/quotes \\
  -H "Content-Type: application/json" \\
  -d '{"symbols": ["AAPL", "MSFT"]}'
"""
BARS = """\
curl -X POST http://localhost:8084/api/v1/historical/bars \\
  -H "Content-Type: application/json" \\
  -d '{
    "symbol": "AAPL",
    "start": "2024-01-01T00:00:00Z",
    "end": "2024-01-31T00:00:00Z",
    "resolution": "1d"
  }'
"""
HEALTHCHECK = "curl -fsS http://localhost:8084/health || exit 1"


@asynccontextmanager
async def process(*arguments: str, **variables: str) -> AsyncIterator[Process]:
    """A command of ours; killed at the end if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        it = await anyio.open_process(
            [sys.executable, "-m", "ibkr_actor", *arguments],
            env=own_environment(PYTHONPATH=str(ROOT), **variables),
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield it
        finally:
            if it.returncode is None:
                it.kill()
            with anyio.CancelScope(shield=True):
                await it.aclose()


async def address(it: Process) -> str:
    """Where it serves, as its log says."""
    assert it.stderr is not None
    text = ""
    with anyio.fail_after(DEADLINE_S):
        async for chunk in it.stderr:
            text += chunk.decode()
            if "http_serving address=" in text and text.endswith("\n"):
                return text.partition("http_serving address=")[2].split()[0]
    raise AssertionError(text)


async def until_healthy(http: httpx.AsyncClient) -> None:
    with anyio.fail_after(DEADLINE_S):
        while (await http.get("/health")).status_code != 200:
            await breath()


async def shell(line: str, port: int) -> str:
    """What a line of the README prints; a stream is cut off once it has printed a quote of each."""
    line = line.replace("localhost:8084", f"localhost:{port}").replace(
        "curl ", "curl --no-progress-meter --noproxy '*' "
    )
    out = ""
    async with await anyio.open_process(["/bin/sh", "-c", line]) as it:
        assert it.stdout is not None
        with anyio.fail_after(DEADLINE_S):
            async for chunk in it.stdout:
                out += chunk.decode()
                if '"symbol":"AAPL"' in out and '"symbol":"MSFT"' in out and "stream" in line:
                    it.kill()
                    break
            else:
                assert await it.wait() == 0, out
    return out


@pytest.mark.skipif(CURL is None, reason="needs curl")
async def test_the_readmes_curl_lines_work_as_printed() -> None:
    async with running_redis() as server, Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim:
        variables = {"IBKR_HTTP_ENABLED": "true", "IBKR_HOST": "127.0.0.1", "IBKR_GATEWAY_PORT": str(sim.port)}
        async with process("run", PORT="0", IBKR_REDIS_URL=server.own_url, **variables) as it:
            url = await address(it)
            port = int(url.rpartition(":")[2])
            async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
                await until_healthy(http)
            health = json.loads(await shell("curl http://localhost:8084/health", port))
            assert health.items() >= {"status": "healthy", "connected": True}.items()
            assert "version" in health
            await shell(HEALTHCHECK, port)
            assert "ibkr_requests_total" in await shell("curl http://localhost:8084/metrics", port)
            events = [line for line in (await shell(QUOTES, port)).splitlines() if line.startswith("data: ")]
            assert {json.loads(line[6:])["symbol"] for line in events[:-1]} <= {"AAPL", "MSFT"}
            bars = json.loads(await shell(BARS, port))["bars"]
            # 20 days of trading from the 2nd to the 30th, all over before the 31st begins.
            assert len(bars) == 20
            assert {"symbol", "ts", "open", "high", "low", "close", "volume"} <= set(bars[0])


async def test_a_process_of_its_own_serves_what_a_sidecar_publishes_and_ends_by_itself() -> None:
    async with running_redis() as server, Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim:
        variables = {"IBKR_REDIS_URL": server.own_url, "IBKR_PORT": str(sim.port), "IBKR_HTTP_PORT": "0"}
        async with process("http", **variables) as doors:
            async with httpx.AsyncClient(base_url=await address(doors), trust_env=False) as http:
                assert (await http.get("/health")).status_code == 503
                async with process("run", **variables):
                    await until_healthy(http)
                    async with streaming(http, "/api/v1/stream/quotes", symbols="AAPL") as stream:
                        await some(stream, 2)
                        # One signal ends it although a stream is open, and says so to whoever listens.
                        doors.send_signal(signal.SIGTERM)
                        await some(stream, 1, name="bye")
            with anyio.fail_after(DEADLINE_S):
                assert await doors.wait() == 0


async def test_the_lines_of_a_process_that_is_killed_go_with_its_lease() -> None:
    async with running_redis() as server, Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim:
        variables = {"IBKR_REDIS_URL": server.own_url, "IBKR_HTTP_PORT": "0", "IBKR_HTTP_LEASE_S": "1"}
        async with running_house(server.own_url, sim.port), process("http", **variables) as doors:
            async with (
                httpx.AsyncClient(base_url=await address(doors), trust_env=False) as http,
                streaming(http, "/api/v1/stream/quotes", symbols="AAPL") as stream,
            ):
                await some(stream, 2)
                await sim.wait_for(lambda: sim.line_count() == 1)
                doors.kill()
                with pytest.raises(httpx.TransportError):
                    await some(stream, 1_000_000)
            await sim.wait_for(lambda: sim.line_count() == 0, timeout_s=DEADLINE_S)


@pytest.mark.parametrize("command", ["run", "http"])
async def test_a_port_that_is_taken_is_one_line_and_exit_status_2(command: str) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    async with listener, running_redis() as server:
        variables = {"IBKR_REDIS_URL": server.own_url, "PORT": str(port), "IBKR_HTTP_ENABLED": "true"}
        lines = await _ended(["--log-level", "error"], command, 2, **variables)
    (line,) = lines
    assert f"IBKR_HTTP_PORT={port}" in line


async def _ended(options: Sequence[str], command: str, status: int, **variables: str) -> list[str]:
    """The lines a command leaves on standard error when it ends with this status."""
    async with process(command, *options, **variables) as it:
        assert it.stderr is not None
        with anyio.fail_after(DEADLINE_S):
            text = b"".join([chunk async for chunk in it.stderr]).decode()
            assert await it.wait() == status, text
    return text.splitlines()
