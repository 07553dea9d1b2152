"""The bus: one Redis as the actors see it, put together from publisher, outbox, reader and housekeeping.

Decides nothing; each part does its own work and waits for Redis by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct

from ibkr_actor.bus.commands import CommandReader
from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Script
from ibkr_actor.bus.epoch import BEAT, STOP, TAKE, take_epoch
from ibkr_actor.bus.fenced import WRITE
from ibkr_actor.bus.health import Backoff, Health, HealthState
from ibkr_actor.bus.heartbeat import Heartbeat
from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.bus.replies import Outbox
from ibkr_actor.bus.retention import Housekeeper
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.bus.settle import SCRIPTS as SETTLING
from ibkr_actor.bus.stored import PACING_FIELD, Restored, Stored, read_stored
from ibkr_actor.bus.unread import UnreadMeter, UnreadWord
from ibkr_actor.bus.window_cache import SCRIPTS as CACHING
from ibkr_actor.bus.window_cache import WindowCache, WindowWord
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.core.messages import CommandReceived, CommandsReadable, RedisForgot
from ibkr_actor.errors import Fenced
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import DataRecord, System

log = logging.getLogger(__name__)

SCRIPTS: tuple[Script, ...] = (WRITE, TAKE, BEAT, STOP, *SETTLING, *CACHING)
_EVENTS: dict[HealthState, str] = {"up": "recovered", "down": "lost", "degraded": "refusing"}


Deliver = Callable[[CommandReceived | CommandsReadable | RedisForgot], Awaitable[None]]


class BusState(Struct, frozen=True):
    """How the bus is: the worst of its parts, and why."""

    state: HealthState
    reason: str


class _Parts(Struct, frozen=True):
    """What works under one epoch."""

    publisher: Publisher
    outbox: Outbox
    housekeeper: Housekeeper
    windows: WindowCache
    unread: UnreadMeter


class Bus:
    """Implements `actors.ports.BusPort`. Order: `start`, then `run` beside everything else, `drain` before the end.

    `describe` gives the word for the heartbeat's state, without it that of the bus; `figures` what stands beside it.
    """

    def __init__(
        self,
        config: BusConfig,
        *,
        describe: Callable[[], str] | None = None,
        figures: Callable[[], bytes] = lambda: b"{}",
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._config = config
        self._keys = Keys(config.prefix, config.gateway)
        self._describe = describe or (lambda: self.state.state)
        self._figures = figures
        self._now_ns = now_ns
        self.epoch = 0  # set by start
        # Called when the entries of a history job up to a number stand in Redis.
        self.on_job_written: Callable[[str, int], None] = lambda job, entries: None
        # Takes what the bus tells of history: windows of the cache, and whether jobs are read.
        self.on_word: Callable[[WindowWord | UnreadWord], None] = lambda message: None
        self._made: _Parts | None = None  # set by start
        self._reader: CommandReader | None = None  # these by run
        self._heartbeat: Heartbeat | None = None

    # -- life

    async def start(self) -> list[Restored]:
        """Waits for Redis, takes the epoch, and returns what a restart restores."""
        link = self._link("start")

        async def take() -> tuple[int, Stored]:
            return await take_epoch(link, self._keys), await read_stored(link, self._keys)

        backoff = Backoff(self._config.redis)
        self.epoch, stored = await run_connected(link, backoff, take, on_trouble=Health("start").trouble)
        self._made = self._parts_of(self.epoch)
        self._made.unread.restore(stored.jobs)
        log.info("epoch_taken epoch=%d gateway=%s", self.epoch, self._config.gateway)
        return stored.messages()

    def _parts_of(self, epoch: int) -> _Parts:
        config, now_ns = self._config, self._now_ns
        health = Health("publisher", self._tell_of_change)
        publisher = Publisher(self._link("publisher"), config, epoch, health=health, now_ns=now_ns)
        outbox = Outbox(self._link("outbox"), config, epoch, now_ns=now_ns)
        housekeeper = Housekeeper(self._link("housekeeping"), config, publisher, now_ns=now_ns)
        windows = WindowCache(self._link("windows"), config, epoch, tell=lambda word: self.on_word(word))
        unread = UnreadMeter(self._link("unread"), config, tell=lambda word: self.on_word(word))

        def job_written(job: str, number: int) -> None:
            self.on_job_written(job, number)
            unread.written(job, number)

        outbox.on_job_written = job_written
        outbox.on_dropped = self._tell_of_dropped_replies
        return _Parts(publisher, outbox, housekeeper, windows, unread)

    async def run(self, deliver: Deliver) -> None:
        """Does everything until it is cancelled. Commands go to `deliver`, which may make their reader wait.

        Raises:
            Fenced: a newer sidecar publishes for this gateway; this one must stop.
        """
        made, config, epoch = self._parts, self._config, self.epoch
        made.publisher.on_redis_forgot = lambda: deliver(RedisForgot())
        reader = CommandReader(self._link("commands"), config, epoch, made.outbox, deliver, now_ns=self._now_ns)
        heartbeat = Heartbeat(self._link("heartbeat"), config, epoch, self._describe, self._figures)
        self._reader, self._heartbeat = reader, heartbeat
        parts = (made.publisher, made.outbox, reader, made.housekeeper, heartbeat, made.windows, made.unread)
        try:
            async with anyio.create_task_group() as tasks:
                for part in parts:
                    tasks.start_soon(part.run)
        except BaseExceptionGroup as group:
            fenced = _first_fenced(group)
            if fenced is None:
                raise
            raise fenced from None

    async def drain(self, timeout_s: float) -> bool:
        """Waits until everything handed over is written; False when `timeout_s` was not enough. `run` must run."""
        parts = self._parts
        with anyio.move_on_after(timeout_s):
            await parts.outbox.drained()
            await parts.publisher.drained()
            # Replies that had to wait for the records.
            await parts.outbox.drained()
            return True
        return False

    @property
    def state(self) -> BusState:
        """The worst of the parts: down, degraded, starting, up."""
        if self._made is None:
            return BusState("starting", "not started")
        healths = [self._made.publisher.health, self._made.outbox.health]
        if self._reader is not None:
            healths.append(self._reader.health)
        order: list[HealthState] = ["down", "degraded", "starting", "up"]
        worst = min(healths, key=lambda health: order.index(health.state))
        if worst.state == "up":
            return BusState("up", "")
        return BusState(worst.state, f"{worst.part}: {worst.reason}")

    # -- BusPort

    def publish(self, items: Sequence[tuple[Stream, DataRecord]]) -> None:
        """Records for their streams, in order. Affects: `epoch` and `seq` of the records."""
        self._parts.publisher.publish(items)

    def announce(self, record: System) -> None:
        """A record for the `system` stream. Affects: its `epoch` and `seq`."""
        self._parts.publisher.announce(record)
        if self._heartbeat is not None and record.topic in ("connection", "redis"):
            self._heartbeat.beat_soon()

    def set_state(self, stream: Stream, state: str, reason: str, since_ns: int) -> None:
        """State of a kind in the instrument's hash of last values."""
        self._parts.outbox.set_state(stream, state, reason, since_ns)

    def set_freshness(self, stream: Stream, freshness: str, since_ns: int, received_ns: int) -> None:
        """How fresh a kind is, in the instrument's hash of last values."""
        self._parts.outbox.set_freshness(stream, freshness, since_ns, received_ns)

    def close_stream(self, stream: Stream) -> None:
        """The stream has no holders: it expires after `stream_ttl_s` unless it is published to again."""
        self._parts.publisher.close_stream(stream)

    def answer(
        self, ref: CommandRef, reply: Reply, holders: tuple[HolderWrite, ...], jobs: tuple[HolderWrite, ...] = ()
    ) -> None:
        """Settles a command: holders or jobs, reply, remembered answer, XACK and XDEL in one step."""
        self._parts.outbox.answer(ref, reply, holders, jobs=jobs)

    def write_job(self, job: str, entries: Sequence[DataRecord], number: int, state: bytes | None) -> None:
        """Entries of a history job up to `number`, and how far it is, in one step; None ends it."""
        size = self._parts.outbox.write_job(job, entries, number, state)
        self._parts.unread.wrote(job, number, len(entries), size, done=state is None)

    def look_up_window(self, name: str) -> None:
        """Answered with WindowFound or WindowMissing."""
        self._parts.windows.look_up(name)

    def store_window(self, name: str, value: bytes) -> None:
        """Keeps a window of bars in the cache, if it has room."""
        self._parts.windows.store(name, value)

    def write_pacing(self, value: bytes) -> None:
        """What pacing remembers of what was sent."""
        self._parts.outbox.write_fields(self._keys.pacing, (HolderWrite(PACING_FIELD, value),))

    def notify(self, client: str, reply: Reply) -> None:
        """A later reply to a settled command, after the records before it: who hears `active` finds the data."""
        parts = self._parts
        parts.publisher.when_written(lambda: parts.outbox.notify(client, reply))

    def write_holders(self, holders: tuple[HolderWrite, ...]) -> None:
        """Fields of the `subscriptions` hash."""
        self._parts.outbox.write_fields(self._keys.subscriptions, holders)

    def write_contracts(self, writes: tuple[HolderWrite, ...]) -> None:
        """Fields of the `contracts` hash."""
        self._parts.outbox.write_fields(self._keys.contracts, writes)

    def counters(self) -> dict[str, int | float | str | None]:
        """Counters of every part, for `status` and /metrics."""
        counts: dict[str, int | float | str | None] = {}
        made = self._made
        if made is not None:
            for part in (made.publisher, made.outbox, made.housekeeper, made.windows, made.unread):
                counts |= part.counters()
        if self._reader is not None:
            counts |= self._reader.counters()
        state = self.state
        return counts | {"bus_state": state.state, "bus_reason": state.reason}

    def figures(self) -> dict[str, object]:
        """What is measured of the records on their way: latencies, gaps by cause, ticks by symbol."""
        publisher = self._parts.publisher
        return {
            "latency": publisher.latencies.told(),
            "gaps": publisher.streams.gaps,
            "ticks": publisher.streams.ticks(),
        }

    # -- inside

    @property
    def _parts(self) -> _Parts:
        if self._made is None:
            raise RuntimeError("start the bus first: there is no epoch to publish under")
        return self._made

    def _link(self, part: str) -> Link:
        return Link(self._config.redis, f"ibkr-actor-{self._config.gateway}-{part}", SCRIPTS)

    def _tell_of_change(self, health: Health, before: HealthState) -> None:
        event = "connected" if before == "starting" and health.state == "up" else _EVENTS[health.state]
        self._say(event, health.reason or "records are written")

    def _tell_of_dropped_replies(self, count: int) -> None:
        self._say("replies_dropped", f"{count} later replies were given up while Redis could not be written")

    def _say(self, event: str, message: str) -> None:
        self.announce(System(0, 0, self._now_ns(), "redis", event, self._config.gateway, message))


def _first_fenced(group: BaseExceptionGroup[BaseException]) -> Fenced | None:
    for error in group.exceptions:
        found = _first_fenced(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Fenced):
            return found
    return None
