"""Live data over HTTP: quotes, bars, any kind, and the sidecar's own events, each as server-sent events.

Reads requests and starts streams; how a stream lives is `streams`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request

from ibkr_actor.http import reading, shapes
from ibkr_actor.http.bodies import StreamBars, StreamQuotes, StreamRecords, instrument
from ibkr_actor.http.hub import newest_id
from ibkr_actor.http.service import Service
from ibkr_actor.http.sse import EventStream
from ibkr_actor.http.streams import Form, Live, Wanted, check_kind, events, live, resume_of
from ibkr_actor.schema.keys import Stream


class SystemQuery(Struct, frozen=True, kw_only=True):
    """How many of the events that are there already come first."""

    last: Annotated[int, Meta(ge=0, le=1_000)] = 50


async def post_quotes(request: Request) -> EventStream:
    """Quotes as the replaced system sent them: events without a name."""
    asked = await reading.body(request, StreamQuotes)
    return await _stream(request, _wanted(asked, ["quote"]), asked.hz, shapes.core_sse_unnamed, hold=asked.hold)


async def get_quotes(request: Request) -> EventStream:
    """The same for EventSource: events named `quote`."""
    asked = reading.query(request, StreamQuotes, lists=("symbols",))
    return await _stream(request, _wanted(asked, ["quote"]), asked.hz, shapes.core_sse, hold=asked.hold)


async def post_bars(request: Request) -> EventStream:
    """Bars as the replaced system should have sent them: events without a name."""
    asked = await reading.body(request, StreamBars)
    return await _stream(request, _wanted(asked, [_bar_kind(asked)]), 0.0, shapes.core_sse_unnamed)


async def get_bars(request: Request) -> EventStream:
    """The same for EventSource: events named `bar`."""
    asked = reading.query(request, StreamBars, lists=("symbols",))
    return await _stream(request, _wanted(asked, [_bar_kind(asked)]), 0.0, shapes.core_sse)


async def get_records(request: Request) -> EventStream:
    """Any kinds, as the records of docs/STREAMS.md."""
    asked = reading.query(request, StreamRecords, lists=("symbols", "kinds"))
    kinds = [check_kind(kind) for kind in dict.fromkeys(asked.kinds)]
    return await _stream(request, _wanted(asked, kinds), asked.hz, shapes.record_sse)


async def get_system(request: Request) -> EventStream:
    """The sidecar's own events; the last of those that are there come first."""
    asked = reading.query(request, SystemQuery)
    service = reading.service_of(request)
    key = service.keys.system
    resume = resume_of(_last_event_id(request), 1)

    async def begin(it: Live) -> None:
        start = resume[0] if resume is not None else await _before_last(service, key, asked.last)
        await it.watch(key, Stream("system", ""), start, is_resume=resume is not None)

    return await _started(service, 0.0, begin, shapes.record_sse)


async def _before_last(service: Service, key: str, count: int) -> str:
    """The id behind which the last `count` entries of a stream stand."""
    if count == 0:
        return await newest_id(service.redis, key)
    entries: Any = await service.redis.xrevrange(key, count=count + 1) or []
    return str(entries[-1][0].decode()) if len(entries) > count else "0-0"


def _bar_kind(asked: StreamBars) -> str:
    return check_kind(f"bar.{asked.resolution}")


def _wanted(asked: StreamQuotes | StreamBars | StreamRecords, kinds: list[str]) -> list[Wanted]:
    symbols = dict.fromkeys(asked.symbols)
    return [Wanted(instrument(symbol, asked.exchange, asked.currency), kind) for symbol in symbols for kind in kinds]


def _last_event_id(request: Request) -> str | None:
    query = request.query_params
    return request.headers.get("last-event-id") or query.get("last_event_id") or query.get("lastEventId")


async def _stream(
    request: Request, wanted: list[Wanted], hz: float | None, form: Form, *, hold: bool = True
) -> EventStream:
    resume = resume_of(_last_event_id(request), len(wanted))

    async def begin(it: Live) -> None:
        await (it.follow(wanted, resume) if hold else it.look(wanted, resume))

    return await _started(reading.service_of(request), hz, begin, form)


async def _started(
    service: Service, hz: float | None, begin: Callable[[Live], Awaitable[None]], form: Form
) -> EventStream:
    """The stream, once everything it asks for is there; until then a refusal is the answer."""
    async with AsyncExitStack() as stack:
        it = await stack.enter_async_context(live(service, hz=hz))
        await begin(it)
        kept = stack.pop_all()
    return EventStream(events(it, form), kept, stall_s=service.config.stall_s)
