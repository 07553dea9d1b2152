"""Owns one measurement of each contender: its processes, a server of its own, and the check of what it wrote.

Compares nothing and prints nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio
import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.records import Quote
from tests.bench.checker import Verdict, check_numbers, check_records, number_of, share
from tests.bench.processes import Child, Usage, script, usage
from tests.bench.quotes import stream_key
from tests.bench.site import (
    STARTED_WITHIN_S,
    Load,
    Site,
    attached,
    fresh_site,
    start_consumer,
    start_sidecar,
    start_simulator,
    start_simulator_in,
    subscribe_all,
)

# How often the last stream is asked for its length; the error of a measured end.
POLL_S = 0.005
# The length of the last stream not changing for so long means that the rest is lost.
STANDSTILL_S = 10.0


class Measured(Struct, kw_only=True):
    """One measurement. Rates are per second; CPU is of the contender's own process, without the server's."""

    ticks: int
    seconds: float = 0.0
    cpu_s: float | None = None
    server_cpu_s: float | None = None
    peak_rss_bytes: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None
    verdict: Verdict | None = None

    @property
    def ticks_per_s(self) -> float | None:
        return self.ticks / self.seconds if self.seconds else None

    @property
    def cpu_s_per_100k(self) -> float | None:
        return None if self.cpu_s is None else self.cpu_s / self.ticks * 100_000


Measure = Callable[[Load], Awaitable[Measured]]
Read = Callable[[Redis, Load], Awaitable[Verdict]]


# ---- contenders


async def sidecar(load: Load) -> Measured:
    """Unpaced: from the first byte received to the last entry readable, then everything read and checked."""
    async with (
        fresh_site() as site,
        start_simulator(site, load, load.ticks, 0.0) as simulator,
        start_sidecar(site, load, simulator.port) as own,
    ):
        await subscribe_all(site, load, own)
        await simulator.child.expect("subscribed", timeout_s=STARTED_WITHIN_S)
        before, server_before = usage(own.pid), usage(site.server.pid)
        async with attached(load, own.pid):
            await simulator.child.say("go")
            ended_ns = await _until_written(site.redis, load)
        measured = _used(load.ticks, before, usage(own.pid), server_before, usage(site.server.pid))
        began_ns, measured.verdict = await _read_records(site.redis, load)
        measured.seconds = (ended_ns - began_ns) / 1e9
        return measured


async def sidecar_paced(load: Load) -> Measured:
    """At a rate: from the bytes leaving the socket to the return of a reader's XREADGROUP."""
    return await paced_beside(load, None)


async def paced_beside(load: Load, beside: Callable[[Site], AbstractAsyncContextManager[None]] | None) -> Measured:
    """The same, with whatever `beside` adds."""
    async with (
        fresh_site() as site,
        start_simulator(site, load, load.paced_ticks, load.rate) as simulator,
        start_sidecar(site, load, simulator.port) as own,
        start_consumer(site, load, "records") as reader,
        AsyncExitStack() as stack,
    ):
        await subscribe_all(site, load, own)
        await simulator.child.expect("subscribed", timeout_s=STARTED_WITHIN_S)
        if beside is not None:
            await stack.enter_async_context(beside(site))
        before, server_before = usage(own.pid), usage(site.server.pid)
        async with attached(load, own.pid):
            await simulator.child.say("go")
            await simulator.child.expect("sent", timeout_s=STARTED_WITHIN_S + load.seconds)
            said = await _heard(reader)
        measured = _used(load.paced_ticks, before, usage(own.pid), server_before, usage(site.server.pid))
        return _with_latency(measured, said)


async def probe(load: Load) -> Measured:
    """The same write of records made ahead, by a process that does nothing else."""
    async with (
        fresh_site() as site,
        script("probe", site.url, load.ticks, load.instruments, 0, directory=site.directory) as own,
    ):
        return await _written_by(own, site, load, _read_prepared)


