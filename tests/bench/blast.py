"""The simulator alone: how many ticks a second one process of it sends to a reader that only counts frames.

Usage: python -m tests.bench.blast [TICKS] [SERVER_VERSION] [RATE], a RATE of 0 being unpaced.
Status 1 below FLOOR ticks a second or when a tick is lost.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time

from tests.bench.quotes import symbol
from tests.sim.peers import Requests, stock

INSTRUMENTS = 50
# So that it is never what a benchmark measures.
FLOOR = 300_000
_GREETING = b"v100..226"
_TICK_PRICE = 1


def subscribed(port: int) -> socket.socket:
    """A connection with a line of each instrument."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"API\0" + len(_GREETING).to_bytes(4, "big") + _GREETING)
    reply = connection.recv(4096)
    requests = Requests(int(reply[4:].split(b"\0")[0]))
    requests.clientId = 1
    requests.startApi()
    for place in range(INSTRUMENTS):
        requests.reqMktData(place, stock(symbol(place)), "", False, False, [])
    connection.sendall(b"".join(requests.sent))
    return connection


def counted(data: bytes, version: int) -> int:
    """Frames of tick prices in a stream that begins and ends with whole frames."""
    found = place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 4 + length]
        kind = int.from_bytes(body[:4], "big") % 200 if version >= 201 else int(body.split(b"\0", 1)[0])
        found += kind == _TICK_PRICE
        place += 4 + length
    return found


def measure(ticks: int, version: int, rate: int) -> tuple[float, float, int]:
    """Seconds until all is with the sockets, seconds until the last byte was read, ticks that came."""
    command = [sys.executable, "-m", "tests.bench.simulator", str(ticks), str(INSTRUMENTS), str(rate), str(version)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        connection = subscribed(json.loads(child.stdout.readline())["port"])
        child.stdout.readline()
        # What a new line begins with is not of the blast.
        connection.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                connection.recv(1 << 20)
        connection.settimeout(60.0)
        child.stdin.write("go\n")
        child.stdin.flush()
        chunks = [connection.recv(1 << 20)]
        began_s = last_s = time.perf_counter()
        connection.settimeout(2.0)
        with contextlib.suppress(TimeoutError):
            while chunk := connection.recv(1 << 20):
                chunks.append(chunk)
                last_s = time.perf_counter()
        sent = json.loads(child.stdout.readline())
        child.stdin.close()
        child.wait()
    return sent["seconds"], last_s - began_s, counted(b"".join(chunks), version)


def main(arguments: list[str]) -> int:
    given = [int(argument) for argument in arguments]
    ticks, version, rate = (*given, *(1_000_000, 226, 0)[len(given) :])
    sent_s, read_s, came = measure(ticks, version, rate)
    per_s = came / max(sent_s, read_s)
    times = f"sent in {sent_s:.2f} s, read in {read_s:.2f} s"
    print(f"version {version}: {came} of {ticks} ticks, {times}: {per_s:,.0f} a second")  # noqa: T201 - a program for people
    return 0 if came == ticks and per_s >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
