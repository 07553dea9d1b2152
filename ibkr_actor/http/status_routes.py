"""How it all is: health, readiness, status, subscriptions and metrics.

Asks the sidecar or reads what it wrote; judges only what is documented in docs/HTTP.md.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ibkr_actor import __version__
from ibkr_actor.http import reading
from ibkr_actor.http.bodies import Health, Ready, StatusAnswer, Subscriptions
from ibkr_actor.http.errors import JSON, HttpError
from ibkr_actor.http.exposition import CONTENT_TYPE, exposition
from ibkr_actor.http.items import Item
from ibkr_actor.http.service import Service
from ibkr_actor.schema.commands import List, StatusCommand
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import System

CONNECTED: Final = frozenset({"ready", "degraded"})


def as_json(value: Any, status: int = 200) -> Response:
    """A Struct or dict as an answer that nobody keeps."""
    return Response(msgspec.json.encode(value), status, headers={"cache-control": "no-store"}, media_type=JSON)


async def health(request: Request) -> Response:
    """200 when there is a sidecar with its gateway and Redis, else 503; both with the same body."""
    found = await _health(reading.service_of(request))
    return as_json(found, 200 if found.status == "healthy" else 503)


async def _health(service: Service) -> Health:
    state, reasons = "unknown", []
    try:
        beat = await service.heartbeat()
        if beat is None:
            state = "absent"
            reasons.append(await service.nobody())
        else:
            state = str(beat.get("state", "unknown"))
            if state != "ready":
                reasons.append(f"the sidecar runs, but is {state}")
    except HttpError as error:
        state = "redis_unavailable"
        reasons.append(error.message)
    return Health(
        status="unhealthy" if reasons else "healthy",
        version=__version__,
        connected=state in CONNECTED,
        state=state,
        gateway=service.config.gateway,
        reasons=reasons,
    )


async def ready(request: Request) -> Response:
    """200 when healthy and the sidecar says that its data can be relied on, else 503 with the reasons."""
    service = reading.service_of(request)
    found = await _health(service)
    reasons = list(found.reasons)
    freshness: dict[str, int] = {}
    if found.state not in ("absent", "redis_unavailable"):
        figures = await service.figures()
        if figures is None or "ready" not in figures:
            reasons.append("the sidecar tells nothing of its lines")
        else:
            reasons += figures["ready"]["reasons"]
            freshness = dict(figures["subscriptions"]["freshness"])
            freshness.pop("stale_lines", None)
    body = Ready(status="not_ready" if reasons else "ready", reasons=reasons, freshness=freshness)
    return as_json(body, 503 if reasons else 200)


async def status(request: Request) -> Response:
    """The sidecar's status with its heartbeat, Redis and this process. 503 when there is no sidecar."""
    service = reading.service_of(request)
    redis = await service.redis_state()
    answered = await service.ask_once(StatusCommand())
    return as_json(
        StatusAnswer(
            version=__version__,
            now_ns=str(time.time_ns()),
            heartbeat=await service.heartbeat() or {},
            status=answered,
            redis=redis,
            http=service.own_state(),
        )
    )


async def subscriptions(request: Request) -> Response:
    """All streams with their holders, state and freshness, and how far each has come."""
    service = reading.service_of(request)
    answered = await service.ask_once(List())
    rows = await _with_newest(service, answered.get("subscriptions", []))
    return as_json(Subscriptions(subscriptions=rows, now_ns=str(time.time_ns())))


async def _with_newest(service: Service, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `epoch`, `seq` and `received_ns` of the newest record, so that two looks make a rate."""
    pipe = service.redis.pipeline(transaction=False)
    for row in rows:
        pipe.hget(service.keys.last(row["instrument"]), row["kind"])
    values = await pipe.execute() if rows else []
    return [row | _newest(value) for row, value in zip(rows, values, strict=True)]


def _newest(value: bytes | None) -> dict[str, Any]:
    record = Item(Stream("", ""), "0-0", {b"j" if value[:1] == b"{" else b"d": value}).record if value else None
    if record is None or isinstance(record, System):
        return {"epoch": None, "seq": None}
    return {"epoch": record.epoch, "seq": record.seq, "received_ns": str(record.received_ns)}


async def metrics(request: Request) -> Response:
    """Prometheus text: this process's own and the sidecar's."""
    service = reading.service_of(request)
    up = True
    try:
        figures = await service.figures()
    except HttpError:
        figures, up = None, False
    own = {
        "ibkr_actor_http_redis_up": float(up),
        "ibkr_actor_http_streams_read": float(service.hub.streams),
        "ibkr_actor_http_leases": float(len(service.leases)),
    }
    return Response(exposition(service.metrics, figures, own=own), media_type=CONTENT_TYPE)
