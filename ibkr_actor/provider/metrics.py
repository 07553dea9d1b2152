"""Owns the two Prometheus metrics that the replaced package exported by name.

Serves nothing: `GET /metrics` is the HTTP service's, with a registry of its own.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

ibkr_ticks_total: Final = Counter("ibkr_ticks_total", "Quotes that a provider in this process has yielded", ["symbol"])
ibkr_connection_uptime_seconds: Final = Gauge(
    "ibkr_connection_uptime_seconds", "How long the connection of the provider in this process has been usable"
)
