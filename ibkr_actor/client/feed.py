"""A feed: some streams as one iteration of items, held while it is read, with every loss told.

Puts together what others know: holds, openings, the reading, the tally and conflation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from typing import Generic, Literal, Self, TypeVar, cast

import anyio
from msgspec import Struct, structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.client.calls import instrument_of
from ibkr_actor.client.conflation import Conflator
from ibkr_actor.client.errors import MarketDataError
from ibkr_actor.client.group import GroupReader
from ibkr_actor.client.holding import Hold, Holding, stream_of
from ibkr_actor.client.items import AnyItem, Checkpoint, Item, Missed, Refused, Unknown, decoded
from ibkr_actor.client.opening import Openings, Start
from ibkr_actor.client.reader import BEGINNING, Follower, Raw, Reader
from ibkr_actor.client.tally import StreamTally
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import End, Gap, Reset
from ibkr_actor.schema.reference_commands import BoardCommand, Chain

R = TypeVar("R")


class Wish(Struct, frozen=True, kw_only=True):
    """What a feed is to read: what `commands` ask for, which it holds, or `watched` streams, which it does not."""

    commands: tuple[Subscribe | Chain | BoardCommand, ...] = ()
    watched: tuple[str, ...] = ()
    start: Start = "last"
    conflate_s: float | None = None
    group: str = ""
    consumer: str = ""
    claim_idle_s: float = 60.0
    shared: bool = False
    refused: Literal["raise", "yield"] = "raise"


class Desk(Struct, frozen=True):
    """What feeds of one client share."""

    redis: Redis
    keys: Keys
    reader: Reader
    holding: Holding
    openings: Openings


class Feed(Generic[R]):
    """Items of some streams. Each `async for` holds the lines while it runs, and goes on where the last one stopped.

    `async with feed` holds them in between, and has given them back when it ends.
    """

    def __init__(self, desk: Desk, wish: Wish) -> None:
        self._desk = desk
        self._wish = wish
        self._users = 0  # loops and `async with` blocks that run
        self._holds: list[Hold] = []
        self._streams: dict[str, Stream] = {}
        self._source: Follower | GroupReader | None = None
        self._tallies: dict[str, StreamTally] = {}
        self._conflator: Conflator | None = None
        self._ready: deque[Item[AnyItem]] = deque()
        self._error: MarketDataError | None = None
        self._early: list[tuple[str, MarketDataError]] = []  # what was refused before there was anything to read
        # Stream -> how far it was given out: where the next loop, or the next program, goes on.
        self._checkpoints: dict[Stream, Checkpoint] = {}
        self._in_hand: list[Item[AnyItem]] = []  # given out by a group and not said to be done with
        self.lost = 0
        self._conflated = 0

    # ---- what a caller does

    async def __aenter__(self) -> Self:
        self._users += 1
        if self._users == 1:
            try:
                await self._open()
            except BaseException:
                self._users -= 1
                self._release()
                raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._users -= 1
        if self._users:
            return
        source = self._release()
        if isinstance(source, GroupReader):
            await source.close()
        await self._desk.holding.left()

    async def __aiter__(self) -> AsyncGenerator[Item[R]]:
        """Items as they come, for ever."""
        async with self:
            while True:
                if not self._ready:
                    await self._fill()
                yield self._give(self._ready.popleft())

    async def read(self) -> list[Item[R]]:
        """All items that are there, at least one; inside `async with feed`."""
        if not self._users:
            raise RuntimeError("a feed is read inside `async with feed:`")
        while not self._ready:
            await self._fill()
        return [self._give(self._ready.popleft(), done=not number) for number in range(len(self._ready))]

    async def ack(self) -> None:
        """With a group: everything given out so far is done with, the newest too."""
        self._done_with_what_is_in_hand()
        if isinstance(self._source, GroupReader):
            await self._source.flush()

    def checkpoints(self) -> dict[str, Checkpoint]:
        """How far each stream was given out, by `kind:instrument`; for `start` of another feed."""
        return {stream.name: checkpoint for stream, checkpoint in self._checkpoints.items()}

    @property
    def streams(self) -> list[Stream]:
        """What is read; empty while nothing is held."""
        return list(self._streams.values())

    @property
    def conflated(self) -> int:
        """Records left out by conflation so far."""
        return self._conflated + (self._conflator.conflated if self._conflator else 0)

    # ---- opening and closing

    async def _open(self) -> None:
        wish = self._wish
        self._conflator = None if wish.conflate_s is None else Conflator(wish.conflate_s)
        root = f"{self._desk.keys.root}:"
        keys = [name if name.startswith(root) else root + name for name in wish.watched]
        commands = wish.commands
        if self._checkpoints:
            # What is gone on with has its history.
            commands = tuple(structs.replace(one, backfill="") if _backfills(one) else one for one in commands)
        self._holds = [Hold(command=command, on_refused=self._refused) for command in commands]
        await self._take_all()
        keys += [key for hold in self._holds for key in hold.keys]
        self._streams = {key: stream_of(self._desk.keys, key) for key in keys}
        self._tallies = {key: StreamTally() for key in self._streams}
        self._source = self._group() if wish.group else await self._follower(backfilled=any(map(_backfills, commands)))
        for key, error in self._early:
            self._refused(key, error)

    async def _take_all(self) -> None:
        """All or none, unless refusals are wanted as values; what was taken before an error the caller gives back."""
        refusals: list[tuple[Hold, MarketDataError]] = []
        errors: list[RedisError] = []

        async def take(hold: Hold) -> None:
            try:
                await self._desk.holding.take(hold)
            except MarketDataError as error:
                refusals.append((hold, error))
            except RedisError as error:
                errors.append(error)

        async with anyio.create_task_group() as tasks:
            for hold in self._holds:
                tasks.start_soon(take, hold)
        if errors:
            raise errors[0]
        if refusals and (self._wish.refused == "raise" or len(refusals) == len(self._holds)):
            raise refusals[0][1]
        for hold, error in refusals:
            for kind in hold.kinds:
                # Nobody has said what its canonical name would be.
                stream = Stream(kind, instrument_of(hold.command) or "")
                self._offer(Item(stream, "", Refused(stream, error)))

    async def _follower(self, *, backfilled: bool) -> Follower:
        positions: dict[str, str] = {}
        for key, stream in self._streams.items():
            done = self._checkpoints.get(stream)
            start: Start = self._wish.start if done is None else {stream.name: done}
            opening = await self._desk.openings.find(key, stream, start, backfilled=backfilled)
            positions[key] = opening.checkpoint.id
            self._tallies[key].begin_at(opening.checkpoint)
            for record in opening.present:
                self._offer(Item(stream, opening.checkpoint.id, record))
            if not opening.present:
                self._checkpoints[stream] = opening.checkpoint
        return self._desk.reader.follow(positions)

    def _group(self) -> GroupReader:
        wish, starts = self._wish, {}
        for key, stream in self._streams.items():
            given = wish.start
            if isinstance(given, str):
                starts[key] = BEGINNING if given == "first" else "$"
            else:
                checkpoint = given.get(stream.name, "$")
                starts[key] = checkpoint if isinstance(checkpoint, str) else checkpoint.id
        return GroupReader(
            self._desk.redis,
            self._streams,
            starts,
            group=wish.group,
            consumer=wish.consumer,
            claim_idle_s=wish.claim_idle_s,
        )

    def _release(self) -> Follower | GroupReader | None:
        """Lets go of everything at once; what had not been given out is read again by the next loop."""
        for hold in self._holds:
            self._desk.holding.leave(hold)
        source, self._source = self._source, None
        if isinstance(source, Follower):
            source.close()
        self._conflated, self._conflator = self.conflated, None
        self._holds, self._streams, self._error, self._early = [], {}, None, []
        self._ready.clear()
        self._in_hand.clear()
        return source

    # ---- reading

    async def _fill(self) -> None:
        """Waits for something to give out."""
        self._done_with_what_is_in_hand()
        assert self._source is not None
        while not self._ready:
            if self._error is not None:
                raise self._error
            wait_s = self._conflator.wait_s(anyio.current_time()) if self._conflator else None
            for raw in await self._source.read(wait_s):
                if isinstance(raw, Missed):
                    self._offer(Item(raw.stream, raw.to_id, raw))
                else:
                    self._take(raw)
            if self._conflator:
                self._ready.extend(self._conflator.due(anyio.current_time()))

    def _take(self, raw: Raw) -> None:
        """One entry, with what it proves to be missing before it."""
        record, stream, tally = decoded(raw.fields), self._streams[raw.key], self._tallies[raw.key]
        group = self._source if isinstance(self._source, GroupReader) else None
        if record is None:
            if group:
                group.ack(raw.key, raw.id)
            return
        if raw.fresh:
            if not tally.is_new(record):
                tally.doubled += 1
                if group:
                    group.ack(raw.key, raw.id)
                return
            missed = tally.take(record, raw.id, stream)
            if not self._wish.shared:
                for one in missed:
                    self._offer(Item(stream, raw.id, one))
        elif tally.is_new(record):
            # Given out before: what was acknowledged in between is no loss.
            tally.begin_at(Checkpoint(raw.id, record.epoch, record.seq))
        if isinstance(record, Unknown):
            if group:
                group.ack(raw.key, raw.id)
            return
        if isinstance(record, Reset | End) and self._holds:
            self._desk.holding.look()
        self._offer(Item(stream, raw.id, record))

    def _offer(self, item: Item[AnyItem]) -> None:
        if self._conflator is None:
            self._ready.append(item)
        else:
            self._ready.extend(self._conflator.take(item, anyio.current_time()))

    def _refused(self, key: str, error: MarketDataError) -> None:
        if self._source is None:
            self._early.append((key, error))
            return
        if self._wish.refused == "raise":
            self._error = error
        else:
            stream = self._streams[key]
            self._offer(Item(stream, "", Refused(stream, error)))
        self._source.wake()

    # ---- giving out

    def _give(self, item: Item[AnyItem], *, done: bool = True) -> Item[R]:
        """Notes how far the reading is; with `done`, what was given out before has been dealt with."""
        if done:
            self._done_with_what_is_in_hand()
        record = item.record
        if isinstance(record, Missed):
            self.lost += record.lost
        elif not isinstance(record, Refused):
            self._checkpoints[item.stream] = Checkpoint(item.id, record.epoch, record.seq)
            self.lost += record.lost or 0 if isinstance(record, Gap) else 0
            if self._wish.group:
                self._in_hand.append(item)
        # What a kind's stream holds is what the kind says, and the notices that every feed's type names.
        return cast("Item[R]", item)

    def _done_with_what_is_in_hand(self) -> None:
        if isinstance(self._source, GroupReader):
            for item in self._in_hand:
                self._source.ack(self._desk.keys.stream(item.kind, item.instrument), item.id)
        self._in_hand.clear()


def _backfills(command: Subscribe | Chain | BoardCommand) -> bool:
    return isinstance(command, Subscribe) and bool(command.backfill)
