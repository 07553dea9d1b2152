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
from ibkr_actor.client import NoAnswer, call
from ibkr_actor.schema.commands import AnyCommand, Rejection, Reply
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
        mistaken = reply.error.code == "validation_error"
        raise Refused(told(reply.error), EXIT_CONFIGURATION if mistaken else EXIT_NO)
    if reply.status == "expired":
        raise Refused(f"{reply.op} expired: {reply.note or 'it was not done in time'}")
    return reply


async def require_sidecar(redis: Redis, keys: Keys) -> None:
    """Raises: Refused, when nobody publishes. A command would wait in its stream for the next start."""
    if not await redis.exists(keys.heartbeat):
        raise Refused(f"no sidecar publishes for {keys.root} (no heartbeat)")


def refuse(error: Refused, about: str = "") -> int:
    """Prints the line and returns the exit status."""
    print(f"ibkr-actor: {about + ': ' if about else ''}{error}", file=sys.stderr)
    return error.status


def told(error: Rejection) -> str:
    """`code: message`, with what an ambiguous name may mean and when to try again."""
    text = f"{error.code}: {error.message}"
    if error.candidates:
        named = [f"con_id {each.con_id} ({each.sec_type} {each.exchange} {each.currency})" for each in error.candidates]
        text += f"; it may mean {', '.join(named[:5])}{', ...' if len(named) > 5 else ''}"
    if error.retryable:
        when = f" in {error.retry_after_s:g} s" if error.retry_after_s else " later"
        text += f"; try again{when}"
    return text


def say_json(value: Any) -> None:
    """One object, one line."""
    print(json.dumps(value, separators=(",", ":"), ensure_ascii=False), flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as what stands in them; the last one as it is."""
    widths = [max(len(str(row[at])) for row in (head, *rows)) for at in range(len(head))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)]  # fmt: skip
