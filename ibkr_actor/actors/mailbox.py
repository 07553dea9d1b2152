"""One actor's mailbox: a bounded anyio memory object stream with two kinds of sender.

Owns the bound; never looks into a message.
Senders from outside (the router, the command reader) wait while `waiting_max` of their items are unhandled: that is the
back-pressure that reaches the socket and Redis. Actors telling actors never wait, or two of them could wait for each
other for ever; what they send is bounded by the commands and requests under way, and a mailbox that fills all the same
is a bug that ends the process with `MailboxOverflow`.
"""

from __future__ import annotations

from typing import Final

import anyio
from msgspec import Struct

# Room for what actors tell each other, beside what outside senders may leave waiting.
TELLS_MAX: Final = 100_000


class MailboxOverflow(Exception):
    """Actors told one of them more than it could ever owe an answer for."""


class Mailbox:
    """Messages for one actor, in order of arrival."""

    def __init__(self, name: str, *, waiting_max: int) -> None:
        self.name = name
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Struct, bool]](waiting_max + TELLS_MAX)
        self._slots = anyio.Semaphore(waiting_max, fast_acquire=True)

    async def put(self, message: Struct) -> None:
        """From outside: waits for room."""
        await self._slots.acquire()
        self._send.send_nowait((message, True))

    def tell(self, message: Struct) -> None:
        """From another actor: never waits.

        Raises:
            MailboxOverflow: the hard bound is reached.
        """
        try:
            self._send.send_nowait((message, False))
        except anyio.WouldBlock:
            raise MailboxOverflow(f"the mailbox of {self.name} is full") from None

    def take_nowait(self) -> Struct:
        """The next message.

        Raises:
            anyio.WouldBlock: there is none.
        """
        message, from_outside = self._receive.receive_nowait()
        if from_outside:
            self._slots.release()
        return message

    async def take(self) -> Struct:
        """The next message, waiting for it."""
        message, from_outside = await self._receive.receive()
        if from_outside:
            self._slots.release()
        return message

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used
