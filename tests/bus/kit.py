"""What the bus tests share: a gateway of their own on the server, a running publisher, and the independent checker.

Holds no fixture and no test.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct
from msgspec.structs import replace

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.commands import CommandReader
from ibkr_actor.bus.config import BusConfig, RedisConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable, Word
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.bus.epoch import take_epoch
from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.bus.replies import Outbox
from ibkr_actor.core.messages import CommandReceived, CommandsReadable
from ibkr_actor.schema.codec import decode_record, decode_reply
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import AnyRecord, DataRecord, Gap, Quote, Reset, Tick, Trade

DEADLINE_S = 60.0
QUOTE = Stream("quote", "AAPL.STK.SMART.USD")
TRADE = Stream("trade", "AAPL.STK.SMART.USD")
TICK = Stream("tick", "AAPL.STK.SMART.USD")


class Entry(Struct, frozen=True):
    """One entry as it stands in Redis."""

    id: str
    record: AnyRecord


def quote(n: int = 0) -> Quote:
    return Quote(0, 0, 265598, 1_000 + n, None, 1, 0, 187.0 + n, 187.5, None, "100", "200", None, None, 1)


def trade(n: int = 0) -> Trade:
    return Trade(0, 0, 265598, 1_000 + n, None, 1, 0, 187.0 + n, "5", "ARCA", "", False, False)


def tick(tick_type: int, value: float | str | None = 1.0) -> Tick:
    return Tick(0, 0, 265598, 1_000, None, 1, 0, tick_type, value)


def trades(count: int, stream: Stream = TRADE) -> list[tuple[Stream, DataRecord]]:
    return [(stream, trade(n)) for n in range(count)]


def embedded(path: Path, **fields: Any) -> EmbeddedRedis:
    return EmbeddedRedis(EmbeddedConfig(data_dir=path, **fields))


def bus_config(url: str, gateway: str = "g1", **fields: Any) -> BusConfig:
    """Quick reconnects, and everything else as in production."""
    redis = RedisConfig(url=url, backoff_min_s=0.005, backoff_max_s=0.1, answer_timeout_s=5.0)
    return replace(BusConfig(redis=redis, gateway=gateway), **fields)


class Probe:
    """A connection beside the publisher's, to look and to do harm."""

    def __init__(self, config: BusConfig) -> None:
        self.keys = Keys(config.prefix, config.gateway)
        self.link = Link(config.redis, "probe", SCRIPTS)

    async def do(self, *words: Word) -> Any:
        """One command, on a new connection when the old one is gone."""
        with anyio.fail_after(DEADLINE_S):
            while True:
                try:
                    if not self.link.is_open:
                        await self.link.open()
                    return await self.link.call(*words)
                except Unreachable:
                    await anyio.sleep(0.01)
                except Refused as error:
                    if error.code != "LOADING":
                        raise
                    await anyio.sleep(0.01)

    async def entries(self, key: str | Stream) -> list[Entry]:
        name = self.keys.stream(key.kind, key.instrument) if isinstance(key, Stream) else key
        found = []
        for entry_id, fields in await self.do("XRANGE", name, "-", "+"):
            record = decode_record(dict(zip(fields[::2], fields[1::2], strict=True)))
            assert record is not None
            found.append(Entry(entry_id.decode(), record))
        return found

    async def records(self, key: str | Stream) -> list[AnyRecord]:
        return [entry.record for entry in await self.entries(key)]

    async def last(self, stream: Stream) -> dict[str, bytes]:
        fields = await self.do("HGETALL", self.keys.last(stream.instrument))
        return {name.decode(): value for name, value in zip(fields[::2], fields[1::2], strict=True)}


@asynccontextmanager
async def probing(config: BusConfig) -> AsyncIterator[Probe]:
    probe = Probe(config)
    try:
        yield probe
    finally:
        await probe.link.close()


@asynccontextmanager
async def publishing(config: BusConfig, **fields: Any) -> AsyncIterator[Publisher]:
    """A publisher with an epoch of its own, running until the block ends."""
    link = Link(config.redis, "publisher", SCRIPTS)
    await link.open()
    epoch = await take_epoch(link, Keys(config.prefix, config.gateway))
    publisher = Publisher(link, config, epoch, **fields)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(publisher.run)
        yield publisher
        tasks.cancel_scope.cancel()


async def written(publisher: Publisher) -> None:
    with anyio.fail_after(DEADLINE_S):
        await publisher.drained()


def counter(publisher: Publisher, name: str) -> int:
    value = publisher.counters()[f"redis_{name}"]
    assert isinstance(value, int)
    return value


def check(records: Sequence[AnyRecord]) -> int:
    """Order, no duplicates, and every missing seq announced, within each epoch; how many were announced as lost."""
    lost = 0
    epoch = seq = 0
    for record in records:
        if record.epoch != epoch:
            assert record.epoch > epoch, "an older epoch after a newer one"
            assert isinstance(record, Reset), "an epoch that does not begin with a reset"
            epoch, seq = record.epoch, 0 if record.seq == 1 else record.seq - 1
        first = record.first_seq if isinstance(record, Gap) and record.lost is not None else record.seq
        assert first == seq + 1, f"seq {seq} is followed by {first}"
        if isinstance(record, Gap) and record.lost is not None:
            assert record.lost == record.seq - seq
            lost += record.lost
        seq = record.seq
    return lost


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


async def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds: for what tells of itself by no event."""
    with anyio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.002)


class Desk:
    """A command reader and its outbox, running, with what was handed on. Answers nothing by itself."""

    def __init__(self, config: BusConfig, epoch: int, **fields: Any) -> None:
        self.keys = Keys(config.prefix, config.gateway)
        self.epoch = epoch
        self.outbox = Outbox(Link(config.redis, "outbox", SCRIPTS), config, epoch)
        self.received: list[CommandReceived] = []
        self.readable = 0  # how often the commands became readable again
        self._changed = anyio.Event()
        link = Link(config.redis, "commands", SCRIPTS)
        self.reader = CommandReader(link, config, epoch, self.outbox, self._deliver, **fields)

    async def _deliver(self, message: CommandReceived | CommandsReadable) -> None:
        if isinstance(message, CommandReceived):
            self.received.append(message)
        else:
            self.readable += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self, count: int) -> list[CommandReceived]:
        """Everything handed on, once there are that many."""
        with anyio.fail_after(DEADLINE_S):
            while len(self.received) < count:
                await self._changed.wait()
        return self.received

    async def settled(self) -> None:
        with anyio.fail_after(DEADLINE_S):
            await self.outbox.drained()

    def count(self, name: str) -> int:
        value = (self.reader.counters() | self.outbox.counters())[name]
        assert isinstance(value, int)
        return value

    def accept(self, received: CommandReceived, **fields: Any) -> None:
        ref = received.ref
        self.outbox.answer(ref, Reply(ref.id, ref.op, "accepted"), **fields)


@asynccontextmanager
async def reading(config: BusConfig, **fields: Any) -> AsyncIterator[Desk]:
    """A reader with an epoch of its own, running until the block ends."""
    link = Link(config.redis, "start", SCRIPTS)
    await link.open()
    desk = Desk(config, await take_epoch(link, Keys(config.prefix, config.gateway)), **fields)
    await link.close()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.outbox.run)
        tasks.start_soon(desk.reader.run)
        yield desk
        tasks.cancel_scope.cancel()


async def replies(probe: Probe, client: str = "anonymous") -> list[Reply]:
    entries = await probe.do("XRANGE", probe.keys.replies(client), "-", "+")
    return [decode_reply(dict(zip(fields[::2], fields[1::2], strict=True))) for _, fields in entries]
