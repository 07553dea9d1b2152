"""The client without async: the same names, each call and each loop blocking.

A thin face: the async client runs in a thread of its own, and everything is decided there.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Generic, Literal, ParamSpec, Self, TypeVar, Unpack

from anyio import sleep
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ibkr_actor.client import client as async_client
from ibkr_actor.client import feed as async_feed
from ibkr_actor.client import jobs as async_jobs
from ibkr_actor.client.feeds import FeedOptions
from ibkr_actor.client.holding import Instrument
from ibkr_actor.client.items import AnyItem, Checkpoint, Item, Notice
from ibkr_actor.client.jobs import HistoryBar, HistoryTick
from ibkr_actor.schema.commands import AnyCommand, Reply
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import (
    AnyRecord,
    Bar,
    Bars,
    BidAsk,
    Bulletin,
    ChainWindow,
    Depth,
    Done,
    Greeks,
    MidPoint,
    News,
    Option,
    Quote,
    Ranking,
    System,
    Tick,
    Ticks,
    Trade,
)

_CLOSE_TRIES, _CLOSE_TRY_S = 100, 0.01

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
Row = TypeVar("Row", bound=HistoryBar | HistoryTick)


class Feed(Generic[R]):
    """Items of some streams; each `for` over it holds the lines while it runs."""

    def __init__(self, portal: BlockingPortal, feed: async_feed.Feed[R]) -> None:
        self._portal = portal
        self._feed = feed

    def __enter__(self) -> Self:
        _wait(self._portal, self._feed.__aenter__)
        return self

    def __exit__(self, *exc: object) -> None:
        _wait(self._portal, self._feed.__aexit__, *exc)

    def __iter__(self) -> Iterator[Item[R]]:
        items = self._feed.__aiter__()
        try:
            while True:
                yield _wait(self._portal, items.__anext__)
        finally:
            _close(self._portal, items)

    def read(self) -> list[Item[R]]:
        """All items that are there, at least one; inside `with feed`."""
        return _wait(self._portal, self._feed.read)

    def ack(self) -> None:
        """With a group: everything given out so far is done with."""
        _wait(self._portal, self._feed.ack)

    def checkpoints(self) -> dict[str, Checkpoint]:
        """How far each stream was given out, by `kind:instrument`."""
        return self._feed.checkpoints()

    @property
    def streams(self) -> list[Stream]:
        """What is read; empty while nothing is held."""
        return self._feed.streams

    @property
    def lost(self) -> int:
        """Records that it did not get."""
        return self._feed.lost

    @property
    def conflated(self) -> int:
        """Records left out by conflation so far."""
        return self._feed.conflated


class Job(Generic[Row]):
    """One history job; leaving the loop early cancels it."""

    def __init__(self, portal: BlockingPortal, job: async_jobs.Job[Row]) -> None:
        self._portal = portal
        self._job = job

    def __iter__(self) -> Iterator[Row]:
        for batch in self.batches():
            yield from self._job.rows(batch)

    def batches(self) -> Iterator[Bars | Ticks]:
        """The same in records of up to 500 rows."""
        batches = self._job.batches()
        try:
            while True:
                try:
                    yield _wait(self._portal, batches.__anext__)
                except StopAsyncIteration:
                    return
        finally:
            _close(self._portal, batches)

    @property
    def done(self) -> Done | None:
        """How it ended, once it has."""
        return self._job.done

    @property
    def progress(self) -> dict[str, Any]:
        """The newest word on how far it is."""
        return self._job.progress


class Client:
    """Used with `with`. What it takes and what it gives is that of `ibkr_actor.client.Client`."""

    def __init__(
        self,
        redis: str = "redis://127.0.0.1:6379/0",
        *,
        client: str = "",
        prefix: str = "ibkr",
        gateway: str = "g1",
        lease_s: float = 60.0,
        timeout_s: float = 10.0,
    ) -> None:
        self._client = async_client.Client(
            redis, client=client, prefix=prefix, gateway=gateway, lease_s=lease_s, timeout_s=timeout_s
        )
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._portal.wrap_async_context_manager(self._client))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    # ---- feeds

    def quotes(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Quote | Notice]:
        """The top of book after each message of IB."""
        return Feed(self._portal, self._client.quotes(*instruments, **options))

    def ticks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Tick | Notice]:
        """All other level-1 ticks."""
        return Feed(self._portal, self._client.ticks(*instruments, **options))

    def greeks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Greeks | Notice]:
        """What IB computes of options."""
        return Feed(self._portal, self._client.greeks(*instruments, **options))

    def news(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[News | Notice]:
        """Headlines about instruments."""
        return Feed(self._portal, self._client.news(*instruments, **options))

    def trades(
        self, *instruments: Instrument, all: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Trade | Notice]:
        """Trades tick by tick."""
        return Feed(self._portal, self._client.trades(*instruments, all=all, **options))

    def bidasks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[BidAsk | Notice]:
        """The best bid and ask tick by tick."""
        return Feed(self._portal, self._client.bidasks(*instruments, **options))

    def midpoints(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[MidPoint | Notice]:
        """The midpoint tick by tick."""
        return Feed(self._portal, self._client.midpoints(*instruments, **options))

    def bars(
        self,
        *instruments: Instrument,
        size: str = "5s",
        of: Literal["trades", "bid", "ask", "midpoint"] = "trades",
        rth: bool = False,
        built: bool = False,
        **options: Unpack[FeedOptions],
    ) -> Feed[Bar | Notice]:
        """Bars."""
        return Feed(self._portal, self._client.bars(*instruments, size=size, of=of, rth=rth, built=built, **options))

    def depth(
        self, *instruments: Instrument, smart: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Depth | Notice]:
        """Changes of order books."""
        return Feed(self._portal, self._client.depth(*instruments, smart=smart, **options))

    def chain(self, instrument: Instrument, **wanted: Any) -> Feed[Option | ChainWindow | Notice]:
        """The options on an underlying; takes what the async client's `chain` does."""
        return Feed(self._portal, self._client.chain(instrument, **wanted))

    def scan(self, scan_code: str, **wanted: Any) -> Feed[Ranking | Notice]:
        """What a scan ranks; takes what the async client's `scan` does."""
        return Feed(self._portal, self._client.scan(scan_code, **wanted))

    def bulletins(self, **options: Unpack[FeedOptions]) -> Feed[Bulletin | Notice]:
        """IB's bulletins."""
        return Feed(self._portal, self._client.bulletins(**options))

    def stream(
        self, kinds: str | Sequence[str], *instruments: Instrument, **options: Unpack[FeedOptions]
    ) -> Feed[AnyItem]:
        """Any kinds of any instruments in one feed."""
        return Feed(self._portal, self._client.stream(kinds, *instruments, **options))

    def watch(self, *streams: str | Stream, **options: Unpack[FeedOptions]) -> Feed[AnyItem]:
        """Streams that somebody else holds."""
        return Feed(self._portal, self._client.watch(*streams, **options))

    def system(self, **options: Unpack[FeedOptions]) -> Feed[System | Notice]:
        """What happens to the sidecar."""
        return Feed(self._portal, self._client.system(**options))

    # ---- history and questions

    def history(self, instrument: Instrument, **wanted: Any) -> Job[HistoryBar]:
        """Every bar of an interval; takes what the async client's `history` does. `on_progress` is called there."""
        return Job(self._portal, self._portal.call(lambda: self._client.history(instrument, **wanted)))

    def history_ticks(self, instrument: Instrument, **wanted: Any) -> Job[HistoryTick]:
        """Every tick of an interval."""
        return Job(self._portal, self._portal.call(lambda: self._client.history_ticks(instrument, **wanted)))

    def snapshot(self, instrument: Instrument, *, regulatory: bool = False) -> dict[str, Any]:
        """The present values of level 1. A regulatory snapshot costs money."""
        return _wait(self._portal, lambda: self._client.snapshot(instrument, regulatory=regulatory))

    def resolve(self, instrument: Instrument, *, refresh: bool = False) -> Contract:
        """The contract an instrument means."""
        return _wait(self._portal, lambda: self._client.resolve(instrument, refresh=refresh))

    def search(self, pattern: str) -> builtins.list[dict[str, Any]]:
        """The contracts whose symbol begins with the pattern or whose name holds it."""
        return _wait(self._portal, self._client.search, pattern)

    def list(self, of_client: str = "") -> builtins.list[dict[str, Any]]:
        """The subscriptions with their holders."""
        return _wait(self._portal, self._client.list, of_client)

    def status(self) -> dict[str, Any]:
        """The state of connection, subscriptions, history jobs, pacing and Redis."""
        return _wait(self._portal, self._client.status)

    def last(self, instrument: str) -> dict[str, AnyRecord]:
        """The last values of an instrument as they stand in Redis."""
        return _wait(self._portal, self._client.last, instrument)

    def call(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """Sends any command and returns the first reply to it; a refusal raises."""
        return _wait(self._portal, self._client.call, command, timeout_s)

    def reply(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """The same, where a refusal is a reply too."""
        return _wait(self._portal, self._client.reply, command, timeout_s)


def _close(portal: BlockingPortal, items: AsyncGenerator[Any]) -> None:
    """Ends an iteration; one whose waiting Ctrl-C has just ended needs a moment to notice."""

    async def close() -> None:
        for _ in range(_CLOSE_TRIES):
            try:
                await items.aclose()
            except RuntimeError:
                await sleep(_CLOSE_TRY_S)
            else:
                return

    _wait(portal, close)


def _wait(portal: BlockingPortal, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer of the other thread; Ctrl-C here ends the waiting there too."""

    async def asked() -> T:
        return await ask(*args, **kwargs)

    future = portal.start_task_soon(asked)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
