"""`ibkr-actor run`: the sidecar as a process."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial

import anyio

from ibkr_actor import __version__, app
from ibkr_actor.cli.process import Hangup, log_to_stderr, spare_the_collector, until_signal
from ibkr_actor.load_settings import load_settings, unknown_variables
from ibkr_actor.settings import Settings


def main(arguments: argparse.Namespace) -> int:
    """Runs until Ctrl-C or SIGTERM, drains, and returns 0."""
    reread = partial(
        load_settings,
        arguments.config,
        host=arguments.host,
        port=arguments.port,
        client_id=arguments.client_id,
        redis_url=arguments.redis_url,
        log_level=arguments.log_level,
    )
    settings = reread()
    log_to_stderr(settings.log_level)
    log = logging.getLogger(__name__)
    where = (settings.gateway_name, settings.host, settings.port)
    log.info("sidecar_starting version=%s gateway=%s host=%s port=%d", __version__, *where)
    for note in unknown_variables():
        log.warning("setting_unknown name=%r: it changes nothing", note)
    hangup = Hangup()
    anyio.run(until_signal, partial(_serve, settings, reread, hangup), hangup)
    return 0


async def _serve(settings: Settings, reread: Callable[[], Settings], hangup: Hangup, stopping: anyio.Event) -> None:
    def started(sidecar: app.Sidecar) -> None:
        hangup.does = sidecar.reload
        spare_the_collector()

    await app.run(settings, stopping=stopping, started=started, reread=reread)
