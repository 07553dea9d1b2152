"""`ibkr-actor lines`: the ledger of market data lines: budgets, what IB's windows have left, the queue, who holds what.

Asks `status` and `list`; computes nothing that they do not say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, Final

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused, ask, refuse, say_json, table
from ibkr_actor.schema.commands import List, StatusCommand
from ibkr_actor.schema.keys import BAR_HOURS, BAR_SHOWS, OWN_COMMAND, Keys, bar_kind

ANSWER_TIMEOUT_S: Final = 10.0
HEAD: Final = ("instrument", "kind", "line", "state", "freshness", "holders (seconds of lease left)")
# Kinds that share a line: quote, tick, greeks and news of an instrument are one.
_LEVEL_1: Final = ("quote", "tick", "greeks", "news")
_TICK_BY_TICK: Final = ("trade", "alltrade", "bidask", "midpoint")
_REAL_TIME: Final = frozenset(bar_kind("5s", show, hours) for show in BAR_SHOWS for hours in BAR_HOURS)
_NAMES: Final = {"lines": "market data lines", "tick_by_tick": "of them tick-by-tick", "depth": "order books"}


def main(arguments: argparse.Namespace) -> int:
    """Exit status 1 when no sidecar answers."""
    return with_redis(_lines, arguments)


async def _lines(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        status = await ask(redis, keys, StatusCommand(client="cli"), ANSWER_TIMEOUT_S)
        listed = await ask(redis, keys, List(client="cli"), ANSWER_TIMEOUT_S)
    except Refused as error:
        return refuse(error)
    found: Any = listed.result or {}
    rows = list(ledger(status.result if isinstance(status.result, dict) else {}, found.get("subscriptions", [])))
    if arguments.json:
        for row in rows:
            say_json(row)
    else:
        print("\n".join(text(rows)))
    return 0


def ledger(status: dict[str, Any], subscriptions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of four sorts, told apart by `row`: budget, window, queue, stream."""
    counted = status.get("subscriptions", {})
    for name in _NAMES:
        if name in counted:
            yield {"row": "budget", "name": name, **counted[name]}
    bars = {(row["instrument"], row["kind"]) for row in subscriptions if line_of(row["kind"]) == "real-time bars"}
    yield {"row": "budget", "name": "real_time_bars", "taken": len(bars), "of": None}
    pacing = status.get("pacing", {})
    for name, window in pacing.get("windows", {}).items():
        yield {"row": "window", "name": name, **window}
    queue = ("waiting", "held_by_a_limit", "waiting_for", "open", "drained_in_s", "paused_s", "cooldowns")
    yield {"row": "queue"} | {name: pacing[name] for name in queue if name in pacing}
    for row in subscriptions:
        yield {"row": "stream", "line": line_of(row["kind"]), **row}


def line_of(kind: str) -> str:
    """Which sort of line a kind takes."""
    if kind in _LEVEL_1:
        return "level 1"
    if kind in _TICK_BY_TICK:
        return "tick-by-tick"
    if kind in OWN_COMMAND:
        return kind
    return "order book" if kind.startswith("depth") else "bars" if kind not in _REAL_TIME else "real-time bars"


def text(rows: list[dict[str, Any]]) -> list[str]:
    """The same for a person."""
    by_sort: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_sort.setdefault(row["row"], []).append(row)
    out = []
    for row in by_sort.get("budget", []):
        name = _NAMES.get(row["name"], "of them real-time bars")
        out.append(f"{name:<24}{row['taken']:>5}" + (f" of {row['of']}" if row["of"] is not None else ""))
    for row in by_sort.get("window", []):
        wait = f", free again in {row['frees_in_s']:g} s" if row.get("frees_in_s") else ""
        name = f"IB's limit: {row['name'].replace('_', ' ')}"
        out.append(f"{name:<24}{row['used']:>5} of {row['count']} in {row['window_s']:g} s{wait}")
    for row in by_sort.get("queue", []):
        why = ", ".join(f"{name} {count}" for name, count in (row.get("waiting_for") or {}).items())
        line = f"{'requests waiting':<24}{row.get('waiting', 0):>5}, open {row.get('open', 0)}"
        out.append(line + (f" (for {why}; drained in {row.get('drained_in_s', 0):g} s)" if why else ""))
        for each in row.get("cooldowns") or []:
            rest = f"{each['remains_s']:g} s more (violation {each['violations']} in a row)"
            out.append(f"{'cooldown of':<24}{each['scope'].replace('_', ' ')}, {rest}")
    streams = by_sort.get("stream", [])
    if not streams:
        return [*out, "", "no subscriptions"]
    return [*out, "", *table(HEAD, [_cells(row) for row in streams])]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    state = row["state"] + (f" ({row['reason']})" if row.get("reason") else "")
    holders = [
        each["client"] + (f" ({each['left_s']:g})" if each.get("left_s") is not None else "") for each in row["holders"]
    ]
    return row["instrument"], row["kind"], row["line"], state, row.get("freshness") or "-", ", ".join(holders) or "-"
