"""The one actor loop: mailbox -> core.handle(message, now) -> effects -> perform, with one timer.

Decides nothing. An exception from a core is a bug and ends the task group, and with it the process.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
from msgspec import Struct

from ibkr_actor.actors.clock import system_clock
from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.core.effects import Core, Effect, Instant
from ibkr_actor.core.messages import WakeUp

WAKE_UP = WakeUp()
# How many messages are handled before other tasks get their turn.
TURN_MAX = 64


class Actor:
    """A core with its mailbox. `perform` carries out effects and returns at once.

    `speed` is how many seconds of `clock` pass in each real one.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        core: Core,
        perform: Callable[[Effect], None],
        *,
        clock: Callable[[], Instant] = system_clock,
        speed: float = 1.0,
    ) -> None:
        self.mailbox = mailbox
        self.core = core
        self._perform = perform
        self._clock = clock
        self._speed = speed

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            message = await self._next()
            for _ in range(TURN_MAX):
                self._handle(message)
                try:
                    message = self.mailbox.take_nowait()
                except anyio.WouldBlock:
                    break
            else:
                self._handle(message)
                await anyio.lowlevel.checkpoint()

    async def _next(self) -> Struct:
        """The next message, or WakeUp when the core's time has come."""
        due_s = self.core.next_wakeup_s()
        if due_s is None:
            return await self.mailbox.take()
        wait_s = (due_s - self._clock().s) / self._speed
        if wait_s <= 0:
            await anyio.lowlevel.checkpoint()
            return WAKE_UP
        with anyio.move_on_after(wait_s):
            return await self.mailbox.take()
        return WAKE_UP

    def _handle(self, message: Struct) -> None:
        for effect in self.core.handle(message, self._clock()):
            self._perform(effect)
