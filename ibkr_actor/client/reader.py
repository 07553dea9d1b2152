"""Many streams over one connection, for many followers, each at its own pace: the layer below feeds.

One XREAD waits for all that anyone waits for. Makes no sense of entries, and keeps no state in Redis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ibkr_actor.client.connect import BLOCK_MS_MAX, SERVER_ERRORS, Backoff, is_away, patiently

# Entries that wait for a follower here; one that has more unread reads them from the stream when it comes to them.
UNREAD_MAX: Final = 1_000
# Entries of all streams together in one answer, about.
_ANSWER_ENTRIES: Final = 2_000
_STREAM_ENTRIES_MIN, _STREAM_ENTRIES_MAX = 20, 500
# BLOCK where the server does not let us end a wait early (CLIENT UNBLOCK).
_SHORT_BLOCK_MS: Final = 100
BEGINNING: Final = "0-0"


class Raw(Struct, frozen=True):
    """One entry as it stands in Redis. Where `fresh` is False a group gave it out before."""

    key: str
    id: str
    fields: Mapping[bytes, bytes]
    fresh: bool = True


class Channel:
    """One key that is waited for: how far the shared reading is, and for whom."""

    def __init__(self, head: str) -> None:
        self.head = head
        self.followers: set[Follower] = set()


class Reader:
    """Reads while its `async with` block runs. A server that goes away is waited for."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._tasks: TaskGroup | None = None
        self._channels: dict[str, Channel] = {}
        self._followers: set[Follower] = set()
        self._added = anyio.Event()  # a key has come that the XREAD under way does not know
        self._round = 0  # counts the XREADs; the one under way knows the keys of its round
        self._block_ms = BLOCK_MS_MAX
        self._connection_id: int | None = None
        self._error: Exception | None = None
        # Called when the server has come back after it was away.
        self.on_return: Callable[[], None] = lambda: None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._run)
        self._tasks.start_soon(self._end_waits)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        # The body's own exception goes on by itself: a group around it would only hide it.
        await self._tasks.__aexit__(None, None, None)

    def follow(self, keys: Mapping[str, str]) -> Follower:
        """Follows these keys, each from behind the entry id given with it; `0` is the beginning, `$` the end."""
        follower = Follower(self)
        self._followers.add(follower)
        for key, after in keys.items():
            follower.add(key, after)
        return follower

    # ---- for followers

    async def ask(self, keys: Mapping[str, str]) -> Any:
        """What stands behind these ids now, without waiting for more."""
        wanted: Any = dict(keys)
        return await patiently(lambda: self._redis.xread(wanted, count=_share(len(wanted))), "reader")

    async def newest_id(self, key: str) -> str:
        """The id of the newest entry that is there."""
        newest: Any = await patiently(lambda: self._redis.xrevrange(key, count=1), "reader")
        return newest[0][0].decode() if newest else BEGINNING

    def head(self, key: str) -> str:
        """How far the shared reading of a key is; the beginning if nobody waits for it."""
        channel = self._channels.get(key)
        return BEGINNING if channel is None else channel.head

    def attach(self, follower: Follower, key: str, position: str) -> bool:
        """Puts the key among those waited for; False when the shared reading is further already."""
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(position)
            self._added.set()
        elif id_order(channel.head) > id_order(position):
            return False
        channel.followers.add(follower)
        return True

    def detach(self, follower: Follower, key: str) -> None:
        channel = self._channels.get(key)
        if channel is not None:
            channel.followers.discard(follower)
            if not channel.followers:
                del self._channels[key]

    def forget(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def check(self) -> None:
        """Raises what ended the reading, if anything has."""
        if self._error is not None:
            raise self._error

    # ---- the tasks

    async def _run(self) -> None:
        backoff = Backoff("reader")
        connection: Redis | None = None
        try:
            while True:
                try:
                    if connection is None:
                        connection = self._redis.client()
                        self._connection_id = await connection.client_id()
                        if backoff.worked():
                            self.on_return()
                    await self._read(connection)
                except SERVER_ERRORS as error:
                    if connection is not None:
                        await _close(connection)
                    connection = self._connection_id = None
                    if not is_away(error):
                        self._fail(error)
                        return
                    await backoff.failed(error)
        finally:
            if connection is not None:
                with anyio.CancelScope(shield=True):
                    await _close(connection)

    async def _read(self, connection: Redis) -> None:
        """One XREAD of all keys that somebody waits for."""
        self._round += 1
        wanted: Any = {key: channel.head for key, channel in self._channels.items()}
        if not wanted:
            await self._added.wait()
            return
        answer: Any = await connection.xread(wanted, count=_share(len(wanted)), block=self._block_ms)
        for key, entries in answer or ():
            name = key.decode()
            channel = self._channels.get(name)
            # The key may have been let go, and taken up anew at another place, while the answer was on its way.
            if channel is None or channel.head != wanted[name]:
                continue
            raws = [Raw(name, entry_id.decode(), fields) for entry_id, fields in entries]
            channel.head = raws[-1].id
            for follower in list(channel.followers):
                follower.deliver(name, raws)

    async def _end_waits(self) -> None:
        """Ends the XREAD under way when a key has come that it does not know."""
        while True:
            await self._added.wait()
            self._added = anyio.Event()
            round_ = self._round
            while self._round == round_ and self._block_ms == BLOCK_MS_MAX and self._connection_id is not None:
                try:
                    await self._redis.client_unblock(self._connection_id)
                except ResponseError:
                    # Not for this user, or not on this server: then it waits in small steps.
                    self._block_ms = _SHORT_BLOCK_MS
                except SERVER_ERRORS as error:
                    if not is_away(error):
                        raise
                    break  # then the XREAD ends by itself
                await anyio.sleep(0.002)

    def _fail(self, error: Exception) -> None:
        self._error = error
        for follower in self._followers:
            follower.wake()


class Follower:
    """One who reads some keys in its own time. Made by `Reader.follow`; `close` it when it is not wanted any more."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._positions: dict[str, str] = {}  # key -> id of the newest entry taken here
        self._behind: set[str] = set()  # keys that are not waited for: it has to catch up first
        self._unread: deque[Raw] = deque()
        self._changed = anyio.Event()
        self._woken = False

    def add(self, key: str, after: str = "$") -> None:
        """Follows one key more."""
        self._positions[key] = BEGINNING if after == "0" else after
        self._behind.add(key)
        self._changed.set()

    def discard(self, key: str) -> None:
        """Follows it no more; what of it was not read yet is dropped."""
        self._positions.pop(key, None)
        self._behind.discard(key)
        self._reader.detach(self, key)
        self._unread = deque(raw for raw in self._unread if raw.key != key)

    def close(self) -> None:
        """Follows nothing any more."""
        for key in list(self._positions):
            self.discard(key)
        self._reader.forget(self)

    def wake(self) -> None:
        """Lets a `read` that waits, or the next one, return with nothing if there is nothing."""
        self._woken = True
        self._changed.set()

    async def read(self, within_s: float | None = None) -> list[Raw]:
        """The next entries, in the order of their streams: at least one, unless time or `wake` ends the wait.

        Raises:
            redis.RedisError: the server refuses to be read; one that is away is waited for.
        """
        while not self._unread:
            self._reader.check()
            if self._woken:
                break
            if self._behind:
                await self._catch_up()
            elif not await self._wait(within_s):
                break
        self._woken = False
        found = list(self._unread)
        self._unread.clear()
        return found

    def deliver(self, key: str, raws: list[Raw]) -> None:
        """Takes what the shared reading found; what does not fit here stays in the stream until it is asked for."""
        position = self._positions[key]
        if id_order(raws[0].id) <= id_order(position):
            raws = [raw for raw in raws if id_order(raw.id) > id_order(position)]
        room = UNREAD_MAX - len(self._unread)
        if len(raws) > room:
            raws = raws[:room]
            self._reader.detach(self, key)
            self._behind.add(key)
        if raws:
            self._unread.extend(raws)
            self._positions[key] = raws[-1].id
        self._changed.set()

    async def _wait(self, within_s: float | None) -> bool:
        """Whether something happened; False when the time was over before."""
        with anyio.move_on_after(within_s):
            await self._changed.wait()
        happened = self._changed.is_set()
        self._changed = anyio.Event()
        return happened

    async def _catch_up(self) -> None:
        """Reads what is there of the keys that nobody waits for, and waits for those of which it has all."""
        for key in [key for key in self._behind if self._positions[key] == "$"]:
            position = await self._reader.newest_id(key)
            if self._positions.get(key) == "$":
                self._positions[key] = position
        asked = {key: self._positions[key] for key in self._behind if self._positions[key] != "$"}
        if not asked:
            return
        heads = {key: self._reader.head(key) for key in asked}
        came = set()
        for key, entries in await self._reader.ask(asked) or ():
            name = key.decode()
            if self._positions.get(name) != asked[name] or name not in self._behind:
                continue
            came.add(name)
            self._unread.extend(Raw(name, entry_id.decode(), fields) for entry_id, fields in entries)
            self._positions[name] = self._unread[-1].id
        for name in asked.keys() - came:
            if self._positions.get(name) != asked[name] or name not in self._behind:
                continue
            # What the shared reading had passed before we asked is gone by now, or it would have come.
            self._positions[name] = max(asked[name], heads[name], key=id_order)
            if self._reader.attach(self, name, self._positions[name]):
                self._behind.discard(name)


def id_order(entry_id: str) -> tuple[int, int]:
    """What entry ids are ordered by."""
    ms, _, n = entry_id.partition("-")
    return int(ms), int(n or 0)


def _share(streams: int) -> int:
    """COUNT, which Redis takes per stream."""
    return min(_STREAM_ENTRIES_MAX, max(_STREAM_ENTRIES_MIN, _ANSWER_ENTRIES // streams))


async def _close(connection: Redis) -> None:
    try:
        await connection.aclose()
    except SERVER_ERRORS as error:
        if not is_away(error):
            raise
