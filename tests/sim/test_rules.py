"""Owns the tests of IB's limits: each is broken by a client, answered as IB does, and counted.

Must not depend on real time; the clock stands and is moved.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from ibapi.order import Order
from ibapi.order_cancel import OrderCancel

from ibkr_actor.sim import Rule, Simulator, SimulatorSettings
from ibkr_actor.sim.desks.rules import Cooldown, PeakRate, Window, message_rate, tick_by_tick_lines
from tests.sim.peers import DEADLINE_S, FIXED_START_S, VERSIONS, Peer, connected, stock

pytestmark = pytest.mark.anyio


def _still(**changes: Any) -> SimulatorSettings:
    values: dict[str, Any] = {"clock_speed": 0.0, "start_time_s": FIXED_START_S, "ticks_per_s": 0.0}
    return SimulatorSettings(**(values | changes))


async def _stream(peer: Peer, req_id: int, symbol: str) -> None:
    await peer.ask("reqMktData", req_id, stock(symbol), "", False, False, [])


async def _errors(sim: Simulator, count: int) -> None:
    await sim.wait_for(lambda: sim.errors_sent[100] == count)


async def test_the_101st_line_is_refused_with_101_until_one_is_cancelled() -> None:
    settings = _still(lines=3, enforce_message_rate=False)
    async with Simulator(settings) as sim, connected(sim) as peer, connected(sim, client_id=2) as other:
        await _stream(peer, 1, "AAPL")
        await peer.ask("reqRealTimeBars", 2, stock("AAPL"), 5, "TRADES", False, [])
        await other.ask("reqMktData", 1, stock("MSFT"), "", False, False, [])
        await other.settle()
        await peer.settle()
        await _stream(peer, 3, "NVDA")
        await peer.ask("reqRealTimeBars", 4, stock("AAPL"), 5, "BID", False, [])
        await peer.settle()
        assert peer.errors() == [(3, 101), (4, 101)]
        assert sim.violations == {Rule.LINES: 2}
        await other.ask("cancelMktData", 1)
        await other.settle()
        await _stream(peer, 3, "NVDA")
        await peer.settle()
        assert peer.errors() == [(3, 101), (4, 101)]
        assert sim.line_count("NVDA") == 1


async def test_a_snapshot_takes_no_line() -> None:
    async with Simulator(_still(lines=1, enforce_message_rate=False)) as sim, connected(sim) as peer:
        await _stream(peer, 1, "AAPL")
        await peer.ask("reqMktData", 2, stock("MSFT"), "", True, False, [])
        await peer.settle()
        assert peer.errors() == []


async def test_the_lines_of_a_client_that_left_are_free() -> None:
    async with Simulator(_still(lines=1, enforce_message_rate=False)) as sim:
        async with connected(sim) as peer:
            await _stream(peer, 1, "AAPL")
            await peer.settle()
        await sim.wait_for(lambda: sim.line_count() == 0)


async def test_the_sixth_tick_by_tick_stream_of_100_lines_is_10190() -> None:
    symbols = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOG", "TSLA")
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for req_id, symbol in enumerate(symbols):
            await peer.ask("reqTickByTickData", req_id, stock(symbol), "Last", 0, False)
        await peer.settle()
        assert peer.errors() == [(5, 10190)]
        assert sim.violations == {Rule.TICK_BY_TICK_LINES: 1}


async def test_the_same_instrument_may_be_asked_tick_by_tick_once_in_15_s() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), "Last", 0, False)
        await peer.ask("cancelTickByTickData", 1)
        await peer.settle()
        await sim.advance(14.9)
        await peer.ask("reqTickByTickData", 2, stock("AAPL"), "BidAsk", 0, False)
        await peer.settle()
        assert peer.errors() == [(2, 10190)]
        assert sim.violations == {Rule.TICK_BY_TICK_INTERVAL: 1}
        await sim.advance(0.1)
        await peer.ask("reqTickByTickData", 3, stock("AAPL"), "BidAsk", 0, False)
        await peer.settle()
        assert sim.line_count("AAPL") == 1


@pytest.mark.parametrize("spelled", ["last", "BIDASK", "Midpoint", ""])
async def test_tick_by_tick_types_are_case_sensitive(spelled: str) -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("AAPL"), spelled, 0, False)
        await peer.settle()
        assert peer.errors() == [(1, 321)]
        assert sim.violations == {Rule.TICK_TYPE: 1}


@pytest.mark.parametrize("version", [178, 226])
async def test_an_id_in_use_is_102_and_the_first_subscription_stays(version: int) -> None:
    async with Simulator(_still(server_version=version)) as sim, connected(sim) as peer:
        await _stream(peer, 1, "AAPL")
        await _stream(peer, 1, "MSFT")
        await peer.ask("reqRealTimeBars", 1, stock("AAPL"), 5, "TRADES", False, [])
        await peer.settle()
        assert peer.errors() == [(1, 102), (1, 102)]
        assert (sim.line_count("AAPL"), sim.line_count("MSFT")) == (1, 0)
        assert sim.violations == {Rule.DUPLICATE_ID: 2}


@pytest.mark.parametrize("version", VERSIONS)
async def test_late_and_mistaken_cancels_are_300(version: int) -> None:
    async with Simulator(_still(server_version=version)) as sim, connected(sim) as peer:
        await _stream(peer, 1, "AAPL")
        await peer.ask("cancelTickByTickData", 1)
        await peer.ask("cancelMktData", 1)
        await peer.ask("cancelMktData", 1)
        await peer.ask("cancelRealTimeBars", 9)
        await peer.settle()
        assert peer.errors() == [(1, 300), (1, 300), (9, 300)]
        assert peer.recorder.named("error")[-1][3] == "Can't find EId with tickerId:9"
        assert sim.violations == {Rule.LATE_CANCEL: 3}


@pytest.mark.parametrize("version", VERSIONS)
async def test_orders_are_refused_and_counted(version: int) -> None:
    order = Order()
    order.action, order.orderType, order.totalQuantity, order.lmtPrice = "BUY", "LMT", 1, 1.0
    async with Simulator(_still(server_version=version)) as sim, connected(sim) as peer:
        await peer.ask("placeOrder", 11, stock("AAPL"), order)
        await peer.ask("cancelOrder", 11, OrderCancel())
        await peer.ask("reqGlobalCancel", OrderCancel())
        await peer.settle()
        assert [code for _, code in peer.errors()] == [321, 321, 321]
        assert peer.errors()[0] == (11, 321)
        assert "Read-Only" in peer.recorder.named("error")[-1][3]
        assert sim.violations == {Rule.ORDER: 3}


async def test_depth_has_three_lines_and_then_309() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for req_id, symbol in enumerate(("AAPL", "MSFT", "NVDA", "AMZN")):
            await peer.ask("reqMktDepth", req_id, stock(symbol), 5, True, [])
        await peer.settle()
        assert peer.errors() == [(3, 309)]
        assert sim.violations == {Rule.DEPTH_LINES: 1}


async def test_real_time_bar_requests_beyond_the_limit_of_600_s_are_420() -> None:
    settings = _still(real_time_bars_per_600_s=2, enforce_message_rate=False)
    async with Simulator(settings) as sim, connected(sim) as peer:
        for req_id in (1, 2, 3):
            await peer.ask("reqRealTimeBars", req_id, stock("AAPL"), 5, "TRADES", False, [])
        await peer.settle()
        assert peer.errors() == [(3, 420)]
        assert sim.violations == {Rule.REAL_TIME_BARS_RATE: 1}
        await sim.advance(600.0)
        await peer.ask("reqRealTimeBars", 4, stock("AAPL"), 5, "TRADES", False, [])
        await peer.settle()
        assert sim.line_count("AAPL") == 3


async def test_the_51st_message_in_a_second_is_100_and_not_processed() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for _ in range(51):
            await peer.ask("reqCurrentTime")
        await peer.read_until(lambda it: any(call[2] == 100 for call in it.named("error")))
        assert len(peer.recorder.named("currentTime")) == 50
        assert peer.errors() == [(-1, 100)]
        assert peer.recorder.named("error")[-1][3].startswith(
            "Max rate of messages per second has been exceeded:max=50"
        )
        assert sim.peak_message_rate == 51
        assert sim.violations == {Rule.MESSAGE_RATE: 1}
        await sim.advance(1.0)
        await peer.settle()


async def test_the_third_strike_ends_the_connection() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        for _ in range(50):
            await peer.ask("reqCurrentTime")
        for strike in (1, 2):
            await peer.ask("reqCurrentTime")
            await _errors(sim, strike)
        await peer.ask("reqCurrentTime")
        await peer.read_to_end()
        assert peer.errors() == [(-1, 100)] * 3
        await sim.wait_for(lambda: sim.clients() == [])


async def test_pacing_instead_of_rejection_answers_everything_later() -> None:
    async with Simulator(_still()) as sim, connected(sim, options="+PACEAPI") as peer:
        for _ in range(60):
            await peer.ask("reqCurrentTime")
        await peer.read_until(lambda it: len(it.named("currentTime")) == 50)
        await sim.wait_for(lambda: sim.messages_received[49] == 51)
        await sim.advance(1.0)
        await peer.read_until(lambda it: len(it.named("currentTime")) == 60)
        assert peer.errors() == []
        assert sim.violations == {Rule.MESSAGE_RATE: 1}


async def test_a_simulator_told_to_pace_paces_clients_that_did_not_ask() -> None:
    async with Simulator(_still(pace_silently=True)) as sim, connected(sim) as peer:
        for _ in range(51):
            await peer.ask("reqCurrentTime")
        await peer.read_until(lambda it: len(it.named("currentTime")) == 50)
        await sim.wait_for(lambda: sim.violations[Rule.MESSAGE_RATE] == 1)
        await sim.advance(1.0)
        await peer.read_until(lambda it: len(it.named("currentTime")) == 51)
        assert peer.errors() == []


async def test_a_request_that_cannot_be_read_is_320_and_the_session_goes_on() -> None:
    async with Simulator(_still(server_version=178)) as sim, connected(sim) as peer:
        payload = b"2\x002\x00five\x00"
        await peer.stream.send(len(payload).to_bytes(4, "big") + payload)
        await peer.settle()
        assert peer.errors() == [(-1, 320)]
        assert sim.violations == {Rule.BAD_REQUEST: 1}


async def test_a_frame_without_an_id_ends_the_connection() -> None:
    async with Simulator(_still()) as sim, connected(sim) as peer:
        await peer.stream.send(b"\0\0\0\x01a")
        with anyio.fail_after(DEADLINE_S):
            await peer.read_to_end()
        await sim.wait_for(lambda: sim.clients() == [])


def test_a_window_lets_through_its_limit_within_its_time() -> None:
    window = Window(2, 1.0)
    assert [window.take(now_s) for now_s in (0.0, 0.5, 0.9, 1.0, 1.2, 1.5)] == [True, True, False, True, False, True]
    assert window.free_s(1.6) == 2.0
    assert window.count(2.6) == 0


def test_a_cooldown_is_per_key() -> None:
    cooldown = Cooldown(15.0)
    assert [cooldown.take(1, 0.0), cooldown.take(2, 1.0), cooldown.take(1, 14.9), cooldown.take(1, 15.0)] == [
        True,
        True,
        False,
        True,
    ]


def test_the_peak_is_the_busiest_second() -> None:
    rate = PeakRate()
    for now_s in (0.0, 0.1, 0.2, 1.1, 3.0):
        rate.add(now_s)
    assert rate.peak == 3


def test_limits_follow_from_the_lines() -> None:
    assert (message_rate(100), message_rate(200)) == (50, 100)
    assert (tick_by_tick_lines(100), tick_by_tick_lines(400), tick_by_tick_lines(1)) == (5, 20, 1)


@pytest.mark.parametrize(
    ("rule", "name", "seconds", "code"),
    [
        (Rule.MESSAGE_RATE, "reqCurrentTime", 1.0, 100),
        (Rule.TICK_BY_TICK_INTERVAL, "reqTickByTickData", 15.0, 10190),
        (Rule.REAL_TIME_BARS_RATE, "reqRealTimeBars", 600.0, 420),
    ],
)
async def test_the_window_of_a_rule_is_of_the_simulated_clock(rule: Rule, name: str, seconds: float, code: int) -> None:
    settings = SimulatorSettings(
        clock_speed=0.0, start_time_s=FIXED_START_S, ticks_per_s=0.0, lines=4, real_time_bars_per_600_s=1, strikes=99
    )
    arguments: dict[str, tuple[Any, ...]] = {
        "reqCurrentTime": (),
        "reqTickByTickData": (stock("AAPL"), "BidAsk", 0, False),
        "reqRealTimeBars": (stock("AAPL"), 5, "TRADES", False, []),
    }
    cancels = {"reqTickByTickData": "cancelTickByTickData", "reqRealTimeBars": "cancelRealTimeBars"}
    async with Simulator(settings) as sim, connected(sim) as peer:

        async def ask(req_id: int) -> None:
            await peer.ask(name, *((req_id, *arguments[name]) if arguments[name] else ()))
            if name in cancels and sim.violations[rule] == 0:
                await sim.wait_for(lambda: sim.line_count() == 1)
                await sim.advance(1.0)
                await peer.ask(cancels[name], req_id)
                await sim.wait_for(lambda: sim.line_count() == 0)

        limit = 2 if rule is Rule.MESSAGE_RATE else 1
        for number in range(limit):
            await ask(number)
        began = sim.world.clock.now_s()
        spent = began - FIXED_START_S
        await sim.wait_for(lambda: sum(sim.messages_received.values()) >= limit + 1)
        await sim.advance(seconds - spent - 0.001)
        await peer.ask(name, *((50, *arguments[name]) if arguments[name] else ()))
        await sim.wait_for(lambda: sim.violations[rule] == 1)
        assert sim.errors_sent[code] == 1
        await sim.advance(seconds)
        await peer.ask(name, *((51, *arguments[name]) if arguments[name] else ()))
        await peer.settle()
        assert sim.violations == {rule: 1}
