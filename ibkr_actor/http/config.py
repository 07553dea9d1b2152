"""Owns the configuration of the HTTP service.

Reads no settings; `configs.http` makes it of them.
"""

from __future__ import annotations

from msgspec import Struct


class HttpConfig(Struct, frozen=True, kw_only=True):
    """Times in seconds, `quote_hz` per instrument and client; 0 is without conflation."""

    prefix: str = "ibkr"
    gateway: str = "g1"
    host: str = "127.0.0.1"
    port: int = 8084
    token: str = ""
    cors_origins: tuple[str, ...] = ()
    quote_hz: float = 10.0
    lease_s: float = 60.0
    # How long a line is kept after its last listener here, so that a page that is loaded anew finds it.
    linger_s: float = 5.0
    answer_s: float = 10.0
    # How long a new stream waits for IB's refusal before it begins.
    verdict_s: float = 1.0
    clients_max: int = 1_000
    client_queue: int = 1_000
    stall_s: float = 30.0
    keep_alive_s: float = 15.0
    history_rows_max: int = 200_000
    history_timeout_s: float = 300.0
    ingest_entries: int = 10_000
    body_bytes_max: int = 64 * 1024
