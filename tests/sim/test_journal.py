"""Owns the tests of the journal: what a checker can rely on in its lines.

Must not test what is sent, only that it is written down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ibkr_actor.sim import BlastSettings, Simulator, SimulatorSettings, simulator
from tests.sim.peers import FIXED_START_S, connected, official_client, stock


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.anyio
@pytest.mark.parametrize("version", [178, 226])
async def test_every_frame_is_written_with_its_direction_ids_and_running_number(tmp_path: Path, version: int) -> None:
    path = tmp_path / "journal.jsonl"
    settings = SimulatorSettings(
        server_version=version, clock_speed=0.0, start_time_s=FIXED_START_S, ticks_per_s=10.0, journal_file=str(path)
    )
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 5, stock("AAPL"), "", False, False, [])
        await peer.settle()
        await sim.advance(2.0)
        await peer.settle()
        received = len(peer.payloads)
    lines = _lines(path)
    assert [line["direction"] for line in lines[:3]] == ["in", "out", "in"]
    assert len([line for line in lines if line["direction"] == "out"]) == received + 1
    (asked,) = [line for line in lines if line["direction"] == "in" and line.get("message_id") == 1]
    assert (asked["req_id"], asked["client"], asked.get("protobuf", False)) == (5, 1, version == 226)
    ticks = [line for line in lines if line.get("instrument") == "AAPL.STK.SMART.USD"]
    assert [line["number"] for line in ticks] == list(range(1, len(ticks) + 1))
    assert {line["req_id"] for line in ticks} == {5}
    assert {line["message_id"] for line in ticks} >= {1, 2, 45, 46, 58, 81}
    assert "frame" not in lines[0]


@pytest.mark.anyio
async def test_payloads_are_written_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    settings = SimulatorSettings(ticks_per_s=0.0, journal_file=str(path), journal_payload=True)
    async with Simulator(settings) as sim, connected(sim) as peer:
        payloads = [payload.hex() for payload in peer.payloads]
    out = [line["frame"] for line in _lines(path) if line["direction"] == "out"]
    assert out[1:] == payloads


@pytest.mark.anyio
async def test_a_blast_is_written_down_tick_by_tick(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    settings = SimulatorSettings(journal_file=str(path), blast=BlastSettings(ticks=30, instruments=2))
    async with Simulator(settings) as sim, connected(sim) as peer:
        for number in (0, 1):
            await peer.ask("reqMktData", number, stock(f"SIM{number:03d}"), "", False, False, [])
        await peer.read_until(lambda it: len(it.named("tickPrice")) == 30)
    for key in ("SIM000.STK.SMART.USD", "SIM001.STK.SMART.USD"):
        numbers = [line["number"] for line in _lines(path) if line.get("instrument") == key]
        assert numbers == list(range(1, 18))


def test_a_simulator_on_a_thread_serves_a_program_without_a_loop(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    settings = SimulatorSettings(ticks_per_s=0.0, journal_file=str(path))
    with simulator(settings) as sim, official_client(sim.port) as client:
        sim.wait_for(lambda it: it.clients() == [1])
        sim.send_notice(1100, "lost")
        client.wait_for(lambda: any(call[2] == 1100 for call in client.named("error")))
        assert sim.call(lambda it: it.line_count()) == 0
    assert len(_lines(path)) > 10
