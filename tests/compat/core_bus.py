"""Lets market-data-core's own RedisStreamsBus read what the bridge writes, in an environment of its own.

Usage: python tests/compat/core_bus.py. Its extra pins redis below 6, so it cannot stand beside ours. Needs pip's index;
leaves nothing behind. Prints what was read, and ends with status 1 when something was not.
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

PROBE = Path(__file__).resolve().parent / "probes" / "probe_core_bus.py"
NEEDED = ("market-data-core[bus]==1.4.61",)
STREAMS = ("marketdata.quotes", "marketdata.trades", "marketdata.bars")
FEEDBACK = FeedbackEvent(coordinator_id="c", queue_size=1, capacity=2, level=BackpressureLevel.ok, ts=1.5)


def environment(where: Path) -> Path:
    """A fresh environment with market-data-core and its bus; returns its Python."""
    venv.create(where, with_pip=True)
    python = where / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--quiet", *NEEDED], check=True)
    return python


async def read_by_core(python: Path) -> dict[str, Any]:
    """What core's bus makes of the streams while the bridge writes."""
    async with two_of_a_house(clock_speed=20.0) as (_, house, _settings), Client(house.url) as client:
        bus = EnvelopeBus(house.redis)
        await bus.publish("telemetry.feedback", FEEDBACK)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run_bridge, client, bus, ["quote", "trade", "bar.5s"], "AAPL")
            command = [str(python), str(PROBE), house.url, *STREAMS]
            with anyio.fail_after(120):
                done = await anyio.run_process(command, check=False, env={"PATH": os.environ.get("PATH", "")})
            tasks.cancel_scope.cancel()
    sys.stderr.write(done.stderr.decode())
    found: dict[str, Any] = json.loads(done.stdout or b"{}")
    return found


def main() -> int:
    """The exit status."""
    with tempfile.TemporaryDirectory(prefix="ibkr-compat-") as directory:
        found = anyio.run(read_by_core, environment(Path(directory)))
    wanted = {"marketdata.quotes": "Quote", "marketdata.trades": "Trade", "marketdata.bars": "Bar"}
    wanted["telemetry.feedback"] = "FeedbackEvent"
    for stream, model in wanted.items():
        row = found.get(stream, {})
        good = row.get("model") == model and row.get("hash") is True
        print(f"compat-core: {stream}: {row or 'nothing'}: {'ok' if good else 'FAILED'}")  # noqa: T201 - a program for people
        if not good:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
