"""Lets clients that are none of ours connect to the simulator, each in an environment of its own, and prints a table.

Usage: python tests/compat/clients.py [CLIENT ...], a client being a key of CLIENTS. Needs pip's index, and node with
npm for @stoqey/ib; leaves nothing behind. Status 1 when a client cannot do something that the simulator serves.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROBES = Path(__file__).resolve().parent / "probes"
VERSIONS = (157, 165, 173, 178, 193, 200, 201, 205, 206, 208, 212, 213, 222, 226)
PROTOBUF = "protobuf>=5.29.6,<7"
# Half of the lines are messages per second; no client is to be slowed down by the limits here.
SIMULATOR = ["simulate", "--port", "0", "--lines", "1000", "--rate", "20"]
PROBE_S = 120.0
# con_id, min tick, and the name as text or, by clients that leave it so, as the escape it travels in.
CONTRACTS = {
    "AAPL": (265598, 0.01, ("APPLE INC",)),
    "BMW": (14094, 0.02, ("BAYERISCHE MOTOREN WERKE, München", "BAYERISCHE MOTOREN WERKE, M\\xfcnchen")),
    "EUR": (12087792, 0.00005, ("EUR/USD spot",)),
}


@dataclasses.dataclass(frozen=True)
class Client:
    """`requirements` go to pip, or to npm for the probe of node; `max_version` is what it offers at most."""

    probe: str
    requirements: tuple[str, ...]
    max_version: int


CLIENTS = {
    "ibapi 9.81": Client("probe_ibapi", ("ibapi==9.81.1.post1",), 157),
    "nautilus-ibapi 10.46.1": Client("probe_ibapi", ("nautilus-ibapi==10.46.1", PROTOBUF), 225),
    "ibapi-stable 10.50.2": Client("probe_ibapi", ("ibapi-stable==10.50.2", PROTOBUF), 226),
    "ibapi-latest 10.51.1": Client("probe_ibapi", ("ibapi-latest==10.51.1", PROTOBUF), 226),
    "ib_insync 0.9.86": Client("probe_ib_async", ("ib_insync==0.9.86",), 176),
    "ib_async 2.1.0": Client("probe_ib_async", ("ib_async==2.1.0",), 178),
    "@stoqey/ib 1.6.10": Client("probe_stoqey.cjs", ("@stoqey/ib@1.6.10",), 193),
}

Facts = dict[str, Any]


class Unusable(Exception):
    """A client could not be installed or started; the text says why."""


def connects(facts: Facts) -> str:
    return "" if facts["accounts"] == "DU1234567" else f"accounts are {facts['accounts']!r}"


def resolves(facts: Facts) -> str:
    for symbol, (con_id, min_tick, names) in CONTRACTS.items():
        seen = facts["contracts"].get(symbol)
        if seen is None:
            return f"no {symbol}"
        if (seen["con_id"], seen["min_tick"]) != (con_id, min_tick) or seen["long_name"] not in names:
            return f"{symbol} is {seen}"
        if ";" not in seen["hours"]:
            return f"{symbol} has the hours {seen['hours']!r}"
    return ""


def streams_level1(facts: Facts) -> str:
    seen = facts["level1"]
    missing = [name for name in ("bid", "ask", "last", "bid_size", "rt_volume") if not seen.get(name, 0) > 0]
    if missing:
        return f"no {', '.join(missing)}"
    return "" if seen["bid"] < seen["ask"] else f"bid {seen['bid']} and ask {seen['ask']} cross"


def streams_ticks(kind: str, values: int) -> Callable[[Facts], str]:
    def judge(facts: Facts) -> str:
        seen = facts["ticks"].get(kind)
        if seen is None:
            return "no tick"
        return "" if len(seen) == values and all(value > 0 for value in seen) else f"a tick is {seen}"

    return judge


def streams_bars(facts: Facts) -> str:
    if not facts["bar"]:
        return "no bar"
    start_s, opened, high, low, closed = facts["bar"]
    good = start_s % 5 == 0 and 0 < low <= min(opened, closed) <= max(opened, closed) <= high
    return "" if good else f"a bar is {facts['bar']}"


def shows_book(name: str) -> Callable[[Facts], str]:
    def judge(facts: Facts) -> str:
        book = facts[name]
        rows = {side: list(book.get(side, {}).values()) for side in ("bid", "ask")}
        if [len(rows["bid"]), len(rows["ask"])] != [5, 5]:
            return f"{len(rows['bid'])} bids and {len(rows['ask'])} asks of 5"
        return "" if max(rows["bid"]) < min(rows["ask"]) else f"the sides cross: {rows}"

    return judge


def cancels(facts: Facts) -> str:
    """Everything cancelled stays silent, and nothing asked on the way was answered with an error."""
    if facts["errors"]:
        return "; ".join(f"error {code} {text}" for _, code, text in facts["errors"][:3])
    return "" if facts["late"] == 0 else "no answer" if facts["late"] < 0 else f"{facts['late']} ticks after the cancel"


CAPABILITIES: dict[str, Callable[[Facts], str]] = {
    "connect": connects,
    "resolve": resolves,
    "level 1": streams_level1,
    "Last": streams_ticks("Last", 4),
    "AllLast": streams_ticks("AllLast", 4),
    "BidAsk": streams_ticks("BidAsk", 5),
    "MidPoint": streams_ticks("MidPoint", 2),
    "5 s bars": streams_bars,
    "depth": shows_book("depth"),
    "smart depth": shows_book("smart_depth"),
    "cancel": cancels,
}


@contextlib.contextmanager
def simulators(log: Path) -> Iterator[dict[int, int]]:
    """One simulator for each version, as processes; gives version -> port."""
    with contextlib.ExitStack() as stack, log.open("wb") as errors:
        running = {}
        for version in VERSIONS:
            command = [sys.executable, "-m", "ibkr_actor", *SIMULATOR, "--server-version", str(version)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running[version] = process
        ports = {}
        for version, process in running.items():
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            said = process.stdout.readline()
            if not said.startswith("listening on "):
                raise SystemExit(f"the simulator of {version} did not start:\n{log.read_text()[-2000:]}")
            ports[version] = int(said.rpartition(":")[2])
        yield ports


def run(
    command: list[str],
    *,
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float | None = None,
) -> str:
    """Standard output of a command that must succeed. Raises: Unusable."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment, cwd=cwd, timeout=timeout_s
        )
    except FileNotFoundError:
        raise Unusable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unusable(f"not done after {PROBE_S:.0f} s") from None
    except subprocess.CalledProcessError as failed:
        lines = [line for line in (failed.stderr or failed.stdout or "").splitlines() if line.strip()]
        raise Unusable(lines[-1] if lines else f"status {failed.returncode}") from None
    return done.stdout


