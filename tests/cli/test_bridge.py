"""`ibkr-actor bridge` as a process: it publishes until it is told to stop, and reads what stands in an event stream."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from ibkr_actor.cli.main import main
from tests.e2e.kit import House, breath, own_environment
from tests.provider.kit import two_of_a_house

DEADLINE_S = 120.0


@pytest.mark.anyio
async def test_what_it_publishes_it_reads(tmp_path: Path) -> None:
    async with two_of_a_house() as (sim, house, _):
        environment = own_environment(IBKR_REDIS_URL=house.url, PYTHONPATH=str(Path(__file__).parents[2]))
        command = [sys.executable, "-m", "ibkr_actor", "bridge"]
        publishing = [*command, "AAPL", "EUR.CASH.IDEALPRO.USD", "--kinds", "quote", "--namespace", "mine"]
        with anyio.fail_after(DEADLINE_S):
            async with await anyio.open_process(publishing, cwd=tmp_path, env=environment) as publisher:
                count = await until_both(house)
                reading = [*command, "--read", "marketdata.quotes", "--namespace", "mine", "--count", str(count)]
                async with await anyio.open_process(reading, cwd=tmp_path, env=environment) as reader:
                    assert reader.stdout is not None
                    text = "".join([part async for part in TextReceiveStream(reader.stdout)])
                    assert await reader.wait() == 0
                publisher.send_signal(signal.SIGTERM)
                assert await publisher.wait() == 0
        events = [json.loads(line) for line in text.splitlines()]
        assert len(events) == count
        assert {event["schema_id"] for event in events} == {"_models.Quote"}
        assert {event["payload"]["symbol"] for event in events} == {"AAPL", "EUR"}
        await sim.wait_for(lambda: sim.line_count() == 0)


async def until_both(house: House) -> int:
    """How many events there are, once there are some of both instruments."""
    while True:
        entries: Any = await house.redis.xrange("mine:marketdata.quotes")
        symbols = {json.loads(fields[b"data"])["payload"]["symbol"] for _, fields in entries}
        if len(symbols) == 2:
            return len(entries)
        await breath()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [([], "INSTRUMENT"), (["AAPL", "--kinds", "depth"], "depth"), (["AAPL", "--kinds", "nothing"], "nothing")],
)
def test_what_cannot_be_bridged_is_said_in_one_line(
    arguments: list[str], word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IBKR_REDIS_URL", "redis://127.0.0.1:1/0")
    assert main(["bridge", *arguments]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
