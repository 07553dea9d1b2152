"""Owns what pacing writes down of its windows, so that a restart goes on counting where IB does.

Writes nothing itself. Windows run on monotonic seconds, what is written on UTC nanoseconds.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import Instant
from ibkr_actor.core.pacing.cooldowns import Cooldowns
from ibkr_actor.core.pacing.fair_queue import Waiting
from ibkr_actor.core.pacing.limits import ScopeKey
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.pacing.waiting_room import WaitingRoom

# What counts for less has passed before a new process can ask. Source: ours; a handshake takes about as long.
_SPAN_MIN_S: Final = 2.0
_VERSION: Final = 1


class MemoryUnreadable(ValueError):
    """What was written cannot be read back; the message says why."""


class RememberedWindow(Struct, frozen=True, array_like=True):
    """One window: (UTC nanoseconds, weight) of what was sent."""

    limit: str
    key: ScopeKey
    sent: list[tuple[int, int]]


class RememberedCooldown(Struct, frozen=True, array_like=True):
    scope: str
    until_ns: int
    strikes: int


class Snapshot(Struct, frozen=True):
    """What is written. `ahead` is how much more may have left under each shared limit before the next writing."""

    version: int
    at_ns: int
    ahead: int
    windows: list[RememberedWindow]
    cooldowns: list[RememberedCooldown]


class PacingMemory:
    """Knows when it is time to write, and what.

    With `unsaved_max` 0 everything that counts for seconds or longer is written before it is sent: a job that is killed
    asks the same again at once, and must find that it just did. That is seldom, since the limits themselves allow 60 in
    ten minutes. With more, so much may leave unwritten until `write_every_s` has passed since the last writing; whoever
    restores after a kill counts that much as sent under the shared limits, and cannot know the contracts.
    """

    def __init__(self, config: PacingConfig, room: WaitingRoom, cooldowns: Cooldowns) -> None:
        self._config = config
        self._room = room
        self._cooldowns = cooldowns
        self._dirty = False
        # Weight sent since the last writing, of what counts for long.
        self._unsaved = 0
        self._written_s = float("-inf")
        # Whether the last writing said that more may follow: a clean end takes it back.
        self._ahead = 0

    def note(self, one: Waiting) -> None:
        """The request is sent now."""
        shared = [weight for name, weight in one.shared if _kept(self._room.shared[name])]
        narrow = [lane for lane, _ in one.narrow if _kept(self._room.narrow[lane])]
        if shared or narrow:
            self._unsaved += max(shared, default=1)
            self._dirty = True

    def changed(self) -> None:
        """Something else than a request has to be written at once."""
        self._dirty = True
        self._written_s = float("-inf")

    def next_s(self) -> float | None:
        """When something is to be written."""
        return self._written_s + self._config.write_every_s if self._dirty else None

    def due(self, now: Instant) -> bytes | None:
        """What is to be written before anything more is sent; None when nothing is."""
        if not self._dirty:
            return None
        early = now.s < self._written_s + self._config.write_every_s
        if early and self._unsaved <= self._config.unsaved_max:
            return None
        return self._write(now, self._config.unsaved_max)

    def last(self, now: Instant) -> bytes | None:
        """What is to be written at a clean end, after which nothing is sent; None when the last writing says it."""
        return self._write(now, 0) if self._dirty or self._ahead else None

    def _write(self, now: Instant, ahead: int) -> bytes:
        self._dirty = False
        self._unsaved = 0
        self._written_s = now.s
        self._ahead = ahead
        return snapshot(self._room, self._cooldowns, now, ahead)


def _kept(window: Window) -> bool:
    return window.limit.span_s >= _SPAN_MIN_S


def snapshot(room: WaitingRoom, cooldowns: Cooldowns, now: Instant, ahead: int) -> bytes:
    """Every window that still counts something, and the cooldowns, as JSON."""
    lanes = [((name, ""), window) for name, window in room.shared.items()]
    windows: list[RememberedWindow] = []
    for (name, key), window in [*lanes, *room.narrow.items()]:
        window.prune(now.s)
        if window.used and _kept(window):
            sent = [(_to_ns(at_s, now), weight) for at_s, weight in window.entries()]
            windows.append(RememberedWindow(name, key, sent))
    cooled = [RememberedCooldown(c.scope, _to_ns(c.until_s, now), c.strikes) for c in cooldowns.remembered()]
    return msgspec.json.encode(Snapshot(_VERSION, now.ns, ahead, windows, cooled))


def restore(value: bytes, room: WaitingRoom, cooldowns: Cooldowns, now: Instant) -> None:
    """Counts what was written, and what may have left unwritten.

    A time in the future (the clock was set back) is taken for now: it counts for a whole span from here. What lies
    longer ago than its span counts no more. Limits that are not known any more are passed over.

    Raises:
        MemoryUnreadable: it is not what `snapshot` wrote; nothing is restored.
    """
    try:
        read = msgspec.json.decode(value, type=Snapshot)
    except msgspec.MsgspecError as error:
        raise MemoryUnreadable(str(error)) from error
    if read.version != _VERSION:
        raise MemoryUnreadable(f"version {read.version} is not {_VERSION}")
    for remembered in read.windows:
        window = room.restore_lane((remembered.limit, remembered.key), now.s)
        if window is not None:
            window.restore((_to_s(at_ns, now), max(1, weight)) for at_ns, weight in remembered.sent)
            window.prune(now.s)
    if read.ahead > 0:
        for window in room.shared.values():
            if _kept(window):
                window.add(now.s, min(read.ahead, window.limit.count))
    for cooled in read.cooldowns:
        until_s = now.s + (cooled.until_ns - now.ns) / 1e9
        if cooled.scope in room.shared:
            room.shared[cooled.scope].blocked_until_s = cooldowns.restore(
                cooled.scope, until_s, cooled.strikes, now.s
            ).until_s


def _to_ns(at_s: float, now: Instant) -> int:
    return now.ns + round((at_s - now.s) * 1e9)


def _to_s(at_ns: int, now: Instant) -> float:
    return now.s - max(0, now.ns - at_ns) / 1e9
