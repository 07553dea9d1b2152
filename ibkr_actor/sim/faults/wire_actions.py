"""Owns the actions on connections and bytes: what networks, full buffers and broken peers do.

Must not know what a frame says.
"""

from __future__ import annotations

import random

import msgspec

from ibkr_actor.sim.faults.action import Action, Scene
from ibkr_actor.sim.wire.frames import MAX_FRAME_BYTES


class SendRaw(Action, frozen=True, kw_only=True):
    """Bytes as they are, in hex: half a frame, a frame of an unknown message, anything."""

    hex: str
    client: int | None = None

    def __post_init__(self) -> None:
        try:
            bytes.fromhex(self.hex)
        except ValueError:
            raise ValueError("hex must be pairs of the digits 0-9 and a-f") from None

    def do(self, scene: Scene) -> None:
        _send_raw(scene, bytes.fromhex(self.hex), self.client)


class Garbage(Action, frozen=True, kw_only=True):
    """Random bytes between two frames; everything after them is out of step. The same `seed`, the same bytes."""

    bytes: int = 64
    seed: int = 0
    client: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, bytes=self.bytes)

    def do(self, scene: Scene) -> None:
        _send_raw(scene, random.Random(self.seed).randbytes(self.bytes), self.client)


class OversizeFrame(Action, frozen=True, kw_only=True):
    """A frame that says it is longer than any client takes, and its first bytes."""

    length: int = MAX_FRAME_BYTES + 1
    client: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.length <= 0xFFFFFFFF:
            raise ValueError("length must fit into four bytes")

    def do(self, scene: Scene) -> None:
        _send_raw(scene, self.length.to_bytes(4, "big") + bytes(16), self.client)


class GarbleFrames(Action, frozen=True, kw_only=True):
    """The next `count` frames of each client keep their length and have random bytes for content."""

    count: int = 1
    seed: int = 0
    client: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, count=self.count)

    def do(self, scene: Scene) -> None:
        for session in scene.sessions(self.client):
            session.frame_faults.seed(self.seed)
            session.frame_faults.garble += self.count


class DuplicateFrames(Action, frozen=True, kw_only=True):
    """The next `count` frames of each client come twice."""

    count: int = 1
    client: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, count=self.count)

    def do(self, scene: Scene) -> None:
        for session in scene.sessions(self.client):
            session.frame_faults.double += self.count


class SwallowFrames(Action, frozen=True, kw_only=True):
    """The next frame of each client says a length that takes in the `count` frames after it as well."""

    count: int = 6
    client: int | None = None

    def __post_init__(self) -> None:
        _at_least(1, count=self.count)

    def do(self, scene: Scene) -> None:
        for session in scene.sessions(self.client):
            session.frame_faults.swallow += self.count


class Cut(Action, frozen=True, kw_only=True):
    """Connections end at once, what is queued is dropped; with `reset` by RST."""

    reset: bool = False
    client: int | None = None

    def do(self, scene: Scene) -> None:
        for session in scene.connections(self.client):
            session.close(reset=self.reset)


class CutAfter(Action, frozen=True, kw_only=True):
    """Each connection ends after `count` more bytes, wherever in a frame that is."""

    count: int
    client: int | None = None

    def __post_init__(self) -> None:
        _at_least(0, count=self.count)

    def do(self, scene: Scene) -> None:
        for session in scene.sessions(self.client):
            session.cut_after(self.count)


class CutMidFrame(Action, frozen=True, kw_only=True):
    """Each connection ends within its next frame, when `share` of it is written."""

    share: float = 0.5
    client: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError("share must be between 0 and 1")

    def do(self, scene: Scene) -> None:
        for session in scene.sessions(self.client):
            session.frame_faults.cut_share = self.share


class Stall(Action, frozen=True, kw_only=True):
    """Sockets stay open; nothing is read, written or generated."""

    for_s: float | None = msgspec.field(name="for", default=None)

    def do(self, scene: Scene) -> None:
        scene.world.gate.close()
        scene.last(self.for_s, scene.world.gate.open)


class Resume(Action, frozen=True, kw_only=True):
    """Ends a stall."""

    def do(self, scene: Scene) -> None:
        scene.world.gate.open()


class SlowSocket(Action, frozen=True, kw_only=True):
    """Connections of now carry so many bytes a second; what waits for them grows until the client is hung up on."""

    bytes_per_s: float
    client: int | None = None
    for_s: float | None = msgspec.field(name="for", default=None)

    def __post_init__(self) -> None:
        if self.bytes_per_s <= 0:
            raise ValueError("bytes_per_s must be above 0")

    def do(self, scene: Scene) -> None:
        slowed = scene.sessions(self.client)
        for session in slowed:
            session.slow_down(self.bytes_per_s)

        def undo() -> None:
            for session in slowed:
                session.slow_down(None)

        scene.last(self.for_s, undo)


def _send_raw(scene: Scene, data: bytes, client: int | None) -> None:
    for session in scene.sessions(client):
        session.send_raw(data)


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be {least} or more")
