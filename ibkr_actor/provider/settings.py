"""Owns `IBKRSettings`, the settings of the replaced package with their names, ranges and defaults.

Reads nothing but its own few IBKR_* variables, and starts nothing; how they become the sidecar's is in `embedded`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


def _variable(name: str, default: str) -> Callable[[], str]:
    return lambda: os.environ.get(name) or default


class IBKRSettings(BaseModel):
    """How to reach Interactive Brokers, and how to behave there. Unknown fields are refused.

    With `redis_url` (or IBKR_REDIS_URL) the provider reads from the sidecar that publishes there, and what concerns
    the gateway (`host`, `port`, `client_id`, reconnecting, pacing) is that sidecar's to say. Without it a sidecar is
    started in this process, and every field here is in effect.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    # -- connection
    host: str = Field(default="127.0.0.1", min_length=1, description="TWS or IB Gateway host")
    port: int = Field(
        default=4002, ge=1024, le=65535, description="Gateway: 4002 paper, 4001 live; TWS: 7497 paper, 7496 live"
    )
    client_id: int = Field(default=17, ge=0, le=9999, description="API client id, not that of another program")
    read_timeout_sec: float = Field(
        default=30.0,
        ge=1.0,
        le=300.0,
        description="silence after which the connection is probed, then closed and reopened",
    )

    # -- market data
    market_data_type: int = Field(default=1, ge=1, le=4, description="1 live, 2 frozen, 3 delayed, 4 delayed-frozen")
    snapshot_mode: bool = Field(
        default=False, description="stream_quotes yields one snapshot of each instrument and ends"
    )
    use_rth: bool = Field(default=True, description="historical bars of regular trading hours only, as ever")

    # -- reconnecting
    reconnect_enabled: bool = Field(default=True, description="connect again after a loss")
    reconnect_backoff_ms: int = Field(default=250, ge=100, le=60_000, description="first wait before connecting again")
    reconnect_backoff_max_ms: int = Field(default=5_000, ge=1_000, le=300_000, description="longest wait before that")
    max_reconnect_attempts: int = Field(default=10, ge=0, le=100, description="attempts in a row; 0 = for ever")

    # -- history
    hist_pacing_window_sec: int = Field(default=600, ge=60, le=3600, description="window of IB's limit on small bars")
    hist_max_bars_per_request: int = Field(
        default=2_000, ge=1, le=10_000, description="most bars asked for in one request"
    )

    # -- options
    options_semaphore_size: int = Field(default=5, ge=1, le=50, description="option requests under way at a time")
    options_base_delay: float = Field(default=0.1, ge=0.01, le=10.0, description="seconds between option requests")
    options_max_contracts: int = Field(default=50, ge=1, le=500, description="most contracts of one chain")
    options_max_retries: int = Field(default=3, ge=0, le=10, description="attempts per contract after the first")
    options_backoff_multiplier: float = Field(
        default=1.5, ge=1.0, le=5.0, description="growth of the delay between attempts"
    )

    # -- ours: where a sidecar publishes, or where the one of this process keeps its data
    redis_url: str | None = Field(
        default_factory=lambda: os.environ.get("IBKR_REDIS_URL") or None,
        description="Redis of a running sidecar (IBKR_REDIS_URL); without it one is started in this process",
        repr=False,
    )
    prefix: str = Field(default_factory=_variable("IBKR_PREFIX", "ibkr"), description="its keys' prefix (IBKR_PREFIX)")
    gateway_name: str = Field(
        default_factory=_variable("IBKR_GATEWAY_NAME", "g1"), description="its gateway's name (IBKR_GATEWAY_NAME)"
    )
    lease_s: float = Field(
        default=60.0, ge=1.0, le=86_400.0, description="how long a stream's line outlives a program that was killed"
    )
    data_dir: Path | None = Field(
        default=None, description="where the sidecar of this process keeps what it knows; without it, nothing is kept"
    )

    @field_validator("redis_url")
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value or None

    @model_validator(mode="after")
    def _consistent(self) -> IBKRSettings:
        if self.reconnect_backoff_max_ms < self.reconnect_backoff_ms:
            raise ValueError("reconnect_backoff_max_ms is below reconnect_backoff_ms")
        return self
