"""The heartbeat: a key that tells who publishes, with its figures in another; both are gone when nobody does.

Carries no data anyone needs to be right.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from typing import NoReturn

import anyio

from ibkr_actor import __version__
from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable
from ibkr_actor.bus.epoch import BEAT, STOP, raise_if_fenced
from ibkr_actor.bus.health import Backoff
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.schema.keys import Keys

log = logging.getLogger(__name__)


class Heartbeat:
    """Writes the key every `every_s`; removes it at the end, unless somebody newer writes it by then."""

    def __init__(
        self, link: Link, config: BusConfig, epoch: int, state: Callable[[], str], figures: Callable[[], bytes]
    ) -> None:
        self._link = link
        self._config = config
        self._keys = Keys(config.prefix, config.gateway)
        self._epoch = epoch
        self._state = state
        self._figures = figures
        self._changed = anyio.Event()

    def beat_soon(self) -> None:
        """The state has changed: whoever looks should not wait for the next beat."""
        self._changed.set()

    async def run(self) -> None:
        """Beats for ever.

        Raises:
            Fenced: a newer sidecar publishes for this gateway.
        """
        backoff = Backoff(self._config.redis, self._config.heartbeat.every_s)

        async def work() -> NoReturn:
            while True:
                await self._beat()
                backoff.reset()
                with anyio.move_on_after(self._config.heartbeat.every_s):
                    await self._changed.wait()
                    self._changed = anyio.Event()

        def note(error: Unreachable | Refused) -> None:
            log.debug("heartbeat_waits reason=%s", error)

        try:
            await run_connected(self._link, backoff, work, on_trouble=note)
        finally:
            with anyio.move_on_after(1.0, shield=True):
                await self._stop()

    async def _beat(self) -> None:
        value = {
            "gateway": self._config.gateway,
            "epoch": self._epoch,
            "pid": os.getpid(),
            "state": self._state(),
            "version": __version__,
        }
        ttl_ms = round(self._config.heartbeat.ttl_s * 1000)
        keys = [self._keys.epoch, self._keys.heartbeat, self._keys.metrics]
        call = BEAT.call(keys, [self._epoch, json.dumps(value), ttl_ms, self._figures()])
        raise_if_fenced(await self._link.call(*call))

    async def _stop(self) -> None:
        keys = [self._keys.epoch, self._keys.heartbeat, self._keys.metrics]
        try:
            await self._link.open()  # the cancelled beat may have left an answer unread
            await self._link.call(*STOP.call(keys, [self._epoch]))
        except (Unreachable, Refused):
            pass  # it goes by itself when its time has run out
        finally:
            await self._link.close()
