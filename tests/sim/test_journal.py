"""Owns the tests of the journal: what a checker can rely on in its lines.

Must not test what is sent, only that it is written down.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from ibkr_actor.sim import BlastSettings, Simulator, SimulatorSettings, simulator
from ibkr_actor.sim.journal import JournalLine
from ibkr_actor.sim.journal_check import compare, read_journal, skipped_numbers
from tests.sim.peers import DEADLINE_S, FIXED_START_S, connected, official_client, stock


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


async def _journal_of_a_fault(path: Path, fault: Callable[[Simulator], None]) -> tuple[list[JournalLine], list[bytes]]:
    """A session in which a fault strikes before two notices; its journal and the payloads that came."""
    settings = SimulatorSettings(server_version=178, ticks_per_s=0.0, journal_file=str(path), journal_payload=True)
    async with Simulator(settings) as sim, connected(sim) as peer:
        fault(sim)
        sim.send_notice(1100, "one")
        sim.send_notice(1102, "two")
        with suppress(ValueError, IndexError):  # the official decoder's word for garbage
            await peer.settle()
        payloads = peer.payloads
    return read_journal(path), payloads


@pytest.mark.anyio
async def test_a_checker_finds_a_whole_session_complete(tmp_path: Path) -> None:
    lines, payloads = await _journal_of_a_fault(tmp_path / "j", lambda sim: None)
    assert skipped_numbers(lines) == {}
    compared = compare(lines, payloads, session=1)
    assert (compared.complete, compared.arrived, compared.behind) == (True, len(payloads), 0)


@pytest.mark.anyio
async def test_a_checker_names_what_was_lost_and_what_nobody_sent(tmp_path: Path) -> None:
    lines, payloads = await _journal_of_a_fault(tmp_path / "j", lambda sim: None)
    lossy = [*payloads[:3], *payloads[4:], b"what?"]
    compared = compare(lines, lossy)
    assert [bytes.fromhex(line.frame or "") for line in compared.lost] == [payloads[3]]
    assert compared.unexpected == [b"what?"]
    assert not compared.complete
    assert compare(lines, payloads[:-1]).behind == 1


@pytest.mark.anyio
async def test_a_frame_that_a_fault_bends_is_marked_and_what_was_written_follows(tmp_path: Path) -> None:
    def double(sim: Simulator) -> None:
        sim.world.sessions[1].frame_faults.double = 1

    lines, payloads = await _journal_of_a_fault(tmp_path / "j", double)
    (place,) = [index for index, line in enumerate(lines) if line.bent]
    meant, written = lines[place], lines[place + 1]
    assert (meant.message_id, written.message_id) == (4, 0)
    whole = (meant.bytes.to_bytes(4, "big") + bytes.fromhex(meant.frame or "")) * 2
    assert written.frame == whole.hex()
    assert compare(lines, payloads).unexpected == [bytes.fromhex(meant.frame or "")]


@pytest.mark.anyio
async def test_bytes_of_a_client_that_are_no_frame_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "j"
    settings = SimulatorSettings(ticks_per_s=0.0, journal_file=str(path), journal_payload=True)
    async with Simulator(settings) as sim:
        for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"API\0\0\0\0\x09v157..226\xff\xff\xff\xffrest"):
            async with await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
                await stream.send(greeting)
                with anyio.fail_after(DEADLINE_S), suppress(anyio.EndOfStream):
                    while True:
                        await stream.receive()
    said = [bytes.fromhex(line.frame or "") for line in read_journal(path) if line.direction == "in"]
    assert said == [b"GET / HTTP/1.1\r\n\r\n", b"v157..226", b"\xff\xff\xff\xffrest"]
    assert [line.session for line in read_journal(path) if line.direction == "in"] == [1, 2, 2]


def test_a_journal_without_payloads_cannot_be_compared() -> None:
    line = JournalLine(time=1.0, direction="out", session=1, client=1, message_id=4)
    with pytest.raises(ValueError, match="journal_payload"):
        compare([line], [])
