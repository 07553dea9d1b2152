"""What is asked and answered once: bars of the past, contracts by name, and prices taken from elsewhere.

Computes no bar and resolves no contract: the sidecar does.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import anyio
import msgspec
from msgspec import Meta, Struct
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from ibkr_actor.client import MarketDataError, NoAnswer
from ibkr_actor.http import reading
from ibkr_actor.http.bodies import Bar, Bars, Contracts, HistoricalBars, Hole, Ingested, IngestTick, instrument
from ibkr_actor.http.errors import HttpError, of_redis, of_rejection
from ibkr_actor.http.service import Service
from ibkr_actor.http.shapes import moment
from ibkr_actor.http.status_routes import as_json
from ibkr_actor.schema.commands import Search
from ibkr_actor.schema.instruments import symbol_of
from ibkr_actor.schema.records import FEED_DELAYED
from ibkr_actor.schema.records import Bars as BarRows

log = logging.getLogger(__name__)

# What is written there is not IB's: a stream apart from all data streams, and a tag that no record of IB's has.
EXTERNAL_TAG: Final = "external"
DATED: Final = frozenset({"1d", "1w", "1M"})
_DATE_LENGTH: Final = len("2026-01-05")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SearchQuery(Struct, frozen=True, kw_only=True):
    """The beginning of a symbol or a part of a name."""

    q: Annotated[str, Meta(min_length=1, max_length=100)]


async def post_bars(request: Request) -> Response:
    """All bars of an interval in one answer, when the last has come."""
    asked = await reading.body(request, HistoricalBars)
    service = reading.service_of(request)
    gathered: list[Bars] = []
    failed: HttpError | None = None
    async with anyio.create_task_group() as tasks:

        async def until_gone() -> None:
            # A client that gives up takes its job with it.
            while (await request.receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_gone)
        try:
            gathered.append(await _gathered(service, asked))
        except HttpError as error:
            failed = error
        tasks.cancel_scope.cancel()
    if not gathered:
        raise failed or HttpError("timeout", "the client has gone")
    service.metrics.bars.inc(len(gathered[0].bars))
    return as_json(gathered[0])


async def _gathered(service: Service, asked: HistoricalBars) -> Bars:
    """Raises: HttpError."""
    what = instrument(asked.symbol, asked.exchange, asked.currency)
    start, end = (_span_end(text, asked.resolution) for text in (asked.start, asked.end))
    if await service.heartbeat() is None:
        raise HttpError("no_sidecar", await service.nobody())
    if service.client is None:
        raise HttpError("busy", "the service has just started")
    job = service.client.history(what, start=start, end=end, bar=asked.resolution, use_rth=asked.use_rth)
    bars: list[Bar] = []
    try:
        with anyio.fail_after(service.config.history_timeout_s):
            async with aclosing(job.batches()) as batches:
                async for entry in batches:
                    symbol = symbol_of(str(job.accepted.get("instrument", asked.symbol)))
                    if isinstance(entry, BarRows):
                        bars += [bar for bar in _bars(entry, symbol) if _is_asked_for(bar, asked)]
                    if len(bars) > service.config.history_rows_max:
                        most = service.config.history_rows_max
                        raise HttpError("too_large", f"more than {most} bars: ask for a shorter interval")
    except NoAnswer as error:
        raise HttpError("timeout", str(error)) from None
    except MarketDataError as error:
        raise of_rejection(error.rejection, symbol=asked.symbol) from None
    except TimeoutError:
        raise HttpError("timeout", "the bars did not come in time: ask for fewer, or later", bars=len(bars)) from None
    except (RedisError, OSError) as error:
        raise of_redis(error) from None
    done = job.done
    assert done is not None
    holes = [Hole(start=moment(h.from_ns), end=moment(h.to_ns), reason=h.reason, message=h.message) for h in done.holes]
    return Bars(bars=bars, outcome=done.outcome, holes=holes)


def _span_end(text: str, resolution: str) -> str:
    """Bars of a day and more are asked for by date: a trade date may begin days before it, after a holiday."""
    if resolution not in DATED:
        return text
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return text  # the sidecar says what is wrong with it


def _is_asked_for(bar: Bar, asked: HistoricalBars) -> bool:
    """Whether a bar of a day and more ends within the interval, where that is times; where it is dates, they are it."""
    ends = datetime.fromisoformat(bar.ts)
    return asked.resolution not in DATED or (
        (_is_date(asked.start) or _time(asked.start) < ends) and (_is_date(asked.end) or ends <= _time(asked.end))
    )


def _is_date(text: str) -> bool:
    return len(text.strip()) <= _DATE_LENGTH


def _time(text: str) -> datetime:
    """As the sidecar reads it: without an offset it is UTC."""
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _bars(entry: BarRows, symbol: str) -> list[Bar]:
    return [
        Bar(
            symbol=symbol,
            ts=moment(row[1]),
            open=row[2],
            high=row[3],
            low=row[4],
            close=row[5],
            volume=float(row[6]) if row[6] is not None else None,
            resolution=entry.bar,
            delayed=entry.feed >= FEED_DELAYED,
        )
        for row in entry.rows
    ]


async def search(request: Request) -> Response:
    """Contracts whose symbol begins with `q` or whose name holds it."""
    asked = reading.query(request, SearchQuery)
    reply = await reading.service_of(request).asking.ask(Search(pattern=asked.q))
    found = reply.result if isinstance(reply.result, dict) else {}
    return as_json(Contracts(contracts=found.get("contracts", [])))


async def ingest(request: Request) -> Response:
    """Writes a price from elsewhere into a stream of its own, marked as not IB's."""
    asked = await reading.body(request, IngestTick)
    service = reading.service_of(request)
    record = {
        "tag": EXTERNAL_TAG,
        "symbol": asked.symbol,
        "price": asked.price,
        "source_ns": str(_nanoseconds(asked.timestamp)),
        "received_ns": str(time.time_ns()),
        "via": "http",
    }
    key = service.keys.external
    entry: dict[Any, Any] = {"j": msgspec.json.encode(record)}
    try:
        written: Any = await service.redis.xadd(key, entry, maxlen=service.config.ingest_entries, approximate=True)
    except (RedisError, OSError) as error:
        raise of_redis(error) from None
    service.metrics.ingested.inc()
    return as_json(
        Ingested(
            status="ok", symbol=asked.symbol, message="Tick ingested successfully", stream=key, id=written.decode()
        )
    )


def _nanoseconds(at: datetime) -> int:
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return (at - EPOCH) // timedelta(microseconds=1) * 1_000
