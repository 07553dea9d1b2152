"""The table of routes: path, method, what each takes and answers. The application and its OpenAPI document come of it.

Handles nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from ibkr_actor.http import bodies, live_routes, past_routes, status_routes

Handler = Callable[..., Any]


class Row(Struct, frozen=True, kw_only=True):
    """One route. `errors` are the codes it may answer beside those of every route."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    answer: type[Struct] | None = None
    media: str = "application/json"
    also: dict[int, type[Struct]] = {}
    errors: tuple[str, ...] = ()


EVENTS: Final = "text/event-stream"
REFUSED: Final = (
    "validation_error",
    "unknown_field",
    "permissions_missing",
    "invalid_instrument",
    "ambiguous_instrument",
    "unsupported",
    "pacing_violation",
    "line_limit",
    "configuration_error",
    "connection_failed",
    "competing_session",
    "busy",
    "farm_transient",
    "expired",
    "timeout",
    "no_sidecar",
    "too_many_clients",
)
BODY: Final = ("too_large", "unsupported_media_type")
ASKED: Final = ("timeout", "no_sidecar", "busy", "connection_failed", "farm_transient", "expired")

ROWS: Final = (
    Row(
        method="GET",
        path="/health",
        handler=status_routes.health,
        summary="Whether the sidecar has its gateway and Redis",
        answer=bodies.Health,
        also={503: bodies.Health},
    ),
    Row(
        method="GET",
        path="/ready",
        handler=status_routes.ready,
        summary="Whether the data are fresh",
        answer=bodies.Ready,
        also={503: bodies.Ready},
    ),
    Row(
        method="GET",
        path="/metrics",
        handler=status_routes.metrics,
        summary="Prometheus metrics",
        media="text/plain",
    ),
    Row(
        method="GET",
        path="/api/v1/status",
        handler=status_routes.status,
        summary="State of the connection, subscriptions, pacing and Redis",
        answer=bodies.StatusAnswer,
        errors=ASKED,
    ),
    Row(
        method="GET",
        path="/api/v1/subscriptions",
        handler=status_routes.subscriptions,
        summary="All streams with their holders and freshness",
        answer=bodies.Subscriptions,
        errors=ASKED,
    ),
    Row(
        method="POST",
        path="/api/v1/stream/quotes",
        handler=live_routes.post_quotes,
        summary="Quotes as server-sent events",
        body=bodies.StreamQuotes,
        media=EVENTS,
        errors=REFUSED + BODY,
    ),
    Row(
        method="GET",
        path="/api/v1/stream/quotes",
        handler=live_routes.get_quotes,
        summary="Quotes for EventSource",
        query=bodies.StreamQuotes,
        media=EVENTS,
        errors=REFUSED,
    ),
    Row(
        method="POST",
        path="/api/v1/stream/bars",
        handler=live_routes.post_bars,
        summary="Bars as server-sent events",
        body=bodies.StreamBars,
        media=EVENTS,
        errors=REFUSED + BODY,
    ),
    Row(
        method="GET",
        path="/api/v1/stream/bars",
        handler=live_routes.get_bars,
        summary="Bars for EventSource",
        query=bodies.StreamBars,
        media=EVENTS,
        errors=REFUSED,
    ),
    Row(
        method="GET",
        path="/api/v1/stream/records",
        handler=live_routes.get_records,
        summary="Any kinds of records as server-sent events",
        query=bodies.StreamRecords,
        media=EVENTS,
        errors=REFUSED,
    ),
    Row(
        method="GET",
        path="/api/v1/stream/system",
        handler=live_routes.get_system,
        summary="The sidecar's own events: connection, farms, subscriptions, gaps, pacing, Redis",
        query=live_routes.SystemQuery,
        media=EVENTS,
        errors=("validation_error", "unknown_field", "too_many_clients"),
    ),
    Row(
        method="POST",
        path="/api/v1/historical/bars",
        handler=past_routes.post_bars,
        summary="All bars of an interval",
        body=bodies.HistoricalBars,
        answer=bodies.Bars,
        errors=REFUSED + BODY,
    ),
    Row(
        method="GET",
        path="/api/v1/contracts/search",
        handler=past_routes.search,
        summary="Contracts by symbol or name",
        query=past_routes.SearchQuery,
        answer=bodies.Contracts,
        errors=REFUSED,
    ),
    Row(
        method="POST",
        path="/v1/ingest/ibkr/tick",
        handler=past_routes.ingest,
        summary="Takes a price from elsewhere into a stream of its own",
        body=bodies.IngestTick,
        answer=bodies.Ingested,
        errors=("validation_error", "unknown_field", *BODY),
    ),
)
