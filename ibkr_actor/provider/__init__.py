"""Owns the names that market-data-ibkr exported: its drop-in replacement, over a sidecar here or elsewhere.

    from ibkr_actor.provider import IBKRProvider, IBKRSettings

Does nothing by being imported; needs the extra `core`, and `sidecar` too where a sidecar is to run in this process.
"""

from __future__ import annotations

from typing import Any

from ibkr_actor import __version__
from ibkr_actor.provider.errors import ERROR_CODE_MAP, handle_ib_error, map_ibkr_error
from ibkr_actor.provider.mapping import ibkr_bar_to_bar, ibkr_ticker_to_quote, parse_ibkr_resolution
from ibkr_actor.provider.metrics import ibkr_connection_uptime_seconds, ibkr_ticks_total
from ibkr_actor.provider.pacing import PacingManager, TokenBucket
from ibkr_actor.provider.provider import IBKRProvider
from ibkr_actor.provider.registry import PROVIDER_SPEC
from ibkr_actor.provider.session import IBKRSessionManager
from ibkr_actor.provider.settings import IBKRSettings

__all__ = [
    "ERROR_CODE_MAP",
    "PROVIDER_SPEC",
    "IBKRProvider",
    "IBKRSessionManager",
    "IBKRSettings",
    "PacingManager",
    "TokenBucket",
    "__version__",
    "handle_ib_error",
    "ibkr_bar_to_bar",
    "ibkr_connection_uptime_seconds",
    "ibkr_ticker_to_quote",
    "ibkr_ticks_total",
    "map_ibkr_error",
    "parse_ibkr_resolution",
    "server_app",
]


def __getattr__(name: str) -> Any:
    """`server_app` is made when it is asked for: it reads the settings, and needs the extra `sidecar`."""
    if name != "server_app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ibkr_actor.http.app import create_app
    from ibkr_actor.load_settings import load_settings

    app = create_app(load_settings())
    globals()[name] = app
    return app
