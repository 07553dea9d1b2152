"""Owns the arguments of `ibkr-actor simulate`, and how each becomes a setting of the simulator.

Must not import the simulator: a plain install shows this help too.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_N = TypeVar("_N", int, float)
LANGUAGES = ("en", "de", "zh")
SERVER_VERSIONS = (157, 165, 173, 178, 193, 200, 201, 205, 206, 208, 212, 213, 222, 226)


def add_arguments(simulate: argparse.ArgumentParser) -> None:
    """Every argument, by group."""
    _add_gateway(simulate.add_argument_group("the gateway"))
    _add_market(simulate.add_argument_group("the market and its clock"))
    _add_faults(simulate.add_argument_group("what goes wrong"))
    _add_recordings(simulate.add_argument_group("recordings"))


def _add_gateway(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    group.add_argument("--port", type=port, default=4002, help="port to listen on, 0 for any (default 4002)")
    group.add_argument(
        "--server-version",
        type=int,
        choices=SERVER_VERSIONS,
        metavar="CAP",
        help=f"highest server version to answer: {', '.join(map(str, SERVER_VERSIONS))} (default 226)",
    )
    group.add_argument("--lines", type=positive_int, default=100, help="market data lines (default 100)")
    group.add_argument(
        "--language",
        default="en",
        choices=LANGUAGES,
        metavar="LANG",
        help=f"of errors and notices: {', '.join(LANGUAGES)} (default en)",
    )
    group.add_argument("--journal", type=Path, metavar="FILE", help="write every frame in and out as JSON lines")


def _add_market(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--rate",
        type=non_negative_float,
        default=4.0,
        help="ticks per second and instrument, 0 for the first values only (default 4)",
    )
    group.add_argument(
        "--seed", type=whole_number, default=1, help="the same seed and time give the same market (default 1)"
    )
    group.add_argument(
        "--market-hours",
        choices=("always", "exchange"),
        default="always",
        help="always: ticks at any hour; exchange: silence outside trading hours (default always)",
    )
    group.add_argument(
        "--clock-speed",
        type=positive_float,
        default=1.0,
        metavar="N",
        help="how many times real time the clock runs, limits and scripts with it (default 1)",
    )
    group.add_argument(
        "--start-time",
        type=instant,
        metavar="ISO",
        help="what the clock shows at first, such as 2026-01-05T14:30:00Z (default now)",
    )


def _add_faults(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="a shipped scenario, from the first client on; several run side by side",
    )
    group.add_argument(
        "--script",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a script of your own (TOML); several too",
    )
    group.add_argument("--scenarios", action="store_true", help="list the shipped scenarios and stop")


def _add_recordings(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--play",
        type=Path,
        metavar="DIR",
        help="raw frames that a sidecar recorded (IBKR_RECORD_DIR): requests are answered by the recording's own",
    )
    group.add_argument(
        "--play-speed",
        type=non_negative_float,
        metavar="N",
        help="how many times its own speed it plays at, 0 for at once (default 1)",
    )
    group.add_argument("--replay", type=Path, metavar="FILE", help="recorded level-1 rows (.jsonl[.gz]) to play")
    group.add_argument(
        "--speed",
        type=non_negative_float,
        help="how many times real speed to replay at, 0 for all rows at once (default 1)",
    )
    group.add_argument(
        "--instrument",
        help="canonical id of the replayed instrument (default 700.STK.SEHK.HKD)",
    )


def whole_number(text: str) -> int:
    value = _number(int, text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number")
    return value


def positive_int(text: str) -> int:
    value = _number(int, text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def positive_float(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def non_negative_float(text: str) -> float:
    value = _number(float, text)
    if value is None or not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of 0 or more")
    return value


def port(text: str) -> int:
    value = _number(int, text)
    if value is None or not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return value


def instant(text: str) -> float:
    """Seconds since 1970 of an ISO time that says its zone."""
    try:
        value = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO time such as 2026-01-05T14:30:00Z") from None
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} says no zone: end it with Z, or with an offset such as -05:00")
    return value.timestamp()


def _number(kind: Callable[[str], _N], text: str) -> _N | None:
    try:
        return kind(text)
    except ValueError:
        return None
