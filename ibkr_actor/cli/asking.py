"""One question to the running sidecar, and its trouble told in one line; tables for what it answers.

Knows no command of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO
from ibkr_actor.client import MarketDataError, NoAnswer, call
from ibkr_actor.client.calls import refusal
from ibkr_actor.client.gateways import nobody
from ibkr_actor.schema.commands import AnyCommand, Reply
from ibkr_actor.schema.keys import Keys


class Refused(Exception):
    """There is no answer to go on with; the text is for a person, `status` the exit status."""

    def __init__(self, message: str, status: int = EXIT_NO) -> None:
        super().__init__(message)
        self.status = status


async def ask(redis: Redis, keys: Keys, command: AnyCommand, timeout_s: float) -> Reply:
    """The first reply to a command.

    Raises:
        Refused: no sidecar publishes, it does not answer in time, or it says no.
    """
    await require_sidecar(redis, keys)
    try:
        reply = await call(redis, keys, command, timeout_s=timeout_s)
    except NoAnswer as error:
        raise Refused(str(error)) from None
    if reply.error is not None:
        raise said_no(refusal(command, reply.error))
    if reply.status == "expired":
        raise Refused(f"{reply.op} expired: {reply.note or 'it was not done in time'}")
    return reply


async def require_sidecar(redis: Redis, keys: Keys) -> None:
    """Raises: Refused, when nobody publishes. A command would wait in its stream for the next start."""
    if not await redis.exists(keys.heartbeat):
        raise Refused(await nobody(redis, keys))


def said_no(error: MarketDataError) -> Refused:
    """The same as a line and an exit status: that of a wrong argument where the command made no sense."""
    return Refused(str(error), EXIT_CONFIGURATION if error.code == "validation_error" else EXIT_NO)


def refuse(error: Refused | MarketDataError) -> int:
    """Prints the line and returns the exit status."""
    refused = error if isinstance(error, Refused) else said_no(error)
    print(f"ibkr-actor: {refused}", file=sys.stderr)
    return refused.status


def say_json(value: Any) -> None:
    """One object, one line."""
    print(json.dumps(value, separators=(",", ":"), ensure_ascii=False), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as what stands in them; the last one as it is."""
    widths = [max(len(str(row[at])) for row in (head, *rows)) for at in range(len(head))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)]  # fmt: skip
