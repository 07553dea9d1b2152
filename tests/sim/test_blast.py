"""Owns the tests of the benchmark mode: complete, in order, at the start agreed, at the rate asked.

Must not assert on how long anything takes.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import anyio
import pytest

from ibkr_actor.sim import BlastSettings, Simulator, SimulatorSettings
from ibkr_actor.sim.blast import blast_tick
from tests.sim.peers import DEADLINE_S, VERSIONS, Peer, connected, stock

pytestmark = pytest.mark.anyio


def _settings(version: int = 226, **blast: Any) -> SimulatorSettings:
    return SimulatorSettings(
        server_version=version, lines=200, enforce_message_rate=False, blast=BlastSettings(**blast)
    )


async def _subscribe(peer: Peer, count: int) -> None:
    for number in range(count):
        await peer.ask("reqMktData", number, stock(f"SIM{number:03d}"), "", False, False, [])


def _numbers(peer: Peer) -> dict[int, list[Decimal]]:
    """req_id -> the sizes received, in order."""
    numbers: dict[int, list[Decimal]] = defaultdict(list)
    for req_id, _tick_type, size in peer.recorder.named("tickSize"):
        numbers[req_id].append(size)
    return numbers


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["quote", "size"])
async def test_every_tick_arrives_once_and_in_order(version: int, kind: str) -> None:
    async with Simulator(_settings(version, ticks=103, instruments=5, kind=kind)) as sim, connected(sim) as peer:
        await _subscribe(peer, 5)
        await peer.read_until(lambda it: len(it.named("tickSize")) == 103)
        await sim.wait_for(lambda: sim.blast_report is not None)
        await peer.settle()
        counts = [21, 21, 21, 20, 20]
        assert _numbers(peer) == {
            req_id: [Decimal(number) for number in range(1, count + 1)] for req_id, count in enumerate(counts)
        }
        assert sim.blast_report is not None
        assert list(sim.blast_report.per_instrument.values()) == counts
        assert peer.errors() == []


async def test_quotes_alternate_and_never_cross() -> None:
    async with Simulator(_settings(ticks=400, instruments=2)) as sim, connected(sim) as peer:
        await _subscribe(peer, 2)
        await peer.read_until(lambda it: len(it.named("tickPrice")) == 400)
        prices = [call[1:3] for call in peer.recorder.named("tickPrice") if call[0] == 0]
        assert [tick_type for tick_type, _ in prices[:4]] == [1, 2, 1, 2]
        pairs = zip(prices[::2], prices[1::2], strict=True)
        assert all(bid[1] < ask[1] for bid, ask in pairs)
        asks = zip(prices[1::2], prices[2::2], strict=False)
        assert sum(bid[1] >= ask[1] for ask, bid in asks) == 0


async def test_nothing_ticks_before_the_last_instrument_is_subscribed() -> None:
    async with Simulator(_settings(ticks=10, instruments=3)) as sim, connected(sim) as peer:
        await _subscribe(peer, 2)
        await peer.settle()
        assert peer.recorder.named("tickPrice") == []
        assert len(peer.recorder.named("tickReqParams")) == 2
        await peer.ask("reqMktData", 2, stock("SIM002"), "", False, False, [])
        await peer.read_until(lambda it: len(it.named("tickSize")) == 10)


async def test_a_blast_can_be_started_by_hand_and_only_once() -> None:
    settings = _settings(ticks=10, instruments=2, automatic=False)
    async with Simulator(settings) as sim, connected(sim) as peer:
        await _subscribe(peer, 2)
        await peer.settle()
        assert peer.recorder.named("tickPrice") == []
        sim.start_blast()
        await peer.read_until(lambda it: len(it.named("tickSize")) == 10)
        with pytest.raises(RuntimeError):
            sim.start_blast()


async def test_a_paced_blast_is_complete_too() -> None:
    async with Simulator(_settings(ticks=200, instruments=4, rate=4000.0)) as sim, connected(sim) as peer:
        await _subscribe(peer, 4)
        await peer.read_until(lambda it: len(it.named("tickSize")) == 200)
        assert all(sizes == sorted(sizes) and len(sizes) == 50 for sizes in _numbers(peer).values())
        assert sim.slow_clients_closed == 0


async def test_trades_go_to_tick_by_tick_lines() -> None:
    async with Simulator(_settings(ticks=20, instruments=2, kind="trade")) as sim, connected(sim) as peer:
        await peer.ask("reqTickByTickData", 1, stock("SIM000"), "AllLast", 0, False)
        await peer.ask("reqTickByTickData", 2, stock("SIM001"), "Last", 0, False)
        await peer.read_until(lambda it: len(it.named("tickByTickAllLast")) == 20)
        trades = peer.recorder.named("tickByTickAllLast")
        for req_id, tick_type in ((1, 2), (2, 1)):
            own = [call for call in trades if call[0] == req_id]
            assert [call[4] for call in own] == [Decimal(number) for number in range(1, 11)]
            assert {call[1] for call in own} == {tick_type}


async def test_two_clients_get_every_tick_each_in_their_own_version() -> None:
    async with (
        Simulator(_settings(ticks=50, instruments=2)) as sim,
        connected(sim) as first,
        connected(sim, client_id=2) as second,
    ):
        await first.ask("reqMktData", 0, stock("SIM000"), "", False, False, [])
        await second.ask("reqMktData", 5, stock("SIM000"), "", False, False, [])
        await sim.wait_for(lambda: sim.line_count() == 2)
        await second.ask("reqMktData", 6, stock("SIM001"), "", False, False, [])
        await first.read_until(lambda it: len(it.named("tickSize")) == 25)
        await second.read_until(lambda it: len(it.named("tickSize")) == 50)
        assert _numbers(first)[0] == _numbers(second)[5]


@pytest.mark.parametrize("wrong", [{"ticks": 0, "instruments": 1}, {"ticks": 1, "instruments": 0}])
def test_a_blast_of_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="blast"):
        BlastSettings(**wrong)


async def test_a_client_that_reads_late_still_gets_every_tick_without_being_cut_off() -> None:
    ticks = 60_000
    async with Simulator(_settings(ticks=ticks, instruments=1, kind="size")) as sim, connected(sim) as peer:
        await peer.ask("reqMktData", 5, stock("SIM000"), "", False, False, [])
        await sim.wait_for(lambda: sim.line_count() == 1)
        line = next(iter(sim.world.lines))
        sizes = [blast_tick(line.instrument, "size", number, 5) for number in range(1, ticks + 1)]
        wanted = b"".join([line.session.encode(tick) for tick in sizes])
        got = bytearray()
        with anyio.fail_after(DEADLINE_S):
            while not got.endswith(wanted[-40:]):
                got += await peer.stream.receive()
        assert got.endswith(wanted)
        assert sim.slow_clients_closed == 0
