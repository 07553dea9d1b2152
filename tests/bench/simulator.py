"""The gateway simulator as a child: it listens, waits for its lines, and blasts when told.

Usage: python -m tests.bench.simulator TICKS INSTRUMENTS RATE SERVER_VERSION
"""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread

from ibkr_actor.sim import BlastSettings, Simulator, SimulatorSettings
from tests.bench import child

SUBSCRIBED_WITHIN_S = 120.0


async def serve(ticks: int, instruments: int, rate: float, server_version: int) -> None:
    """Says `listening`, `subscribed`, and after the word `go` `sent`."""
    blast = BlastSettings(ticks=ticks, instruments=instruments, rate=rate, automatic=False)
    # Ten times the lines: the rate at which IB takes requests is not what is measured.
    settings = SimulatorSettings(server_version=server_version, lines=10 * instruments, ticks_per_s=0.0, blast=blast)
    async with Simulator(settings) as simulator:
        child.say("listening", port=simulator.port)
        await simulator.wait_for(lambda: simulator.line_count() >= instruments, timeout_s=SUBSCRIBED_WITHIN_S)
        child.say("subscribed")
        await anyio.to_thread.run_sync(child.wait_for, "go")
        simulator.start_blast()
        within_s = SUBSCRIBED_WITHIN_S + (ticks / rate if rate else ticks / 1000)
        await simulator.wait_for(lambda: simulator.blast_report is not None, timeout_s=within_s)
        report = simulator.blast_report
        assert report is not None
        child.say("sent", ticks=report.ticks, seconds=report.seconds, slow=simulator.slow_clients_closed)
        await anyio.sleep_forever()


if __name__ == "__main__":
    child.listen()
    anyio.run(serve, int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
