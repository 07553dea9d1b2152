"""The demo as a process: its streams, its status page, and the totals it ends with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.kit import DEADLINE_S, own_environment

ROOT = Path(__file__).parents[2]


def test_the_demo_serves_the_status_page_and_ends_with_its_totals_having_lost_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "ibkr_actor", "demo", "--seconds", "6"],
        env=own_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            assert demo.stdout is not None
            before = ""
            while not before.endswith("0 lost, 6 s left\n"):
                line = demo.stdout.readline()
                assert line, demo.communicate()
                before += line
            page = before.partition("status page: ")[2].split()[0]
            with httpx.Client(base_url=page, timeout=DEADLINE_S, trust_env=False) as client:
                assert "text/html" in client.get("/").headers["content-type"]
                streams = client.get("/api/v1/subscriptions").json()["subscriptions"]
            rest, errors = demo.communicate(timeout=DEADLINE_S)
        finally:
            demo.kill()
    assert demo.returncode == 0, errors
    assert len(streams) == 11
    last = rest.splitlines()[-1]
    assert last.startswith("demo: ")
    records, seen, lost = (int(part.split()[0]) for part in last.removeprefix("demo: ").split(", "))
    assert records > 50
    assert 9 <= seen <= 11  # bars come every five seconds: perhaps not in these few
    assert lost == 0
    assert "redis-cli" in before
    assert "ibkr-actor tail quote AAPL" in before


@pytest.mark.slow  # a night in a minute
def test_the_demo_of_a_night_shows_the_outage_and_every_stream_alive_again(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-u", "-m", "ibkr_actor", "demo", "nightly-restart"],
        env=own_environment(PYTHONPATH=str(ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=3 * DEADLINE_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].endswith("11 of 11 streams alive again")
    assert ", 0 lost, " in run.stdout.splitlines()[-1]
    events = [line.split()[1:3] for line in run.stdout.splitlines() if line[2:3] == ":"]
    assert [topic for topic, event in events if event == "lost"] == ["connection"]
    assert ["subscription", "stale"] in events
    assert events.count(["stream", "back"]) >= 11
