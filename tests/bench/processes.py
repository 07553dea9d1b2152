"""Owns the children of a benchmark: started, spoken to, measured, and ended with the parent however that ends.

Knows nothing of what they do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

from ibkr_actor.bus.embedded import SUPERVISOR

ROOT: Final = Path(__file__).resolve().parents[2]
LINE_BYTES_MAX: Final = 64 * 1024
END_S: Final = 10.0
LOG_LINES_SHOWN: Final = 15


class ChildFailed(Exception):
    """A child ended, said nothing in time, or said something else."""


class Usage(Struct, frozen=True):
    """User and system seconds so far, and the most memory it ever had."""

    cpu_s: float
    peak_rss_bytes: int


class Child:
    """A running process that speaks in lines of JSON. `pid` is the process that is measured."""

    def __init__(self, name: str, process: Process, log: Path) -> None:
        assert process.stdout is not None
        self.name = name
        self.pid = process.pid
        self._process = process
        self._lines = BufferedByteReceiveStream(process.stdout)
        self._log = log

    async def expect(self, event: str, *, timeout_s: float) -> dict[str, Any]:
        """The fields of its next line, which is `event`. Raises: ChildFailed."""
        line = await self.line(event, timeout_s)
        said: dict[str, Any] = json.loads(line)
        if said.get("event") != event:
            raise ChildFailed(f"{self.name} said {said}, not {event}")
        return said

    async def line(self, what: str, timeout_s: float) -> bytes:
        """Its next line. Raises: ChildFailed."""
        try:
            with anyio.fail_after(timeout_s):
                return await self._lines.receive_until(b"\n", LINE_BYTES_MAX)
        except TimeoutError:
            reason = f"{self.name} did not say {what} within {timeout_s:g} s"
        except (anyio.EndOfStream, anyio.IncompleteRead):
            reason = f"{self.name} ended before it said {what}"
        raise ChildFailed(f"{reason}\n{self.last_words()}")

    async def say(self, word: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(word.encode() + b"\n")

    def last_words(self) -> str:
        """The end of its standard error."""
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:])


@asynccontextmanager
async def script(module: str, *arguments: object, directory: Path) -> AsyncIterator[Child]:
    """A module of this package as a process. It ends by itself when its standard input does."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *map(str, arguments)]
    async with _running(module, command, {}, directory) as child:
        yield child


@asynccontextmanager
async def supervised(
    name: str, command: list[str], environment: Mapping[str, str], directory: Path
) -> AsyncIterator[Child]:
    """Any program, below the bus' own supervisor, which ends it when the parent is gone."""
    command = [sys.executable, "-I", "-S", SUPERVISOR, str(END_S), *command]
    async with _running(name, command, environment, directory) as child:
        child.pid = int(await child.line("its process id", END_S))
        yield child


@asynccontextmanager
async def _running(
    name: str, command: list[str], environment: Mapping[str, str], directory: Path
) -> AsyncIterator[Child]:
    # A session of its own: Ctrl-C is the parent's, which then ends its children in order.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("IBKR_")}
    log = directory / f"{name}.log"
    with log.open("wb") as stderr:
        process = await anyio.open_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=directory,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )
    try:
        yield Child(name, process, log)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _end(process: Process) -> None:
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.move_on_after(END_S + 5):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()


def usage(pid: int) -> Usage | None:
    """What a process has used; None where there is no /proc. Source: proc(5), `stat` and `status`."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    ticks = int(stat[11]) + int(stat[12])
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) * 1024)
