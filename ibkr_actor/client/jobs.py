"""A history job from its command to its `done`: batches or rows in order, and its progress on the way.

Starts the job and reads; which bars there are is the sidecar's to find.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, cast

import anyio
from msgspec import Struct
from redis.asyncio import Redis

from ibkr_actor.client.calls import Calls, refusal
from ibkr_actor.client.connect import SERVER_ERRORS, is_away
from ibkr_actor.client.errors import MarketDataError
from ibkr_actor.client.items import decoded
from ibkr_actor.client.reader import Follower, Reader
from ibkr_actor.schema.commands import Cancel, History, HistoryTicks, Rejection, Reply
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import Bars, Done, Ticks

# How long the reply that says why a job ended may come after its `done`.
_LAST_REPLY_S: Final = 2.0
_LEAVE_S: Final = 2.0


class HistoryBar(Struct, frozen=True):
    """One bar over [start_ns, end_ns), as in `bar` records."""

    start_ns: int
    end_ns: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: str | None
    wap: str | None
    count: int | None
    session_date: str | None


class HistoryTrade(Struct, frozen=True):
    """One past trade; its time is a whole second."""

    time_ns: int
    price: float | None
    size: str | None
    exchange: str
    conditions: str
    past_limit: bool
    unreported: bool


class HistoryMidPoint(Struct, frozen=True):
    """One past midpoint."""

    time_ns: int
    price: float | None


class HistoryBidAsk(Struct, frozen=True):
    """One past top of book."""

    time_ns: int
    bid: float | None
    ask: float | None
    bid_size: str | None
    ask_size: str | None
    bid_past_low: bool
    ask_past_high: bool


HistoryTick = HistoryTrade | HistoryMidPoint | HistoryBidAsk
_TICKS: Final[dict[str, type[HistoryTick]]] = {
    "TRADES": HistoryTrade,
    "MIDPOINT": HistoryMidPoint,
    "BID_ASK": HistoryBidAsk,
}
Row = TypeVar("Row", bound=HistoryBar | HistoryTick)
Progress = Callable[[dict[str, Any]], None]


class Job(Generic[Row]):
    """One job, started by reading it. Leaving the loop early cancels it; an entry that was given out is deleted."""

    def __init__(
        self,
        redis: Redis,
        keys: Keys,
        reader: Reader,
        calls: Calls,
        command: History | HistoryTicks,
        on_progress: Progress | None = None,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._reader = reader
        self._calls = calls
        self._command = calls.named(command)
        self._on_progress = on_progress
        self._follower: Follower | None = None
        self._error: MarketDataError | None = None
        self._read_ids: list[str] = []  # given out and not deleted yet
        self._replied = anyio.Event()  # the command was answered
        self._ended = anyio.Event()  # the last reply has come
        self._written = False
        self.name = ""
        # What the sidecar said when it took the job: its name, and what it is of.
        self.accepted: dict[str, Any] = {}
        self.progress: dict[str, Any] = {}
        self.done: Done | None = None

    async def __aiter__(self) -> AsyncGenerator[Row]:
        """Every bar or tick of the interval, oldest first."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for row in self.rows(batch):
                    yield row

    @staticmethod
    def rows(batch: Bars | Ticks) -> Iterator[Row]:
        """The rows of a batch of this job, by name."""
        return cast("Iterator[Row]", rows_of(batch))

    async def batches(self) -> AsyncGenerator[Bars | Ticks]:
        """The same in records of up to 500 rows, as they come.

        Raises:
            NoAnswer: no sidecar took the command.
            MarketDataError: it was refused, failed on the way, or was cancelled by somebody else.
        """
        if self._written:
            raise RuntimeError("a job is read once")
        with self._calls.hearing(self._command.id, self._hear):
            try:
                await self._start()
                while self.done is None:
                    for entry_id, batch in await self._read():
                        yield batch
                        await self._delete(entry_id)
            finally:
                await self._leave()
            await self._judge(self.done)

    async def _start(self) -> None:
        self._written = True
        await self._calls.send(self._command, self._replied)
        self._check()
        self._follower = self._reader.follow({self._keys.history(self.name): "0"})

    def _hear(self, reply: Reply) -> None:
        if isinstance(reply.result, dict):
            if reply.status == "accepted":
                self.accepted = reply.result
                self.name = str(reply.result["job"])
            elif reply.status == "progress":
                self.progress = reply.result
                if self._on_progress is not None:
                    self._on_progress(reply.result)
        if reply.error is not None:
            self._error = refusal(self._command, reply.error)
        if reply.status in ("done", "rejected", "expired"):
            self._ended.set()
        self._replied.set()
        if self._follower is not None:
            self._follower.wake()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _read(self) -> list[tuple[str, Bars | Ticks]]:
        """The next entries; sets `done` when it has come."""
        assert self._follower is not None
        raws = await self._follower.read()
        if not raws:
            self._check()
        found = []
        for raw in raws:
            record = decoded(raw.fields)
            if isinstance(record, Done):
                self.done = record
                await self._delete(raw.id)
            elif isinstance(record, Bars | Ticks):
                found.append((raw.id, record))
        return found

    async def _delete(self, entry_id: str) -> None:
        """A job pauses while too much of it is unread, and read is what is deleted."""
        self._read_ids.append(entry_id)
        try:
            await self._redis.xdel(self._keys.history(self.name), *self._read_ids)
        except SERVER_ERRORS as error:
            if not is_away(error):
                raise
        else:
            self._read_ids.clear()

    async def _leave(self) -> None:
        """Cancels what is not over."""
        if self._follower is not None:
            self._follower.close()
        if self.done is not None or self._ended.is_set() or not self._calls.wrote:
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LEAVE_S):
            cancel = Cancel(job=self.name or f"{self._calls.client}.{self._command.id}")
            await self._calls.write(lambda: self._calls.named(cancel))

    async def _judge(self, done: Done) -> None:
        """A job that ended badly raises what its last reply says."""
        if done.outcome in ("complete", "incomplete"):
            return
        with anyio.move_on_after(_LAST_REPLY_S):
            await self._ended.wait()
        self._check()
        text = f"the job was {done.outcome}: {done.message or 'no reason was given'}"
        raise refusal(self._command, Rejection("internal", text))


def rows_of(batch: Bars | Ticks) -> Iterator[HistoryBar | HistoryTick]:
    """The rows of a batch by name."""
    row_type = HistoryBar if isinstance(batch, Bars) else _TICKS[batch.what_to_show]
    for row in batch.rows:
        yield row_type(*row)
