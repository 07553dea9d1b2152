"""The one actor loop: mailbox -> core.handle(message, now) -> effects -> perform, with one timer.

Decides nothing. An exception from a core is a bug and ends the task group, and with it the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import anyio.lowlevel
from msgspec import Struct

from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.core.effects import Core, Effect, Instant
from ibkr_actor.core.messages import WakeUp

Clock = Callable[[], Instant]
WAKE_UP = WakeUp()
# How many messages are handled before other tasks get their turn.
TURN_MAX = 64


def system_clock() -> Instant:
    """Monotonic seconds as the event loop counts them, and UTC nanoseconds."""
    return Instant(time.monotonic(), time.time_ns())


class Actor:
    """A core with its mailbox. `perform` carries out effects and returns at once."""

    def __init__(
        self, mailbox: Mailbox, core: Core, perform: Callable[[Effect], None], *, clock: Clock = system_clock
    ) -> None:
        self.mailbox = mailbox
        self.core = core
        self._perform = perform
        self._clock = clock

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
        wait_s = due_s - self._clock().s
        if wait_s <= 0:
            await anyio.lowlevel.checkpoint()
            return WAKE_UP
        with anyio.move_on_after(wait_s):
            return await self.mailbox.take()
        return WAKE_UP

    def _handle(self, message: Struct) -> None:
        for effect in self.core.handle(message, self._clock()):
            self._perform(effect)
