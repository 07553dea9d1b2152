"""`ibkr-actor snap INSTRUMENT...`: the present values of level 1, asked for once and without a subscription."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.asking import Refused, ask, refuse, say_json
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.commands import Snapshot
from ibkr_actor.schema.keys import Keys


def main(arguments: argparse.Namespace) -> int:
    """0 when all came, 1 when one did not, 2 for what was wrong."""
    if arguments.regulatory and not arguments.accept_charge:
        raise ConfigurationError(
            "--regulatory: IB charges for each such snapshot (0.01 USD for a US stock); add --accept-charge to say yes"
        )
    return with_redis(_snap, arguments)


async def _snap(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    statuses: list[int] = []

    async def one(instrument: str) -> None:
        command = Snapshot(client="cli", instrument=instrument, regulatory=arguments.regulatory)
        try:
            reply = await ask(redis, keys, command, arguments.timeout)
        except Refused as error:
            statuses.append(refuse(error))
            return
        result: Any = reply.result or {}
        if arguments.json:
            say_json(result | ({"note": reply.note} if reply.note else {}))
        else:
            print("\n".join(lines(instrument, result, reply.note)), flush=True)

    await _together([partial(one, instrument) for instrument in dict.fromkeys(arguments.instruments)])
    return max(statuses, default=0)


async def _together(calls: list[partial[Any]]) -> None:
    try:
        async with anyio.create_task_group() as tasks:
            for each in calls:
                tasks.start_soon(each)
    except ExceptionGroup as group:
        # Redis is away, or the reader of our output: the same for every one, and told by what called us.
        raise group.exceptions[0] from None


def lines(instrument: str, result: dict[str, Any], note: str | None) -> list[str]:
    """The quote in one line, all else below it; what is unknown is left out."""
    if not result:
        return [f"{instrument}: IB has no data for it now"]

    def shown(name: str) -> str:
        value = result.get(name)
        return "-" if value is None else f"{value:.10g}" if isinstance(value, float) else str(value)

    feed = {1: "", 2: "  frozen", 3: "  delayed", 4: "  delayed, frozen"}.get(result.get("feed", 1), "")
    out = [
        f"{result.get('instrument', instrument)}  {shown('bid_size')} x {shown('bid')} | {shown('ask')} x "
        f"{shown('ask_size')}  last {shown('last_size')} @ {shown('last')}  volume {shown('volume')}{feed}"
    ]
    ticks = result.get("ticks") or {}
    if ticks:
        out.append("  " + "  ".join(f"{name} {value}" for name, value in ticks.items()))
    for source, greeks in (result.get("greeks") or {}).items():
        known = {name: value for name, value in greeks.items() if value is not None}
        out.append(f"  greeks {source}: " + "  ".join(f"{name} {value}" for name, value in known.items()))
    return [*out, f"  {note}"] if note else out
