"""The client: what a Python program asks of a sidecar, and reads of what it publishes.

Owns the connections and the tasks behind feeds, jobs and questions. Knows nothing of IB.
"""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Sequence
from typing import Any, Literal, Self, TypedDict, Unpack

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET
from redis.asyncio import Redis

from ibkr_actor.client.calls import Calls
from ibkr_actor.client.connect import patiently, pooled
from ibkr_actor.client.feed import Desk, Feed, Wish
from ibkr_actor.client.holding import Holding, Instrument
from ibkr_actor.client.items import AnyItem, Notice, decoded
from ibkr_actor.client.jobs import HistoryBar, HistoryTick, Job, Progress
from ibkr_actor.client.opening import Openings, Start
from ibkr_actor.client.reader import Reader
from ibkr_actor.schema.commands import (
    AnyCommand,
    FeedName,
    History,
    HistoryTicks,
    List,
    Reply,
    Resolve,
    Search,
    Snapshot,
    StatusCommand,
    Subscribe,
)
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import CLIENT_PATTERN, KINDS, KINDS_HELP, Keys, Stream, bar_kind
from ibkr_actor.schema.records import (
    AnyRecord,
    Bar,
    BidAsk,
    ChainWindow,
    Depth,
    Greeks,
    MidPoint,
    Option,
    Quote,
    System,
    Tick,
    Trade,
)
from ibkr_actor.schema.reference_commands import Chain

# IB takes up to 11 seconds for a snapshot, and several may wait for their turn.
_SNAPSHOT_TIMEOUT_S = 30.0


class FeedOptions(TypedDict, total=False):
    """The keywords that every feed takes; docs/CLIENT.md says what each does."""

    start: Start
    conflate_s: float | None
    group: str | None
    consumer: str | None
    claim_idle_s: float
    shared: bool
    generic_ticks: Sequence[int]
    backfill: str
    heal: bool
    feed: FeedName
    fallback: bool
    refused: Literal["raise", "yield"]


