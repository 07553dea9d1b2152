"""The live streams: what a request asks for becomes leases, a place in the hub, and events until the client goes.

Holds no connection; forgets everything of a stream when it ends.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from redis.exceptions import RedisError

from ibkr_actor.http.errors import HttpError, of_redis
from ibkr_actor.http.hub import newest_id, was_trimmed
from ibkr_actor.http.items import Item, position_of
from ibkr_actor.http.leases import Instrument, Lease, named
from ibkr_actor.http.outlet import Notice, Outlet
from ibkr_actor.http.service import Service
from ibkr_actor.http.sse import KEEP_ALIVE, RETRY, notice
from ibkr_actor.schema.instruments import Contract, InstrumentQuery, instrument_id
from ibkr_actor.schema.keys import KINDS, Stream, no_kind
from ibkr_actor.schema.records import Bar, Quote

log = logging.getLogger(__name__)

Form = Callable[[Item], bytes]
SEPARATOR: Final = ","


class Wanted:
    """One stream of a request and the lease that holds it."""

    def __init__(self, instrument: Instrument, kind: str) -> None:
        self.instrument = instrument
        self.kind = kind
        self.lease: Lease | None = None
        self.refused: Callable[[HttpError], None] = lambda error: None
        self.joined = False


class Live:
    """The streams of one client, from its request to its end; made by `live`."""

    def __init__(self, service: Service, outlet: Outlet) -> None:
        self.service = service
        self.outlet = outlet
        self.keys: list[str] = []
        # Whether the client's stream is over when all that it asked for is refused.
        self.ends = True
        self._wanted: list[Wanted] = []

    @property
    def position(self) -> str:
        """What a resume goes on from: the newest id given of each stream, in the order of the request."""
        return SEPARATOR.join(self.outlet.positions[key] for key in self.keys)

    async def follow(self, wanted: Sequence[Wanted], resume: Sequence[str] | None = None) -> None:
        """Subscribes and begins, with the newest value or behind the ids of `resume`. All or none.

        Raises:
            HttpError: one of them is refused, or Redis is away.
        """
        try:
            for one in wanted:
                await self._hold(one)
            await self._await_verdicts(wanted)
            for place, one in enumerate(wanted):
                assert one.lease is not None
                await self._begin(one.lease.key, one.lease.stream, resume[place] if resume is not None else None)
                one.joined = True
        except BaseException as error:
            for one in wanted:
                self._release(one)
            if isinstance(error, RedisError | OSError):
                raise of_redis(error) from None
            raise
        self._wanted += wanted

    async def look(self, wanted: Sequence[Wanted], resume: Sequence[str] | None = None) -> None:
        """Begins as `follow` does, with what others hold: subscribes to nothing. Raises: HttpError."""
        keys = self.service.keys
        try:
            for place, one in enumerate(wanted):
                stream = Stream(one.kind, canonical(one.instrument))
                await self._begin(keys.stream(one.kind, stream.instrument), stream, resume[place] if resume else None)
        except (RedisError, OSError) as error:
            raise of_redis(error) from None

    async def watch(self, key: str, stream: Stream, start: str, *, is_resume: bool) -> None:
        """Follows a stream that needs no subscription, behind the entry `start`. Raises: HttpError."""
        try:
            await self._begin(key, stream, start, is_resume=is_resume)
        except (RedisError, OSError) as error:
            raise of_redis(error) from None

    def leave(self, instrument: str, kind: str) -> bool:
        """Ends one stream; whether there was such."""
        for one in self._wanted:
            if one.kind == kind and instrument in (named(one.instrument), one.lease and one.lease.stream.instrument):
                self._wanted.remove(one)
                self._release(one)
                return True
        return False

    def close(self) -> None:
        """Gives everything back."""
        for one in self._wanted:
            self._release(one)
        self._wanted.clear()
        for key in self.keys:
            self.service.hub.remove(self.outlet, key)

    async def _hold(self, one: Wanted) -> None:
        def refused(error: HttpError) -> None:
            told = error.body["error"] | {"symbol": named(one.instrument), "kind": one.kind}
            alive = [other for other in self._wanted if other.lease is not None and other.lease.refused is None]
            self.outlet.say(Notice("error", {"error": told}, last=self.ends and bool(self._wanted) and not alive))

        one.refused = refused
        try:
            one.lease = await self.service.leases.take(one.instrument, one.kind, refused)
        except HttpError as error:
            error.details.setdefault("symbol", named(one.instrument))
            raise

    async def _await_verdicts(self, wanted: Sequence[Wanted]) -> None:
        """IB's refusal comes soon after a line is asked for: it is then the answer to the request."""
        with anyio.move_on_after(self.service.config.verdict_s):
            for one in wanted:
                assert one.lease is not None
                if not await self.service.redis.hexists(self.service.keys.last(one.lease.stream.instrument), one.kind):
                    await one.lease.verdict.wait()
                if one.lease.refused is not None:
                    refused = one.lease.refused
                    raise HttpError(
                        refused.code,
                        refused.message,
                        retry_after_s=refused.retry_after_s,
                        **{**refused.details, "symbol": named(one.instrument)},
                    )

    async def _begin(self, key: str, stream: Stream, start: str | None, *, is_resume: bool = True) -> None:
        """Joins the hub: the newest value of the hash first, then all behind it; or all behind `start`."""
        redis, outlet = self.service.redis, self.outlet
        if key in outlet.positions:
            raise HttpError("validation_error", f"{stream.name} is asked for twice")
        given = False
        if start is None:
            start, given = await self._offer_newest(key, stream)
        elif is_resume and await was_trimmed(redis, key, start):
            missed = {"instrument": stream.instrument, "kind": stream.kind, "after_id": start, "reason": "trimmed"}
            outlet.say(Notice("missed", missed))
        if not given:
            outlet.start(key, start, position_of(start))
        self.keys.append(key)
        await self.service.hub.add(outlet, key, stream)

    async def _offer_newest(self, key: str, stream: Stream) -> tuple[str, bool]:
        """Gives out the newest value if the line is live; else the id of the newest entry, to go on behind."""
        service = self.service
        names = [stream.kind, f"{stream.kind}:id", f"state:{stream.kind}"]
        found: Any = await service.redis.hmget(service.keys.last(stream.instrument), names)
        value, entry_id, state = found
        if value is None or entry_id is None or state in (b"ended", None):
            return await newest_id(service.redis, key), False
        item = Item(stream, entry_id.decode(), {b"j" if value[:1] == b"{" else b"d": value})
        ms, n = item.position
        before = (ms, n - 1) if n else (ms - 1, 0)
        # Until it is sent, a resume gives it out once more.
        self.outlet.start(key, f"{before[0]}-{before[1]}", before)
        self.outlet.offer(key, [item])
        return item.id, True

    def _release(self, one: Wanted) -> None:
        if one.lease is None:
            return
        key = one.lease.key
        self.service.leases.give_back(one.lease, one.refused)
        one.lease = None
        if one.joined:
            one.joined = False
            self.service.hub.remove(self.outlet, key)
            self.outlet.positions.pop(key, None)
            self.keys.remove(key)


