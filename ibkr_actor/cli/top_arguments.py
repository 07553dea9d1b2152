"""Owns the arguments of `ibkr-actor top`.

Must not import rich: a plain install shows this help too.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.cli.arguments import Commands, add_json, add_redis, command
from ibkr_actor.cli.simulate_arguments import positive_float

SORTS: Final = ("name", "age", "rate", "state")


def add_top(commands: Commands) -> None:
    """`top` and its options."""
    top = command(
        commands,
        "top",
        "a live page of connection, streams, budgets and events in the terminal",
        "ibkr-actor top",
        "ibkr-actor top --once                      # one frame and its exit status",
        "ibkr-actor top --once --json | jq .health",
        "ibkr-actor top --sort state --trouble      # only what needs a look",
    )
    top.add_argument("--once", action="store_true", help="one frame; exit status 1 when no sidecar publishes")
    top.add_argument("--sort", choices=SORTS, default="name", help="order of the streams (default name; key s)")
    top.add_argument("--trouble", action="store_true", help="only streams that are stale, starved or pending (key f)")
    top.add_argument(
        "--interval", type=positive_float, default=1.0, metavar="S", help="seconds from look to look (default 1)"
    )
    add_redis(top)
    add_json(top, "everything that the page shows, for each look")
