"""How much of each history job nobody has read yet, and which jobs nobody reads at all.

Reads only. An entry is read when it was deleted, or when every consumer group of the stream got it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import anyio
import msgspec
from msgspec import Struct, field

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.health import Backoff
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.core.messages import JobAbandoned, JobUnread
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)

UnreadWord = JobUnread | JobAbandoned

# How often the jobs that come near the bound are looked at.
POLL_S: Final = 0.25
# Jobs that wrote less than this share of the bound since the last look cannot have passed it.
_NEAR: Final = 0.5
# A job that waits goes on when this share of the bound is unread.
_ROOM: Final = 0.5


class _Job(Struct):
    """What is known of one job. `sizes` are (number of the last entry, entries, bytes) of each write, oldest first."""

    sizes: deque[tuple[int, int, int]] = field(default_factory=deque)
    unread_bytes: int = 0
    # Written since the last look, so that a job that is not near the bound need not be looked at.
    fresh_bytes: int = 0
    too_much: bool = False


class UnreadMeter:
    """Tells when a job passes the bound, when it has room again, and when what it waits with is gone."""

    def __init__(self, link: Link, config: BusConfig, *, tell: Callable[[UnreadWord], None]) -> None:
        self._link = link
        self._redis = config.redis
        self._keys = Keys(config.prefix, config.gateway)
        self._bytes_max = config.retention.history_buffer_bytes
        self._tell = tell
        # Jobs that are not done; set by `wrote` and `restore`, cleared when the last entry is handed over.
        self._jobs: dict[str, _Job] = {}
        self._wake = anyio.Event()
        self._counts = {"waits": 0, "abandoned": 0}

    def counters(self) -> dict[str, int | float | str | None]:
        waiting = sum(job.too_much for job in self._jobs.values())
        counts: dict[str, int | float | str | None] = {f"unread_{name}": count for name, count in self._counts.items()}
        return counts | {"unread_waiting": waiting}

    def restore(self, jobs: Iterable[str]) -> None:
        """Jobs of a process before this one: how much of them is unread is not known."""
        for name in jobs:
            self._jobs[name] = _Job(fresh_bytes=self._bytes_max)

    def wrote(self, job: str, number: int, entries: int, size: int, *, done: bool) -> None:
        """Entries of a job, the last of them `number`, with `size` bytes in all, are on their way."""
        if done:
            self._jobs.pop(job, None)
            return
        state = self._jobs.setdefault(job, _Job())
        if entries:
            state.sizes.append((number, entries, size))
        state.fresh_bytes += size

    def written(self, job: str, number: int) -> None:
        """They stand in Redis: time to look, when it may be too much."""
        state = self._jobs.get(job)
        if state is not None and self._is_near(state):
            self._wake.set()

    async def run(self) -> None:
        """Works until cancelled; a Redis that is away is waited for."""
        backoff = Backoff(self._redis)

        async def work() -> NoReturn:
            while True:
                await self.round()
                backoff.reset()
                if any(self._is_near(job) for job in self._jobs.values()):
                    await anyio.sleep(POLL_S)
                else:
                    self._wake = anyio.Event()
                    await self._wake.wait()

        def note(error: Unreachable | Refused) -> None:
            log.debug("unread_waits reason=%s", error)

        await run_connected(self._link, backoff, work, on_trouble=note)

    async def round(self) -> None:
        """Looks at every job that is near the bound. The link must be open."""
        for name in [name for name, job in self._jobs.items() if self._is_near(job)]:
            found = await self._first_unread(self._keys.history(name))
            job = self._jobs.get(name)
            if job is not None:
                self._judge(name, job, found)

    def _is_near(self, job: _Job) -> bool:
        return job.too_much or job.unread_bytes + job.fresh_bytes > _NEAR * self._bytes_max

    async def _first_unread(self, key: str) -> tuple[int, int, int] | None:
        """(number of the first unread entry, of the last one, bytes of the first); None when there is no such stream.

        0 for the first when all is read.
        """
        (groups,) = await self._link.pipeline([("XINFO", "GROUPS", key)])
        if isinstance(groups, Refused):
            return None
        positions = [_id(dict(zip(group[::2], group[1::2], strict=True))[b"last-delivered-id"]) for group in groups]
        after = min(positions, default=(0, 0))
        start = f"({after[0]}-{after[1]}" if positions else "-"
        first = await self._link.call("XRANGE", key, start, "+", "COUNT", 1)
        last = await self._link.call("XREVRANGE", key, "+", "-", "COUNT", 1)
        if not first or not last:
            # All is read; or the stream went just now, between these words.
            return (0, 0, 0) if await self._link.call("EXISTS", key) else None
        fields: list[bytes] = first[0][1]
        return _number(fields), _number(last[0][1]), sum(map(len, fields))

    def _judge(self, name: str, job: _Job, found: tuple[int, int, int] | None) -> None:
        if found is None:
            if job.too_much:
                self._counts["abandoned"] += 1
                log.warning("history_abandoned job=%s", name)
                del self._jobs[name]
                self._tell(JobAbandoned(name))
                return
            found = (0, 0, 0)
        job.unread_bytes, job.fresh_bytes = _unread_bytes(job, *found), 0
        too_much = job.unread_bytes > self._bytes_max * (_ROOM if job.too_much else 1.0)
        if too_much != job.too_much:
            job.too_much = too_much
            self._counts["waits"] += too_much
            log.info("history_reader job=%s waits=%s unread_bytes=%d", name, too_much, job.unread_bytes)
            self._tell(JobUnread(name, too_much))


def _unread_bytes(job: _Job, first: int, last: int, size: int) -> int:
    """What is unread. Affects: sizes that are read. Entries before this process count as much as the first unread."""
    if not first:
        return 0
    sizes = job.sizes
    while sizes and sizes[0][0] < first:
        sizes.popleft()
    if not sizes:
        return max(0, last + 1 - first) * size
    newest, entries, written = sizes[0]
    known_from = newest - entries + 1
    read = written * max(0, first - known_from) // entries
    return sum(each[2] for each in sizes) - read + max(0, known_from - first) * size


def _id(value: bytes) -> tuple[int, int]:
    ms, _, n = value.partition(b"-")
    return int(ms), int(n)


def _number(fields: list[bytes]) -> int:
    """The number of an entry, which its record bears as seq."""
    try:
        record = decode_record(dict(zip(fields[::2], fields[1::2], strict=True)))
    except (ValueError, msgspec.MsgspecError):
        return 0
    return 0 if record is None else record.seq
