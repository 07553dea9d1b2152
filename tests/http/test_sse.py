"""A stream to one client: ended when the client has gone or takes nothing, and everything given back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import anyio
import anyio.lowlevel
import pytest
from starlette.types import Message, Scope

from ibkr_actor.http.sse import EventStream

pytestmark = pytest.mark.anyio

SCOPE: Scope = {"type": "http"}


class Held:
    """Whether what a stream holds was given back."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.given_back = False
        self.stack.callback(self._note)

    def _note(self) -> None:
        self.given_back = True


async def chunks() -> AsyncIterator[bytes]:
    while True:
        yield b"data: x\n\n"
        await anyio.lowlevel.checkpoint()


async def nothing_received() -> Message:
    await anyio.sleep_forever()
    raise AssertionError


async def test_a_client_that_has_gone_ends_the_stream() -> None:
    held, enough = Held(), anyio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 5:
            enough.set()

    with anyio.fail_after(60.0):
        await EventStream(chunks(), held.stack, stall_s=60.0)(SCOPE, receive, send)
    assert held.given_back
    assert sent[0]["status"] == 200


async def test_one_that_went_before_the_first_byte_leaves_nothing_held() -> None:
    held = Held()

    async def send(message: Message) -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await EventStream(chunks(), held.stack, stall_s=60.0)(SCOPE, nothing_received, send)
    assert held.given_back


async def test_one_that_takes_nothing_is_cut_off() -> None:
    held = Held()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await anyio.sleep_forever()

    with anyio.fail_after(60.0):
        await EventStream(chunks(), held.stack, stall_s=0.05)(SCOPE, nothing_received, send)
    assert held.given_back
