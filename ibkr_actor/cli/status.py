"""`ibkr-actor status`: asks the running sidecar with a `status` command and prints its answer."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused, ask, refuse, say_json
from ibkr_actor.schema.commands import StatusCommand
from ibkr_actor.schema.keys import Keys

ANSWER_TIMEOUT_S = 5.0
# The states of the connection in which the farms are heard of.
_HEARD = ("ready", "degraded")


def main(arguments: argparse.Namespace) -> int:
    """Exit status 1 when no sidecar answers."""
    return with_redis(_status, arguments)


async def _status(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    try:
        reply = await ask(redis, keys, StatusCommand(client="cli"), ANSWER_TIMEOUT_S)
    except Refused as error:
        return refuse(error)
    result = reply.result if isinstance(reply.result, dict) else {}
    if arguments.json:
        say_json(result)
    else:
        print("\n".join([*summary(result), "", *lines(result)]))
    return 0


def summary(result: dict[str, Any]) -> list[str]:
    """What a person looks for first, in a few lines; what a status does not hold is left out."""
    session, held = result.get("session", {}), result.get("subscriptions", {})
    redis = result.get("counters", {}).get("redis", {})
    pacing, history = result.get("pacing", {}), result.get("history", {})
    down = [name for name, state in session.get("farms", {}).items() if state not in ("up", "idle")]
    # Without a connection nobody says how the farms are: what stands there is of the last one.
    farms = "unknown" if session.get("state") not in _HEARD else "not up: " + ", ".join(down) if down else "all up"
    since_ns = session.get("since_ns")
    since = f" since {datetime.fromtimestamp(int(since_ns) / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC" if since_ns else ""
    version = f", server version {session['server_version']}" if session.get("server_version") else ""
    fresh = held.get("freshness", {})
    counts = ", ".join(f"{fresh[name]} {name}" for name in ("fresh", "quiet", "stale") if fresh.get(name))
    taken = held.get("lines", {})
    ready = result.get("ready", {})
    word = "yes" if ready.get("ok") else "no: " + "; ".join(ready.get("reasons") or ["not told"])
    return [
        f"ready          {word}",
        f"gateway        {session.get('state', 'unknown')}{since}{version}, client id {session.get('client_id', '-')}",
        f"farms          {farms}",
        f"subscriptions  {held.get('streams', 0)} streams, {held.get('holders', 0)} holders"
        + (f"; lines: {counts}" if counts else ""),
        f"lines          {taken.get('taken', '-')} of {taken.get('of', '-')}; ibkr-actor lines says whose",
        f"history        {history.get('jobs_open', 0)} jobs open, {history.get('jobs_done', 0)} done",
        f"pacing         {pacing.get('waiting', 0)} requests wait, {pacing.get('pacing_violations', 0)} violations",
        f"redis          {redis.get('bus_state', 'unknown')}, {redis.get('redis_written', 0)} records written, "
        f"{redis.get('redis_waiting', 0)} wait, "
        f"{redis.get('redis_lost_overflow', 0) + redis.get('redis_lost_conflated', 0)} lost",
    ]


def lines(value: dict[str, Any], indent: str = "") -> list[str]:
    """Sections indented below their names; values beside theirs, aligned; lists of objects one per line."""
    width = max((len(name) for name, item in value.items() if not isinstance(item, dict)), default=0)
    out: list[str] = []
    for name, item in value.items():
        if isinstance(item, dict):
            out += [f"{indent}{name}:", *lines(item, indent + "  ")]
        elif isinstance(item, list) and item and isinstance(item[0], dict):
            out.append(f"{indent}{name}:")
            out += [indent + "  " + " ".join(f"{key}={text(part)}" for key, part in row.items()) for row in item]
        else:
            out.append(f"{indent}{name:<{width}}  {text(item)}")
    return out


def text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(text(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
