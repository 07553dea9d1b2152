"""Owns the processes around a measurement: server, simulator, sidecar and reader, each started the same for all.

Measures and compares nothing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from ibkr_actor.bus.config import MIB, RingConfig
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.client import NoAnswer, call, connect
from ibkr_actor.schema.commands import Subscribe
from tests.bench.processes import Child, ChildFailed, script, supervised
from tests.bench.quotes import GATEWAY, KEYS, symbol

STARTED_WITHIN_S: Final = 20.0
MEMORY_MAX_BYTES: Final = 4096 * MIB


class Load(Struct, frozen=True, kw_only=True):
    """What is sent. `seconds` at `rate` is the paced part."""

    ticks: int
    instruments: int
    rate: float
    seconds: float
    server_version: int
    # The words of a command that looks at the running sidecar, such as a profiler's; `{pid}` stands for its process.
    attach: tuple[str, ...] = ()

    @property
    def paced_ticks(self) -> int:
        return int(self.rate * self.seconds)


class Site(Struct):
    """A directory and a server of one measurement."""

    directory: Path
    server: EmbeddedRedis
    redis: Redis

    @property
    def url(self) -> str:
        return self.server.own_url


class RunningSimulator(Struct):
    child: Child
    port: int


@asynccontextmanager
async def fresh_site() -> AsyncIterator[Site]:
    """A fresh server for each measurement: no other's memory, AOF or keys."""
    with TemporaryDirectory(prefix="ibkr-bench-") as directory:
        config = EmbeddedConfig(data_dir=Path(directory) / "redis", memory_max_bytes=MEMORY_MAX_BYTES)
        async with EmbeddedRedis(config) as server, connect(server.own_url) as redis:
            yield Site(Path(directory), server, redis)


@asynccontextmanager
async def start_simulator(site: Site, load: Load, ticks: int, rate: float) -> AsyncIterator[RunningSimulator]:
    async with start_simulator_in(site.directory, load, ticks, rate) as simulator:
        yield simulator


@asynccontextmanager
async def start_simulator_in(directory: Path, load: Load, ticks: int, rate: float) -> AsyncIterator[RunningSimulator]:
    arguments = (ticks, load.instruments, rate, load.server_version)
    async with script("simulator", *arguments, directory=directory) as child:
        said = await child.expect("listening", timeout_s=STARTED_WITHIN_S)
        yield RunningSimulator(child, said["port"])


@asynccontextmanager
async def start_sidecar(site: Site, load: Load, port: int) -> AsyncIterator[Child]:
    """`ibkr-actor run` as anyone starts it; only the bounds that the amount of ticks passes are raised."""
    ring = RingConfig()
    environment = {
        "IBKR_PORT": str(port),
        "IBKR_REDIS_URL": site.url,
        "IBKR_GATEWAY_NAME": GATEWAY,
        "IBKR_DATA_DIR": str(site.directory / "data"),
        "IBKR_HTTP_ENABLED": "false",
        "IBKR_LINES": str(10 * load.instruments),
        "IBKR_RETENTION_ENTRIES": str(max(10_000, 2 * load.ticks // load.instruments)),
        "IBKR_REDIS_MEMORY_MAX": str(MEMORY_MAX_BYTES),
        "IBKR_RING_MAX_RECORDS": str(max(ring.records_max, 2 * load.ticks)),
        "IBKR_RING_MAX_BYTES": str(max(ring.bytes_max, 1024 * load.ticks)),
    }
    command = [sys.executable, "-m", "ibkr_actor", "run"]
    async with supervised("sidecar", command, environment, site.directory) as child:
        yield child


@asynccontextmanager
async def attached(load: Load, pid: int) -> AsyncIterator[None]:
    """Runs the command that looks at process `pid`, if there is one, and waits for its end."""
    if not load.attach:
        yield
        return
    command = [word.replace("{pid}", str(pid)) for word in load.attach]
    async with await anyio.open_process(command, stdin=DEVNULL, stdout=None, stderr=None) as process:
        yield
        await process.wait()


@asynccontextmanager
async def start_consumer(site: Site, load: Load, mode: str) -> AsyncIterator[Child]:
    arguments = (site.url, load.paced_ticks, load.instruments, mode)
    async with script("consumer", *arguments, directory=site.directory) as child:
        await child.expect("ready", timeout_s=STARTED_WITHIN_S)
        yield child


async def subscribe_all(site: Site, load: Load, own: Child) -> None:
    """Through the command stream, one command per instrument. Raises: ChildFailed."""
    for place in range(load.instruments):
        command = Subscribe(client="bench", instrument=symbol(place), kinds=["quote"])
        try:
            reply = await call(site.redis, KEYS, command, timeout_s=STARTED_WITHIN_S)
        except NoAnswer as error:
            raise ChildFailed(f"{symbol(place)}: {error}\n{own.last_words()}") from None
        if reply.status != "accepted":
            raise ChildFailed(f"sidecar answered {symbol(place)}: {reply}")
