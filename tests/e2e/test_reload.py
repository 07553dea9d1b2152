"""`reload`: what may change does so at once, what may not is named, and an impossible setting changes nothing."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from ibkr_actor import app
from ibkr_actor.client import call, connect
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.commands import List, Reload, Subscribe
from ibkr_actor.schema.records import System
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, House, follow, running_redis
from tests.e2e.test_process import sidecar_process

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def from_file(path: Path) -> AsyncIterator[House]:
    """A sidecar whose settings stand in a file."""
    async with running_redis() as server, Simulator(SimulatorSettings()) as sim:

        def reread() -> Any:
            return load_settings(path, host="127.0.0.1", port=sim.port, redis_url=server.own_url, http_enabled=False)

        stopping, started, found = anyio.Event(), anyio.Event(), []

        def note(sidecar: app.Sidecar) -> None:
            found.append(sidecar)
            started.set()

        async def serve() -> None:
            await app.run(reread(), stopping=stopping, started=note, reread=reread)

        async with connect(server.own_url) as redis, anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            with anyio.fail_after(DEADLINE_S):
                await started.wait()
            yield House(redis, server.own_url, found[0])
            stopping.set()


async def lease_of(house: House, client: str) -> float:
    await house.call(Subscribe(client=client, instrument="AAPL", kinds=["quote"]))
    listed: Any = (await house.call(List(client=client, of_client=client))).result
    (row,) = listed["subscriptions"]
    return float(next(holder["lease_s"] for holder in row["holders"] if holder["client"] == client))


async def test_what_may_change_does_and_what_may_not_is_named(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("lease_s = 100.0\n")
    level = logging.getLogger().level
    try:
        async with from_file(path) as house:
            assert await lease_of(house, "before") == 100.0
            path.write_text('lease_s = 200.0\nlog_level = "debug"\nlines = 77\n')
            reply = await house.call(Reload(client="test"))
            assert reply.status == "result", reply
            assert reply.result == {
                "changed": {"lease_s": 200.0, "log_level": "debug"},
                "needs_restart": ["lines"],
            }
            assert await lease_of(house, "after") == 200.0
            assert logging.getLogger().level == logging.DEBUG
            records = await house.until(KEYS.system, lambda found: "settings_reloaded" in map(event, found))
            (told,) = [each for each in records if event(each) == "settings_reloaded"]
            assert isinstance(told, System)
            assert told.message == "Changed lease_s=200.0, log_level=debug; waiting for a restart: lines."
            again = await house.call(Reload(client="test"))
            assert again.result == {"changed": {}, "needs_restart": ["lines"]}
    finally:
        logging.getLogger().setLevel(level)


async def test_an_impossible_setting_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("lease_s = 100.0\n")
    async with from_file(path) as house:
        path.write_text("lease_s = 200.0\nlines = -3\n")
        error = (await house.call(Reload(client="test"))).error
        assert error is not None
        assert error.code == "configuration_error"
        assert "IBKR_LINES" in error.message
        assert await lease_of(house, "after") == 100.0


async def test_sighup_does_the_same_and_the_process_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("lease_s = 100.0\n")
    async with running_redis() as server, Simulator(SimulatorSettings()) as sim, connect(server.own_url) as redis:
        settings = {"IBKR_CONFIG": str(path), "IBKR_PORT": str(sim.port), "IBKR_REDIS_URL": server.own_url}
        async with sidecar_process(IBKR_HTTP_ENABLED="false", **settings) as process:
            await call(redis, KEYS, List(client="test"), timeout_s=DEADLINE_S)
            path.write_text("lease_s = 200.0\n")
            process.send_signal(signal.SIGHUP)
            with anyio.fail_after(DEADLINE_S):
                async for record in follow(redis, KEYS.system):
                    if event(record) == "settings_reloaded":
                        break
            reply = await call(redis, KEYS, Reload(client="test"), timeout_s=DEADLINE_S)
            assert reply.result == {"changed": {}, "needs_restart": []}


def event(record: Any) -> str:
    return getattr(record, "event", "")