@asynccontextmanager
async def live(service: Service, *, hz: float | None) -> AsyncIterator[Live]:
    """A client's place. Raises: HttpError when there are too many."""
    config = service.config
    if len(service.outlets) >= config.clients_max:
        raise HttpError(
            "too_many_clients", f"{config.clients_max} clients are served at a time (IBKR_HTTP_CLIENTS_MAX)"
        )
    outlet = Outlet((), hz=config.quote_hz if hz is None else hz, queue_max=config.client_queue)
    it = Live(service, outlet)
    service.outlets.add(outlet)
    service.metrics.active.set(len(service.outlets))
    try:
        yield it
    finally:
        it.close()
        service.outlets.discard(outlet)
        service.metrics.active.set(len(service.outlets))
        if outlet.dropped:
            service.metrics.dropped.inc()
            service.metrics.unsent.inc(outlet.dropped)


async def events(it: Live, form: Form) -> AsyncIterator[bytes]:
    """What waits for the client, again and again, as bytes of an event stream."""
    outlet, service = it.outlet, it.service
    yield RETRY
    while True:
        batch = await outlet.next(service.config.keep_alive_s)
        if not batch:
            yield KEEP_ALIVE
            continue
        yield _chunk(it, batch, form)
        count(service, batch)
        last = batch[-1]
        if isinstance(last, Notice) and last.last:
            return


def _chunk(it: Live, batch: Sequence[tuple[str, Item] | Notice], form: Form) -> bytes:
    """One piece of the stream.

    The id of an event says how far all streams are. Where quotes are conflated the last event of the piece has it:
    what a broken connection cut off behind it is the newest value of each stream, and comes again.
    """
    positions = it.outlet.positions
    parts: list[bytes] = []
    for place, each in enumerate(batch):
        if isinstance(each, Notice):
            parts.append(notice(each))
            continue
        parts.append(each[1].rendered(form))
        if each[0] in positions:
            positions[each[0]] = each[1].id
        if place == len(batch) - 1 or not it.outlet.hz:
            parts.append(b"id: %s\n" % it.position.encode())
        parts.append(b"\n")
    return b"".join(parts)


def count(service: Service, batch: Sequence[tuple[str, Item] | Notice]) -> None:
    """Counts what was sent."""
    records = [each[1].record for each in batch if not isinstance(each, Notice)]
    service.metrics.quotes.inc(sum(isinstance(record, Quote) for record in records))
    service.metrics.bars.inc(sum(isinstance(record, Bar) for record in records))


def canonical(instrument: Instrument) -> str:
    """The id that a symbol means without asking anybody: a plain one is the stock."""
    if isinstance(instrument, str):
        if "." in instrument or "@" in instrument:
            return instrument
        instrument = InstrumentQuery(symbol=instrument)
    return instrument_id(
        Contract(0, instrument.symbol, "STK", instrument.exchange or "SMART", instrument.currency or "USD")
    )


def check_kind(kind: str) -> str:
    """The kind. Raises: HttpError when there is none such."""
    if kind not in KINDS:
        raise HttpError("unsupported", no_kind(kind))
    return kind


def resume_of(last_event_id: str | None, streams: int) -> list[str] | None:
    """The ids in a `Last-Event-ID`. Raises: HttpError when it is not ours or of another request."""
    if not last_event_id:
        return None
    ids = last_event_id.split(SEPARATOR)
    if len(ids) != streams:
        raise HttpError("validation_error", f"Last-Event-ID has {len(ids)} parts, the request {streams} streams")
    try:
        for each in ids:
            position_of(each)
    except ValueError as error:
        raise HttpError("validation_error", f"Last-Event-ID: {error}") from None
    return ids
