"""The official client as it is shipped, its own reader and run() decoding the blast into nothing.

With a port it reads the simulator's socket; with `queue` its queue holds all frames already, which leaves out the
reader thread and its framing: run() at its best.

Usage: python -m tests.bench.official_peer PORT|queue TICKS INSTRUMENTS
"""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

from ibapi.client import EClient
from ibapi.contract import Contract
from ibapi.decoder import Decoder
from ibapi.wrapper import EWrapper

from ibkr_actor.sim import Simulator
from ibkr_actor.sim.blast import blast_tick
from ibkr_actor.sim.wire.responses import Encoder
from tests.bench import child
from tests.bench.quotes import symbol

CLIENT_ID = 8
SERVER_VERSION = 226
# How long after the last tick the rest is given up: the client loses data at 4096-byte boundaries.
GIVEN_UP_S = 3.0


class Counting(EWrapper, EClient):
    """Callbacks that do nothing; tickPrice counts, so that the end is known."""

    def __init__(self, ticks: int) -> None:
        EWrapper.__init__(self)
        EClient.__init__(self, self)
        self.ready = threading.Event()
        self.all_there = threading.Event()
        self.began_s = self.last_s = 0.0
        self.received = 0
        self._ticks = ticks

    def nextValidId(self, orderId: int) -> None:
        self.ready.set()

    def error(self, *arguments: Any) -> None:
        """Notices go nowhere, as everything else."""

    def tickPrice(self, *arguments: Any) -> None:
        if not self.received:
            self.began_s = time.perf_counter()
        self.received += 1
        if self.received % 1000 == 0:
            self.last_s = time.perf_counter()
        if self.received >= self._ticks:
            self.last_s = time.perf_counter()
            self.all_there.set()


def from_socket(port: int, ticks: int, instruments: int) -> None:
    """Says `ready` once everything is asked for, and `done` when all is there or nothing comes any more."""
    client = Counting(ticks)
    client.connect("127.0.0.1", port, CLIENT_ID)
    threading.Thread(target=client.run, daemon=True).start()
    client.ready.wait()
    for place in range(instruments):
        client.reqMktData(place + 1, _stock(place), "", False, False, [])
    child.say("ready", server_version=client.serverVersion())
    child.wait_for("go")
    cpu_s = child.cpu_s()
    seen = -1
    while not client.all_there.wait(GIVEN_UP_S) and (client.received > seen or not client.received):
        seen = client.received
    _done(client, cpu_s)


def from_queue(ticks: int, instruments: int) -> None:
    """The same without a socket."""
    client = Counting(ticks)
    client.serverVersion_ = SERVER_VERSION
    client.decoder = Decoder(client, SERVER_VERSION)
    # run() goes on while the queue holds something, then disconnects.
    client.conn = SimpleNamespace(isConnected=lambda: False, disconnect=lambda: None)
    encoder, simulator = Encoder(SERVER_VERSION), Simulator()
    stocks = [simulator.instrument(symbol(place)) for place in range(instruments)]
    for index in range(ticks):
        number, place = divmod(index, instruments)
        client.msg_queue.put(encoder.encode(blast_tick(stocks[place], "quote", number + 1, place + 1))[4:])
    child.say("ready", server_version=SERVER_VERSION)
    child.wait_for("go")
    cpu_s = child.cpu_s()
    client.run()
    _done(client, cpu_s)


def _done(client: Counting, cpu_s: float) -> None:
    seconds = client.last_s - client.began_s
    child.say("done", ticks=client.received, seconds=seconds, cpu_s=child.cpu_s() - cpu_s)
    child.wait_for("end")


def _stock(place: int) -> Any:
    contract = Contract()
    contract.symbol, contract.secType, contract.exchange, contract.currency = symbol(place), "STK", "SMART", "USD"
    return contract


if __name__ == "__main__":
    child.listen()
    if sys.argv[1] == "queue":
        from_queue(int(sys.argv[2]), int(sys.argv[3]))
    else:
        from_socket(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
