"""The client: what a Python program asks of a sidecar, and reads of what it publishes.

Owns the connections and the tasks behind feeds, jobs and questions. Knows nothing of IB.
"""

from __future__ import annotations

import builtins
import uuid
from typing import Any, Literal, Self

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import UNSET
from redis.asyncio import Redis

from ibkr_actor.client.calls import Calls
from ibkr_actor.client.connect import patiently, pooled
from ibkr_actor.client.feed import Desk
from ibkr_actor.client.feeds import Feeds
from ibkr_actor.client.holding import Holding, Instrument
from ibkr_actor.client.items import decoded
from ibkr_actor.client.jobs import HistoryBar, HistoryTick, Job, Progress
from ibkr_actor.client.opening import Openings
from ibkr_actor.client.reader import Reader
from ibkr_actor.schema.commands import (
    AnyCommand,
    History,
    HistoryTicks,
    List,
    Reply,
    Resolve,
    Search,
    Snapshot,
    StatusCommand,
)
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import CLIENT_PATTERN, Keys
from ibkr_actor.schema.records import AnyRecord

# IB takes up to 11 seconds for a snapshot, and several may wait for their turn.
_SNAPSHOT_TIMEOUT_S = 30.0


class Client(Feeds):
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


async def call(redis: str | Redis, keys: Keys, command: AnyCommand, *, timeout_s: float = 10.0) -> Reply:
    """One command by a client of its own, and the first reply to it, a refusal too.

    The client has the name that the command gives, or one that nobody else has. What it subscribes to it does not
    renew, and leaves to the lease.

    Raises:
        NoAnswer: nothing came within `timeout_s`.
    """
    name, prefix, gateway = command.client, keys.prefix, keys.gateway
    async with Client(redis, client=name, prefix=prefix, gateway=gateway, timeout_s=timeout_s) as client:
        return await client.reply(command)


def _dict(reply: Reply) -> dict[str, Any]:
    assert isinstance(reply.result, dict)
    return reply.result
