"""A simulator as a process of its own: settings as JSON in, port and time out, and at the end of input what was broken.

For the tests of history under load only.
"""

from __future__ import annotations

import json
import sys

import anyio
import anyio.to_thread

from ibkr_actor.sim import Simulator, SimulatorSettings


def say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main() -> None:
    async with Simulator(SimulatorSettings(**json.loads(sys.argv[1]))) as sim:
        say({"port": sim.port, "now_s": sim.world.clock.now_s()})
        await anyio.to_thread.run_sync(sys.stdin.read)
        said: dict[str, object] = {
            "violations": {str(rule): count for rule, count in sim.violations.items()},
            "errors": dict(sim.world.errors_sent),
        }
        say(said)


if __name__ == "__main__":
    anyio.run(main)
