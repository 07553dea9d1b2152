"""What many HTTP clients cost the sidecar: its way to a reader at a rate, without and with them, turn by turn.

Usage: python -m tests.bench http [--quick] [--runs N] [--clients N] [--instruments N] [--rate R] [--seconds S]
Status 1 when the median of the p50 with them is more than LIMIT of that without, or anything was lost.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any, Final

import anyio
import httpx
from anyio.abc import SocketAttribute
from msgspec import Struct

from tests.bench.contenders import Measured, paced_beside
from tests.bench.processes import Child, ChildFailed, script, supervised, usage
from tests.bench.quotes import GATEWAY
from tests.bench.site import STARTED_WITHIN_S, Load, Site

LIMIT: Final = 1.25


class Doors(Struct):
    """What the clients got, and what serving them took."""

    quotes: int = 0
    fewest: int = 0
    http_cpu_s: float = 0.0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench http", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--instruments", type=int, default=20)
    parser.add_argument("--rate", type=float, default=5_000.0, help="ticks per second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two short rounds: shows that all works")
    options = parser.parse_args(arguments)
    if options.quick:
        options.seconds, options.runs = 3.0, 2
    return options


@asynccontextmanager
async def doors(site: Site, load: Load, clients: int, found: Doors) -> AsyncIterator[None]:
    """`ibkr-actor http` in a process of its own, with that many clients in another."""
    port = await _free_port()
    environment = {
        "IBKR_REDIS_URL": site.url,
        "IBKR_GATEWAY_NAME": GATEWAY,
        "IBKR_HTTP_PORT": str(port),
        "IBKR_DATA_DIR": str(site.directory / "data"),
    }
    command = [sys.executable, "-m", "ibkr_actor", "http"]
    async with supervised("http", command, environment, site.directory) as own:
        await _until_served(port, own)
        arguments = (port, clients, load.instruments)
        async with script("sse_clients", *arguments, directory=site.directory) as readers:
            await readers.expect("ready", timeout_s=STARTED_WITHIN_S)
            before = usage(own.pid)
            yield
            after = usage(own.pid)
            await readers.say("stop")
            said: dict[str, Any] = await readers.expect("done", timeout_s=STARTED_WITHIN_S)
            found.quotes, found.fewest = said["quotes"], said["fewest"]
            if before is not None and after is not None:
                found.http_cpu_s = after.cpu_s - before.cpu_s


async def main(options: argparse.Namespace) -> int:
    """Runs, prints a table, and returns the exit status."""
    load = Load(
        ticks=int(options.rate * options.seconds),
        instruments=options.instruments,
        rate=options.rate,
        seconds=options.seconds,
        server_version=226,
    )
    without: list[Measured] = []
    with_them: list[Measured] = []
    found: list[Doors] = []
    for run in range(options.runs):
        for many in (False, True) if run % 2 == 0 else (True, False):
            if many:
                found.append(Doors())
                beside = partial(doors, load=load, clients=options.clients, found=found[-1])
                with_them.append(await paced_beside(load, beside))
            else:
                without.append(await paced_beside(load, None))
    return _told(options, without, with_them, found)


def _told(options: argparse.Namespace, without: list[Measured], with_them: list[Measured], found: list[Doors]) -> int:
    rows = [("none", without), (f"{options.clients} clients", with_them)]
    lines = [f"{options.instruments} instruments, {options.rate:,.0f} ticks/s, medians of {options.runs} runs"]
    for name, runs in rows:
        p50, p99 = median(run.p50_ms or 0.0 for run in runs), median(run.p99_ms or 0.0 for run in runs)
        each = ", ".join(f"{run.p50_ms:.2f}" for run in runs)
        lines.append(f"  {name:<12} p50 {p50:6.2f} ms  p99 {p99:7.2f} ms  (p50 of each: {each})")
    ratio = median(run.p50_ms or 0.0 for run in with_them) / median(run.p50_ms or 1.0 for run in without)
    per_s = median(each.quotes for each in found) / options.seconds
    cpu = median(each.http_cpu_s for each in found) / options.seconds
    fewest = min(each.fewest for each in found)
    lines.append(f"  ratio of p50 {ratio:.2f} (limit {LIMIT}); quotes sent {per_s:,.0f}/s, fewest of a client {fewest}")
    lines.append(f"  CPU of the HTTP process {cpu:.0%} of one")
    wrong = [run for run in without + with_them if run.verdict is None or not run.verdict.ok]
    lines += [f"  FAULT: {run.verdict}" for run in wrong]
    print("\n".join(lines))  # noqa: T201  a person reads it
    return 1 if wrong or ratio > LIMIT else 0


async def _free_port() -> int:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener:
        return int(listener.extra(SocketAttribute.local_port))


async def _until_served(port: int, own: Child) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        with anyio.move_on_after(STARTED_WITHIN_S):
            while True:
                try:
                    if (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await anyio.sleep(0.05)
    raise ChildFailed(f"the HTTP service did not become healthy\n{own.last_words()}")
