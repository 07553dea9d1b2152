"""The sidecar as a process: what a user meets at the shell, and what `kill -9` leaves behind."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from redis.asyncio import Redis

from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.client import call, connect
from ibkr_actor.schema.commands import AnyCommand, Reply, StatusCommand, Subscribe
from ibkr_actor.schema.records import Quote, Reset
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, follow, free_port, own_environment, running_redis

pytestmark = pytest.mark.anyio

ENTRY = [sys.executable, "-m", "ibkr_actor"]


@asynccontextmanager
async def sidecar_process(**variables: str) -> AsyncIterator[Process]:
    """`ibkr-actor run` with these variables; killed at the end if it still runs."""
    process = await anyio.open_process(
        [*ENTRY, "run"], env=own_environment(**variables), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def asked(redis: Redis, command: AnyCommand) -> Reply:
    """The reply of a sidecar that may have to start first."""
    return await call(redis, KEYS, command, timeout_s=DEADLINE_S)


def run(arguments: Sequence[str], cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A short command, to its end."""
    return subprocess.run(
        [*ENTRY, *arguments],
        env=own_environment(PYTHONPATH=str(Path(__file__).parents[2]), **variables),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


async def test_kill_9_and_a_new_start_restore_the_subscriptions_with_a_reset_each() -> None:
    keys = [KEYS.stream("quote", "AAPL.STK.SMART.USD"), KEYS.stream("quote", "EUR.CASH.IDEALPRO.USD")]
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        connect(server.own_url) as redis,
    ):
        variables = {"IBKR_PORT": str(sim.port), "IBKR_REDIS_URL": server.own_url}
        async with sidecar_process(**variables) as first:
            for instrument in ("AAPL", "EUR.CASH.IDEALPRO.USD"):
                reply = await asked(redis, Subscribe(instrument=instrument, kinds=["quote"], client="s1"))
                assert reply.status == "accepted"
            for key in keys:
                await _until_epochs(redis, key, 1)
            first.send_signal(signal.SIGKILL)
            await first.wait()
        async with sidecar_process(**variables):
            for key in keys:
                resets = await _until_epochs(redis, key, 2)
                (before, after) = resets
                assert after.epoch > before.epoch
                assert after.prev_epoch == before.epoch
                assert after.prev_seq is not None
                assert after.prev_seq > 1


async def _until_epochs(redis: Redis, key: str, count: int) -> list[Reset]:
    """The resets of a stream, once there are `count` and quotes after the last. Checks seq on the way."""
    resets: list[Reset] = []
    seq = quotes_since = 0
    with anyio.fail_after(DEADLINE_S):
        async for record in follow(redis, key):
            if isinstance(record, Reset):
                resets.append(record)
                seq = quotes_since = 0
            assert record.seq == seq + 1
            seq = record.seq
            quotes_since += isinstance(record, Quote)
            if len(resets) == count and quotes_since > 3:
                return resets
    raise AssertionError("unreachable")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_gives_the_lines_back_writes_what_is_pending_and_exits_0(number: signal.Signals) -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        connect(server.own_url) as redis,
        sidecar_process(IBKR_PORT=str(sim.port), IBKR_REDIS_URL=server.own_url) as process,
    ):
        await asked(redis, Subscribe(instrument="AAPL", kinds=["quote"], client="s1"))
        await _until_epochs(redis, KEYS.stream("quote", "AAPL.STK.SMART.USD"), 1)
        process.send_signal(number)
        with anyio.fail_after(DEADLINE_S):
            assert await process.wait() == 0
        # The process is over before we have read that its connection is.
        await sim.wait_for(lambda: sim.line_count() == 0 and sim.clients() == [])
        assert await redis.exists(KEYS.heartbeat) == 0
        assert await redis.hlen(KEYS.subscriptions) == 1  # held on for the next start


async def test_a_second_sidecar_takes_over_and_the_first_exits_3() -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        connect(server.own_url) as redis,
    ):
        variables = {"IBKR_PORT": str(sim.port), "IBKR_REDIS_URL": server.own_url}
        key = KEYS.stream("quote", "AAPL.STK.SMART.USD")
        async with sidecar_process(**variables) as first:
            await asked(redis, Subscribe(instrument="AAPL", kinds=["quote"], client="s1"))
            await _until_epochs(redis, key, 1)
            async with sidecar_process(**variables, IBKR_CLIENT_ID="18"):
                with anyio.fail_after(DEADLINE_S):
                    assert await first.wait() == 3
                await _until_epochs(redis, key, 2)


