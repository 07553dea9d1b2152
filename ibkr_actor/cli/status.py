"""`ibkr-actor status`: asks the running sidecar with a `status` command and prints its answer."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.client import NoAnswer, call
from ibkr_actor.schema.commands import StatusCommand
from ibkr_actor.schema.keys import Keys

ANSWER_TIMEOUT_S = 5.0


def main(arguments: argparse.Namespace) -> int:
    """Exit status 1 when no sidecar answers."""
    return with_redis(_status, arguments)


async def _status(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    if not await redis.exists(keys.heartbeat):
        print(f"ibkr-actor: no sidecar publishes for {keys.root} (no heartbeat)", file=sys.stderr)
        return EXIT_NO
    try:
        reply = await call(redis, keys, StatusCommand(client="cli"), timeout_s=ANSWER_TIMEOUT_S)
    except NoAnswer as error:
        print(f"ibkr-actor: {error}", file=sys.stderr)
        return EXIT_NO
    result = reply.result if isinstance(reply.result, dict) else {}
    print(json.dumps(result, indent=2) if arguments.json else "\n".join(lines(result)))
    return 0


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
