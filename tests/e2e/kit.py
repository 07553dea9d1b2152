"""The whole house in one process for the tests: simulator, embedded Redis, sidecar, and a reader of its own.

Waits on events and on Redis' own blocking reads, never on time.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from redis.asyncio import Redis

from ibkr_actor import app
from ibkr_actor.actors.clock import Clock, system_clock
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.client import call, connect
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.codec import decode_record, decode_reply
from ibkr_actor.schema.commands import AnyCommand, Reply, Subscribe
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import AnyRecord
from ibkr_actor.sim import Simulator

KEYS = Keys()
# Only ever over when a test fails: as long as a slow machine with other work may take.
DEADLINE_S = 60.0
# Below all ports that a kernel gives out by itself: nobody but us takes one of these between a test's look and its use.
# Source: Linux, ip_local_port_range, 32768 and up; IANA's, which macOS keeps, 49152 and up.
OWN_PORTS = (20_000, 32_000)


def free_port() -> int:
    """A port on which nobody listens, and which nobody is given who asks for any."""
    ports = random.SystemRandom()
    while True:
        port = ports.randrange(*OWN_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def breath() -> None:
    """Between two looks at what tells of itself by no event: leaves the processor to what is waited for."""
    await anyio.sleep(0.02)


@asynccontextmanager
async def running_redis() -> AsyncIterator[EmbeddedRedis]:
    """An embedded server in a directory of its own, short enough for a unix socket."""
    folder = tempfile.mkdtemp(prefix="ibkr-")
    try:
        async with EmbeddedRedis(EmbeddedConfig(data_dir=Path(folder))) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def follow(redis: Redis, key: str) -> AsyncIterator[AnyRecord]:
    """The records of a stream as they stand there, from the first on and for ever."""
    position: Any = "0"
    while True:
        answer: Any = await redis.xread({key: position}, count=1_000, block=1_000)
        for entry_id, fields in answer[0][1] if answer else ():
            position = entry_id
            record = decode_record(fields)
            assert record is not None
            yield record


def clock_of(sim: Simulator) -> Clock:
    """A clock for a sidecar that lives in the simulator's time: what expires there has not expired here."""
    return Clock(speed=sim.settings.clock_speed, start_ns=round(sim.world.clock.now_s() * 1e9))


class House:
    """A running sidecar with a connection to read what it writes."""

    def __init__(self, redis: Redis, url: str, sidecar: app.Sidecar) -> None:
        self.redis = redis
        self.url = url
        self.sidecar = sidecar

    async def call(self, command: AnyCommand) -> Reply:
        """Sends a command as a client would and returns the first reply."""
        return await call(self.redis, KEYS, command, timeout_s=DEADLINE_S)

    async def subscribe(self, instrument: str, *kinds: str, client: str = "test", lease_s: float = 0.0) -> list[str]:
        """Subscribes and returns the stream keys."""
        command = Subscribe(client=client, instrument=instrument, kinds=list(kinds), lease_s=lease_s)
        reply = await self.call(command)
        assert reply.status == "accepted", reply
        assert reply.streams is not None
        return reply.streams

    async def until(self, key: str, wanted: Callable[[list[AnyRecord]], bool]) -> list[AnyRecord]:
        """All records of a stream from its start, once they are what is wanted."""
        records: list[AnyRecord] = []
        with anyio.fail_after(DEADLINE_S):
            async for record in follow(self.redis, key):
                records.append(record)
                if wanted(records):
                    return records
        raise AssertionError("unreachable")

    async def reply(self, client: str, wanted: Callable[[Reply], bool]) -> Reply:
        """The first reply to `client` that is wanted, from the start of its stream."""
        position: Any = "0"
        with anyio.fail_after(DEADLINE_S):
            while True:
                answer: Any = await self.redis.xread({KEYS.replies(client): position}, block=1000)
                for _, entries in answer:
                    for entry_id, fields in entries:
                        position = entry_id
                        reply = decode_reply(fields)
                        if wanted(reply):
                            return reply


@asynccontextmanager
async def running_house(
    redis_url: str, gateway_port: int, *, clock: Clock = system_clock, **settings: Any
) -> AsyncIterator[House]:
    """A sidecar between a gateway and a Redis; wound down at the end as for SIGTERM."""
    stopping, started = anyio.Event(), anyio.Event()
    sidecars: list[app.Sidecar] = []

    def note(sidecar: app.Sidecar) -> None:
        sidecars.append(sidecar)
        started.set()

    given: dict[str, Any] = {"host": "127.0.0.1", "port": gateway_port, "redis_url": redis_url, "http_enabled": False}
    given |= settings
    values = load_settings(reconnect_backoff_ms=10, **given)
    async with connect(redis_url) as redis, anyio.create_task_group() as tasks:

        async def serve() -> None:
            await app.run(values, stopping=stopping, started=note, clock=clock)

        tasks.start_soon(serve)
        with anyio.fail_after(DEADLINE_S):
            await started.wait()
        yield House(redis, redis_url, sidecars[0])
        stopping.set()


def own_environment(**variables: str) -> dict[str, str]:
    """The environment for a process of ours, without any IBKR_* of whoever runs the tests, and without HTTP."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("IBKR_") and name != "PORT"}
    return inherited | {"IBKR_HTTP_ENABLED": "false"} | variables
