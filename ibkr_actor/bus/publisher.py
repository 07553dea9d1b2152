"""The publisher: takes records in, and writes them in order, one batch in flight, until Redis has them all.

Loses nothing that the ring can hold; never decides what is published.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn

import anyio

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.fenced import FencedWriter, Unusual
from ibkr_actor.bus.health import Backoff, Health
from ibkr_actor.bus.latency import Latencies
from ibkr_actor.bus.lookup import Past, look_up, run_id
from ibkr_actor.bus.ring import Held, Ring
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.bus.stamper import Stamper
from ibkr_actor.bus.streams import Entry, StreamState
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import DataRecord, Reset, System

log = logging.getLogger(__name__)

# How often an idle publisher asks whether Redis still knows its epoch: a restart from older data, FLUSHALL and a
# takeover are then noticed without a record to write.
IDLE_PROBE_S: Final = 1.0
# Errors that another connection may not meet: the server changed its role, or the login is no longer good.
RECONNECT_CODES: Final = frozenset(
    {"READONLY", "MOVED", "ASK", "CLUSTERDOWN", "MASTERDOWN", "NOAUTH", "NOPERM", "WRONGPASS", "UNBLOCKED"}
)
# What waits for records to be written, at most; the oldest goes ahead when there is more.
AFTER_MAX: Final = 10_000


class Publisher:
    """One publisher of one epoch. `publish` may be called at any time; `run` writes until it is cancelled or fenced."""

    def __init__(
        self,
        link: Link,
        config: BusConfig,
        epoch: int,
        *,
        health: Health | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._link = link
        keys = Keys(config.prefix, config.gateway)
        self._epoch = epoch
        self._redis = config.redis
        self._config = config.publisher
        self._now_ns = now_ns
        self.streams = Stamper(keys, epoch, config.publisher, config.retention)
        self._ring = Ring(config.ring, epoch, self._config.encoding)
        self._writer = FencedWriter(link, keys, epoch, self._config.encoding)
        self.health = health or Health("publisher")
        self.latencies = Latencies()
        # Called when the server has lost data, or may have: what others keep there must be written again as well.
        self.on_redis_forgot: Callable[[], Awaitable[None]] | None = None
        self._expiring: set[StreamState] = set()  # expiry to be changed by the next write
        self._run_id = ""  # of the server last connected to
        # How many records had been handed over, and what to do when these are written.
        self._after: deque[tuple[int, Callable[[], None]]] = deque()
        self._wake: anyio.Event | None = None  # while the writer waits for work
        self._drained: anyio.Event | None = None  # while someone waits for everything to be written
        self._unpark_at_s = 0.0  # when streams that cannot be written are tried again, from parking one
        self._counts = {"published": 0, "written": 0, "batches": 0, "there": 0, "moved": 0, "gone": 0, "error": 0}
        self._counts |= {"last": 0, "reconnects": 0, "refused": 0, "epoch_restored": 0}

    # -- what the actors call

    def publish(self, items: Sequence[tuple[Stream, DataRecord]]) -> None:
        """Stamps epoch and seq, encodes, and hands the records to the writer. Affects: the records."""
        entries: list[Entry] = []
        try:
            self.streams.stamp(items, entries)
        finally:
            self._hand_over(entries)
        if items:
            self.latencies.burst(items[-1][1])

    def announce(self, record: System) -> None:
        """Writes a record to the `system` stream. Affects: the record."""
        entries: list[Entry] = []
        self.streams.stamp_system(record, entries)
        self._hand_over(entries)

    def close_stream(self, stream: Stream) -> None:
        """The stream has no holders: it expires unless it is published to again."""
        state = self.streams.close(stream)
        if state is not None:
            self._expiring.add(state)
            self._notify_writer()

    def when_written(self, do: Callable[[], None]) -> None:
        """Calls `do` once the records published so far are written or given up; in order, at once if they are."""
        self._after.append((self._counts["published"], do))
        self._go_on()

    async def drained(self) -> None:
        """Returns when everything published so far, and since, is written."""
        while self._ring.waiting or self._expiring:
            if self._drained is None:
                self._drained = anyio.Event()
            await self._drained.wait()

    def counters(self) -> dict[str, int | float | str | None]:
        """What was done so far, for `status` and /metrics."""
        ring = self._ring
        own: dict[str, int | float | str | None] = {f"redis_{name}": count for name, count in self._counts.items()}
        lost: dict[str, int | float | str | None] = {f"redis_lost_{cause}": n for cause, n in ring.lost.items()}
        return {
            **own,
            **lost,
            "redis_state": self.health.state,
            "redis_reason": self.health.reason,
            "redis_losses": self.health.losses,
            "redis_epoch": self._epoch,
            "redis_streams": len(self.streams),
            "redis_waiting": ring.waiting,
            "redis_ring_records": len(ring),
            "redis_ring_bytes": ring.bytes,
            "redis_replayed": ring.replayed,
            "redis_parked_streams": len(ring.parked),
        }

    # -- the writer

    async def run(self) -> None:
        """Writes for ever; a Redis that is away is waited for.

        Raises:
            Fenced: a newer sidecar publishes for this gateway.
        """
        backoff = Backoff(self._redis)

        async def work() -> None:
            is_other = await self._is_another_server()
            if await self._reconcile(self.streams.resolved) or is_other:
                await self._tell_of_loss()
            backoff.reset()
            await self._write_for_ever()

        await run_connected(self._link, backoff, work, on_trouble=self._note_trouble)

    def _note_trouble(self, error: Unreachable | Refused) -> None:
        self._counts["reconnects"] += isinstance(error, Unreachable)
        self.health.trouble(error)

    async def _write_for_ever(self) -> NoReturn:
        interval_s = self._config.flush_interval_ms / 1000
        backoff = Backoff(self._redis, self._config.refused_retry_max_s)
        while True:
            started = anyio.current_time()
            if self._ring.parked and started >= self._unpark_at_s:
                self._ring.unpark()
            await self._write_one(backoff)
            if not self._ring.has_work:
                await self._wait_for_work()
            if interval_s and self._ring.waiting < self._config.batch_records_max and self._drained is None:
                await anyio.sleep_until(started + interval_s)

    async def _wait_for_work(self) -> None:
        if self._drained is not None and not self._expiring:
            self._drained.set()
            self._drained = None
        if self._expiring:
            return
        self._wake = anyio.Event()
        until_unparked_s = self._unpark_at_s - anyio.current_time() if self._ring.parked else IDLE_PROBE_S
        with anyio.move_on_after(max(0.0, min(IDLE_PROBE_S, until_unparked_s))):
            await self._wake.wait()
        self._wake = None

    async def _write_one(self, backoff: Backoff) -> None:
        """One batch, from the ring to the server's answer. An empty one asks for the epoch only."""
        ring = self._ring
        batch = ring.take(self._config.batch_records_max, self._config.batch_bytes_max)
        try:
            await self._resolve(batch)
            written = await self._writer.write(batch, self._now_ns() // 1_000_000, tuple(self._expiring))
        except Refused as error:
            ring.put_back()
            await self._refused(error, backoff)
            return
        except BaseException:
            ring.put_back()
            raise
        self.health.up()
        backoff.reset()
        self._counts["batches"] += bool(batch)
        self._counts["written"] += len(batch)
        if batch:
            self.latencies.written(batch, self._now_ns())
        self._expiring = {state for state in self._expiring if state.ttl}
        if written.unusual or written.epoch_was_missing:
            await self._settle_unusual(written.unusual, batch, written.epoch_was_missing)
        else:
            ring.done()
        self._go_on()

    def _go_on(self) -> None:
        """What has waited for records long enough."""
        settled = self._counts["published"] - self._ring.waiting
        while self._after and (self._after[0][0] <= settled or len(self._after) > AFTER_MAX):
            self._after.popleft()[1]()

    async def _refused(self, error: Refused, backoff: Backoff) -> None:
        """The server takes no writes now: wait, or look for another behind the same address."""
        self._counts["refused"] += 1
        if error.code in RECONNECT_CODES:
            raise Unreachable(str(error))
        self.health.degraded(str(error))
        await anyio.sleep(backoff.next_s())

    async def _settle_unusual(
        self, unusual: Sequence[Unusual], batch: Sequence[Entry], epoch_was_missing: bool
    ) -> None:
        """Goes through what was not written under its own id in this batch."""
        failed: dict[StreamState, Unusual] = {}
        for one in unusual:
            self._counts[one.code] += 1
            if one.code == "moved":
                log.warning("entry_id_taken key=%s id=%s new_id=%s", one.entry.state.key, one.entry.id, one.detail)
                one.entry.id = one.detail.encode()
                one.entry.state.start_after(one.entry.id)
            elif one.code in ("gone", "error"):
                failed[one.entry.state] = one
        leftover = {state: _from(one.entry, batch) for state, one in failed.items()}
        rest = [entry for entries in leftover.values() for entry in entries]
        self._counts["written"] -= len(rest)
        self._ring.done(rest)
        for state, one in failed.items():
            if one.code == "gone":
                log.warning("stream_vanished key=%s: it comes back with a reset", state.key)
                self._ring.put_back(leftover[state])
            else:
                log.warning("stream_cannot_be_written key=%s error=%s", state.key, one.detail)
                self._ring.park(leftover[state])
                self._unpark_at_s = anyio.current_time() + self._config.parked_retry_s
        if epoch_was_missing:
            self._counts["epoch_restored"] += 1
            log.warning("epoch_was_missing: the server lost data; what is missing is written again")
            await self._tell_of_loss()
        gone = [state for state, one in failed.items() if one.code == "gone"]
        await self._reconcile(self.streams.resolved if epoch_was_missing else gone)

    # -- what the server holds

    async def _is_another_server(self) -> bool:
        """Whether the server was restarted or replaced since the last connection: it may hold less than it did."""
        try:
            info = await self._link.call("INFO", "server")
        except Refused:
            return False  # not allowed to ask; then missing records are what tells
        before, self._run_id = self._run_id, run_id(info)
        return bool(before) and before != self._run_id

    async def _tell_of_loss(self) -> None:
        if self.on_redis_forgot is not None:
            await self.on_redis_forgot()

    async def _reconcile(self, states: Sequence[StreamState]) -> bool:
        """Queues again whatever the server does not hold of these streams; whether there was anything."""
        if not states:
            return False
        pasts = await look_up(self._link, states, self._epoch)
        held = {}
        for state, past in zip(states, pasts, strict=True):
            held[state] = Held(not past.exists, past.seq, past.last_id or b"0-0")
            if past.last_id is not None:
                state.start_after(past.last_id)
        replayed = self._ring.replay(held)
        if replayed > 0:
            log.info("replaying records=%d streams=%d", replayed, len(states))
        return replayed > 0

    async def _resolve(self, batch: Sequence[Entry]) -> None:
        """Completes the resets in the batch: what the streams held before this epoch, and from where ids go on."""
        new = [entry for entry in batch if entry.draft is not None and not entry.payload]
        if not new:
            return
        pasts = await look_up(self._link, [entry.state for entry in new])
        for entry, past in zip(new, pasts, strict=True):
            assert entry.draft is not None
            if past.last_id is not None:
                entry.state.start_after(past.last_id)
            self._ring.complete(entry, _completed(entry.draft, past))
            entry.state.resolved = True

    def _hand_over(self, entries: list[Entry]) -> None:
        self._counts["published"] += len(entries)
        self._ring.extend(entries, sum(len(entry.payload) for entry in entries))
        self._notify_writer()

    def _notify_writer(self) -> None:
        if self._wake is not None:
            self._wake.set()


def _completed(draft: Reset, past: Past) -> Reset:
    """The reset that says what the stream held before; that of an expired one says it already."""
    if draft.reason == "deleted":
        return draft
    return Reset(
        draft.epoch,
        draft.seq,
        draft.con_id,
        draft.received_ns,
        None,
        draft.feed,
        0,
        "restart" if past.exists else "start",
        past.epoch,
        past.seq,
        past.entry_id,
    )


def _from(entry: Entry, batch: Sequence[Entry]) -> list[Entry]:
    """This entry and those of its stream that follow it in the batch."""
    return [other for other in batch if other.state is entry.state and other.seq >= entry.seq]
