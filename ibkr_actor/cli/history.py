"""`ibkr-actor history INSTRUMENT...`: bars or ticks of an interval, to a file or to standard output.

Starts one job for each instrument; pacing, splitting and stitching are the sidecar's.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial

import anyio
from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.cli.history_files import Writer, open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO
from ibkr_actor.client.errors import NoAnswer
from ibkr_actor.client.history import JobRefused, history
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.commands import History, HistoryTicks, Reply
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Done

# Jobs under way at a time; the sidecar shares what IB allows among them.
JOBS_MAX = 50
_BAR_WIDTH = 30


def main(arguments: argparse.Namespace) -> int:
    """Writes until every job is done. 0 when all is there, 1 when something could not be had, 2 for what was wrong.

    When nothing came a file that was there stays as it was.
    """
    return with_redis(_history, arguments)


async def _history(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    progress = Progress(arguments.instruments, shown=sys.stderr.isatty() and not arguments.quiet)
    limiter = anyio.CapacityLimiter(JOBS_MAX)
    many = len(arguments.instruments) > 1
    with open_writer(arguments.out, ticks=arguments.ticks, many=many, as_json=arguments.json) as writer:
        try:
            async with anyio.create_task_group() as tasks:
                for instrument in arguments.instruments:
                    tasks.start_soon(_one, redis, keys, arguments, instrument, writer, progress, limiter)
        except ExceptionGroup as group:
            # Redis is away, or the reader of our output: the same for every job, and told by what called us.
            raise group.exceptions[0] from None
        progress.end()
        if progress.came:
            writer.finish()
    for line in progress.troubles:
        print(f"ibkr-actor: {line}", file=sys.stderr)
    if progress.troubles:
        return EXIT_CONFIGURATION if progress.mistaken else EXIT_NO
    return 0


async def _one(
    redis: Redis,
    keys: Keys,
    arguments: argparse.Namespace,
    instrument: str,
    writer: Writer,
    progress: Progress,
    limiter: anyio.CapacityLimiter,
) -> None:
    told = partial(progress.told, instrument)
    command = command_of(arguments, instrument)
    async with limiter:
        try:
            async for entry in history(redis, keys, command, on_reply=told, timeout_s=arguments.timeout):
                if isinstance(entry, Done):
                    progress.done(instrument, entry)
                else:
                    writer.write(instrument, entry)
                    progress.rows(instrument, len(entry.rows))
        except JobRefused as error:
            progress.mistaken |= error.rejection.code == "validation_error"
            progress.failed(instrument, str(error))
        except NoAnswer as error:
            progress.failed(instrument, str(error))


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

    def told(self, instrument: str, reply: Reply) -> None:
        """A reply of the job."""
        result = reply.result
        if reply.status == "progress" and isinstance(result, dict):
            parts = result.get("windows") or 1
            self._shares[instrument] = result.get("windows_done", 0) / parts
            if result.get("eta_s") is not None:
                self._etas[instrument] = time.monotonic() + result["eta_s"]
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
        self._shares[instrument] = 1.0
        self._etas.pop(instrument, None)
        self.troubles.append(f"{instrument}: {reason}")

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
