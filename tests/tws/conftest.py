"""Fixtures of the border's tests: a gateway wired to an inbox, and a scripted peer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import anyio
import pytest

from ibkr_actor.core.events import Connected, ConnectFailed, ConnectionLost, Event
from ibkr_actor.tws.gateway import Gateway, GatewayConfig
from ibkr_actor.tws.inbox import FrameBatch, Inbox
from tests.tws.wire import DEADLINE_S, Peer, PeerConnection

T = TypeVar("T", bound=Event)


class Rig:
    """A gateway, its inbox, and what came out of them, decoded as the router does it."""

    def __init__(self, config: GatewayConfig, inbox_max_bytes: int = 1 << 20) -> None:
        self.inbox = Inbox(inbox_max_bytes)
        self.gateway = Gateway(config, self.inbox)
        self.events: list[Event] = []

    async def pump(self) -> None:
        for item in await self.inbox.get():
            self.events.extend(self.gateway.decode(item) if isinstance(item, FrameBatch) else [item])

    async def until(self, done: Callable[[], object]) -> None:
        with anyio.fail_after(DEADLINE_S):
            while not done():
                await self.pump()

    async def until_event(self, kind: type[T], count: int = 1) -> T:
        """The `count`th event of a kind."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def connect(self, peer: Peer, server_version: int = 178, conn: int = 1) -> PeerConnection:
        """Opens connection `conn` and plays the peer's part of the handshake."""
        self.gateway.open(conn, 17)
        connection = peer.accept()
        connection.shake_hands(server_version)
        await self.until(lambda: any(event.conn == conn for event in self.of(Connected)))
        return connection

    def ends(self) -> list[Event]:
        return [event for event in self.events if isinstance(event, ConnectionLost | ConnectFailed)]


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer() as one:
        yield one


@pytest.fixture
async def rig(peer: Peer) -> AsyncIterator[Rig]:
    one = Rig(
        GatewayConfig(
            port=peer.port, connect_timeout_s=DEADLINE_S, handshake_timeout_s=DEADLINE_S, io_timeout_s=DEADLINE_S
        )
    )
    yield one
    await one.gateway.aclose()
