"""Owns the actions on the gateway itself: down, elsewhere, waiting for its login, or taking another for its client.

Must not know lines or ticks.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ibkr_actor.sim.faults.action import Action, Scene, positive
from ibkr_actor.sim.faults.faults import ANSWER, HANG_UP, SILENCE, HeldClientId


class GatewayDown(Action, frozen=True, kw_only=True):
    """Every connection ends and new ones are refused, as while a gateway restarts."""

    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        RefuseConnections(for_s=self.for_s).do(scene)
        for session in scene.connections(None):
            session.close()


class RefuseConnections(Action, frozen=True, kw_only=True):
    """Nothing listens; open connections stay."""

    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        scene.listener.want(False)
        scene.start(scene.listener.follow)

        def undo() -> None:
            scene.listener.want(True)
            scene.start(scene.listener.follow)

        scene.last(self.for_s, undo)


class MovePort(Action, frozen=True, kw_only=True):
    """1300, the connections end, and the gateway listens elsewhere: at `port`, or at a free one."""

    port: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be 0 to 65535")

    def do(self, scene: Scene) -> None:
        async def move() -> None:
            await scene.listener.move(self.port)
            text = (
                "TWS socket port has been reset and this connection is being dropped. Please reconnect on the new port"
            )
            scene.notice(1300, f"{text} - {scene.listener.port}")
            for session in scene.connections(None):
                session.close_after_flush()

        scene.start(move)


class ClientIdInUse(Action, frozen=True, kw_only=True):
    """The id counts as taken although nobody connected has it: 326. Without `client` every id does.

    With `count` only so many connections are refused.
    """

    client: int | None = None
    count: int | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def __post_init__(self) -> None:
        positive(self.count)

    def do(self, scene: Scene) -> None:
        several = scene.world.faults.held_client_ids
        held = HeldClientId(self.client, self.count)
        several.append(held)

        def undo() -> None:
            if held in several:
                several.remove(held)

        scene.last(self.for_s, undo)


class LoginRequired(Action, frozen=True, kw_only=True):
    """Connections are taken and then not answered, as while the login window waits; or hung up on at once."""

    answer: Literal["silence", "hang_up"] = "silence"
    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        faults = scene.world.faults
        faults.greet({"silence": SILENCE, "hang_up": HANG_UP}[self.answer])
        for session in scene.connections(None):
            session.close()
        scene.last(self.for_s, lambda: faults.greet(ANSWER))


class Mend(Action, frozen=True, kw_only=True):
    """Everything that lasts ends now: silences, refusals, stalls, the gateway's being down."""

    def do(self, scene: Scene) -> None:
        for effect in list(scene.effects):
            scene.end(effect)
        scene.world.gate.open()
