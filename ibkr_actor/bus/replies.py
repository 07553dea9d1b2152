"""The outbox: every write that is no record, in order, until Redis has done it.

Survives outages by waiting; when full it gives up the oldest later reply, counts it and says so. Reads nothing.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import NoReturn

import anyio
from msgspec import Struct

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Word
from ibkr_actor.bus.epoch import raise_if_fenced
from ibkr_actor.bus.health import Backoff, Health
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.bus.settle import Calls, DeadLetter
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import DataRecord

log = logging.getLogger(__name__)

# Errors that lie in the one write: it would fail for ever.
_OWN_FAULTS = frozenset({"ERR", "WRONGTYPE"})


class _Write(Struct):
    """One queued script call; `settles` is the command entry it ends, `job` a job and the number of its last entry."""

    words: tuple[Word, ...]
    settles: tuple[str, str] | None = None
    job: tuple[str, int] | None = None


class Outbox:
    """A bounded queue of idempotent script calls and the task that performs them in order.

    A write of the same fields takes the place of one still queued, so that only replies can pile up; commands in flight
    are bounded by their reader.
    """

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
        self._redis = config.redis
        self._config = config.replies
        self._job_encoding = config.publisher.encoding
        self._job_ttl_s = config.retention.history_ttl_s
        self._keys = Keys(config.prefix, config.gateway)
        self._now_ns = now_ns
        self._epoch = epoch
        self._calls = Calls(self._keys, epoch, config.replies, config.commands.group)
        self.health = health or Health("outbox")
        self.on_settled: Callable[[str, str], None] = lambda key, entry_id: None
        self.on_dropped: Callable[[int], None] = lambda count: None
        self.on_job_written: Callable[[str, int], None] = lambda job, entries: None
        self._queue: OrderedDict[Hashable, _Write] = OrderedDict()
        self._later_replies: deque[int] = deque()  # their keys in the queue, oldest first
        self._number = 0
        self._last_id = (0, 0)
        self._wake: anyio.Event | None = None
        self._drained: anyio.Event | None = None
        self._unannounced = 0  # later replies given up since the last announcement
        self._counts = {"control_done": 0, "replies_dropped": 0, "control_failed": 0, "control_over": 0}

    # -- what the actors and the reader call

    def answer(
        self,
        ref: CommandRef,
        reply: Reply,
        holders: Sequence[HolderWrite] = (),
        *,
        jobs: Sequence[HolderWrite] = (),
        remember: bool = True,
        dead: DeadLetter | None = None,
    ) -> None:
        """Settles a command; it has either holders or jobs."""
        words = self._calls.settle(ref, reply, self.next_id(), holders=holders, jobs=jobs, remember=remember, dead=dead)
        self._put(None, _Write(words, (ref.key, ref.entry_id)))

    def notify(self, client: str, reply: Reply) -> None:
        """A later reply. The oldest one is given up when the queue is full."""
        number = self._put(None, _Write(self._calls.reply(client, reply, self.next_id())))
        self._later_replies.append(number)

    def write_fields(self, key: str, writes: Sequence[HolderWrite]) -> None:
        """Sets and deletes fields of a hash."""
        if writes:
            self._put((key, tuple(write.field for write in writes)), _Write(self._calls.fields(key, writes)))

    def write_job(self, job: str, entries: Sequence[DataRecord], number: int, state: bytes | None) -> int:
        """Entries of a history job up to `number`, and how far it is; None ends it. Returns their bytes."""
        field = "d" if self._job_encoding == "msgpack" else "j"
        for entry in entries:
            entry.epoch = self._epoch
        payloads = [encode_record(entry, self._job_encoding) for entry in entries]
        words = self._calls.job(job, payloads, state, field=field, ttl_s=self._job_ttl_s)
        self._put(None, _Write(words, job=(job, number)))
        return sum(map(len, payloads))

    def set_state(self, stream: Stream, state: str, reason: str, since_ns: int) -> None:
        """State of one kind of an instrument, and of the instrument as a whole, in its hash of last values."""
        fields = {"state": state, f"state:{stream.kind}": state, "state_since_ns": str(since_ns)}
        writes = [HolderWrite(name, value.encode()) for name, value in fields.items()]
        writes.append(HolderWrite("state_reason", reason.encode() if reason else None))
        if state == "ended":
            writes += [HolderWrite(name, None) for name in _freshness_fields(stream)]
        self._put(("state", stream), _Write(self._calls.fields(self._keys.last(stream.instrument), writes)))

    def set_freshness(self, stream: Stream, freshness: str, since_ns: int, received_ns: int) -> None:
        """How fresh one kind of an instrument is, in its hash of last values; it goes when the stream ends."""
        values = (freshness, str(since_ns), str(received_ns) if received_ns else None)
        writes = [
            HolderWrite(name, None if value is None else value.encode())
            for name, value in zip(_freshness_fields(stream), values, strict=True)
        ]
        self._put(("freshness", stream), _Write(self._calls.fields(self._keys.last(stream.instrument), writes)))

    def again(self, ref: CommandRef) -> tuple[Word, ...]:
        """The call that sends a remembered answer, for the reader to perform itself."""
        return self._calls.again(ref, self.next_id())

    def next_id(self) -> str:
        """An id for a reply, above all before it in any reply stream."""
        ms, n = self._last_id
        now_ms = self._now_ns() // 1_000_000
        self._last_id = (now_ms, 0) if now_ms > ms else (ms, n + 1)
        return f"{self._last_id[0]}-{self._last_id[1]}"

    async def drained(self) -> None:
        """Returns when everything queued is done."""
        while self._queue:
            if self._drained is None:
                self._drained = anyio.Event()
            await self._drained.wait()

    def counters(self) -> dict[str, int | float | str | None]:
        return {**{f"redis_{name}": n for name, n in self._counts.items()}, "redis_control_waiting": len(self._queue)}

    # -- the task

    async def run(self) -> None:
        """Performs for ever.

        Raises:
            Fenced: a newer sidecar publishes for this gateway.
        """
        backoff = Backoff(self._redis)

        async def work() -> NoReturn:
            while True:
                await self._perform()
                self.health.up()
                backoff.reset()
                await self._wait_for_work()

        await run_connected(self._link, backoff, work, on_trouble=self.health.trouble)

    async def _wait_for_work(self) -> None:
        if self._unannounced:
            count, self._unannounced = self._unannounced, 0
            self.on_dropped(count)
        if self._queue:
            return
        if self._drained is not None:
            self._drained.set()
            self._drained = None
        self._wake = anyio.Event()
        await self._wake.wait()
        self._wake = None

    async def _perform(self) -> None:
        """The oldest writes in one pipeline. Those done leave the queue; from the first that the server refused on, all
        are done again, in order: a later one must not be overtaken by an earlier one.
        """
        batch = [(key, self._queue[key]) for key in _first(self._queue, self._config.pipeline_max)]
        if not batch:
            return
        if not self._link.is_open:
            await self._link.open()
        answers = await self._link.pipeline([write.words for _, write in batch])
        for (key, write), answer in zip(batch, answers, strict=True):
            raise_if_fenced(answer)
            if isinstance(answer, Refused):
                if answer.code not in _OWN_FAULTS:
                    raise answer
                self._counts["control_failed"] += 1
                log.warning("redis_write_failed keys=%s error=%s", write.words[3:6], answer)
            if self._queue.get(key) is write:
                del self._queue[key]
            if self._later_replies and self._later_replies[0] == key:
                self._later_replies.popleft()
            self._counts["control_done"] += 1
            if write.settles is not None:
                self.on_settled(*write.settles)
            if write.job is not None:
                self.on_job_written(*write.job)

    def _put(self, key: Hashable | None, write: _Write) -> int:
        self._number += 1
        if key is None:
            key = self._number
        else:
            self._queue.pop(key, None)
        self._queue[key] = write
        if len(self._queue) > self._config.queue_max:
            self._make_room()
        if self._wake is not None:
            self._wake.set()
        return self._number

    def _make_room(self) -> None:
        """Gives up the oldest later reply. Without one nothing is given up: the rest is bounded elsewhere."""
        while self._later_replies:
            if self._queue.pop(self._later_replies.popleft(), None) is not None:
                self._counts["replies_dropped"] += 1
                self._unannounced += 1
                return
        self._counts["control_over"] += 1


def _first(queue: OrderedDict[Hashable, _Write], count: int) -> list[Hashable]:
    return [key for key, _ in zip(queue, range(count), strict=False)]


def _freshness_fields(stream: Stream) -> tuple[str, str, str]:
    return f"freshness:{stream.kind}", f"freshness_since_ns:{stream.kind}", f"received_ns:{stream.kind}"