async def probe_paced(load: Load) -> Measured:
    """The same write at a rate, of records made when they fall due."""
    async with fresh_site() as site, start_consumer(site, load, "numbers") as reader:
        arguments = (site.url, load.paced_ticks, load.instruments, load.rate)
        async with script("probe", *arguments, directory=site.directory) as own:
            await own.expect("ready", timeout_s=STARTED_WITHIN_S)
            server_before = usage(site.server.pid)
            await own.say("go")
            done = await own.expect("done", timeout_s=STARTED_WITHIN_S + load.seconds)
            said = await _heard(reader)
            measured = _used(load.paced_ticks, None, None, server_before, usage(site.server.pid))
            measured.cpu_s = done["cpu_s"]
            return _with_latency(measured, said)


async def redis_py(load: Load) -> Measured:
    """XADD in pipelines of 500, and nothing else."""
    async with (
        fresh_site() as site,
        script("redis_peer", site.url, load.ticks, load.instruments, directory=site.directory) as own,
    ):
        return await _written_by(own, site, load, _read_prepared)


async def ib_async(load: Load) -> Measured:
    """ib_async reading the simulator's text, its ticks through a pipeline of redis.asyncio."""
    return await _ib_async("asyncio", load, _read_prepared)


async def ib_async_blocking(load: Load) -> Measured:
    """The same through a blocking pipeline, at its leanest."""
    return await _ib_async("blocking", load, _read_arrays)


async def _ib_async(way: str, load: Load, read: Read) -> Measured:
    async with fresh_site() as site, start_simulator(site, load, load.ticks, 0.0) as simulator:
        arguments = (way, simulator.port, site.url, load.ticks, load.instruments)
        async with script("ib_async_peer", *arguments, directory=site.directory) as own:
            return await _written_by(own, site, load, read, simulator.child)


async def official(load: Load) -> Measured:
    """The official client's reader thread and run(), decoding into nothing."""
    with TemporaryDirectory(prefix="ibkr-bench-") as directory:
        path = Path(directory)
        async with (
            start_simulator_in(path, load, load.ticks, 0.0) as simulator,
            script("official_peer", simulator.port, load.ticks, load.instruments, directory=path) as own,
        ):
            return await _decoded_by(own, load, simulator.child)


async def official_queue(load: Load) -> Measured:
    """run() with all frames in its queue before it starts."""
    with TemporaryDirectory(prefix="ibkr-bench-") as directory:
        async with script("official_peer", "queue", load.ticks, load.instruments, directory=Path(directory)) as own:
            return await _decoded_by(own, load, None)


CONTENDERS: Final[dict[str, Measure]] = {
    "sidecar": sidecar,
    "probe": probe,
    "redis-py": redis_py,
    "ib_async": ib_async,
    "ib_async-blocking": ib_async_blocking,
    "official": official,
    "official-queue": official_queue,
    "sidecar-paced": sidecar_paced,
    "probe-paced": probe_paced,
}


# ---- what they did


async def _written_by(own: Child, site: Site, load: Load, read: Read, simulator: Child | None = None) -> Measured:
    """A peer that writes all ticks by itself and says how long it took."""
    await own.expect("ready", timeout_s=STARTED_WITHIN_S)
    server_before = usage(site.server.pid)
    if simulator is not None:
        await simulator.expect("subscribed", timeout_s=STARTED_WITHIN_S)
        await simulator.say("go")
    await own.say("go")
    done = await own.expect("done", timeout_s=STARTED_WITHIN_S + load.ticks / 1000)
    measured = _used(load.ticks, None, usage(own.pid), server_before, usage(site.server.pid))
    measured.seconds, measured.cpu_s = done["seconds"], done["cpu_s"]
    measured.verdict = await read(site.redis, load)
    await own.say("end")
    return measured


