"""Owns what happens to frames on their way to one client: doubled, garbled, swallowed by a wrong length, cut in two.

Must not know what a frame says; it sees bytes with a length before them.
"""

from __future__ import annotations

import random

_LENGTH_BYTES = 4


class FrameFaults:
    """The faults waiting for the next frames of one client; each is used up by the frames it strikes.

    Order when several wait: garbling, then doubling, then swallowing, then the cut.
    """

    def __init__(self) -> None:
        self.double = 0
        self.garble = 0
        self.swallow = 0
        self.cut_share: float | None = None
        self._random = random.Random(0)
        self._swallowing: list[bytes] = []

    @property
    def active(self) -> bool:
        """Whether the next frame will not pass as it is."""
        return bool(self.double or self.garble or self.swallow or self._swallowing) or self.cut_share is not None

    def seed(self, seed: int) -> None:
        """The same seed garbles the same frames alike."""
        self._random = random.Random(seed)

    def bend(self, frame: bytes) -> tuple[bytes, int | None]:
        """What is written for a frame (may be nothing yet), and after how many of those bytes the connection ends."""
        if self.garble:
            self.garble -= 1
            frame = frame[:_LENGTH_BYTES] + self._random.randbytes(len(frame) - _LENGTH_BYTES)
        if self.double:
            self.double -= 1
            frame += frame
        if self.swallow or self._swallowing:
            frame = self._swallowed(frame)
        if self.cut_share is None or not frame:
            return frame, None
        share, self.cut_share = self.cut_share, None
        return frame, max(1, min(len(frame) - 1, int(len(frame) * share)))

    def _swallowed(self, frame: bytes) -> bytes:
        """Nothing until as many frames as are to be swallowed have come; then all, under one length."""
        if not self._swallowing:
            self._swallowing = [frame]
            return b""
        self._swallowing.append(frame)
        self.swallow -= 1
        if self.swallow > 0:
            return b""
        whole, self._swallowing = b"".join(self._swallowing), []
        return (len(whole) - _LENGTH_BYTES).to_bytes(_LENGTH_BYTES, "big") + whole[_LENGTH_BYTES:]
