"""Owns which windows of bars are looked for in the cache before IB is asked, and which are kept there.

Holds no bars: the bus does. A cache that does not answer in time has nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, LookUpWindow, StoreWindow
from ibkr_actor.core.history.job import Job, Part
from ibkr_actor.core.history.plan import Window
from ibkr_actor.core.history.stitch import Row
from ibkr_actor.core.messages import WindowFound, WindowMissing
from ibkr_actor.schema.instruments import Contract

if TYPE_CHECKING:
    from ibkr_actor.core.history.work import Work

# A window must have been over for this long when it was asked for: the newest bars are still corrected.
SETTLED_NS: Final = 300 * NS
# Bars whose past is another one after each dividend.
_CHANGING: Final = frozenset({"ADJUSTED_LAST"})


class _Kept(Struct, frozen=True, array_like=True):
    """A window as it is kept. `kept_ns` is when IB gave it: a split changes the past."""

    kept_ns: int
    rows: tuple[Row, ...]


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(_Kept)


class WindowCache:
    """What is looked for, and who waits for it. Affects: the jobs of `work`."""

    def __init__(self, config: HistoryConfig, work: Work) -> None:
        self._config = config
        self._work = work
        # name of a window -> (job, number of its part); cleared by the answer or when it is due.
        self._waiting: dict[str, list[tuple[str, int]]] = {}
        self._due = Deadlines[str]()

    def __len__(self) -> int:
        return len(self._waiting)

    def next_wakeup_s(self) -> float | None:
        return self._due.next_s()

    def _name(self, contract: Contract, window: Window, now: Instant) -> str:
        """What a window is kept under; empty for one that is not kept."""
        if not self._config.cache or window.what_to_show in _CHANGING or window.to_ns + SETTLED_NS > now.ns:
            return ""
        hours = "rth" if window.use_rth else "all"
        return "|".join(
            (
                contract.identity,
                contract.exchange,
                window.bar_size,
                window.what_to_show,
                hours,
                str(window.from_ns),
                str(window.to_ns),
            )
        )

    def look_up(self, job: Job, part: Part, now: Instant) -> list[Effect] | None:
        """Looks for a part before IB is asked; None when it cannot be there, or was looked for already."""
        if part.cache_name:
            return None
        name = part.cache_name = self._name(job.state.contract, part.stitch.window, now)
        if not name:
            return None
        waiters = self._waiting.setdefault(name, [])
        waiters.append((job.state.job, part.number))
        if len(waiters) > 1:
            return []
        self._due.set(name, now.s + self._config.cache_timeout_s)
        return [LookUpWindow(name)]

    def found(self, message: WindowFound, now: Instant) -> list[Effect]:
        """The window is there: as good as IB's answer."""
        rows = self._rows(message.value, now)
        if rows is None:
            return self._missing(message.name)
        effects: list[Effect] = []
        for job, part in self._waiters(message.name):
            part.cached = True
            job.state.cached += 1
            part.stitch.restore(rows)
            effects += self._work.settle(job, part, None, now)
        return effects

    def missing(self, message: WindowMissing, now: Instant) -> list[Effect]:
        """It is not there: IB is asked."""
        return self._missing(message.name)

    def wake_up(self, now: Instant) -> list[Effect]:
        """Asks IB for what the cache did not answer in time."""
        return [effect for name in self._due.due(now.s) for effect in self._missing(name)]

    def _missing(self, name: str) -> list[Effect]:
        return [effect for job, part in self._waiters(name) for effect in self._work.ask_part(job, part)]

    def _waiters(self, name: str) -> list[tuple[Job, Part]]:
        """Who waits, and does no more; nobody when the time was over before."""
        self._due.clear(name)
        found = [(self._work.jobs.get(job), number) for job, number in self._waiting.pop(name, [])]
        pairs = [(job, job.part(number)) for job, number in found if job is not None]
        return [(job, part) for job, part in pairs if part is not None]

    def _rows(self, value: bytes, now: Instant) -> tuple[Row, ...] | None:
        """The bars of a kept window; None for one that is too old or cannot be read."""
        try:
            kept = _decoder.decode(value)
        except msgspec.MsgspecError:
            return None
        age_s = (now.ns - kept.kept_ns) / NS
        return kept.rows if 0 <= age_s <= self._config.cache_age_s else None

    def store(self, part: Part, now: Instant) -> list[Effect]:
        """Keeps a window that is whole: with bars, without holes, and from IB."""
        filled = part.stitch.filled
        if not part.cache_name or part.cached or not filled.rows or filled.holes:
            return []
        return [StoreWindow(part.cache_name, _encode(_Kept(now.ns, filled.rows)))]