def prepared(client: Client, where: Path) -> tuple[list[str], dict[str, str]]:
    """The command that probes a client, and its environment, once the client is installed below `where`."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    if client.probe.endswith(".cjs"):
        npm = shutil.which("npm") or "npm"
        run([npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(where), *client.requirements])
        return ["node", str(PROBES / client.probe)], environment | {"NODE_PATH": str(where / "node_modules")}
    venv.create(where, with_pip=True)
    python = str(where / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *client.requirements])
    return [python, "-m", f"{PROBES.name}.{client.probe}"], environment


def tried(client: Client, number: int, ports: list[int], where: Path) -> list[Facts]:
    """What one client saw, a row for each port. It has stocks of its own, since tick-by-tick is limited to one request
    for an instrument in 15 s. Raises: Unusable.
    """
    command, environment = prepared(client, where)
    symbols = ",".join(f"SIM{number * 4 + kind:03d}" for kind in range(4))
    arguments = [str(number + 1), symbols, *(str(port) for port in ports)]
    said = run([*command, *arguments], environment=environment, cwd=PROBES.parent, timeout_s=PROBE_S)
    return [json.loads(line) for line in said.splitlines() if line.startswith("{")]


def judged(rows: list[Facts], expected: list[int]) -> dict[str, str]:
    """Capability -> why not, empty when it is there at every version."""
    reasons = dict.fromkeys(CAPABILITIES, "")
    versions = sorted(row["version"] for row in rows)
    if versions != expected:
        reasons["connect"] = f"negotiated {versions} instead of {expected}"
    for row, (name, judge) in itertools.product(sorted(rows, key=lambda row: row["version"]), CAPABILITIES.items()):
        reasons[name] = reasons[name] or (f"at {row['version']}: {reason}" if (reason := judge(row)) else "")
    return reasons


def printed(results: dict[str, tuple[list[int], dict[str, str]]]) -> None:
    """The table, and below it the reason of every no."""
    heads = ["client", "versions negotiated", *CAPABILITIES]
    lines = [heads]
    for name, (versions, reasons) in results.items():
        spans = " ".join(map(str, versions)) if len(versions) < 6 else f"{len(versions)}: {versions[0]}..{versions[-1]}"
        lines.append([name, spans, *("no" if reasons[capability] else "yes" for capability in CAPABILITIES)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201
    for name, (_, reasons) in results.items():
        common = set(reasons.values())
        told = {"everything": common.pop()} if len(common) == 1 else reasons
        for capability, reason in told.items():
            if reason:
                print(f"{name}, {capability}: {reason}")  # noqa: T201 - a program for people
    print(f"Simulators of {', '.join(map(str, VERSIONS))}; each client at all that differ for it.")  # noqa: T201
    print("Not served yet, so not tried: history, option parameters.")  # noqa: T201 - a program for people


def main(names: list[str]) -> int:
    """Tries each client; the exit status."""
    unknown = [name for name in names if name not in CLIENTS]
    if unknown:
        raise SystemExit(f"no client {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    results: dict[str, tuple[list[int], dict[str, str]]] = {}
    with tempfile.TemporaryDirectory(prefix="ibkr-compat-") as directory, simulators(Path(directory, "log")) as ports:
        for number, name in enumerate(names or CLIENTS):
            client = CLIENTS[name]
            # Simulators above what the client offers all answer its own highest version: one of them is enough.
            expected = sorted({min(version, client.max_version) for version in VERSIONS})
            chosen = [next(ports[each] for each in VERSIONS if min(each, client.max_version) == v) for v in expected]
            print(f"compat: {name} at {len(chosen)} versions", file=sys.stderr, flush=True)  # noqa: T201
            try:
                rows = tried(client, number, chosen, Path(directory, str(number)))
            except Unusable as cause:
                results[name] = ([], dict.fromkeys(CAPABILITIES, f"{cause}"))
                continue
            results[name] = (sorted(row["version"] for row in rows), judged(rows, expected))
    printed(results)
    return 1 if any(reason for _, reasons in results.values() for reason in reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
