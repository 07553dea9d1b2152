"""Lets market-data-core's own bus, -pipeline's source and -store's sink read from us, in an environment of their own.

Usage: python tests/compat/core_bus.py. Core's bus pins redis below 6, so it cannot stand beside ours. Needs pip's
index; leaves nothing behind. Prints what each did, and ends with status 1 when one could not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import anyio

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from market_data_core.telemetry import BackpressureLevel, FeedbackEvent  # noqa: E402 - found once the root is on the path

from ibkr_actor.client import Client  # noqa: E402
from ibkr_actor.provider.bridge import run_bridge  # noqa: E402
from ibkr_actor.provider.envelope_bus import EnvelopeBus  # noqa: E402
from tests.provider.kit import two_of_a_house  # noqa: E402

PROBES = Path(__file__).resolve().parent / "probes"
NEEDED = (
    "market-data-core[bus]==1.4.61",
    "market-data-pipeline==0.8.70",
    "market-data-store==0.6.73",
    "msgspec>=0.19",
    "anyio>=4.8",
    "prometheus-client>=0.20",
)
STREAMS = ("marketdata.quotes", "marketdata.trades", "marketdata.bars")
MODELS = dict(zip((*STREAMS, "telemetry.feedback"), ("Quote", "Trade", "Bar", "FeedbackEvent"), strict=True))
FEEDBACK = FeedbackEvent(coordinator_id="c", queue_size=1, capacity=2, level=BackpressureLevel.ok, ts=1.5)


def environment(where: Path) -> Path:
    """A fresh environment with theirs, and ours without what it would bring; returns its Python."""
    venv.create(where, with_pip=True)
    python = where / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *NEEDED], check=True)
    subprocess.run([*install, "--no-deps", str(ROOT)], check=True)
    return python


async def probed(python: Path) -> dict[str, Any]:
    """What theirs make of it while a sidecar and the bridge run."""
    found: dict[str, Any] = {}
    async with two_of_a_house(clock_speed=20.0) as (_, house, _settings), Client(house.url) as client:
        bus = EnvelopeBus(house.redis)
        await bus.publish("telemetry.feedback", FEEDBACK)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_bridge, client, bus, ["quote", "trade", "bar.5s"], "AAPL")
            for probe, arguments in (("probe_core_bus.py", STREAMS), ("probe_core_pipeline.py", ())):
                command = [str(python), str(PROBES / probe), house.url, *arguments]
                with anyio.fail_after(150):
                    done = await anyio.run_process(command, check=False, env={"PATH": os.environ.get("PATH", "")})
                sys.stderr.write(done.stderr.decode())
                found |= json.loads(done.stdout or b"{}")
            tasks.cancel_scope.cancel()
    return found


def main() -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="ibkr-compat-") as directory:
        found = anyio.run(probed, environment(Path(directory)))
    results = {f"core's bus reads {stream}": _is(found.get(stream), model) for stream, model in MODELS.items()}
    results["the pipeline's registry discovers the provider"] = found.get("entry_point", "").endswith(".IBKRProvider")
    results["the pipeline's source streams over it"] = found.get("symbols") == ["AAPL"] * 5
    results["the store's sink takes a bar of the bridge"] = found.get("row", {}).get("timeframe") == "5s"
    for what, good in results.items():
        print(f"compat-core: {what}: {'ok' if good else 'FAILED'}")  # noqa: T201 - a program for people
    return 0 if all(results.values()) else 1


def _is(row: dict[str, Any] | None, model: str) -> bool:
    """Whether an event was read as what it is, with the hash that its reader computes."""
    return row is not None and row["model"] == model and row["hash"] is True


if __name__ == "__main__":
    sys.exit(main())
