"""This process's own metrics: requests, clients, what was streamed, and how long entries took to get here.

Reads nothing; `exposition` adds what the sidecar wrote of itself.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

READ_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The first five have the replaced system's names; a registry of its own, so that two services do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ibkr_requests", "Requests to the HTTP service", ["endpoint", "method"], registry=self.registry
        )
        self.active = Gauge("ibkr_active_connections", "Streams that clients have open", registry=self.registry)
        self.durations = Histogram(
            "ibkr_request_duration_seconds",
            "Time to the whole answer, or to the first byte of a stream",
            ["endpoint"],
            registry=self.registry,
        )
        self.quotes = Counter("ibkr_quotes_streamed", "Quotes sent to clients", registry=self.registry)
        self.bars = Counter("ibkr_bars_streamed", "Bars sent to clients", registry=self.registry)
        self.records = Counter(
            "ibkr_actor_http_records", "Records read from Redis for clients of this process", registry=self.registry
        )
        self.ingested = Counter("ibkr_actor_http_ingested", "Prices taken from elsewhere", registry=self.registry)
        self.dropped = Counter(
            "ibkr_actor_http_slow_clients", "Streams ended because the client read too slowly", registry=self.registry
        )
        self.unsent = Counter(
            "ibkr_actor_http_unsent_records", "Records given up for clients that were too slow", registry=self.registry
        )
        self.responses = Counter("ibkr_actor_http_responses", "Answers by status", ["status"], registry=self.registry)
        self.read_after = Histogram(
            "ibkr_actor_published_to_consumed_seconds",
            "From an entry's writing to its reading by this process, one observation per read",
            buckets=READ_BUCKETS_S,
            registry=self.registry,
        )

    def note_read(self, seconds: float, entries: int) -> None:
        """One read of Redis."""
        self.read_after.observe(seconds)
        self.records.inc(entries)
