"""The probe: the sidecar's own fenced write with records made here and nothing else, as the ceiling of its design.

Usage: python -m tests.bench.probe URL TICKS INSTRUMENTS RATE
"""

from __future__ import annotations

import gc
import sys
import time

import anyio

from ibkr_actor.bus.config import PublisherConfig, RedisConfig
from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.epoch import TAKE, take_epoch
from ibkr_actor.bus.fenced import WRITE, FencedWriter
from ibkr_actor.bus.streams import LAST, Entry, StreamState
from ibkr_actor.schema.codec import encode_msgpack
from ibkr_actor.schema.keys import Stream
from tests.bench import child
from tests.bench.quotes import KEYS, instrument, quote, stream_key

BATCH = PublisherConfig().batch_records_max


async def probe(url: str, ticks: int, instruments: int, rate: float) -> None:
    """Says `ready`, and after the word `go` `done`."""
    link = Link(RedisConfig(url=url), "bench-probe", (WRITE, TAKE))
    await link.open()
    writer = FencedWriter(link, KEYS, await take_epoch(link, KEYS))
    states = [_state(place) for place in range(instruments)]
    prepared = [] if rate else [_entry(states, index) for index in range(ticks)]
    gc.disable()
    child.say("ready")
    child.wait_for("go")
    cpu_s, began_s = child.cpu_s(), time.perf_counter()
    if rate:
        await _at_rate(writer, states, ticks, rate)
    else:
        for first in range(0, ticks, BATCH):
            await writer.write(prepared[first : first + BATCH], time.time_ns() // 1_000_000)
    child.say("done", ticks=ticks, seconds=time.perf_counter() - began_s, cpu_s=child.cpu_s() - cpu_s)
    child.wait_for("end")


async def _at_rate(writer: FencedWriter, states: list[StreamState], ticks: int, rate: float) -> None:
    """Records fall due as the simulator's do; all that are due when the last write is answered make the next one."""
    waiting: list[Entry] = []
    wake = anyio.Event()

    async def write() -> None:
        nonlocal waiting, wake
        written = 0
        while written < ticks:
            if not waiting:
                wake = anyio.Event()
                await wake.wait()
            batch, waiting = waiting, []
            await writer.write(batch, time.time_ns() // 1_000_000)
            written += len(batch)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        began_s, made = time.perf_counter(), 0
        while made < ticks:
            due = min(ticks, int((time.perf_counter() - began_s) * rate) + 1)
            waiting += [_entry(states, index) for index in range(made, due)]
            made = due
            wake.set()
            await anyio.sleep(max(0.0, began_s + made / rate - time.perf_counter()))


def _state(place: int) -> StreamState:
    stream = Stream("quote", instrument(place))
    return StreamState(stream_key(place), KEYS.last(stream.instrument), stream.kind, stream=stream)


def _entry(states: list[StreamState], index: int) -> Entry:
    number, place = divmod(index, len(states))
    return Entry(states[place], number + 1, encode_msgpack(quote(place, number + 1)), LAST)


if __name__ == "__main__":
    child.listen()
    anyio.run(probe, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
