"""Looks at a running sidecar from outside: reads what it publishes, and now and then asks it for `status` and `list`.

Never raises for a Redis or a sidecar that is away: that is part of what it found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.cli.overview import (
    EVENTS_KEPT,
    NS,
    Overview,
    Row,
    asked_about,
    beat_of,
    figures_of,
    last_fields,
    merged,
    row_of,
)
from ibkr_actor.client import Client, MarketDataError, NoAnswer
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import System

# What stands in Redis holds all that changes from look to look. Asked for are holders, reasons and forecasts: seldom,
# or when something has changed that they tell of, and then not more often than this.
ASK_EVERY_S: Final = 15.0
ASK_AGAIN_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 3.0
# Streams shown at most; a login has a hundred lines, seldom more than a thousand.
STREAMS_MAX: Final = 2_000


class Turns:
    """When to ask the sidecar. Caller: the gatherer; changes nothing but what it knows of the last time."""

    def __init__(self) -> None:
        self._asked_s: float | None = None
        self.figures: dict[str, Any] = {}  # what they were then

    def are_up(self, now_s: float, figures: dict[str, Any], *, failed: bool) -> bool:
        """Whether it is time: never asked, or the answers are old, or something that they tell of is not as it was."""
        if self._asked_s is None or now_s < self._asked_s:
            return True
        again = failed or not figures or asked_about(figures) != asked_about(self.figures)
        return now_s - self._asked_s >= (ASK_AGAIN_S if again else ASK_EVERY_S)

    def took(self, now_s: float, figures: dict[str, Any]) -> None:
        """It is asked now."""
        self._asked_s, self.figures = now_s, figures


class Gatherer:
    """One look after another, each beginning with what the last one knew."""

    def __init__(self, open_redis: Callable[[], Redis], keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._open = open_redis
        self._keys = keys
        self._clock = clock
        self._redis: Redis | None = None
        self._newest_event: bytes | None = None
        # (kind, instrument) -> the row of the newest `list`; None while no sidecar has answered.
        self._listed: dict[tuple[str, str], dict[str, Any]] | None = None
        self._turns = Turns()
        self._answered: dict[str, Any] = {}  # the newest answer to `status`
        self._figures: dict[str, Any] = {}  # what the sidecar publishes beside its heartbeat, a second old at most
        self.overview = Overview(root=keys.root)

    async def look(self) -> Overview:
        """What is there now. A part that cannot be read stays as it was, and its error says so."""
        try:
            redis = self._redis = self._redis or self._open()
            await self._read(redis)
            await self._ask(redis)
            await self._read_streams(redis)
            self._note(redis_at_ns=self._now_ns(), redis_error="")
        except (RedisError, OSError, ConfigurationError) as error:
            self._note(redis_error=str(error) or type(error).__name__)
            # The embedded server may come back at another address.
            await self.aclose()
        return self.overview

    async def aclose(self) -> None:
        """Gives the connection back."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    async def _read(self, redis: Redis) -> None:
        began_s = time.perf_counter()
        beat, figures = await redis.mget(self._keys.heartbeat, self._keys.metrics)
        ping_ms = (time.perf_counter() - began_s) * 1_000
        self._figures = figures_of(figures)
        self._note(beat=beat_of(beat), ping_ms=round(ping_ms, 2), events=await self._events(redis))

    async def _events(self, redis: Redis) -> tuple[System, ...]:
        """The newest system records, oldest first."""
        newest: list[Any] = await redis.xrevrange(self._keys.system, count=EVENTS_KEPT) or []
        if newest and newest[0][0] == self._newest_event:
            return self.overview.events
        self._newest_event = newest[0][0] if newest else None
        return tuple(event for _, fields in reversed(newest) if (event := _system(fields)) is not None)

    async def _ask(self, redis: Redis) -> None:
        """Asks the sidecar, unless nobody is there to answer or it was asked a moment ago."""
        now_s = self._clock()
        if self.overview.beat is None:
            self._turns, self._listed = Turns(), None
            return
        if self._turns.are_up(now_s, self._figures, failed=bool(self.overview.answer_error)):
            self._turns.took(now_s, self._figures)
            await self._ask_now(redis)
        # Figures that were there before it was asked are older than the answer.
        newer = {} if self._figures == self._turns.figures else self._figures
        status, at_ns = merged(self._answered, newer)
        self._note(status=status, status_at_ns=at_ns or self.overview.status_at_ns)

    async def _ask_now(self, redis: Redis) -> None:
        name, prefix, gateway = f"top-{os.getpid()}", self._keys.prefix, self._keys.gateway
        asker = Client(redis, client=name, prefix=prefix, gateway=gateway, timeout_s=ANSWER_TIMEOUT_S)
        try:
            async with asker as client:
                status, rows = await client.status(), await client.list()
        except NoAnswer:
            self._note(answer_error="the sidecar does not answer commands")
        except MarketDataError as error:
            self._note(answer_error=str(error))
        else:
            self._listed = {(str(row["kind"]), str(row["instrument"])): row for row in rows}
            self._answered = status
            self._note(status_at_ns=self._now_ns(), answer_error="")

    async def _read_streams(self, redis: Redis) -> None:
        listed = self._listed or {}
        names = list(listed) if self._listed is not None else await self._named(redis)
        before = {(row.kind, row.instrument): row for row in self.overview.rows}
        pipe = redis.pipeline(transaction=False)
        for kind, instrument in names[:STREAMS_MAX]:
            pipe.hmget(self._keys.last(instrument), last_fields(kind))
        answers: list[Any] = await pipe.execute() if names else []
        rows = [
            row_of(instrument, kind, last, listed.get((kind, instrument), {}), before.get((kind, instrument)))
            for (kind, instrument), last in zip(names, answers, strict=False)
        ]
        self._note(rows=tuple(sorted((row for row in rows if row.state != "ended"), key=_name)))

    async def _named(self, redis: Redis) -> list[tuple[str, str]]:
        """What streams exist, where no sidecar can say which are held."""
        keys: Any = await redis.smembers(self._keys.streams)
        names = (key.decode().rsplit(":", 2) for key in sorted(keys))
        return [(parts[1], parts[2]) for parts in names if len(parts) == 3]

    def _note(self, **found: Any) -> None:
        self.overview = structs.replace(self.overview, **found)

    def _now_ns(self) -> int:
        return int(self._clock() * NS)


def _name(row: Row) -> tuple[str, str]:
    return row.instrument, row.kind


def _system(fields: dict[bytes, bytes]) -> System | None:
    try:
        record = decode_record(fields)
    except ValueError:
        return None
    return record if isinstance(record, System) else None
