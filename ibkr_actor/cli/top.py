"""`ibkr-actor top`: a page in the terminal of what the sidecar does, drawn anew every second.

Reads Redis only; Redis, the sidecar and the gateway may come and go while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio
from msgspec import structs
from rich.console import Console
from rich.live import Live

from ibkr_actor.cli.address import redis_url
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.overview import as_json
from ibkr_actor.cli.overview_gather import Gatherer
from ibkr_actor.cli.top_arguments import SORTS
from ibkr_actor.cli.top_view import Look, frame
from ibkr_actor.client import connect
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.keys import Keys

QUIT: Final = frozenset({"q", "Q", "\x1b", "\x04"})
UP: Final = frozenset({"k", "\x1b[A", "\x1bOA"})
DOWN: Final = frozenset({"j", "\x1b[B", "\x1bOB"})
# An arrow is three characters; several keys may come in one read.
_KEY: Final = re.compile(r"\x1b[\[O].|.", re.DOTALL)


def main(arguments: argparse.Namespace) -> int:
    """Runs until `q`, Ctrl-C, or the one look of `--once`; its exit status is 1 when no sidecar publishes."""
    settings = load_settings(arguments.config, redis_url=arguments.redis_url)
    redis_url(settings)  # a wrong setting is told at once, and not drawn every second
    gatherer = Gatherer(lambda: connect(redis_url(settings)), Keys(settings.prefix, settings.gateway_name))
    look = Look(sort=arguments.sort, trouble_only=arguments.trouble)
    return anyio.run(_top, gatherer, look, arguments)


async def _top(gatherer: Gatherer, look: Look, arguments: argparse.Namespace) -> int:
    try:
        if arguments.once:
            return await _once(gatherer, look, arguments)
        if arguments.json or not sys.stdout.isatty():
            await _lines(gatherer, look, arguments)
        else:
            await Page(gatherer, look, arguments.interval).run()
        return 0
    finally:
        await gatherer.aclose()


async def _once(gatherer: Gatherer, look: Look, arguments: argparse.Namespace) -> int:
    """Two looks, since a rate needs two."""
    await gatherer.look()
    if not gatherer.overview.redis_error:
        await anyio.sleep(arguments.interval)
        await gatherer.look()
    _print(gatherer, look, arguments)
    return EXIT_NO if gatherer.overview.health in ("no_redis", "no_sidecar") else 0


async def _lines(gatherer: Gatherer, look: Look, arguments: argparse.Namespace) -> None:
    """One object or one frame after another, for a pipe."""
    while True:
        await gatherer.look()
        _print(gatherer, look, arguments)
        await anyio.sleep(arguments.interval)


def _print(gatherer: Gatherer, look: Look, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(as_json(gatherer.overview), separators=(",", ":")), flush=True)
        return
    console = Console()
    console.print(frame(gatherer.overview, time.time_ns(), width=console.width, look=look))


class Page:
    """The page of a terminal: one task looks, one reads the keys, one draws."""

    def __init__(self, gatherer: Gatherer, look: Look, interval_s: float) -> None:
        self._gatherer = gatherer
        self._look = structs.replace(look, keys=True)
        self._interval_s = interval_s
        self._changed = anyio.Event()
        self._quit = False

    async def run(self) -> None:
        """Until a key says so."""
        with _key_by_key() as keyed, Live(console=Console(), screen=True, auto_refresh=False) as live:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._gather)
                if keyed:
                    tasks.start_soon(self._read_keys)
                while not self._quit:
                    self._draw(live)
                    with anyio.move_on_after(self._interval_s):
                        await self._changed.wait()
                    self._changed = anyio.Event()
                tasks.cancel_scope.cancel()

    def press(self, keys: str) -> None:
        """One key, or the characters that a terminal sends for an arrow."""
        if keys in QUIT:
            self._quit = True
        elif keys in UP or keys in DOWN:
            step = 1 if keys in DOWN else -1
            first = max(0, min(self._look.first + step, len(self._gatherer.overview.rows) - 1))
            self._look = structs.replace(self._look, first=first)
        elif keys == "s":
            following = SORTS[(SORTS.index(self._look.sort) + 1) % len(SORTS)]
            self._look = structs.replace(self._look, sort=following, first=0)
        elif keys == "f":
            self._look = structs.replace(self._look, trouble_only=not self._look.trouble_only, first=0)
        self._changed.set()

    async def _gather(self) -> None:
        while True:
            await self._gatherer.look()
            self._changed.set()
            await anyio.sleep(self._interval_s)

    async def _read_keys(self) -> None:
        while True:
            await anyio.wait_readable(sys.stdin)
            typed = os.read(sys.stdin.fileno(), 16)
            if not typed:
                return  # the terminal has gone; Ctrl-C and SIGHUP still end it
            for key in _KEY.findall(typed.decode("ascii", "replace")):
                self.press(key)

    def _draw(self, live: Live) -> None:
        width, height = live.console.size
        picture = frame(self._gatherer.overview, time.time_ns(), width=width, height=height, look=self._look)
        live.update(picture, refresh=True)


@contextmanager
def _key_by_key() -> Iterator[bool]:
    """Keys come one by one and are not echoed; False where that is not to be had (no terminal, Windows)."""
    try:
        import termios
        import tty

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        yield False
        return
    except termios.error:
        yield False
        return
    try:
        tty.setcbreak(descriptor)
        yield True
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
