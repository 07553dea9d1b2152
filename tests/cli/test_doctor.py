"""`ibkr-actor doctor`: what is well, what is not, and that a running sidecar does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.cli.doctor import own_client_id, without_password
from ibkr_actor.cli.doctor_gateway import judged
from ibkr_actor.cli.doctor_redis import _lines, _policies, _version
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO, main
from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    CurrentTime,
    ErrorNotice,
    Event,
    NextValidId,
    TickSnapshotEnd,
)
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.load_settings import load_settings
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, breath, free_port, running_house, running_redis


def levels(out: str) -> dict[str, dict[str, Any]]:
    """The worst finding of each check."""
    order = ["ok", "warn", "fail"]
    found: dict[str, dict[str, Any]] = {}
    for line in out.splitlines():
        row = json.loads(line)
        before = found.get(row["check"])
        if before is None or order.index(row["level"]) > order.index(before["level"]):
            found[row["check"]] = row
    return found


@pytest.mark.anyio
async def test_beside_a_running_sidecar_all_is_well_and_it_is_not_disturbed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings()) as sim,
        running_house(server.own_url, sim.port) as house,
    ):
        await house.subscribe("AAPL", "quote")
        with anyio.fail_after(DEADLINE_S):
            while not await house.redis.exists(KEYS.heartbeat):
                await breath()
        line = ["doctor", "--json", "--redis-url", server.url, "--port", str(sim.port)]
        status = await anyio.to_thread.run_sync(main, line)
        found = levels(capsys.readouterr().out)
        assert status == 0
        assert {row["level"] for row in found.values()} == {"ok"}, found
        assert set(found) >= {"python", "ibapi", "settings", "redis", "memory", "persistence", "clock", "sidecar",
                              "lines", "gateway", "handshake", "permissions"}  # fmt: skip
        assert "server version 226" in found["handshake"]["message"]
        assert found["permissions"]["message"] == "AAPL comes, live"
        await sim.wait_for(lambda: sim.clients() == [17])
        assert sim.line_count() == 1
        beat = json.loads(await house.redis.get(KEYS.heartbeat) or b"{}")
        assert beat["state"] == "ready"


@pytest.mark.anyio
async def test_a_client_id_in_use_is_said_and_that_of_the_sidecar_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings()) as sim,
        running_house(server.own_url, sim.port) as house,
    ):
        await house.subscribe("AAPL", "quote")
        line = ["doctor", "--json", "--redis-url", server.url, "--port", str(sim.port), "--client-id", "17"]
        assert await anyio.to_thread.run_sync(main, line) == EXIT_CONFIGURATION
        assert "--client-id 17 is the sidecar's" in capsys.readouterr().err
        monkeypatch.setenv("IBKR_CLIENT_ID", "55")
        assert await anyio.to_thread.run_sync(main, line) == EXIT_NO
        found = levels(capsys.readouterr().out)
        assert found["handshake"]["level"] == "fail"
        assert "client id 17 is in use (326)" in found["handshake"]["message"]


def test_what_is_not_there_is_told_with_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = ["doctor", "--json", "--redis-url", "redis://:secret@127.0.0.1:1/0", "--port", str(free_port())]
    assert main(line) == EXIT_NO
    out = capsys.readouterr().out
    assert "secret" not in out
    found = levels(out)
    assert (found["redis"]["level"], found["gateway"]["level"]) == ("fail", "fail")
    assert "IBKR_REDIS_URL" in found["redis"]["advice"]
    assert "IBKR_PORT" in found["gateway"]["advice"]


def test_a_wrong_setting_is_a_finding_and_an_unknown_variable_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IBKR_LINE", "3")
    monkeypatch.setenv("IBKR_DATA_DIR", str(tmp_path))
    line = ["doctor", "--json", "--no-handshake", "--port", "1", "--host", "127.0.0.1"]
    assert main([*line[:3], "--host", "127.0.0.1"]) in (0, EXIT_NO)
    found = levels(capsys.readouterr().out)
    assert found["settings"]["level"] == "warn"
    assert "did you mean IBKR_LINES?" in found["settings"]["message"]
    assert found["redis"]["level"] == "ok"  # none is set: an embedded one will start
    monkeypatch.setenv("IBKR_PORT", "ten")
    assert main(["doctor", "--json"]) == EXIT_NO
    assert levels(capsys.readouterr().out)["settings"]["message"].startswith("IBKR_PORT='ten'")


def test_what_the_gateway_says_becomes_findings() -> None:
    up = Connected(1, 0, 226, "20260105 10:00:00 EST")
    taken = judged([ConnectFailed(1, 0, "did not complete the handshake", taken=True)], 9001, 5.0)
    assert [(each.check, each.level) for each in taken] == [("handshake", "fail")]
    assert "trusted" in taken[0].advice
    mute = judged([up], 9001, 5.0)
    assert mute[0].level == "fail"
    assert "log in" in mute[0].advice
    notices = [ErrorNotice(1, 0, -1, 2110, "Connectivity between TWS and server is broken."),
               ErrorNotice(1, 0, -1, 2104, "Market data farm connection is OK:usfarm")]  # fmt: skip
    found = judged([up, NextValidId(1, 1), *notices], 9001, 5.0)
    assert [(each.check, each.level) for each in found] == [("handshake", "ok"), ("farms", "warn"), ("clock", "warn")]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("grant", "feed", "level", "said"),
    [
        ("none", "1", "warn", "(354)"),
        ("delayed", "1", "warn", "(354)"),
        ("delayed", "3", "ok", "AAPL comes, delayed"),
        ("api", "1", "warn", "(10089)"),
        ("part", "1", "warn", "(10090)"),
    ],
)
async def test_what_the_login_may_not_see_is_told_with_what_to_do(
    grant: str, feed: str, level: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBKR_MARKET_DATA_TYPE", feed)
    async with Simulator(SimulatorSettings(permissions={"AAPL": grant})) as sim:
        line = ["doctor", "--json", "--port", str(sim.port)]
        assert await anyio.to_thread.run_sync(main, line) in (0, EXIT_NO)
        assert not sim.violations
    found = levels(capsys.readouterr().out)["permissions"]
    assert found["level"] == level
    assert said in found["message"]
    assert level == "ok" or "Market Data Subscriptions" in found["advice"]


def test_a_snapshot_that_says_nothing_of_permissions_is_told_as_such() -> None:
    up = [Connected(1, 0, 226, "20260105 10:00:00 EST"), NextValidId(1, 1), CurrentTime(1, 0, 10**9)]
    rows: list[tuple[list[Event], str, str]] = [
        ([], "warn", "no answer"),
        (
            [ErrorNotice(1, 0, 2, 101, "Max number of tickers has been reached")],
            "warn",
            "not known, IB says of AAPL (101)",
        ),
        ([ErrorNotice(1, 0, 2, 10197, "No market data during competing session")], "warn", "(10197)"),
        ([TickSnapshotEnd(2, 0)], "ok", "no data now"),
    ]
    for events, level, said in rows:
        found = judged([*up, *events], 9001, 5.0)[-1]
        assert (found.check, found.level) == ("permissions", level)
        assert said in found.message


def test_what_redis_says_becomes_findings() -> None:
    assert _version({"redis_version": "6.0.16"}, "x").level == "fail"
    assert _version({"redis_version": "7.4.1", "role": "slave"}, "x").level == "fail"
    assert _version({"redis_version": "7.4.1", "role": "master"}, "x").level == "ok"
    assert [each.level for each in _policies({"maxmemory_policy": "allkeys-lru", "aof_enabled": 0})] == ["fail", "warn"]
    row = {"subscriptions": {"lines": {"taken": 95, "of": 100}, "depth": {"taken": 1, "of": 3}}}
    assert [each.level for each in _lines(row)] == ["warn", "ok"]


def test_the_doctors_client_id_is_never_one_of_the_sidecar() -> None:
    settings = load_settings(client_id=9_000, client_id_pool=tuple(range(9_001, 9_999)))
    assert own_client_id(settings, None) == 9_999
    with pytest.raises(ConfigurationError):
        own_client_id(settings, 9_000)


def test_a_url_is_shown_without_its_password() -> None:
    assert without_password("redis://u:p%40ss@h:1/0") == "redis://u:***@h:1/0"
    assert without_password("unix:///tmp/x.sock") == "unix:///tmp/x.sock"
