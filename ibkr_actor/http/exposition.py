"""Prometheus text: this process's registry, and what the sidecar wrote of itself under names of ours.

Measures nothing. No label has values without bound: symbols are as many as there are lines, farms as IB has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ibkr_actor.core.session.states import State
from ibkr_actor.http.metrics import Metrics
from ibkr_actor.schema.records import GAP_CAUSES

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
Figures = dict[str, Any]
Path = tuple[str, ...]

# name, help, where it stands in the figures.
GAUGES: Final[tuple[tuple[str, str, Path], ...]] = (
    ("ibkr_connection_uptime_seconds", "Since the connection to IB became usable; 0 without one", ("uptime_s",)),
    ("ibkr_actor_connected", "Whether the gateway is connected", ("connected",)),
    ("ibkr_actor_reconnect_attempts", "Attempts in a row to connect", ("session", "attempts")),
    ("ibkr_actor_streams", "Streams with a holder", ("subscriptions", "streams")),
    ("ibkr_actor_holders", "Holders of streams", ("subscriptions", "holders")),
    ("ibkr_actor_pacing_waiting", "Requests that wait for IB's limits", ("pacing", "waiting")),
    ("ibkr_actor_pacing_cooldowns", "Scopes at rest after a pacing error of IB", ("pacing", "cooldowns")),
    ("ibkr_actor_pacing_paused_seconds", "Until anything may be sent again", ("pacing", "paused_s")),
    ("ibkr_actor_inbox_bytes", "Received bytes not yet handled", ("gateway", "inbox_waiting_bytes")),
    ("ibkr_actor_inbox_bytes_high", "The most there were", ("gateway", "inbox_waiting_bytes_high")),
    (
        "ibkr_actor_ring_records",
        "Records kept, written or not",
        ("redis", "redis_ring_records"),
    ),
    ("ibkr_actor_ring_bytes", "Their bytes", ("redis", "redis_ring_bytes")),
    ("ibkr_actor_records_waiting", "Records not yet written to Redis", ("redis", "redis_waiting")),
    ("ibkr_actor_parked_streams", "Streams that Redis refuses to take", ("redis", "redis_parked_streams")),
)
COUNTERS: Final[tuple[tuple[str, str, Path], ...]] = (
    ("ibkr_actor_connections", "Connections made to the gateway", ("gateway", "connections_made")),
    ("ibkr_actor_requests_sent", "Requests sent to IB", ("pacing", "sent")),
    ("ibkr_actor_pacing_violations", "Pacing errors of IB", ("pacing", "pacing_violations")),
    ("ibkr_actor_frames", "Messages received from IB", ("gateway", "inbox_frames")),
    ("ibkr_actor_frames_failed", "Messages that could not be decoded", ("gateway", "frames_failed")),
    ("ibkr_actor_inbox_stalls", "Times the socket was not read since the inbox was full", ("gateway", "inbox_stalls")),
    ("ibkr_actor_records_published", "Records handed over for publishing", ("redis", "redis_published")),
    ("ibkr_actor_records_written", "Records that Redis has taken", ("redis", "redis_written")),
    ("ibkr_actor_writes", "Writes to Redis", ("redis", "redis_batches")),
    ("ibkr_actor_redis_reconnects", "Connections to Redis lost", ("redis", "redis_reconnects")),
)
# Budget -> where its use and its limit stand.
BUDGETS: Final[dict[str, Path]] = {
    "lines": ("subscriptions", "lines"),
    "tick_by_tick": ("subscriptions", "tick_by_tick"),
    "depth": ("subscriptions", "depth"),
    "live_bars": ("subscriptions", "live_bars"),
}
REDIS_STATES: Final = ("starting", "up", "degraded", "down")
LINE_STATES: Final = ("pending", "live", "starved", "ended")
FRESHNESS: Final = ("fresh", "quiet", "stale", "unknown")


def exposition(metrics: Metrics, figures: Figures | None, *, own: Mapping[str, float]) -> bytes:
    """All of it. `own` are further gauges of this process."""
    registry = CollectorRegistry()
    registry.register(_Sidecar(figures or {}, {"ibkr_actor_up": float(figures is not None), **own}))
    return generate_latest(metrics.registry) + generate_latest(registry)


class _Sidecar(Collector):
    def __init__(self, figures: Figures, own: Mapping[str, float]) -> None:
        self._figures = figures
        self._own = own

    def collect(self) -> Iterator[Metric]:
        for name, value in self._own.items():
            yield GaugeMetricFamily(name, OWN[name], value)
        for name, text, path in GAUGES:
            if (number := _at(self._figures, path)) is not None:
                yield GaugeMetricFamily(name, text, float(number))
        for name, text, path in COUNTERS:
            if (number := _at(self._figures, path)) is not None:
                yield CounterMetricFamily(name, text, float(number))
        if self._figures:
            yield from _labelled(self._figures)
            yield from _latencies(self._figures)
            yield from _budgets(self._figures)


OWN: Final = {
    "ibkr_actor_up": "Whether a sidecar publishes",
    "ibkr_actor_http_redis_up": "Whether this process reaches Redis",
    "ibkr_actor_http_streams_read": "Streams of Redis that this process reads",
    "ibkr_actor_http_leases": "Leases that this process holds",
}


def _labelled(figures: Figures) -> Iterator[Metric]:
    session, subscriptions = figures.get("session", {}), figures.get("subscriptions", {})
    offset_ms = session.get("clock_offset_ms")
    if offset_ms is not None:
        yield GaugeMetricFamily("ibkr_actor_clock_offset_seconds", "IB's clock less ours", offset_ms / 1000)
    states = dict.fromkeys((state.value for state in State), 0.0) | {str(session.get("state")): 1.0}
    yield _gauge("ibkr_actor_connection_state", "1 for the present state", "state", states)
    redis = dict.fromkeys(REDIS_STATES, 0.0) | {str(_at(figures, ("redis", "bus_state"))): 1.0}
    yield _gauge("ibkr_actor_redis_state", "1 for the present state", "state", redis)
    farms = {name: float(state in ("up", "idle")) for name, state in _farms(session)}
    yield _gauge("ibkr_actor_farm_up", "Whether a data farm of IB can be used", "farm", farms)
    lines = dict.fromkeys(LINE_STATES, 0.0)
    for state, number in subscriptions.get("states", {}).items():
        name = state.partition(":")[0]
        lines[name] = lines.get(name, 0.0) + number
    yield _gauge("ibkr_actor_lines", "Lines by their state", "state", lines)
    freshness = {name: float(subscriptions.get("freshness", {}).get(name, 0)) for name in FRESHNESS}
    yield _gauge("ibkr_actor_lines_freshness", "Lines by their freshness", "freshness", freshness)
    yield _gauge(
        "ibkr_actor_mailbox_messages", "Messages that wait for an actor", "actor", figures.get("mailboxes", {})
    )
    ticks = figures.get("ticks", {})
    yield _counter("ibkr_ticks", "Ticks published, of symbols that are subscribed to", "symbol", ticks)
    gaps = dict.fromkeys(GAP_CAUSES, 0) | figures.get("gaps", {})
    yield _counter("ibkr_actor_gaps", "Gaps announced, by cause", "cause", gaps)
    lost = {name[11:]: n for name, n in figures.get("redis", {}).items() if name.startswith("redis_lost_")}
    yield _counter("ibkr_actor_records_dropped", "Records dropped while Redis was away, by cause", "cause", lost)


def _latencies(figures: Figures) -> Iterator[Metric]:
    texts = {
        "ib_to_received": "From IB's time (whole seconds, where it sends one) to the socket, one look per burst",
        "received_to_published": "From the socket to Redis' answer, of the oldest record of each write",
    }
    for name, text in texts.items():
        told = _at(figures, ("latency", name))
        if not isinstance(told, dict):
            continue
        total, buckets = 0, []
        for bound, number in zip([*map(str, told["le"]), "+Inf"], told["counts"], strict=True):
            total += number
            buckets.append((bound, total))
        yield HistogramMetricFamily(f"ibkr_actor_{name}_seconds", text, buckets=buckets, sum_value=told["sum"])


def _budgets(figures: Figures) -> Iterator[Metric]:
    used, limits = {}, {}
    for name, path in BUDGETS.items():
        row = _at(figures, path)
        if isinstance(row, dict):
            used[name], limits[name] = row["taken"], row["of"]
    for name, row in (_at(figures, ("pacing", "open_limits")) or {}).items():
        used[name], limits[name] = row["open"], row["count"]
    for name, row in (_at(figures, ("pacing", "windows")) or {}).items():
        used[f"window_{name}"], limits[f"window_{name}"] = row["used"], row["count"]
    yield _gauge("ibkr_actor_budget_used", "What is taken of each of IB's limits", "budget", used)
    yield _gauge("ibkr_actor_budget_limit", "IB's limits", "budget", limits)


def _farms(session: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, state in session.get("farms", {}).items():
        yield name, str(state)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], float(number))
    return family


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], float(number))
    return family


def _at(figures: Figures, path: Path) -> Any:
    found: Any = figures
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found
