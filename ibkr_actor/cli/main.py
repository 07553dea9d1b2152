"""`ibkr-actor`: which commands there are, their arguments, and their exit statuses.

Each command's module is imported only when it runs, so that a plain install can say which extra it lacks.
Exit status: 0 done, 1 the answer is no (unhealthy, no sidecar), 2 a wrong setting or argument, 3 fenced, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ibkr_actor import __version__
from ibkr_actor.cli import bridge_arguments, reader_arguments, simulate_arguments, top_arguments
from ibkr_actor.cli.arguments import Commands, Root, add_config, add_json, add_redis, command
from ibkr_actor.cli.simulate_arguments import positive_float
from ibkr_actor.errors import ConfigurationError, Fenced

EXIT_NO = 1
EXIT_CONFIGURATION = 2
EXIT_FENCED = 3
EXIT_INTERRUPTED = 130
# Top-level modules that only the extra `sidecar` brings.
SIDECAR_MODULES = frozenset(
    {
        "ibapi",
        "google",
        "hiredis",
        "pydantic",
        "pydantic_settings",
        "fakeredis",
        "starlette",
        "uvicorn",
        "prometheus_client",
    }
)
# And what only the extra `tui` brings; who lacks that may lack the other too.
TUI_MODULES = frozenset({"rich"})
CORE_MODULES = frozenset({"market_data_core"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    arguments = parser().parse_args(argv)
    try:
        module = importlib.import_module(f"ibkr_actor.cli.{arguments.module}")
        status = int(module.main(arguments))
        # Here, where a reader that has gone can still be told from a fault.
        sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in SIDECAR_MODULES | TUI_MODULES | CORE_MODULES:
            raise
        extra = "sidecar,tui" if missing in TUI_MODULES else "sidecar,core" if missing in CORE_MODULES else "sidecar"
        return _refuse(
            f"'{arguments.command}' needs the package {error.name!r}, which this install lacks: "
            f"pip install 'ibkr-actor[{extra}]'"
        )
    except ConfigurationError as error:
        return _refuse(str(error))
    except Fenced as error:
        print(f"ibkr-actor: {error}", file=sys.stderr)
        return EXIT_FENCED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): what Python would still flush at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _refuse(message: str) -> int:
    print(f"ibkr-actor: {message}", file=sys.stderr)
    return EXIT_CONFIGURATION


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Root(
        prog="ibkr-actor",
        description="One Interactive Brokers connection, published to Redis Streams. Market data only.",
        epilog="Settings are IBKR_* variables, .env, or a TOML file named by --config or IBKR_CONFIG; see the README.",
    )
    root.add_argument("--version", action="version", version=f"ibkr-actor {__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_demo(commands)
    _add_simulate(commands)
    _add_http(commands)
    reader_arguments.add_readers(commands)
    top_arguments.add_top(commands)
    bridge_arguments.add_bridge(commands)
    _add_history(commands)
    return root


def _add_run(commands: Commands) -> None:
    run = command(
        commands,
        "run",
        "connect to TWS or IB Gateway and publish to Redis until Ctrl-C or SIGTERM",
        "ibkr-actor run --host 127.0.0.1 --port 4002",
        "ibkr-actor run --config ibkr-actor.toml",
        "IBKR_REDIS_URL=redis://127.0.0.1:6379/0 ibkr-actor run    # a Redis of yours",
    )
    add_config(run)
    run.add_argument("--host", help="TWS or IB Gateway host (IBKR_HOST)")
    run.add_argument("--port", type=int, help="4002 Gateway paper, 4001 live, 7497 TWS paper, 7496 live (IBKR_PORT)")
    run.add_argument("--client-id", type=int, help="API client id (IBKR_CLIENT_ID)")
    run.add_argument("--redis-url", help="Redis to publish to; without one an embedded server starts (IBKR_REDIS_URL)")
    run.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="IBKR_LOG_LEVEL")


def _add_demo(commands: Commands) -> None:
    demo = command(
        commands,
        "demo",
        "everything on this machine: simulated gateway, Redis, sidecar, a live table",
        "ibkr-actor demo --seconds 600",
        "ibkr-actor demo nightly-restart",
    )
    demo.add_argument(
        "scenario",
        nargs="?",
        choices=("nightly-restart",),
        help="what the gateway goes through meanwhile (default: nothing)",
    )
    demo.add_argument(
        "--seconds", type=positive_float, default=None, help="how long to stream (default 30; 65 with a scenario)"
    )


def _add_http(commands: Commands) -> None:
    http = command(
        commands,
        "http",
        "the HTTP service and its page in a process of its own, for many clients; reads Redis only",
        "ibkr-actor http",
        "IBKR_HTTP_ENABLED=false ibkr-actor run      # the sidecar without its own",
        "ibkr-actor http --http-host 0.0.0.0 --http-port 8084",
    )
    add_redis(http)
    http.add_argument("--http-host", help="address to listen on (IBKR_HTTP_HOST)")
    http.add_argument("--http-port", type=int, help="port to listen on, 0 is any free one (IBKR_HTTP_PORT, PORT)")
    http.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="IBKR_LOG_LEVEL")


def _add_simulate(commands: Commands) -> None:
    simulate = command(
        commands,
        "simulate",
        "a simulated gateway that any TWS API client can connect to",
        "ibkr-actor simulate --port 4002",
        "ibkr-actor simulate --port 4002 --scenario nightly-restart",
    )
    simulate_arguments.add_arguments(simulate)


def _add_history(commands: Commands) -> None:
    history = command(
        commands,
        "history",
        "bars or ticks of an interval, to a file or to standard output",
        "ibkr-actor history AAPL MSFT --start 2026-01-05 --end 2026-01-09 --bar 5m --out bars.csv",
        "ibkr-actor history AAPL --start 2026-01-05T14:30:00Z --end 2026-01-05T14:35:00Z --ticks --json",
    )
    history.add_argument(
        "instruments", nargs="+", metavar="INSTRUMENT", help="AAPL, or a canonical id; several at once"
    )
    history.add_argument("--start", required=True, help="ISO 8601; a date means from the beginning of that trade date")
    history.add_argument("--end", help="ISO 8601; a date means up to the end of that trade date (default: now)")
    history.add_argument("--bar", default="1d", help="1s 5s 10s 15s 30s 1m 2m 3m 5m 10m ... 8h 1d 1w 1M (default 1d)")
    history.add_argument("--ticks", action="store_true", help="ticks instead of bars")
    history.add_argument("--what", metavar="SHOW", help="TRADES, MIDPOINT, BID, ASK, BID_ASK, ... (default: by type)")
    history.add_argument(
        "--rth", action=argparse.BooleanOptionalAction, help="regular trading hours only, or all hours"
    )
    history.add_argument(
        "--out", type=Path, metavar="FILE", help=".csv, .json or .parquet (default: CSV to the output)"
    )
    history.add_argument("--backfill", action="store_true", help="give way to what others ask for interactively")
    history.add_argument(
        "--timeout",
        type=positive_float,
        default=30.0,
        help="seconds until a sidecar must answer, and a Redis that went away must be back",
    )
    history.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(history, "a bar or a tick, instead of CSV")
    add_redis(history)
