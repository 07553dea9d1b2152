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
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.compat.judging import CAPABILITIES, Facts  # noqa: E402 - found once the root is on the path
from tests.compat.probes.asked import SCHEDULE_VERSION  # noqa: E402

PROBES = Path(__file__).resolve().parent / "probes"
VERSIONS = (157, 165, 173, 178, 193, 200, 201, 205, 206, 208, 212, 213, 222, 226)
PROTOBUF = "protobuf>=5.29.6,<7"
# Half of the lines are messages per second; no client is to be slowed down by the limits here.
# The clock is fast, so that news and updates of bars come soon; it starts at 10 o'clock of a Tuesday in New York.
SIMULATOR = ["simulate", "--port", "0", "--lines", "1000", "--rate", "0.1", "--clock-speed", "100"]
START = "2026-01-06T15:00:00Z"
PROBE_S = 300.0


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

# What a client has not got by itself, so that no gateway can give it.
_WHOLE_COUPON = "it reads the coupon of a bond as a whole number"
_YEARS = "it reads every date as one with a year"
ABSENT = {
    ("ibapi 9.81", "resolve BOND"): _WHOLE_COUPON,
    ("ibapi 9.81", "schedule"): f"it speaks version 157 at most, and schedules came with {SCHEDULE_VERSION}",
    ("ib_insync 0.9.86", "resolve BOND"): _WHOLE_COUPON,
    ("ib_insync 0.9.86", "bars without year"): _YEARS,
    ("ib_async 2.1.0", "resolve BOND"): _WHOLE_COUPON,
    ("ib_async 2.1.0", "bars without year"): _YEARS,
}


class Unusable(Exception):
    """A client could not be installed or started; the text says why."""


@contextlib.contextmanager
def simulators(log: Path) -> Iterator[dict[int, int]]:
    """One simulator for each version, as processes; gives version -> port."""
    with contextlib.ExitStack() as stack, log.open("wb") as errors:
        running = {}
        for version in VERSIONS:
            command = [
                sys.executable,
                "-m",
                "ibkr_actor",
                *SIMULATOR,
                "--start-time",
                START,
                "--server-version",
                str(version),
            ]
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


def judged(rows: list[Facts], expected: list[int], name: str = "") -> dict[str, str]:
    """Capability -> why not, empty when it is there at every version, or when the client of this name has it not."""
    reasons = dict.fromkeys(CAPABILITIES, "")
    versions = sorted(row["version"] for row in rows)
    if versions != expected:
        reasons["connect"] = f"negotiated {versions} instead of {expected}"
    for row, (capability, judge) in itertools.product(
        sorted(rows, key=lambda row: row["version"]), CAPABILITIES.items()
    ):
        if (name, capability) not in ABSENT and not reasons[capability] and (reason := judge(row)):
            reasons[capability] = f"at {row['version']}: {reason}"
    return reasons


def shown(name: str, capability: str, reason: str) -> str:
    return "-" if (name, capability) in ABSENT else "no" if reason else "yes"


def printed(results: dict[str, tuple[list[int], dict[str, str]]]) -> None:
    """The table, a column for each client and a row for each capability, and below it the reason of every no and -."""
    lines = [["", *(name.partition(" ")[part] for name in results)] for part in (0, 2)]
    spans = [f"{len(versions)}: {versions[0]}..{versions[-1]}" if versions else "" for versions, _ in results.values()]
    lines.append(["server versions", *spans])
    for capability in CAPABILITIES:
        cells = [shown(name, capability, reasons[capability]) for name, (_, reasons) in results.items()]
        lines.append([capability, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())  # noqa: T201
    for name, (_, reasons) in results.items():
        common = set(reasons.values())
        told = {"everything": common.pop()} if len(common) == 1 else reasons
        for capability, reason in told.items():
            if reason:
                print(f"no: {name}, {capability}: {reason}")  # noqa: T201 - a program for people
    for (name, capability), reason in ABSENT.items():
        if name in results:
            print(f"-: {name}, {capability}: {reason}")  # noqa: T201 - a program for people
    print(f"Simulators of {', '.join(map(str, VERSIONS))}; each client at all that differ for it.")  # noqa: T201


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
            results[name] = (sorted(row["version"] for row in rows), judged(rows, expected, name))
    printed(results)
    return 1 if any(reason for _, reasons in results.values() for reason in reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
