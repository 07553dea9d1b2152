"""Prometheus text: this process's registry, and what the sidecar wrote of itself under names of ours.

Measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from ibkr_actor.http.hub import Hub
from ibkr_actor.http.metrics import Metrics

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


def exposition(metrics: Metrics, hub: Hub, figures: dict[str, Any] | None, *, redis_up: bool) -> bytes:
    """All of it."""
    sidecar = CollectorRegistry()
    sidecar.register(_Sidecar(hub, figures, redis_up))
    return generate_latest(metrics.registry) + generate_latest(sidecar)


class _Sidecar(Collector):
    def __init__(self, hub: Hub, figures: dict[str, Any] | None, redis_up: bool) -> None:
        self._hub = hub
        self._figures = figures
        self._redis_up = redis_up

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("ibkr_actor_http_redis_up", "Whether this process reaches Redis", self._redis_up)
        yield CounterMetricFamily("ibkr_actor_http_entries_read", "Entries read from Redis", self._hub.entries)
