"""The arguments of `ibkr-actor bridge`.

Knows nothing of what it does.
"""

from __future__ import annotations

from ibkr_actor.cli.arguments import Commands, add_redis, command
from ibkr_actor.cli.simulate_arguments import positive_int


def add_bridge(commands: Commands) -> None:
    """`bridge INSTRUMENT ...` publishes, `bridge --read STREAM` prints what stands there."""
    bridge = command(
        commands,
        "bridge",
        "publish quotes, trades and bars as market-data-core's events, or read such events",
        "ibkr-actor bridge AAPL MSFT --kinds quote,bar.5s",
        "ibkr-actor bridge --read marketdata.quotes --group mine",
    )
    bridge.add_argument("instruments", nargs="*", metavar="INSTRUMENT", help="AAPL, or a canonical id; several at once")
    bridge.add_argument("--kinds", default="quote", help="comma-separated: quote, trade, alltrade, bar.5s, bar.1m, ...")
    bridge.add_argument("--namespace", help="prefix of the event streams (MD_NAMESPACE, else mdp)")
    bridge.add_argument("--to", metavar="URL", help="Redis of the event streams (default: the sidecar's)")
    bridge.add_argument("--maxlen", type=positive_int, default=100_000, help="entries an event stream keeps, about")
    bridge.add_argument("--read", metavar="STREAM", help="print the events of a stream, one JSON text a line")
    bridge.add_argument("--group", default="", help="consumer group to read with (default bridge-<namespace>)")
    bridge.add_argument("--count", type=positive_int, help="with --read: stop after this many")
    add_redis(bridge)
