"""Owns the run of the official client as it is shipped: its own socket, reader thread and run() loop.

Must keep volumes small: the client loses data at 4096-byte boundaries (see its _recvAllMsg).
"""

from __future__ import annotations

import pytest

from ibkr_actor.sim import SimulatorSettings, simulator
from tests.sim.peers import VERSIONS, official_client, stock


@pytest.mark.parametrize("version", VERSIONS)
def test_the_official_client_connects_resolves_streams_and_cancels(version: int) -> None:
    settings = SimulatorSettings(server_version=version, clock_speed=50.0, ticks_per_s=1.0)
    with simulator(settings) as sim, official_client(sim.port, client_id=3) as client:
        assert client.serverVersion() == version
        client.reqContractDetails(1, stock("AAPL"))
        client.wait_for(lambda: client.named("contractDetailsEnd") == [(1,)])
        contract = client.named("contractDetails")[0][1].contract
        assert (contract.conId, contract.symbol) == (265598, "AAPL")
        client.reqMktData(2, contract, "233", False, False, [])
        client.reqTickByTickData(3, contract, "AllLast", 0, False)
        client.reqTickByTickData(4, stock("MSFT"), "BidAsk", 0, False)
        client.reqRealTimeBars(5, contract, 5, "TRADES", False, [])
        for name in ("tickPrice", "tickSize", "tickString", "tickByTickAllLast", "tickByTickBidAsk", "realtimeBar"):
            client.wait_for_call(name)
        assert client.named("realtimeBar")[0][1] % 5 == 0
        client.cancelMktData(2)
        client.cancelTickByTickData(3)
        client.cancelTickByTickData(4)
        client.cancelRealTimeBars(5)
        sim.wait_for(lambda it: it.line_count() == 0)
        assert not sim.simulator.violations
        client.reqMktData(6, stock("NOSUCH"), "", False, False, [])
        client.wait_for(lambda: any(call[0] == 6 and call[2] == 200 for call in client.named("error")))


def test_the_official_client_learns_that_its_id_is_taken() -> None:
    with simulator(SimulatorSettings(ticks_per_s=0.0)) as sim, official_client(sim.port, client_id=1) as first:
        with official_client(sim.port, client_id=1, welcome="connectionClosed") as second:
            assert [call[2] for call in second.named("error")] == [326]
            assert second.named("nextValidId") == []
        first.reqCurrentTime()
        first.wait_for(lambda: bool(first.named("currentTime")))


def test_the_official_client_survives_a_cut_and_can_come_again() -> None:
    with simulator(SimulatorSettings(ticks_per_s=0.0)) as sim:
        with official_client(sim.port) as client:
            sim.cut()
            client.wait_for(lambda: bool(client.named("connectionClosed")))
        with official_client(sim.port) as client:
            client.reqCurrentTime()
            client.wait_for(lambda: bool(client.named("currentTime")))