class Client:
    """Used with `async with`. Everything it holds is given back when the block ends."""

    def __init__(
        self,
        redis: str | Redis = "redis://127.0.0.1:6379/0",
        *,
        client: str = "",
        prefix: str = "ibkr",
        gateway: str = "g1",
        lease_s: float = 60.0,
        timeout_s: float = 10.0,
    ) -> None:
        self.name = client or f"py-{uuid.uuid4().hex[:12]}"
        if not CLIENT_PATTERN.fullmatch(self.name):
            raise ValueError(f"client {client!r} must be 1 to 64 characters of [A-Za-z0-9_.-]")
        if lease_s < 0 or timeout_s <= 0:
            raise ValueError("lease_s is 0 (for ever) or more seconds, and timeout_s more than 0")
        self.keys = Keys(prefix, gateway)
        self._address = redis
        self._lease_s = lease_s
        self._timeout_s = timeout_s
        self._tasks: TaskGroup | None = None
        self._desk: Desk | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise RuntimeError("a client is entered once")
        self._redis = pooled(self._address)
        self.reader = await Reader(self._redis).__aenter__()
        self._tasks = await anyio.create_task_group().__aenter__()
        self._calls = Calls(self._redis, self.reader, self.keys, self.name, self._timeout_s)
        self._holding = Holding(self._calls, self.keys, self._lease_s, self._tasks)
        self.reader.on_return = self._holding.look
        openings = Openings(self._redis, self.keys)
        self._desk = Desk(self._redis, self.keys, self.reader, self._holding, openings)
        self._tasks.start_soon(self._calls.run)
        self._holding.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._tasks is not None
        await self._holding.end()
        self._tasks.cancel_scope.cancel()
        # The body's own exception goes on by itself: a group around it would only hide it.
        try:
            await self._tasks.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            # A server that refuses us ends the client; the group says no more than what is in it.
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
        finally:
            try:
                await self.reader.__aexit__(None, None, None)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._redis.aclose()

    # ---- feeds

    def quotes(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Quote | Notice]:
        """The top of book after each message of IB."""
        return Feed(self._at_work, self._wish(("quote",), instruments, options))

    def ticks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Tick | Notice]:
        """All other level-1 ticks."""
        return Feed(self._at_work, self._wish(("tick",), instruments, options))

    def greeks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[Greeks | Notice]:
        """What IB computes of options."""
        return Feed(self._at_work, self._wish(("greeks",), instruments, options))

    def trades(
        self, *instruments: Instrument, all: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Trade | Notice]:
        """Trades tick by tick; `all` has those that are not in the consolidated tape too."""
        return Feed(self._at_work, self._wish(("alltrade" if all else "trade",), instruments, options))

    def bidasks(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[BidAsk | Notice]:
        """The best bid and ask tick by tick."""
        return Feed(self._at_work, self._wish(("bidask",), instruments, options))

    def midpoints(self, *instruments: Instrument, **options: Unpack[FeedOptions]) -> Feed[MidPoint | Notice]:
        """The midpoint tick by tick."""
        return Feed(self._at_work, self._wish(("midpoint",), instruments, options))

    def bars(
        self,
        *instruments: Instrument,
        size: str = "5s",
        of: Literal["trades", "bid", "ask", "midpoint"] = "trades",
        rth: bool = False,
        built: bool = False,
        **options: Unpack[FeedOptions],
    ) -> Feed[Bar | Notice]:
        """Bars; `rth` has regular trading hours only, `built` are made here of bars of 5 s."""
        kind = bar_kind(size, "" if of == "trades" else f".{of}", ".rth" if rth else "", built=built)
        return Feed(self._at_work, self._wish((kind,), instruments, options))

    def depth(
        self, *instruments: Instrument, smart: bool = False, **options: Unpack[FeedOptions]
    ) -> Feed[Depth | Notice]:
        """Changes of order books; `smart` has those of all exchanges together."""
        return Feed(self._at_work, self._wish(("depth.smart" if smart else "depth",), instruments, options))

    def chain(
        self,
        instrument: Instrument,
        *,
        expiry: str | int | builtins.list[str] = "nearest",
        moneyness_range: float | None = None,
        strike_range: tuple[float, float] | None = None,
        right: Literal["C", "P", "both"] = "both",
        exchange: str = "",
        trading_class: str = "",
        lines: int | None = None,
        **options: Unpack[FeedOptions],
    ) -> Feed[Option | ChainWindow | Notice]:
        """The options on an underlying: `Option` records of the members, and `ChainWindow`s that say what those are."""
        command = Chain(
            instrument=instrument,
            expiry=expiry,
            moneyness_range=moneyness_range,
            strike_range=strike_range,
            right=right,
            exchange=exchange,
            trading_class=trading_class,
            lines=lines,
        )
        return Feed(self._at_work, self._reading(options, (command,)))

    def stream(
        self, kinds: str | Sequence[str], *instruments: Instrument, **options: Unpack[FeedOptions]
    ) -> Feed[AnyItem]:
        """Any kinds of any instruments in one feed."""
        return Feed(
            self._at_work, self._wish((kinds,) if isinstance(kinds, str) else tuple(kinds), instruments, options)
        )

    def watch(self, *streams: str | Stream, **options: Unpack[FeedOptions]) -> Feed[AnyItem]:
        """Streams that somebody else holds, as `kind:instrument` or by their full keys."""
        if not streams:
            raise ValueError("a feed needs a stream")
        names = tuple(one.name if isinstance(one, Stream) else one for one in streams)
        return Feed(self._at_work, self._wish((), (), options, names))

    def system(self, **options: Unpack[FeedOptions]) -> Feed[System | Notice]:
        """What happens to the sidecar: connection, farms, subscriptions, gaps, pacing."""
        return Feed(self._at_work, self._wish((), (), options, (self.keys.system,)))

    # ---- history

    def history(
        self,
        instrument: Instrument,
        *,
        start: str,
        end: str = "",
        bar: str = "1d",
        what_to_show: str = "",
        use_rth: bool | None = None,
        priority: Literal["interactive", "backfill"] = "interactive",
        on_progress: Progress | None = None,
    ) -> Job[HistoryBar]:
        """Every bar of [start, end], oldest first."""
        command = History(
            instrument=instrument,
            start=start,
            end=end,
            bar=bar,
            what_to_show=what_to_show,
            use_rth=UNSET if use_rth is None else use_rth,
            priority=priority,
        )
        return self.job(command, on_progress)

    def history_ticks(
        self,
        instrument: Instrument,
        *,
        start: str,
        end: str = "",
        what_to_show: str = "",
        use_rth: bool | None = None,
        priority: Literal["interactive", "backfill"] = "interactive",
        on_progress: Progress | None = None,
    ) -> Job[HistoryTick]:
        """Every tick of [start, end], oldest first."""
        command = HistoryTicks(
            instrument=instrument,
            start=start,
            end=end,
            what_to_show=what_to_show,
            use_rth=UNSET if use_rth is None else use_rth,
            priority=priority,
        )
        return Job(self._redis, self.keys, self.reader, self._calls, command, on_progress)

    def job(self, command: History | HistoryTicks, on_progress: Progress | None = None) -> Job[Any]:
        """The job that a command starts; under an id of the caller's it is found again, and goes on."""
        return Job(self._redis, self.keys, self.reader, self._calls, command, on_progress)

    # ---- questions

    async def snapshot(self, instrument: Instrument, *, regulatory: bool = False) -> dict[str, Any]:
        """The present values of level 1. A regulatory snapshot costs money."""
        command = Snapshot(instrument=instrument, regulatory=regulatory)
        return _dict(await self.call(command, timeout_s=max(self._timeout_s, _SNAPSHOT_TIMEOUT_S)))

    async def resolve(self, instrument: Instrument, *, refresh: bool = False) -> Contract:
        """The contract an instrument means."""
        found = _dict(await self.call(Resolve(instrument=instrument, refresh=refresh)))
        # An object for who reads the reply; pairs in our type, which is as IB lists them.
        return msgspec.convert(found | {"sec_ids": tuple(found.get("sec_ids", {}).items())}, Contract)

    async def search(self, pattern: str) -> builtins.list[dict[str, Any]]:
        """The contracts whose symbol begins with the pattern or whose name holds it."""
        found: list[dict[str, Any]] = _dict(await self.call(Search(pattern=pattern)))["contracts"]
        return found

    async def list(self, of_client: str = "") -> builtins.list[dict[str, Any]]:
        """The subscriptions with their holders."""
        found: list[dict[str, Any]] = _dict(await self.call(List(of_client=of_client)))["subscriptions"]
        return found

    async def status(self) -> dict[str, Any]:
        """The state of connection, subscriptions, history jobs, pacing and Redis."""
        return _dict(await self.call(StatusCommand()))

    async def last(self, instrument: str) -> dict[str, AnyRecord]:
        """The last values of an instrument, by field (`quote`, `tick:49`, ...), as they stand in Redis.

        `instrument` is the canonical id. Asks no sidecar.
        """
        key = self.keys.last(instrument)
        values: Any = await patiently(lambda: self._redis.hgetall(key), "last")
        found: dict[str, AnyRecord] = {}
        for name, value in values.items():
            record = decoded({b"j" if value.startswith(b"{") else b"d": value})
            if isinstance(record, AnyRecord):
                found[name.decode()] = record
        return found

    async def call(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """Sends any command and returns the first reply to it.

        Raises:
            MarketDataError: it was refused; the class says why.
            NoAnswer: nothing came in time.
        """
        return await self._calls.call(command, timeout_s)

    async def reply(self, command: AnyCommand, timeout_s: float | None = None) -> Reply:
        """The same, where a refusal is a reply too."""
        return await self._calls.reply(command, timeout_s)

    # ---- inside

    @property
    def _at_work(self) -> Desk:
        if self._desk is None:
            raise RuntimeError("a client is used inside `async with Client(...) as client:`")
        return self._desk

    def _wish(
        self,
        kinds: tuple[str, ...],
        instruments: tuple[Instrument, ...],
        options: FeedOptions,
        watched: tuple[str, ...] = (),
    ) -> Wish:
        if not watched and not instruments:
            raise ValueError("a feed needs an instrument")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"{unknown[0]!r} is no kind; known: {KINDS_HELP}")
        commands = tuple(
            Subscribe(
                instrument=instrument,
                kinds=list(kinds),
                generic_ticks=sorted(options.get("generic_ticks", ())),
                backfill=options.get("backfill", ""),
                heal=options.get("heal", UNSET),
                feed=options.get("feed", ""),
                fallback=options.get("fallback", False),
            )
            for instrument in instruments
        )
        return self._reading(options, commands, watched)

    def _reading(
        self, options: FeedOptions, commands: tuple[Subscribe | Chain, ...], watched: tuple[str, ...] = ()
    ) -> Wish:
        group, conflate_s = options.get("group") or "", options.get("conflate_s")
        if group and conflate_s is not None:
            raise ValueError("a group hands out every record: conflate_s goes without group")
        if conflate_s is not None and conflate_s <= 0:
            raise ValueError("conflate_s is a number of seconds above 0")
        return Wish(
            commands=commands,
            watched=watched,
            start=options.get("start", "last"),
            conflate_s=conflate_s,
            group=group,
            consumer=options.get("consumer") or self.name,
            claim_idle_s=options.get("claim_idle_s", 60.0),
            shared=options.get("shared", False),
            refused=options.get("refused", "raise"),
        )


def _dict(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply.result, dict)
    return reply.result