async def _decoded_by(own: Child, load: Load, simulator: Child | None) -> Measured:
    """The official client, which writes nothing; it may lose some."""
    await own.expect("ready", timeout_s=STARTED_WITHIN_S)
    if simulator is not None:
        await simulator.expect("subscribed", timeout_s=STARTED_WITHIN_S)
        await simulator.say("go")
    await own.say("go")
    done = await own.expect("done", timeout_s=STARTED_WITHIN_S + load.ticks / 1000)
    verdict = Verdict(load.ticks, done["ticks"], lost=load.ticks - done["ticks"])
    return Measured(ticks=done["ticks"], seconds=done["seconds"], cpu_s=done["cpu_s"], verdict=verdict)


async def _until_written(redis: Redis, load: Load) -> int:
    """When the last tick of the blast was there, UTC nanoseconds. Writes keep the order of all streams together."""
    last = (load.ticks - 1) % load.instruments
    wanted = share(load.ticks, load.instruments, last) + 1  # and its reset
    length, changed_s = 0, time.monotonic()
    # Encoding the blast comes first and takes its time.
    while length < wanted and time.monotonic() - changed_s < STANDSTILL_S + load.ticks / 20_000:
        before, length = length, await redis.xlen(stream_key(last))
        if length != before:
            changed_s = time.monotonic()
        await anyio.sleep(POLL_S)
    return time.time_ns()


async def _heard(reader: Child) -> dict[str, Any]:
    """The consumer's figures; it is told to stop when the last ticks do not come."""
    with anyio.move_on_after(STANDSTILL_S):
        return await reader.expect("done", timeout_s=2 * STANDSTILL_S)
    await reader.say("stop")
    return await reader.expect("done", timeout_s=STANDSTILL_S)


def _used(
    ticks: int, before: Usage | None, after: Usage | None, server_before: Usage | None, server_after: Usage | None
) -> Measured:
    measured = Measured(ticks=ticks)
    if before is not None and after is not None:
        measured.cpu_s = after.cpu_s - before.cpu_s
    if after is not None:
        measured.peak_rss_bytes = after.peak_rss_bytes
    if server_before is not None and server_after is not None:
        measured.server_cpu_s = server_after.cpu_s - server_before.cpu_s
    return measured


def _with_latency(measured: Measured, said: dict[str, Any]) -> Measured:
    measured.p50_ms, measured.p99_ms, measured.max_ms = said["p50_ms"], said["p99_ms"], said["max_ms"]
    measured.verdict = msgspec.convert(said["verdict"], Verdict)
    return measured


async def _read_records(redis: Redis, load: Load) -> tuple[int, Verdict]:
    """When the first tick was received, and the verdict over all streams of the sidecar."""
    verdict, began_ns = Verdict(), sys.maxsize
    for place in range(load.instruments):
        records = [decode_record(fields) for fields in await _entries(redis, place)]
        known = [record for record in records if record is not None]
        verdict.add(check_records(stream_key(place), known, share(load.ticks, load.instruments, place)))
        began_ns = min([began_ns, *(record.received_ns for record in known if isinstance(record, Quote))])
    return began_ns, verdict


async def _read_prepared(redis: Redis, load: Load) -> Verdict:
    verdict = Verdict()
    for place in range(load.instruments):
        records = [decode_record(fields) for fields in await _entries(redis, place)]
        numbers = [number_of(record) for record in records if isinstance(record, Quote)]
        verdict.add(check_numbers(numbers, share(load.ticks, load.instruments, place)))
    return verdict


async def _read_arrays(redis: Redis, load: Load) -> Verdict:
    """What the blocking ib_async peer writes: the size stands last."""
    verdict = Verdict()
    for place in range(load.instruments):
        numbers = [int(msgspec.msgpack.decode(fields[b"d"])[-1]) for fields in await _entries(redis, place)]
        verdict.add(check_numbers(numbers, share(load.ticks, load.instruments, place)))
    return verdict


async def _entries(redis: Redis, place: int) -> list[dict[bytes, bytes]]:
    found: Any = await redis.xrange(stream_key(place))
    return [fields for _, fields in found]