async def test_a_gateway_that_comes_later_is_waited_for() -> None:
    port = free_port()
    async with (
        running_redis() as server,
        connect(server.own_url) as redis,
        sidecar_process(
            IBKR_PORT=str(port), IBKR_REDIS_URL=server.own_url, IBKR_RECONNECT_BACKOFF_MAX_MS="250"
        ) as process,
    ):
        status = await asked(redis, StatusCommand())
        assert isinstance(status.result, dict)
        # The last one is the wait within IB's nightly hour: a process has the system's clock.
        assert status.result["session"]["state"] in {"connecting", "backing_off", "scheduled_outage"}
        assert process.returncode is None
        async with Simulator(SimulatorSettings(port=port)):
            await asked(redis, Subscribe(instrument="AAPL", kinds=["quote"], client="s1"))
            await _until_epochs(redis, KEYS.stream("quote", "AAPL.STK.SMART.USD"), 1)


async def test_a_redis_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    async with Simulator(SimulatorSettings()) as sim, running_redis() as server:
        path = tmp_path / "later.sock"
        url = server.own_url.replace(server.socket_path, str(path))
        async with sidecar_process(IBKR_PORT=str(sim.port), IBKR_REDIS_URL=url) as process, connect(url) as redis:
            assert process.stderr is not None
            with anyio.fail_after(DEADLINE_S):
                log = b""
                while b"later.sock" not in log:  # it says what it waits for
                    log += await process.stderr.receive()
            path.symlink_to(server.socket_path)
            reply = await asked(redis, StatusCommand())
            assert reply.status == "result"


def test_a_wrong_setting_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    done = run(["run"], tmp_path, IBKR_PORT="ten")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ibkr-actor: IBKR_PORT='ten'")


async def test_a_data_directory_in_use_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="ibkr-") as folder:
        async with EmbeddedRedis(EmbeddedConfig(data_dir=Path(folder) / "g1")):
            done = await anyio.to_thread.run_sync(lambda: run(["run"], tmp_path, IBKR_DATA_DIR=folder))
    assert done.returncode == 2
    assert f"ibkr-actor: IBKR_DATA_DIR={folder}/g1 is in use by process" in done.stderr


def test_readers_say_that_no_sidecar_runs(tmp_path: Path) -> None:
    for arguments in (["status"], ["health"], ["tail", "quote", "AAPL"]):
        done = run(arguments, tmp_path, IBKR_DATA_DIR=str(tmp_path))
        assert done.returncode == 2
        assert "IBKR_REDIS_URL is not set and no embedded server runs" in done.stderr
        done = run(arguments, tmp_path, IBKR_REDIS_URL="redis://127.0.0.1:1/0")
        assert done.returncode == 1
        assert "Redis does not answer" in done.stderr


async def test_status_tail_and_health_read_a_running_sidecar(tmp_path: Path) -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings(ticks_per_s=50.0)) as sim,
        connect(server.own_url) as redis,
        sidecar_process(IBKR_PORT=str(sim.port), IBKR_REDIS_URL=server.own_url),
    ):
        await asked(redis, Subscribe(instrument="AAPL", kinds=["quote"], client="s1"))
        await _until_epochs(redis, KEYS.stream("quote", "AAPL.STK.SMART.USD"), 1)

        async def said(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await anyio.to_thread.run_sync(lambda: run([*arguments, "--redis-url", server.url], tmp_path))

        health = await said("health")
        assert (health.returncode, health.stdout) == (0, "healthy\n")
        status = await said("status", "--json")
        assert json.loads(status.stdout)["session"]["state"] == "ready"
        assert "ready" in (await said("status")).stdout
        tail = await said("tail", "quote", "AAPL", "--count", "3", "--json")
        rows = [json.loads(line) for line in tail.stdout.splitlines()]
        assert [row["tag"] for row in rows] == ["quote"] * 3
        assert [row["seq"] for row in rows] == list(range(rows[0]["seq"], rows[0]["seq"] + 3))
        assert "bid=" in (await said("tail", "quote", "AAPL", "--count", "1")).stdout
