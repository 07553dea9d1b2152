"""Owns the tests of the shipped scenarios: each does what its title says, to clients that are none of ours.

Must not test single actions; those are in test_actions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import ib_async
import pytest
from google.protobuf.message import DecodeError

from ibkr_actor.sim import ScriptError, Simulator, SimulatorSettings, scenario_titles
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.scenarios import load_scenario, scenario_names
from tests.sim.peers import DEADLINE_S, FIXED_START_S, Peer, connected, greet, official_client, stock

pytestmark = pytest.mark.anyio


def still(**changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {
        "clock_speed": 0.0, "start_time_s": FIXED_START_S, "ticks_per_s": 1.0, "initial_ticks": True,
    }  # fmt: skip
    return SimulatorSettings(**(values | changes))


async def subscribe(peer: Peer, first_req_id: int = 1) -> None:
    """A line of each kind on AAPL: req_ids 1 to 4."""
    await peer.ask("reqMktData", first_req_id, stock("AAPL"), "", False, False, [])
    await peer.ask("reqTickByTickData", first_req_id + 1, stock("AAPL"), "BidAsk", 0, False)
    await peer.ask("reqRealTimeBars", first_req_id + 2, stock("AAPL"), 5, "TRADES", False, [])
    await peer.ask("reqMktDepth", first_req_id + 3, stock("AAPL"), 3, False, [])
    await peer.settle()


def said(peer: Peer) -> list[tuple[int, int]]:
    """(req_id, code) of all errors, farm notices after the welcome included."""
    every = [(call[0], call[2]) for call in peer.recorder.named("error")]
    return every[8:]


async def pass_time(sim: Simulator, peer: Peer, seconds: float) -> int:
    """Advance in steps that let the peer read; the number of messages it got."""
    before = len(peer.payloads)
    for _ in range(int(seconds)):
        await sim.advance(1.0)
    await peer.settle()
    return len(peer.payloads) - before - 1


def test_every_scenario_has_a_line_that_says_what_it_is() -> None:
    titles = scenario_titles()
    assert len(titles) >= 30
    assert all(title and "\n" not in title for title in titles.values())
    assert len(set(titles.values())) == len(titles)


def test_a_scenario_that_is_not_there_is_told_with_the_one_meant() -> None:
    with pytest.raises(ScriptError, match="no scenario is called 'nightly-restrat'; did you mean 'nightly-restart'"):
        Simulator(SimulatorSettings(scenarios=("nightly-restrat",)))
    with pytest.raises(ScriptError, match="no scenario is called 'qqq'; there are bad-night, bust"):
        load_scenario("qqq")
    with pytest.raises(ScriptError, match=r"mine\.toml: No such file"):
        load_scenario("mine.toml")


@pytest.mark.parametrize("name", scenario_names())
async def test_a_scenario_does_all_its_steps_and_leaves_a_gateway_that_works(name: str) -> None:
    settings = SimulatorSettings(clock_speed=1000.0, ticks_per_s=0.2, enforce_message_rate=False, scenarios=(name,))
    async with Simulator(settings) as sim, anyio.create_task_group() as tasks:
        tasks.start_soon(_come_again, sim)
        await sim.wait_for(lambda: sim.scenario_done)
        tasks.cancel_scope.cancel()
        sim.act("mend")
        sim.cut()
        with anyio.CancelScope(shield=True), anyio.fail_after(DEADLINE_S):
            await sim.wait_for(lambda: sim.scenario_done and not sim.clients())
            async with connected(sim, client_id=99) as peer:
                await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
                await peer.read_until(lambda it: bool(it.named("tickPrice")))


async def _come_again(sim: Simulator) -> None:
    """A client that connects again and again and keeps asking, whatever it hears."""
    while True:
        try:
            async with await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
                await stream.send(b"API\0\0\0\0\x09v100..226")
                await stream.receive()
                peer = Peer(stream, 226)
                peer.requests.clientId = 1
                await peer.ask("startApi")
                for req_id in range(1, 8):
                    await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
                while True:
                    await stream.receive()
        except (OSError, anyio.EndOfStream, anyio.BrokenResourceError):
            await anyio.sleep(0.01)


async def test_farm_flap() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("farm-flap")
        assert await pass_time(sim, peer, 9) > 5
        await sim.advance(1.0)
        await peer.settle()
        assert await pass_time(sim, peer, 4) == 0
        assert await pass_time(sim, peer, 8) > 5
        await pass_time(sim, peer, 40)
        assert said(peer) == [(-1, 2103), (-1, 2104)] * 3
        assert sim.scenario_done


async def test_competing_session() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("competing-session")
        await sim.advance(10.0)
        await peer.settle()
        assert said(peer) == [(1, 10197)]
        assert await pass_time(sim, peer, 59) == 0
        assert await pass_time(sim, peer, 10) > 5
        assert said(peer) == [(1, 10197)]


async def test_pacing_jail() -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        sim.play_scenario("pacing-jail")
        await sim.advance(5.0)
        for number in range(3):
            await peer.ask("reqHistoricalData", number, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
            await peer.settle()
            await sim.advance(199.0)
        assert said(peer) == [(0, 162), (1, 162), (2, 162)]
        assert all("pacing violation" in call[3] for call in peer.recorder.named("error")[8:])
        assert not sim.scenario_done
        await sim.advance(3.0)
        assert sim.scenario_done


async def test_bust() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("bust")
        await pass_time(sim, peer, 10)
        assert said(peer) == [(1, 10225), (2, 10225), (3, 10225)]
        assert sim.line_count() == 1
        await peer.ask("reqMktData", 9, stock("MSFT"), "", False, False, [])
        await pass_time(sim, peer, 20)
        assert said(peer)[3:] == [(9, 10225)]


@pytest.mark.parametrize("name", ["zombie", "zombie-connection"])
async def test_zombies(name: str) -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario(name)
        await sim.advance(10.0)
        await peer.settle()
        assert await pass_time(sim, peer, 20) == 0
        await peer.ask("reqMktData", 9, stock("AAPL"), "", False, False, [])
        assert (await pass_time(sim, peer, 10) > 5) == (name == "zombie")
        async with connected(sim, client_id=2) as other:
            await other.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
            assert await pass_time(sim, other, 10) > 5
        assert said(peer) == []


async def test_depth_reset_and_halt() -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("depth-reset")
        await pass_time(sim, peer, 31)
        assert said(peer) == [(4, 317)] * 3
        rows = peer.recorder.named("updateMktDepth")
        assert len(rows) == 24
        assert [row[1:4] for row in rows] == [row[1:4] for row in rows[:6]] * 4
        sim.play_scenario("depth-halt")
        await pass_time(sim, peer, 10)
        assert said(peer)[3:] == [(4, 316)]
        assert sim.line_count() == 3


async def test_slow_socket() -> None:
    async with Simulator(still(ticks_per_s=20.0)) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("slow-socket")
        await sim.advance(10.0)
        received = sum(map(len, peer.payloads))
        await sim.advance(61.0)
        await peer.settle()
        assert sum(map(len, peer.payloads)) > received + 60 * 500


@pytest.mark.parametrize("name", ["garbage", "oversize-frame"])
async def test_a_stream_out_of_step_never_comes_back(name: str) -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim:
        stream, _ = await greet(sim)
        async with stream:
            peer = Peer(stream, 226)
            peer.requests.clientId = 1
            await peer.ask("startApi")
            await peer.settle()
            sim.play_scenario(name)
            await sim.advance(10.0)
            data = b""
            with anyio.fail_after(DEADLINE_S):
                while len(data) < 20:
                    data += await stream.receive()
            assert int.from_bytes(data[:4], "big") > 0xFFFFFF


@pytest.mark.parametrize("name", ["reset", "port-reset"])
async def test_the_official_client_is_hung_up_on(name: str) -> None:
    async with Simulator(SimulatorSettings(clock_speed=200.0, ticks_per_s=0.0)) as sim:

        def program() -> list[int]:
            with official_client(sim.port) as client:
                client.wait_for(lambda: any(call[2] == 2158 for call in client.named("error")))
                anyio.from_thread.run_sync(sim.play_scenario, name)
                client.wait_for_call("connectionClosed")
                return [call[2] for call in client.named("error")]

        codes = await anyio.to_thread.run_sync(program)
        assert (1300 in codes) == (name == "port-reset")


async def test_swallowed_frames_lose_six() -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.settle()
        sim.play_scenario("swallowed-frames")
        await sim.advance(10.0)
        for number in range(10):
            sim.emit("AAPL", m.TickGeneric(tick_type=49, value=float(number)))
        with pytest.raises(DecodeError):
            await peer.read_until(lambda it: len(it.named("tickGeneric")) > 9)
        frame, rest = divmod(len(peer.payloads[-1]) + 4, 7)
        assert (rest, peer.payloads[-1][frame - 4 : frame]) == (0, (frame - 4).to_bytes(4, "big"))


async def test_cut_mid_frame() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("cut-mid-frame")
        await sim.advance(12.0)
        assert await peer.read_to_end()
        await sim.wait_for(lambda: not sim.clients())


async def test_data_kept_and_data_lost() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("data-kept")
        await sim.advance(10.0)
        await peer.settle()
        assert await pass_time(sim, peer, 19) == 0
        assert await pass_time(sim, peer, 10) > 5
        sim.play_scenario("data-lost")
        await pass_time(sim, peer, 30)
        assert said(peer) == [(-1, 1100), (-1, 1102), (-1, 1100), (-1, 1101)]
        assert sim.line_count() == 0


async def test_login_required_and_client_id_in_use() -> None:
    async with Simulator(still()) as sim:
        sim.play_scenario("login-required")
        stream = await anyio.connect_tcp("127.0.0.1", sim.port)
        async with stream:
            await stream.send(b"API\0\0\0\0\x09v100..226")
            await sim.advance(59.0)
            with anyio.move_on_after(0.05):
                pytest.fail(f"answered {await stream.receive()!r}")
            await sim.advance(1.0)
            assert b"226\0" in await stream.receive()
        sim.play_scenario("client-id-in-use")
        stream, _ = await greet(sim)
        async with stream:
            peer = Peer(stream, 226)
            peer.requests.clientId = 1
            await peer.ask("startApi")
            await peer.read_to_end()
            assert [call[2] for call in peer.recorder.named("error")] == [326]


async def test_history_outage_and_no_definitions() -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        sim.play_scenario("history-outage")
        sim.play_scenario("no-definitions")
        await peer.ask("reqContractDetails", 1, stock("AAPL"))
        await peer.settle()
        await sim.advance(10.0)
        await peer.ask("reqHistoricalData", 2, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
        await peer.settle()
        assert said(peer)[-1] == (2, 162)
        assert peer.recorder.named("contractDetails") == []
        assert {code for _, code in said(peer)} == {2105, 2157, 162}


async def test_permission_lost_and_unanswered() -> None:
    async with Simulator(still(ticks_per_s=0.0)) as sim, connected(sim) as peer:
        await subscribe(peer)
        sim.play_scenario("permission-lost")
        await sim.advance(10.0)
        await peer.ask("reqMktData", 9, stock("AAPL"), "", False, False, [])
        await peer.settle()
        assert said(peer) == [(1, 354), (9, 354)]
        assert sim.line_count() == 3
        await sim.advance(120.0)
        sim.play_scenario("unanswered")
        for req_id in range(11, 18):
            await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
        await peer.settle()
        heard = {call[0] for call in peer.recorder.named("marketDataType") if call[0] > 10}
        assert heard == {11, 12, 14, 15, 17}


async def test_nightly_restart_as_ib_async_lives_it() -> None:
    async with Simulator(still(server_version=178)) as sim:
        sim.play_scenario("nightly-restart")
        ib = ib_async.IB()
        codes: list[int] = []
        ib.errorEvent += lambda _req_id, code, *_: codes.append(code)
        await ib.connectAsync("127.0.0.1", sim.port, clientId=1)
        gone = anyio.Event()
        ib.disconnectedEvent += gone.set
        await sim.advance(12.0)
        assert not gone.is_set()
        await sim.advance(3.0)
        with anyio.fail_after(DEADLINE_S):
            await gone.wait()
        assert [code for code in codes if code not in (2104, 2106, 2158)] == [1100, 2103, 2105]
        await sim.advance(29.0)
        with pytest.raises(OSError, match=r"refused|Connect"):
            await ib.connectAsync("127.0.0.1", sim.port, clientId=1, timeout=DEADLINE_S)
        await sim.advance(1.0)
        with pytest.raises((TimeoutError, ConnectionError)):
            await ib.connectAsync("127.0.0.1", sim.port, clientId=1, timeout=3)
        assert codes[-1] == 326
        await sim.advance(10.0)
        codes.clear()
        await ib.connectAsync("127.0.0.1", sim.port, clientId=1)
        await sim.advance(1.0)
        with anyio.fail_after(DEADLINE_S):
            while 2119 not in codes or codes.index(2119) == len(codes) - 1:
                await ib.errorEvent
        assert codes[codes.index(2119) + 1 :] == [2104]
        assert sim.scenario_done
        ib.disconnect()


async def test_a_scenario_may_stand_in_the_settings_by_name_or_path(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[[step]]\ndo = "send_notice"\ncode = 2110\ntext = "x"\n')
    async with Simulator(still(scenarios=("data-kept", str(mine)))) as sim, connected(sim) as peer:
        await pass_time(sim, peer, 40)
        assert said(peer) == [(-1, 2110), (-1, 1100), (-1, 1102)]
