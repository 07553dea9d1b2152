"""Owns the tests of the simulator's two faces: the one the CLI runs, and the one for programs without a loop.

Must not repeat what the async API's tests show.
"""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest

from ibkr_actor.sim import Simulator, SimulatorSettings, run_simulator, simulator
from ibkr_actor.sim import messages as m
from tests.sim.peers import DEADLINE_S, FIXED_START_S, connected, official_client, stock


@pytest.mark.anyio
async def test_run_says_where_it_listens_and_what_it_replays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"time": "2022-01-07T05:58:09+00:00", "tick_type": 0, "price": 1.0, "size": 5.0}\n')
    settings = SimulatorSettings(replay_file=str(rows), server_version=213)
    running: list[Simulator] = []
    caplog.set_level(logging.INFO, logger="ibkr_actor.sim")
    started = anyio.Event()

    def note(sim: Simulator) -> None:
        running.append(sim)
        started.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: run_simulator(settings, started=note))
        with anyio.fail_after(DEADLINE_S):
            await started.wait()
        async with connected(running[0]) as peer:
            assert peer.server_version == 213
        tasks.cancel_scope.cancel()
    assert f"simulator_listening host=127.0.0.1 port={running[0].port} server_version=213" in caplog.messages
    assert f"simulator_replays file={rows} instrument=700.STK.SEHK.HKD" in caplog.messages


@pytest.mark.anyio
async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with Simulator():
            raise ZeroDivisionError


def test_every_fault_can_be_had_from_another_thread() -> None:
    settings = SimulatorSettings(clock_speed=0.0, start_time_s=FIXED_START_S)
    with simulator(settings) as sim, official_client(sim.port) as client:
        client.reqRealTimeBars(1, stock("AAPL"), 5, "MIDPOINT", False, [])
        sim.wait_for(lambda it: it.line_count() == 1)
        sim.advance(5.0)
        client.wait_for_call("realtimeBar")
        assert sim.emit("AAPL", m.RealTimeBar(time=9, open=1, high=1, low=1, close=1, volume=1, wap=1, count=1)) == 1
        client.wait_for(lambda: client.named("realtimeBar")[-1][1] == 9)
        sim.stall()
        client.reqCurrentTime()
        assert client.named("currentTime") == []
        sim.resume()
        client.wait_for_call("currentTime")
        sim.refuse_connections(True)
        sim.refuse_connections(False)
        sim.send_raw(_frame_of_unknown_id())
        client.wait_for(lambda: any(call[2] == 505 for call in client.named("error")))
        sim.cut_after(0)
        client.wait_for_call("connectionClosed")
        with official_client(sim.port, client_id=2) as second:
            sim.cut(reset=True)
            second.wait_for_call("connectionClosed")


def _frame_of_unknown_id() -> bytes:
    """A protobuf frame whose message id no client knows."""
    return b"\0\0\0\x04" + (399).to_bytes(4, "big")
