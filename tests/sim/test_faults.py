"""Owns the tests of what a test can do to its clients: say anything, cut, stall, refuse, and be too much for them.

Must not test the market.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anyio
import pytest

from ibkr_actor.sim import Simulator, SimulatorSettings
from ibkr_actor.sim import messages as m
from tests.sim.peers import FIXED_START_S, VERSIONS, Peer, connected, greet, plain, stock

pytestmark = pytest.mark.anyio


def _still(version: int = 226, **changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {
        "clock_speed": 0.0, "start_time_s": FIXED_START_S, "ticks_per_s": 0.0, "server_version": version,
        "initial_ticks": False,
    }  # fmt: skip
    return SimulatorSettings(**(values | changes))


async def _all_lines(peer: Peer) -> None:
    await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
    await peer.ask("reqTickByTickData", 2, stock("AAPL"), "BidAsk", 0, False)
    await peer.ask("reqRealTimeBars", 3, stock("AAPL"), 5, "TRADES", False, [])
    await peer.ask("reqMktDepth", 4, stock("AAPL"), 5, False, [])
    await peer.ask("reqMktData", 5, stock("MSFT"), "", False, False, [])
    await peer.settle()


@pytest.mark.parametrize("version", VERSIONS)
async def test_emitted_messages_reach_the_lines_of_their_kind_and_no_other(version: int) -> None:
    async with Simulator(_still(version)) as sim, connected(sim) as peer:
        await _all_lines(peer)
        before = len(peer.recorder.calls)
        assert sim.emit("AAPL", m.TickGeneric(tick_type=46, value=2.5)) == 1
        assert sim.emit(265598, m.TickOptionComputation(tick_type=13, implied_vol=0.2)) == 1
        assert sim.emit("AAPL", m.TickByTickBidAsk(time=5, bid_price=1, ask_price=2, bid_size=3, ask_size=4)) == 1
        assert sim.emit("AAPL", m.TickByTickLast(tick_type=1, time=5, price=1.0, size=1)) == 0
        bar = m.RealTimeBar(time=5, open=1.0, high=1.0, low=1.0, close=1.0, volume="9", wap="1", count=1)
        assert sim.emit("AAPL.STK.SMART.USD", bar) == 1
        assert sim.emit("AAPL", m.MarketDepth(position=0, operation=2, side=1, price=0.0, size=0)) == 1
        assert sim.emit("NVDA", m.TickSize(tick_type=0, size=1)) == 0
        await peer.settle()
        got = [(name, *map(plain, rest)) for name, *rest in peer.recorder.calls[before:-1]]
        assert got == [
            ("tickGeneric", 1, 46, 2.5),
            ("tickOptionComputation", 1, 13, 0, 0.2, None, None, None, None, None, None, None),
            (
                "tickByTickBidAsk", 2, 5, 1.0, 2.0, Decimal(3), Decimal(4),
                {"bidPastLow": False, "askPastHigh": False},
            ),
            ("realtimeBar", 3, 5, 1.0, 1.0, 1.0, 1.0, Decimal(9), Decimal(1), 1),
            ("updateMktDepth", 4, 0, 2, 1, 0.0, Decimal(0)),
        ]  # fmt: skip


async def test_an_emitted_message_for_an_unknown_instrument_is_a_key_error() -> None:
    async with Simulator(_still()) as sim:
        with pytest.raises(KeyError):
            sim.emit("NOSUCH", m.TickSize(tick_type=0, size=1))


@pytest.mark.parametrize("version", [165, 178, 200, 226])
async def test_notices_go_to_everyone_with_id_minus_one(version: int) -> None:
    async with (
        Simulator(_still(version)) as sim,
        connected(sim) as first,
        connected(sim, client_id=2) as second,
    ):
        sim.send_notice(1100, "Connectivity between IB and Trader Workstation has been lost.")
        sim.send_notice(1102, "restored", client_id=2)
        for peer, codes in ((first, [1100]), (second, [1100, 1102])):
            await peer.settle()
            assert peer.errors() == [(-1, code) for code in codes]


async def test_injected_errors_answer_the_next_requests_or_strike_open_lines() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        sim.refuse(354, "not subscribed", instrument="AAPL", times=2)
        sim.refuse(322, "Error processing request", req_id=9)
        for req_id in (1, 2, 3):
            await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
        await peer.ask("reqMktData", 9, stock("MSFT"), "", False, False, [])
        await peer.ask("reqMktData", 9, stock("MSFT"), "", False, False, [])
        await peer.settle()
        assert peer.errors() == [(1, 354), (2, 354), (9, 322)]
        assert sim.send_error("AAPL", 10197, "competing live session") == 1
        await peer.settle()
        assert peer.errors()[3:] == [(3, 10197)]
        assert (sim.line_count("AAPL"), sim.line_count("MSFT")) == (1, 1)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_ends_every_connection_and_frees_the_lines(reset: bool) -> None:
    async with Simulator(_still()) as sim, connected(sim) as first, connected(sim, client_id=2) as second:
        await _all_lines(first)
        sim.cut(reset=reset)
        for peer in (first, second):
            await peer.read_to_end()
        await sim.wait_for(lambda: sim.clients() == [])
        assert sim.line_count() == 0
        async with connected(sim) as again:
            await again.settle()


async def test_one_client_can_be_cut_alone() -> None:
    async with Simulator(_still()) as sim, connected(sim) as first, connected(sim, client_id=2) as second:
        sim.cut(client_id=1)
        await first.read_to_end()
        await second.settle()
        assert sim.clients() == [2]
        with pytest.raises(KeyError):
            sim.cut(client_id=1)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 17])
async def test_a_connection_can_be_cut_in_the_middle_of_a_frame(count: int) -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.settle()
        before = len(peer.payloads)
        sim.cut_after(count)
        sim.emit("AAPL", m.TickString(tick_type=48, value="227.5;100;1700000000000;1;227.5;true"))
        assert len(await peer.read_to_end()) == count
        assert len(peer.payloads) == before
        await sim.wait_for(lambda: sim.clients() == [])


async def test_a_stalled_simulator_keeps_the_socket_and_answers_nothing_until_it_resumes() -> None:
    settings = SimulatorSettings(ticks_per_s=200.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
        await peer.read_until(lambda it: it.named("tickPrice"))
        sim.stall()
        with anyio.move_on_after(0.2):
            await peer.read_to_end()
        quiet = len(peer.payloads)
        await peer.ask("reqCurrentTime")
        with anyio.move_on_after(0.1):
            await peer.read_to_end()
        assert len(peer.payloads) == quiet
        assert peer.recorder.named("currentTime") == []
        sim.resume()
        await peer.read_until(lambda it: it.named("currentTime"))


async def test_connections_can_be_refused_and_taken_again_on_the_same_port() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        port = sim.port
        await sim.refuse_connections(True)
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", port)
        await peer.settle()
        await sim.refuse_connections(True)
        await sim.refuse_connections(False)
        assert sim.port == port
        async with connected(sim, client_id=2):
            assert sim.clients() == [1, 2]


async def test_raw_bytes_go_out_as_they_are() -> None:
    async with Simulator(_still()) as sim:
        stream, _ = await greet(sim)
        async with stream:
            peer = Peer(stream, 226)
            peer.requests.clientId = 1
            await peer.ask("startApi")
            await peer.read_until(lambda it: any(call[2] == 2158 for call in it.named("error")))
            sim.send_raw(b"\x7f\xff\xff\xffgarbage")
            assert await stream.receive() == b"\x7f\xff\xff\xffgarbage"


async def test_a_client_that_does_not_read_is_closed_and_others_do_not_wait_for_it() -> None:
    settings = _still(outbound_limit_bytes=200_000)
    async with Simulator(settings) as sim, connected(sim), connected(sim, client_id=2) as reader:
        text = "x" * 50_000
        for _ in range(400):
            sim.send_notice(2100, text, client_id=1)
            await anyio.lowlevel.checkpoint()
            if sim.slow_clients_closed:
                break
        await reader.settle()
        assert sim.slow_clients_closed == 1
        await sim.wait_for(lambda: sim.clients() == [2])


async def test_a_message_can_be_sent_exactly_as_it_is() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        sim.send(m.TickSize(req_id=4711, tick_type=0, size=None))
        await peer.settle()
        assert peer.recorder.named("tickSize") == [(4711, 0, Decimal(2**127 - 1))]


async def test_waiting_for_what_never_comes_times_out() -> None:
    async with Simulator(_still()) as sim:
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            await sim.wait_for(lambda: False, timeout_s=0.01)


async def test_the_clock_cannot_be_moved_unless_it_stands() -> None:
    async with Simulator(SimulatorSettings()) as sim:
        with pytest.raises(ValueError, match="clock_speed=0"):
            await sim.advance(1.0)


async def test_a_port_in_use_is_an_error_of_the_start() -> None:
    async with Simulator(_still()) as sim:
        with pytest.raises(OSError, match="in use"):
            async with Simulator(_still(port=sim.port)):
                pass


async def test_more_clients_than_a_gateway_takes_are_hung_up_on() -> None:
    async with Simulator(_still(clients_max=1)) as sim, connected(sim):
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            async with connected(sim, client_id=2):
                pytest.fail("welcomed")
        assert sim.clients() == [1]


async def test_an_injected_error_can_last() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        sim.refuse(354, "not subscribed", instrument="AAPL", times=None)
        for req_id in (1, 2, 3):
            await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
        await peer.ask("reqContractDetails", 4, stock("AAPL"))
        await peer.settle()
        assert peer.errors() == [(1, 354), (2, 354), (3, 354), (4, 354)]
        with pytest.raises(ValueError, match="either"):
            sim.refuse(354, "not subscribed")
