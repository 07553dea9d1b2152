"""`ibkr-actor history INSTRUMENT...`: bars or ticks of an interval, to a file or to standard output.

Starts one job for each instrument; pacing, splitting and stitching are the sidecar's.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.history_files import Writer, open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO
from ibkr_actor.cli.process import log_to_stderr
from ibkr_actor.client import Client, MarketDataError
from ibkr_actor.client.connect import SERVER_ERRORS, is_away
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.commands import History, HistoryTicks
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Done

# Jobs under way at a time; the sidecar shares what IB allows among them.
JOBS_MAX = 50
LOOK_EVERY_S = 1.0
_BAR_WIDTH = 30


def main(arguments: argparse.Namespace) -> int:
    """Writes until every job is done. 0 when all is there, 1 when something could not be had, 2 for what was wrong.

    When nothing came a file that was there stays as it was.
    """
    log_to_stderr("warning")  # a Redis that is away is waited for, and said
    return with_redis(_history, arguments)


async def _history(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    progress = Progress(arguments.instruments, shown=sys.stderr.isatty() and not arguments.quiet)
    many = len(arguments.instruments) > 1
    with open_writer(arguments.out, ticks=arguments.ticks, many=many, as_json=arguments.json) as writer:
        await _read_all(redis, keys, arguments, writer, progress)
        progress.end()
        if progress.came:
            writer.finish()
    for line in progress.troubles:
        print(f"ibkr-actor: {line}", file=sys.stderr)
    if progress.troubles:
        return EXIT_CONFIGURATION if progress.mistaken else EXIT_NO
    return 0


async def _read_all(
    redis: Redis, keys: Keys, arguments: argparse.Namespace, writer: Writer, progress: Progress
) -> None:
    """Raises: redis.RedisError, when Redis is not there at the start, or then has been away for `--timeout`."""
    await redis.ping()
    limiter = anyio.CapacityLimiter(JOBS_MAX)
    name = f"history-{uuid.uuid4().hex[:8]}"

    async def one(client: Client, instrument: str) -> None:
        async with limiter:
            await _one(client, arguments, instrument, writer, progress)

    try:
        async with (
            Client(redis, client=name, prefix=keys.prefix, gateway=keys.gateway, timeout_s=arguments.timeout) as client,
            anyio.create_task_group() as looking,
        ):
            looking.start_soon(_while_there, redis, arguments.timeout)
            async with anyio.create_task_group() as tasks:
                for instrument in arguments.instruments:
                    tasks.start_soon(one, client, instrument)
            looking.cancel_scope.cancel()
    except ExceptionGroup as group:
        # Redis is away, or the reader of our output: the same for every job, and told by what called us.
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _while_there(redis: Redis, within_s: float) -> None:
    """Jobs wait for a Redis that is away as long as it takes; somebody at a shell wants to know."""
    seen_s = anyio.current_time()
    while True:
        await anyio.sleep(LOOK_EVERY_S)
        try:
            await redis.ping()
            seen_s = anyio.current_time()
        except SERVER_ERRORS as error:
            if not is_away(error) or anyio.current_time() - seen_s > within_s:
                raise


async def _one(
    client: Client, arguments: argparse.Namespace, instrument: str, writer: Writer, progress: Progress
) -> None:
    job = client.job(command_of(arguments, instrument), partial(progress.told, instrument))
    try:
        async with aclosing(job.batches()) as batches:
            async for batch in batches:
                writer.write(instrument, batch)
                progress.rows(instrument, len(batch.rows))
    except MarketDataError as error:
        progress.mistaken |= error.code == "validation_error"
        progress.failed(instrument, str(error))
    else:
        assert job.done is not None
        progress.done(instrument, job.done)


def command_of(arguments: argparse.Namespace, instrument: str) -> History | HistoryTicks:
    """The command that asks for what the arguments say."""
    shared = {
        "instrument": instrument,
        "start": arguments.start,
        "end": arguments.end or "",
        "what_to_show": arguments.what or "",
        "priority": "backfill" if arguments.backfill else "interactive",
    }
    if arguments.rth is not None:
        shared["use_rth"] = arguments.rth
    if arguments.ticks:
        return HistoryTicks(**shared)
    return History(**shared, bar=arguments.bar)


class Progress:
    """How far each job is: one line on a terminal, renewed in place; nothing when that is not a terminal."""

    def __init__(self, instruments: list[str], *, shown: bool) -> None:
        if len(set(instruments)) != len(instruments):
            raise ConfigurationError("each instrument may be named once")
        self._shown = shown
        self._shares = dict.fromkeys(instruments, 0.0)
        self._etas: dict[str, float] = {}
        self._rows = 0
        self._next_s = 0.0
        self.troubles: list[str] = []
        self.came = False  # whether any job was done, or had rows before it ended
        self.mistaken = False  # whether a job was refused because the arguments make no sense

    def told(self, instrument: str, windows: dict[str, Any]) -> None:
        """What the sidecar says of a job: `windows`, `windows_done`, `eta_s`."""
        self._shares[instrument] = windows.get("windows_done", 0) / (windows.get("windows") or 1)
        if windows.get("eta_s") is not None:
            self._etas[instrument] = time.monotonic() + windows["eta_s"]
        self._show()

    def rows(self, instrument: str, count: int) -> None:
        self.came = True
        self._rows += count
        self._show()

    def done(self, instrument: str, done: Done) -> None:
        self.came = True
        self._shares[instrument] = 1.0
        self._etas.pop(instrument, None)
        if done.outcome != "complete":
            holes = "; ".join(f"{hole.reason} {_utc(hole.from_ns)} to {_utc(hole.to_ns)}" for hole in done.holes)
            self.troubles.append(f"{instrument}: {done.outcome}: {holes or done.message}")
        self._show(at_once=True)

    def failed(self, instrument: str, reason: str) -> None:
        """`reason` names the instrument, as every refusal does."""
        self._shares[instrument] = 1.0
        self._etas.pop(instrument, None)
        self.troubles.append(reason)

    def end(self) -> None:
        self._show(at_once=True)
        if self._shown:
            print(file=sys.stderr)

    def line(self, now_s: float) -> str:
        """`[#####     ] 17 %  12,000 rows  ETA 3:20`."""
        share = sum(self._shares.values()) / max(1, len(self._shares))
        full = round(share * _BAR_WIDTH)
        left_s = max((at_s - now_s for at_s in self._etas.values()), default=0.0)
        eta = f"  ETA {int(left_s) // 60}:{int(left_s) % 60:02d}" if left_s > 0 else ""
        return f"[{'#' * full}{' ' * (_BAR_WIDTH - full)}] {share:4.0%}  {self._rows:,} rows{eta}"

    def _show(self, *, at_once: bool = False) -> None:
        now_s = time.monotonic()
        if self._shown and (at_once or now_s >= self._next_s):
            self._next_s = now_s + 0.1
            print(f"\r{self.line(now_s)}\x1b[K", end="", file=sys.stderr, flush=True)


def _utc(at_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // 1_000_000_000))
