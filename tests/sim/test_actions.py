"""Owns the tests of each action: what a client that is none of ours sees of it on the wire, and when it is over.

Must not test when scripts do them.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import anyio
import ib_async
import pytest

from ibkr_actor.sim import ActionError, Simulator, SimulatorSettings
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.market.instruments import ContractSpec
from tests.sim.peers import DEADLINE_S, FIXED_START_S, Peer, connected, greet, official_client, stock

pytestmark = pytest.mark.anyio


def still(version: int = 226, **changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {
        "clock_speed": 0.0, "start_time_s": FIXED_START_S, "ticks_per_s": 0.0, "server_version": version,
        "initial_ticks": False,
    }  # fmt: skip
    return SimulatorSettings(**(values | changes))


def bid(price: float) -> m.TickPrice:
    return m.TickPrice(tick_type=1, price=price, size=100, attrib_mask=0)


def mid(price: float) -> m.TickByTickMidPoint:
    return m.TickByTickMidPoint(time=1, mid_point=price)


async def watch(peer: Peer, req_id: int, symbol: str) -> None:
    await peer.ask("reqMktData", req_id, stock(symbol), "", False, False, [])
    await peer.settle()


async def prices(peer: Peer) -> list[tuple[int, float]]:
    """(req_id, price) of every bid so far."""
    await peer.settle()
    return [(call[0], call[2]) for call in peer.recorder.named("tickPrice") if call[1] == 1]


async def errors(peer: Peer) -> list[tuple[int, int]]:
    await peer.settle()
    return peer.errors()


def test_an_action_that_does_not_exist_or_fit_is_refused() -> None:
    sim = Simulator(still())
    for name, arguments, complaint in (
        ("zombi", {}, "no action 'zombi'; did you mean 'zombie'?"),
        ("zombie", {"instrumnt": "AAPL"}, "no key 'instrumnt'; did you mean 'instrument'?"),
        ("stall", {"for_s": "long"}, "for: must be a number, is text in quotes"),
        ("cut_after", {"count": -1}, "count must be 0 or more"),
    ):
        with pytest.raises(ActionError) as told:
            sim.act(name, **arguments)
        assert complaint in str(told.value)
    with pytest.raises(KeyError, match=r"^there is no instrument 'NOSUCH'$"):
        sim.act("zombie", instrument="NOSUCH")
    assert sim.actions_done == {}


async def test_a_symbol_means_every_instrument_of_it_and_a_key_only_one() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        near, far = sim.world.catalogue.match(ContractSpec(symbol="ES", sec_type="FUT"), 2)
        for req_id, each in ((1, near), (2, far)):
            contract = stock("", exchange="CME")
            contract.conId, contract.secType = each.con_id, "FUT"
            await peer.ask("reqMktData", req_id, contract, "", False, False, [])
        await peer.settle()
        assert (sim.line_count("ES"), sim.line_count(near.key), sim.line_count("NQ")) == (2, 1, 0)
        sim.act("send_error", code=2100, text="both", instrument="ES")
        sim.act("send_error", code=2101, text="one", instrument=far.key)
        sim.refuse(354, "Requested market data is not subscribed.", instrument="ES")
        assert sim.send_error("ES", 2102, "both") == 2
        await peer.ask("reqMktData", 3, contract, "", False, False, [])
        assert await errors(peer) == [(1, 2100), (2, 2100), (2, 2101), (1, 2102), (2, 2102), (3, 354)]
        contract.conId = near.con_id
        await peer.ask("reqMktData", 4, contract, "", False, False, [])
        await peer.settle()
        assert sim.line_count("ES") == 3


# Lines


async def test_a_zombie_is_silent_until_it_is_subscribed_again_while_requests_are_answered() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        await watch(peer, 2, "MSFT")
        sim.act("zombie", instrument="AAPL", for_s=60)
        sim.emit("AAPL", bid(1.0))
        sim.emit("MSFT", bid(2.0))
        assert await prices(peer) == [(2, 2.0)]
        await watch(peer, 3, "AAPL")
        sim.emit("AAPL", bid(3.0))
        assert await prices(peer) == [(2, 2.0), (3, 3.0)]
        await sim.advance(60.0)
        sim.emit("AAPL", bid(4.0))
        assert await prices(peer) == [(2, 2.0), (3, 3.0), (1, 4.0), (3, 4.0)]
        assert await errors(peer) == []


async def test_a_zombie_may_be_cured_by_a_new_connection_only_or_by_nothing() -> None:
    async with Simulator(still()) as sim:
        async with connected(sim) as peer:
            sim.act("zombie", cure="reconnect")
            await watch(peer, 1, "AAPL")
            sim.emit("AAPL", bid(1.0))
            assert await prices(peer) == []
        async with connected(sim, client_id=2) as peer:
            await watch(peer, 1, "AAPL")
            sim.emit("AAPL", bid(2.0))
            assert await prices(peer) == [(1, 2.0)]
            sim.act("zombie", cure="none")
            await watch(peer, 2, "AAPL")
            sim.emit("AAPL", bid(3.0))
            assert await prices(peer) == [(1, 2.0)]
            sim.act("mend")
            sim.emit("AAPL", bid(4.0))
            assert await prices(peer) == [(1, 2.0), (1, 4.0), (2, 4.0)]


async def test_a_competing_session_says_10197_on_old_and_new_lines_and_then_gives_the_data_back() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("competing_session", for_s=60)
        assert await errors(peer) == [(1, 10197)]
        await watch(peer, 2, "MSFT")
        assert await errors(peer) == [(1, 10197), (2, 10197)]
        for price in (1.0, 2.0):
            sim.emit("AAPL", bid(price))
            sim.emit("MSFT", bid(price + 10))
        assert await prices(peer) == []
        assert peer.recorder.named("marketDataType") == [(1, 1)]
        await sim.advance(59.9)
        assert await prices(peer) == []
        await sim.advance(0.1)
        # Where each line is now, not all that it missed; the line opened meanwhile begins.
        assert sorted(await prices(peer)) == [(1, 2.0), (2, 12.0)]
        assert peer.recorder.named("marketDataType") == [(1, 1), (2, 1)]
        assert (await errors(peer))[2:] == []
        assert sim.line_count() == 2


async def test_a_competing_session_refuses_what_is_no_level_1_with_codes_of_its_own() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.act("competing_session", for_s=60)
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), "BidAsk", 0, False)
        await peer.ask("reqRealTimeBars", 2, stock("AAPL"), 5, "TRADES", False, [])
        await peer.ask("reqHistoricalData", 3, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
        assert await errors(peer) == [(1, 10189), (2, 420), (3, 162)]
        await sim.advance(60.0)
        await peer.ask("reqTickByTickData", 4, stock("AAPL"), "BidAsk", 0, False)
        assert len(await errors(peer)) == 3


async def test_a_line_cancelled_during_a_silence_says_nothing_after_it() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("competing_session", for_s=60)
        sim.emit("AAPL", bid(1.0))
        await peer.ask("cancelMktData", 1)
        await peer.settle()
        await sim.advance(60.0)
        assert await prices(peer) == []


async def test_a_bust_ends_streaming_lines_and_not_books() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        await peer.ask("reqTickByTickData", 2, stock("AAPL"), "MidPoint", 0, False)
        await peer.ask("reqMktDepth", 3, stock("AAPL"), 5, False, [])
        await watch(peer, 4, "MSFT")
        sim.act("bust", instrument="AAPL")
        assert await errors(peer) == [(1, 10225), (2, 10225)]
        assert (sim.emit("AAPL", bid(1.0)), sim.emit("AAPL", mid(1.0)), sim.emit("MSFT", bid(1.0))) == (0, 0, 1)
        await peer.ask("cancelMktData", 1)
        assert (await errors(peer))[2:] == [(1, 300)]
        await watch(peer, 1, "AAPL")
        assert sim.emit("AAPL", bid(2.0)) == 1


async def test_a_halted_book_is_dead_and_a_reset_one_is_inserted_anew() -> None:
    settings = still(initial_ticks=True)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await peer.ask("reqMktDepth", 1, stock("AAPL"), 3, False, [])
        await peer.settle()
        first = peer.recorder.named("updateMktDepth")
        assert [row[2] for row in first] == [0] * 6
        sim.act("depth_reset")
        assert await errors(peer) == [(1, 317)]
        assert peer.recorder.named("updateMktDepth") == first * 2
        names = [call[0] for call in peer.recorder.calls if call[0] in ("error", "updateMktDepth")]
        assert names[-7:] == ["error"] + ["updateMktDepth"] * 6
        sim.act("depth_halt")
        assert await errors(peer) == [(1, 317), (1, 316)]
        assert sim.line_count() == 0


@pytest.mark.parametrize(
    ("farm", "codes", "silent"), [("market_data", (2103, 2104), True), ("history", (2105, 2106), False)]
)
async def test_a_broken_farm_says_so_and_says_when_it_is_well(farm: str, codes: tuple[int, int], silent: bool) -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        before = len(peer.recorder.named("error"))
        sim.act("farm_broken", farm=farm, name="usfarm.nj", for_s=10)
        sim.emit("AAPL", bid(1.0))
        sim.emit("AAPL", bid(2.0))
        assert await prices(peer) == ([] if silent else [(1, 1.0), (1, 2.0)])
        await sim.advance(10.0)
        assert (await prices(peer))[-1] == (1, 2.0)
        said = [(call[0], call[2], call[3].endswith(":usfarm.nj")) for call in peer.recorder.named("error")[before:]]
        assert said == [(-1, codes[0], True), (-1, codes[1], True)]


async def test_a_broken_farm_silences_only_its_instrument() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        await watch(peer, 2, "MSFT")
        sim.act("farm_broken", instrument="MSFT")
        sim.emit("AAPL", bid(1.0))
        sim.emit("MSFT", bid(1.0))
        assert await prices(peer) == [(1, 1.0)]


async def test_broken_farms_of_history_and_definitions_fail_their_requests() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.act("farm_broken", farm="history", for_s=10)
        sim.act("farm_broken", farm="definitions", for_s=20)
        await peer.ask("reqHistoricalData", 1, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
        await peer.ask("reqHeadTimeStamp", 2, stock("AAPL"), "TRADES", 1, 1)
        await peer.ask("reqContractDetails", 3, stock("AAPL"))
        await peer.ask("reqMatchingSymbols", 4, "AAPL")
        said = [error for error in await errors(peer) if error[0] > 0]
        assert said == [(1, 162), (2, 162)]
        assert (peer.recorder.named("contractDetails"), peer.recorder.named("symbolSamples")) == ([], [])
        await sim.advance(20.0)
        await peer.ask("reqContractDetails", 5, stock("AAPL"))
        await peer.read_until(lambda it: bool(it.named("contractDetailsEnd")))
        assert [call[0] for call in peer.recorder.named("contractDetails")] == [5]


async def test_a_lost_connection_comes_back_with_its_lines_or_without() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("connection_lost", for_s=20)
        sim.emit("AAPL", bid(1.0))
        assert await prices(peer) == []
        await sim.advance(20.0)
        assert await prices(peer) == [(1, 1.0)]
        sim.act("connection_lost", data="lost", for_s=20)
        sim.emit("AAPL", bid(2.0))
        await sim.advance(20.0)
        assert await prices(peer) == [(1, 1.0)]
        assert await errors(peer) == [(-1, 1100), (-1, 1102), (-1, 1100), (-1, 1101)]
        assert sim.line_count() == 0


async def test_errors_can_be_said_on_lines_of_a_kind_which_then_stay_or_end() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        await peer.ask("reqMktDepth", 2, stock("AAPL"), 5, False, [])
        await peer.settle()
        sim.act("send_error", code=2152, text="x", kind="depth")
        assert (await errors(peer), sim.line_count()) == ([(2, 2152)], 2)
        sim.act("end_lines", code=354, text="x", kind="market_data")
        assert (await errors(peer), sim.line_count()) == ([(2, 2152), (1, 354)], 1)
        sim.act("end_lines")
        assert (await errors(peer), sim.line_count()) == ([(2, 2152), (1, 354)], 0)


async def test_ticks_can_be_said_by_name() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("emit", instrument="AAPL", tick_type=1, price=9.5, size=3)
        sim.act("emit", instrument="AAPL", tick_type=0, size="4.5")
        sim.act("emit", instrument="AAPL", tick_type=49, value=1)
        sim.act("emit", instrument="AAPL", tick_type=32, value="Q")
        await peer.settle()
        assert await prices(peer) == [(1, 9.5)]
        # The second is made by the client itself out of the price.
        assert [str(call[2]) for call in peer.recorder.named("tickSize")] == ["3", "4.5"]
        assert peer.recorder.named("tickGeneric") == [(1, 49, 1.0)]
        assert peer.recorder.named("tickString") == [(1, 32, "Q")]
        with pytest.raises(ActionError, match="price, size or both"):
            sim.act("emit", instrument="AAPL", tick_type=1)


# Requests


async def test_requests_are_refused_by_name_and_number_until_the_time_is_over() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.act("refuse", code=162, text="jail", message="REQ_HISTORICAL_DATA", for_s=600)
        sim.act("refuse", code=354, text="no", instrument="AAPL", message=[1, "REQ_MKT_DEPTH"], count=2)
        await peer.ask("reqMktData", 1, stock("MSFT"), "", False, False, [])
        for req_id in (2, 3, 4):
            await peer.ask("reqMktData", req_id, stock("AAPL"), "", False, False, [])
        assert await errors(peer) == [(2, 354), (3, 354)]
        await peer.ask("reqHistoricalData", 5, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
        assert (await errors(peer))[2:] == [(5, 162)]
        assert peer.recorder.named("error")[-1][3] == "jail"
        await sim.advance(600.0)
        sim.act("refuse", code=321, text="other", message="REQ_HISTORICAL_DATA", count=1)
        await peer.ask("reqHistoricalData", 6, stock("AAPL"), "", "1 D", "1 min", "TRADES", 1, 1, False, [])
        assert (await errors(peer))[3:] == [(6, 321)]


async def test_requests_are_ignored_and_cancels_are_not() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("ignore", for_s=5)
        await peer.ask("reqMktData", 2, stock("MSFT"), "", False, False, [])
        await peer.ask("reqCurrentTime")
        await peer.ask("cancelMktData", 1)
        await sim.wait_for(lambda: sim.line_count() == 0)
        await sim.advance(5.0)
        await peer.settle()
        assert len(peer.recorder.named("currentTime")) == 2
        assert peer.errors() == []


# Frames and sockets


async def frame_peer(sim: Simulator) -> Peer:
    """A peer whose bytes are read by hand: it is welcomed, and has one line."""
    stream, reply = await greet(sim)
    peer = Peer(stream, int(reply.split(b"\0")[0]))
    peer.requests.clientId = 1
    await peer.ask("startApi")
    await peer.ask("reqMktData", 1, stock("AAPL"), "", False, False, [])
    await peer.settle()
    return peer


async def read_exactly(stream: Any, count: int) -> bytes:
    data = b""
    with anyio.fail_after(DEADLINE_S):
        while len(data) < count:
            data += await stream.receive(count - len(data))
    return data


async def test_a_frame_comes_twice() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("duplicate_frames", count=2)
        for price in (1.0, 2.0, 3.0):
            sim.emit("AAPL", bid(price))
        assert await prices(peer) == [(1, 1.0), (1, 1.0), (1, 2.0), (1, 2.0), (1, 3.0)]


async def test_a_length_takes_in_the_frames_that_follow() -> None:
    async with Simulator(still()) as sim:
        peer = await frame_peer(sim)
        async with peer.stream:
            sim.act("swallow_frames", count=6)
            for number in range(1, 9):
                sim.emit("AAPL", bid(float(number)))
            first = await read_exactly(peer.stream, 4)
            length = int.from_bytes(first, "big")
            whole = await read_exactly(peer.stream, length)
            eighth = await read_exactly(peer.stream, 4)
            alone = int.from_bytes(eighth, "big")
            assert length == 7 * (alone + 4) - 4
            assert whole[alone : alone + 4] == eighth


async def test_a_garbled_frame_keeps_its_length() -> None:
    async with Simulator(still()) as sim:
        peer = await frame_peer(sim)
        async with peer.stream:
            sim.act("garble_frames", count=1, seed=5)
            sim.emit("AAPL", bid(1.0))
            sim.emit("AAPL", bid(1.0))
            length = int.from_bytes(await read_exactly(peer.stream, 4), "big")
            garbled = await read_exactly(peer.stream, length)
            assert int.from_bytes(await read_exactly(peer.stream, 4), "big") == length
            assert await read_exactly(peer.stream, length) != garbled


async def test_raw_bytes_garbage_and_oversize_frames_are_written_as_they_are() -> None:
    async with Simulator(still()) as sim:
        peer = await frame_peer(sim)
        async with peer.stream:
            sim.act("send_raw", hex="00ff 10")
            assert await read_exactly(peer.stream, 3) == b"\x00\xff\x10"
            sim.act("oversize_frame")
            assert (await read_exactly(peer.stream, 20))[:4] == b"\x01\x00\x00\x00"
            sim.act("garbage", bytes=50, seed=1)
            first = await read_exactly(peer.stream, 50)
            sim.act("garbage", bytes=50, seed=1)
            assert await read_exactly(peer.stream, 50) == first
            assert len(set(first)) > 20


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
async def test_a_connection_ends_within_its_next_frame(share: float) -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.emit("AAPL", bid(1.0))
        sim.act("cut_mid_frame", share=share)
        sim.emit("AAPL", m.TickString(tick_type=48, value="x" * 996))
        rest = await peer.read_to_end()
        assert 0 < len(rest) < 1010
        assert abs(len(rest) - 1010 * share) < 15
        assert len([call for call in peer.recorder.named("tickPrice") if call[1] == 1]) == 1
        await sim.wait_for(lambda: sim.clients() == [])


async def test_connections_are_cut_by_name_at_once_or_after_some_bytes() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer, connected(sim, client_id=2) as other:
        sim.act("cut", client=1, reset=True)
        assert await peer.read_to_end() == b""
        await other.settle()
        sim.act("cut_after", count=3)
        sim.act("send_notice", code=2100, text="x")
        assert len(await other.read_to_end()) == 3


async def test_a_slow_socket_carries_so_many_bytes_a_second_of_simulated_time() -> None:
    async with Simulator(still()) as sim:
        peer = await frame_peer(sim)
        async with peer.stream:
            sim.act("slow_socket", bytes_per_s=100, for_s=30)
            sim.act("send_raw", hex="ab" * 5000)
            await sim.advance(2.0)
            await read_exactly(peer.stream, 200)
            await sim.advance(0.5)
            await read_exactly(peer.stream, 50)
            with anyio.move_on_after(0.05):
                pytest.fail(f"too fast: {await peer.stream.receive()!r}")
            await sim.advance(27.5)
            assert await read_exactly(peer.stream, 4750) == b"\xab" * 4750


async def test_a_stall_is_over_by_the_clock_that_ran_on() -> None:
    settings = still(clock_speed=50.0)
    async with Simulator(settings) as sim, connected(sim) as peer:
        sim.act("stall", for_s=10)
        await peer.ask("reqCurrentTime")
        await peer.read_until(lambda it: bool(it.named("currentTime")))
        assert peer.recorder.named("currentTime")[0][0] >= FIXED_START_S + 10


async def test_a_stall_on_a_standing_clock_holds_up_the_market_and_not_the_script() -> None:
    async with Simulator(still(ticks_per_s=4.0)) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        sim.act("stall", for_s=10)
        await sim.advance(9.0)
        assert not sim.world.gate.is_open
        await sim.advance(1.0)
        await peer.settle()
        before = len(peer.payloads)
        await sim.advance(5.0)
        await peer.settle()
        assert len(peer.payloads) > before + 5


# The gateway


async def test_a_gateway_that_is_down_hangs_up_and_refuses_until_its_time_is_over() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        port = sim.port
        sim.act("gateway_down", for_s=30)
        await peer.read_to_end()
        await sim.wait_for(lambda: not sim.clients())
        await sim.advance(29.9)
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", port)
        await sim.advance(0.1)
        assert sim.port == port
        async with connected(sim) as again:
            await again.settle()


async def test_connections_are_refused_while_those_there_are_stay() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        sim.act("refuse_connections", for_s=5)
        await sim.advance(1.0)
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", sim.port)
        await peer.settle()
        sim.act("mend")
        await sim.advance(0.0)
        async with connected(sim, client_id=2):
            pass


async def test_a_gateway_moves_to_another_port_and_says_which() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        before = sim.port
        sim.act("move_port")
        await peer.read_to_end()
        assert peer.errors() == [(-1, 1300)]
        assert peer.recorder.named("error")[-1][3].endswith(f" - {sim.port}")
        assert sim.port != before
        with pytest.raises(OSError, match="connect"):
            await anyio.connect_tcp("127.0.0.1", before)
        async with connected(sim):
            pass


async def test_a_client_id_counts_as_in_use_for_a_while() -> None:
    async with Simulator(still()) as sim:
        sim.act("client_id_in_use", client=1, for_s=30)
        async with connected(sim, client_id=2):
            stream, reply = await greet(sim)
            async with stream:
                peer = Peer(stream, int(reply.split(b"\0")[0]))
                peer.requests.clientId = 1
                await peer.ask("startApi")
                await peer.read_to_end()
                assert [(call[0], call[2]) for call in peer.recorder.named("error")] == [(-1, 326)]
        await sim.advance(30.0)
        async with connected(sim, client_id=1):
            assert not sim.violations


async def test_a_client_id_counts_as_in_use_so_many_times() -> None:
    async with Simulator(still()) as sim:
        sim.act("client_id_in_use", count=2)
        for _ in range(2):
            stream, reply = await greet(sim)
            async with stream:
                peer = Peer(stream, int(reply.split(b"\0")[0]))
                peer.requests.clientId = 1
                await peer.ask("startApi")
                await peer.read_to_end()
                assert [(call[0], call[2]) for call in peer.recorder.named("error")] == [(-1, 326)]
        async with connected(sim):
            assert sim.clients() == [1]
        sim.act("mend")
    with pytest.raises(ActionError, match="count must be 1 or more"):
        sim.act("client_id_in_use", count=0)


async def test_a_gateway_at_its_login_takes_connections_and_says_nothing_until_it_is_logged_in() -> None:
    async with Simulator(still()) as sim:
        sim.act("login_required", for_s=60)
        stream = await anyio.connect_tcp("127.0.0.1", sim.port)
        gone = await anyio.connect_tcp("127.0.0.1", sim.port)
        async with stream:
            for each in (stream, gone):
                await each.send(b"API\0\0\0\0\x09v100..226")
            await gone.aclose()
            with anyio.move_on_after(0.05):
                pytest.fail(f"answered {await stream.receive()!r}")
            await sim.advance(60.0)
            assert b"226\0" in await stream.receive()
        sim.act("login_required", answer="hang_up")
        async with await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
            await stream.send(b"API\0\0\0\0\x09v100..226")
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()
        sim.act("mend")
        async with connected(sim):
            pass


# Looks


@pytest.mark.parametrize("version", [157, 178, 200, 226])
async def test_texts_come_in_another_language_and_codes_do_not(version: int) -> None:
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        sim.act("localize", language="de", for_s=10)
        await peer.ask("reqMktData", 1, stock("NOSUCH"), "", False, False, [])
        await peer.settle()
        sim.act("localize", language="zh", for_s=5)
        await peer.ask("reqMktData", 2, stock("NOSUCH"), "", False, False, [])
        await peer.settle()
        await sim.advance(10.0)
        await peer.ask("reqMktData", 3, stock("NOSUCH"), "", False, False, [])
        assert await errors(peer) == [(1, 200), (2, 200), (3, 200)]
        texts = [call[3] for call in peer.recorder.named("error") if call[2] == 200]
        assert texts[0] == "Für die Anfrage wurde kein Wertpapier gefunden"
        assert texts[1] == "未找到该请求的证券定义"
        assert texts[2] == "No security definition has been found for the request"


async def test_a_gateway_may_speak_another_language_from_the_start() -> None:
    async with Simulator(still(language="de")) as sim, connected(sim) as peer:
        texts = {call[3] for call in peer.recorder.named("error")}
        assert "Marktdatenfarm-Verbindung ist in Ordnung:usfarm" in texts
    with pytest.raises(ValueError, match="language must be one of en, de, zh"):
        still(language="fr")


@pytest.mark.parametrize("version", [157, 200, 226])
async def test_prices_come_without_sizes(version: int) -> None:
    async with Simulator(still(version)) as sim, connected(sim) as peer:
        await watch(peer, 1, "AAPL")
        await watch(peer, 2, "MSFT")
        sim.act("empty_sizes", instrument="AAPL", for_s=10)
        sim.emit("AAPL", bid(1.0))
        sim.emit("MSFT", bid(1.0))
        await peer.settle()
        assert await prices(peer) == [(1, 1.0), (2, 1.0)]
        said = {call[0]: call[2] for call in peer.recorder.named("tickSize") if call[1] == 0}
        assert said.get(1) != 100
        assert said[2] == 100


async def history(peer: Peer, req_id: int, keep: bool = False) -> None:
    contract = stock("AAPL")
    await peer.ask("reqHistoricalData", req_id, contract, "", "1800 S", "5 mins", "TRADES", 0, 1, keep, [])
    await peer.read_until(lambda it: any(call[0] == req_id for call in it.named("historicalDataEnd")))


@pytest.mark.parametrize("version", [178, 226])
async def test_historical_bars_come_with_question_marks_or_without_a_year(version: int) -> None:
    async with Simulator(still(version)) as sim:
        stream, reply = await greet(sim)
        async with stream:
            peer = Peer(stream, int(reply.split(b"\0")[0]))
            peer.requests.clientId = 1
            await peer.ask("startApi")
            await history(peer, 1)
            await sim.advance(20.0)
            sim.act("year_less_dates", for_s=10)
            await history(peer, 2)
            await sim.advance(20.0)
            bars = {
                req_id: [bar for it, bar in peer.recorder.named("historicalData") if it == req_id] for req_id in (1, 2)
            }
            assert [bar.date[4:] for bar in bars[1]] == [bar.date for bar in bars[2]]
            assert [bar.close for bar in bars[1]] == [bar.close for bar in bars[2]]
            sim.act("question_mark_prices", instrument="AAPL")
            before = len(peer.payloads)
            await peer.ask("reqHistoricalData", 3, stock("AAPL"), "", "1800 S", "5 mins", "TRADES", 0, 1, False, [])
            # The official client cannot read such a price; what it was sent says so.
            with pytest.raises(ValueError, match=r"\?") if version < 208 else nullcontext():
                await peer.read_until(lambda it: any(call[0] == 3 for call in it.named("historicalDataEnd")))
            assert peer.payloads[before].count(b"\0?\0?\0?\0?\0") == (len(bars[1]) if version < 208 else 0)


async def test_live_updates_of_history_are_lost_or_fall_silent() -> None:
    async with Simulator(still()) as sim, connected(sim) as peer:
        await history(peer, 1, keep=True)
        await sim.advance(10.0)
        await peer.settle()
        heard = len(peer.recorder.named("historicalDataUpdate"))
        assert heard
        sim.act("zombie", cure="none", for_s=10)
        await sim.advance(9.0)
        await peer.settle()
        assert len(peer.recorder.named("historicalDataUpdate")) == heard
        await sim.advance(10.0)
        await peer.settle()
        again = len(peer.recorder.named("historicalDataUpdate"))
        assert again > heard
        sim.act("live_updates_lost")
        await sim.advance(20.0)
        assert (await errors(peer))[-1] == (1, 10182)
        assert len(peer.recorder.named("historicalDataUpdate")) == again


# Clients as programs use them


async def test_ib_async_lives_through_a_competing_session() -> None:
    async with Simulator(still(178)) as sim:
        ib = ib_async.IB()
        await ib.connectAsync("127.0.0.1", sim.port, clientId=1)
        apple = ib_async.Stock("AAPL", "SMART", "USD")
        await ib.qualifyContractsAsync(apple)
        ticker = ib.reqMktData(apple)
        await sim.wait_for(lambda: sim.line_count("AAPL") == 1)
        codes: list[int] = []
        ib.errorEvent += lambda _req_id, code, *_: codes.append(code)
        sim.act("competing_session", for_s=60)
        sim.emit("AAPL", bid(77.0))
        with anyio.fail_after(DEADLINE_S):
            while 10197 not in codes:
                await ib.errorEvent
        assert ticker.bid != 77.0
        await sim.advance(60.0)
        with anyio.fail_after(DEADLINE_S):
            while ticker.bid != 77.0:
                await ib.pendingTickersEvent
        ib.disconnect()


async def test_the_official_client_hears_a_lost_connection_on_a_fast_clock() -> None:
    settings = SimulatorSettings(clock_speed=100.0, ticks_per_s=0.0)

    async with Simulator(settings) as sim:

        def program() -> list[int]:
            with official_client(sim.port) as client:
                client.wait_for(lambda: any(call[2] == 2158 for call in client.named("error")))
                anyio.from_thread.run_sync(sim.act, "connection_lost")
                client.wait_for(lambda: any(call[2] == 1100 for call in client.named("error")))
                anyio.from_thread.run_sync(sim.act, "mend")
                client.wait_for(lambda: any(call[2] == 1102 for call in client.named("error")))
                return [call[2] for call in client.named("error") if call[2] in (1100, 1102)]

        assert await anyio.to_thread.run_sync(program) == [1100, 1102]
