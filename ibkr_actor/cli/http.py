"""`ibkr-actor http`: the HTTP service as a process of its own, which reads Redis only."""

from __future__ import annotations

import argparse

import anyio

from ibkr_actor import configs
from ibkr_actor.cli.address import redis_url
from ibkr_actor.cli.process import log_to_stderr, until_signal
from ibkr_actor.http.serve import bound, serve
from ibkr_actor.load_settings import load_settings


def main(arguments: argparse.Namespace) -> int:
    """Serves until Ctrl-C or SIGTERM, and returns 0. A Redis or a sidecar that is away is waited for."""
    settings = load_settings(
        arguments.config,
        redis_url=arguments.redis_url,
        http_host=arguments.http_host,
        http_port=arguments.http_port,
        log_level=arguments.log_level,
    )
    log_to_stderr(settings.log_level)
    config, url = configs.http(settings), redis_url(settings)
    listener = bound(config)

    async def run(stopping: anyio.Event) -> None:
        await serve(config, url, listener, stopping)

    anyio.run(until_signal, run)
    return 0
