"""`ibkr-actor top` against a real Redis, sidecar and simulator, in a real terminal, and without its extra."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable

import anyio
import pytest

from ibkr_actor.cli.main import EXIT_CONFIGURATION, main
from ibkr_actor.cli.overview import Overview, figures_of, merged, part
from ibkr_actor.cli.overview_gather import Gatherer, Turns
from ibkr_actor.client import connect
from ibkr_actor.schema.records import Quote
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, breath, free_port, own_environment, running_house, running_redis

AAPL = "AAPL.STK.SMART.USD"
NOWHERE = "redis://127.0.0.1:1"


async def until(gatherer: Gatherer, wanted: Callable[[Overview], bool]) -> Overview:
    """Looks until it finds what is wanted."""
    with anyio.fail_after(DEADLINE_S):
        while not wanted(await gatherer.look()):
            await breath()
    return gatherer.overview


def taken(overview: Overview) -> object:
    """The lines that are taken."""
    return part(overview.status, "subscriptions", "lines", "taken")


@pytest.mark.anyio
async def test_it_follows_a_sidecar_that_comes_works_loses_its_gateway_and_goes() -> None:
    async with running_redis() as server:
        gatherer = Gatherer(lambda: connect(server.own_url), KEYS)
        assert (await gatherer.look()).health == "no_sidecar"
        port = free_port()
        async with running_house(server.own_url, port, heartbeat_s=0.2) as house:
            async with Simulator(SimulatorSettings(port=port, market_hours="always", ticks_per_s=50.0)):
                await house.subscribe("AAPL", "quote", client="strat-1")
                found = await until(
                    gatherer,
                    lambda it: it.health == "ready" and any(row.rate_s for row in it.rows) and bool(taken(it)),
                )
            row = found.rows[0]
            assert (row.instrument, row.kind, row.state, row.freshness) == (AAPL, "quote", "live", "fresh")
            assert row.holders == ("strat-1",)
            assert isinstance(row.newest, Quote)
            assert taken(found) == 1
            assert {"connection", "farm"} <= {event.topic for event in found.events}
            lost = await until(gatherer, lambda it: it.health == "not_ready" and it.rows[0].state == "starved")
            assert lost.events[-1].at_ns > found.events[-1].at_ns
        gone = await until(gatherer, lambda it: it.health == "no_sidecar")
        assert [row.instrument for row in gone.rows] == [AAPL]
    away = await gatherer.look()
    assert away.health == "no_redis"
    assert [row.instrument for row in away.rows] == [AAPL]
    await gatherer.aclose()


def test_once_draws_one_frame_and_its_status_says_that_nobody_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--redis-url", NOWHERE]) == 1
    assert "Redis does not answer" in capsys.readouterr().out
    assert main(["top", "--once", "--json", "--redis-url", NOWHERE]) == 1
    assert json.loads(capsys.readouterr().out)["health"] == "no_redis"


def test_in_a_terminal_it_lives_through_an_absent_redis_and_q_ends_it() -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "ibkr_actor", "top", "--redis-url", NOWHERE]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=own_environment(TERM="xterm", COLUMNS="90", LINES="30")
    )
    os.close(theirs)
    try:
        shown = _read_until(ours, b"no Redis")
        assert b"\x1b[?1049h" in shown  # the alternate screen, so that what was there comes back
        os.write(ours, b"s")
        _read_until(ours, b"by age")
        os.write(ours, b"q")
        _read_until(ours, b"\x1b[?1049l")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    shown = b""
    until_s = time.monotonic() + DEADLINE_S
    while wanted not in shown:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until_s - time.monotonic()))
        assert ready, shown[-2000:]
        shown += os.read(descriptor, 65536)
    return shown


def test_without_rich_one_line_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*sys.modules]:
        if name.split(".")[0] == "rich" or name.startswith("ibkr_actor.cli.top"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["top", "--once"]) == EXIT_CONFIGURATION
    said = capsys.readouterr().err.strip()
    assert said.startswith("ibkr-actor: 'top' needs the package 'rich")
    assert said.endswith("which this install lacks: pip install 'ibkr-actor[sidecar,tui]'")


FIGURES = {
    "at_ns": "1700000000000000000",
    "session": {"state": "ready"},
    "subscriptions": {"streams": 2, "states": {"live": 2}, "holders": 1, "lines": {"taken": 2, "of": 100}},
    "pacing": {"waiting": 0, "cooldowns": 0, "windows": {"messages": {"used": 3}}},
    "redis": {"redis_published": 7},
}


def test_a_calm_sidecar_is_asked_seldom_and_one_that_changes_soon() -> None:
    turns = Turns()
    assert turns.are_up(100.0, FIGURES, failed=False)
    turns.took(100.0, FIGURES)
    busy = FIGURES | {"subscriptions": {"streams": 2, "states": {"live": 2}, "holders": 2}}
    assert not turns.are_up(110.0, FIGURES | {"at_ns": "1700000010000000000"}, failed=False)
    assert turns.are_up(115.0, FIGURES, failed=False)
    assert not turns.are_up(101.9, busy, failed=False)
    assert turns.are_up(102.0, busy, failed=False)
    assert turns.are_up(102.0, FIGURES, failed=True)
    assert turns.are_up(102.0, {}, failed=False)  # of a sidecar that publishes no figures nothing else is known
    assert turns.are_up(99.0, FIGURES, failed=False)  # the clock was put back


def test_what_is_published_goes_before_what_was_answered_and_forecasts_stay() -> None:
    answered = {
        "session": {"state": "connecting"},
        "history": {"jobs_open": 1},
        "pacing": {"drained_in_s": 2.5, "cooldowns": ["hist"], "waiting": 3},
        "counters": {"gateway": {"frames": 1}, "redis": {"redis_published": 1}},
    }
    status, at_ns = merged(answered, FIGURES)
    assert at_ns == 1_700_000_000_000_000_000
    assert status["session"] == {"state": "ready"}
    assert status["history"] == {"jobs_open": 1}
    assert status["pacing"] == {
        "drained_in_s": 2.5, "cooldowns": ["hist"], "waiting": 0, "windows": {"messages": {"used": 3}},
    }  # fmt: skip
    assert status["counters"] == {"gateway": {"frames": 1}, "redis": {"redis_published": 7}}
    assert merged(answered, figures_of(b"[no figures]")) == (answered, None)
