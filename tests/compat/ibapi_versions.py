"""Runs the border's tests with each supported release of the official client, in an environment of its own.

Usage: python tests/compat/ibapi_versions.py [DISTRIBUTION==VERSION ...] [-- PYTEST ARGUMENTS ...]
Needs pip's index; leaves nothing behind. Ends with one line per release, and with status 1 if one failed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASES = ["nautilus-ibapi==10.46.1", "ibapi-stable==10.50.2", "ibapi-latest==10.51.1"]
REFUSED = ["ibapi==9.81.1.post1"]
# What the border's tests need beside the client under test.
NEEDED = ["protobuf>=5.29.6,<7", "msgspec>=0.19", "anyio>=4.8", "redis>=8.0", "pytest>=9.0", "hypothesis>=6.120"]
CHECK = "from ibkr_actor.tws.versions import check_ibapi; print(check_ibapi())"


def environment(where: Path, client: str) -> Path:
    """A fresh environment with the project, one client and the test tools; returns its Python."""
    venv.create(where, with_pip=True)
    python = where / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, client, *NEEDED], check=True)
    # Without its extra, which would bring the pinned client beside the one under test.
    subprocess.run([*install, "--no-deps", str(ROOT)], check=True)
    return python


def works(client: str, arguments: list[str]) -> bool:
    """Whether the client passes the check and the border's tests."""
    with tempfile.TemporaryDirectory(prefix="ibkr-compat-") as directory:
        python = environment(Path(directory), client)
        if subprocess.run([str(python), "-c", CHECK], check=False, cwd=directory).returncode:
            return False
        command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", *(arguments or ["tests/tws"])]
        return subprocess.run(command, check=False, cwd=ROOT).returncode == 0


def is_refused(client: str) -> bool:
    """Whether the check refuses the client with the one line meant for people."""
    with tempfile.TemporaryDirectory(prefix="ibkr-compat-") as directory:
        python = environment(Path(directory), client)
        done = subprocess.run([str(python), "-c", CHECK], check=False, cwd=directory, capture_output=True, text=True)
        line = done.stderr.strip().splitlines()[-1] if done.stderr else "not refused"
        print(line, flush=True)  # noqa: T201 - a program for people
        return done.returncode != 0 and "UnsupportedIbapi" in line


def main(arguments: list[str]) -> int:
    """Tries each release; the exit status."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    clients, pytest_arguments = arguments[:cut], arguments[cut + 1 :]
    results = {client: works(client, pytest_arguments) for client in clients or RELEASES}
    if not clients:
        results |= {f"{client} (to be refused)": is_refused(client) for client in REFUSED}
    for client, good in results.items():
        print(f"compat-ibapi: {client}: {'ok' if good else 'FAILED'}")  # noqa: T201 - a program for people
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
