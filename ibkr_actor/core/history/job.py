"""Owns one history job: what was asked for, which parts of it are under way, and what was delivered in which order.

Sends nothing: `core.history.core` asks for the parts and tells a job what came. What a restart needs is `JobState`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct, field

from ibkr_actor.core.calendar.sessions import Sessions
from ibkr_actor.core.history.interval import Asked, asked
from ibkr_actor.core.history.plan import Plan, Window
from ibkr_actor.core.history.stitch import Row, Stitch, joined
from ibkr_actor.core.history.tick_pages import Seam
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import FEED_LIVE, Bars, Done, Hole, Ticks

# Bars or ticks in one entry. Source: docs/STREAMS.md, "History".
ENTRY_ROWS_MAX: Final = 500
Outcome = Literal["complete", "incomplete", "failed", "cancelled"]


class JobState(Struct):
    """Everything a restart goes on from; a field of the `jobs` hash. `cursor_ns`: all before it was delivered.

    `seam` is where the next page of ticks begins, once `begun`.
    """

    job: str
    client: str
    command_id: str
    op: str
    contract: Contract
    bar: str
    start: str
    end: str
    what_to_show: str
    use_rth: bool
    priority: str
    asked_ns: int
    cursor_ns: int = 0
    entries: int = 0
    rows: int = 0
    requests: int = 0
    cached: int = 0
    paused: bool = False
    holes: list[Hole] = field(default_factory=list)
    begun: bool = False
    seam: Seam | None = None

    @property
    def asked(self) -> Asked:
        """The interval; its texts were checked when the job was accepted."""
        return asked(self.start, self.end, self.asked_ns)


def encode_state(state: JobState) -> bytes:
    return msgspec.json.encode(state)


def decode_state(value: bytes) -> JobState:
    """Raises: msgspec.MsgspecError for what is no job."""
    return msgspec.json.decode(value, type=JobState)


class Part(Struct):
    """One window of a job and what came of it so far. `wanted` is what to ask next, None when it is done."""

    number: int
    stitch: Stitch
    wanted: Window | None
    asked: bool = False
    # What it is kept under in the cache, empty when it is not; whether it was found there.
    cache_name: str = ""
    cached: bool = False


class Job:
    """A job while this process runs. Parts stand in order of time and are delivered in it, whatever comes first."""

    def __init__(self, state: JobState, past_of: int | None = None) -> None:
        self.state = state
        # The number of the past of a stream that it fetches; None for a client's job, whose entries go to Redis.
        self.past_of = past_of
        self.planned = False
        self._parts: dict[int, Part] = {}
        self._count = 0
        self.done_parts = 0
        # Number of the last entry that is known to stand in Redis.
        self.written = state.entries
        # Kinds of data that IB did not take; what it names instead is tried once.
        self.refused_shows: set[str] = set()
        # Of a job of ticks, once it is planned: what its pages are turned by.
        self.sessions: Sessions | None = None
        # Whether a page of ticks is asked for.
        self.turning = False
        # Whether so much is unread that nothing more is asked for.
        self.unread = False
        # What the interval is cut to at its ends; given with the plan, delivered with the end.
        self.plan_holes: tuple[Hole, ...] = ()
        self.to_ns: int | None = None
        self.from_ns: int | None = None

    @property
    def ticks(self) -> bool:
        return self.state.op == "history_ticks"

    @property
    def parts(self) -> int:
        """How many parts there are, those delivered included."""
        return self.done_parts + len(self._parts)

    @property
    def unwritten(self) -> int:
        """Entries handed over that Redis has not confirmed."""
        return self.state.entries - self.written

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to ask or to deliver."""
        return self.planned and not self._parts

    def part(self, number: int) -> Part | None:
        return self._parts.get(number)

    def take_plan(self, plan: Plan) -> None:
        """Takes a plan in place of the one before; what was delivered is not in it."""
        self.planned = True
        self.plan_holes, self.from_ns, self.to_ns = plan.holes, plan.span.from_ns, plan.span.to_ns
        self._parts = {}
        for window in plan.windows:
            self._count += 1
            self._parts[self._count] = Part(self._count, Stitch(plan.planner, window), window)

    def unplan(self) -> None:
        """Drops what is under way: the rest is planned anew behind what was delivered."""
        self.planned = self.turning = False
        self._parts = {}

    def to_ask(self, ahead: int) -> list[Part]:
        """Parts to ask for now, so that at most `ahead` are under way or wait for one before them."""
        first = itertools.islice(self._parts.values(), ahead)
        return [part for part in first if not part.asked and part.wanted is not None]

    def answered(self) -> Iterator[Part]:
        """Parts that can be delivered, in order; each is taken out."""
        while self._parts:
            part = next(iter(self._parts.values()))
            if part.wanted is not None:
                return
            del self._parts[part.number]
            self.done_parts += 1
            yield part

    # ---- entries

    def bars(self, rows: Sequence[Row], now_ns: int) -> list[Bars]:
        """The rows as numbered entries. Affects: `entries` and `rows` of the state."""
        found: list[Bars] = []
        state = self.state
        for at in range(0, len(rows), ENTRY_ROWS_MAX):
            state.entries += 1
            chunk = list(rows[at : at + ENTRY_ROWS_MAX])
            con_id, show = state.contract.con_id, state.what_to_show
            found.append(Bars(0, state.entries, con_id, now_ns, None, FEED_LIVE, 0, show, state.bar, chunk))
        state.rows += len(rows)
        return found

    def ticks_of(self, rows: Sequence[list[int | float | str | bool | None]], now_ns: int) -> list[Ticks]:
        """The same for ticks."""
        found: list[Ticks] = []
        state = self.state
        for at in range(0, len(rows), ENTRY_ROWS_MAX):
            state.entries += 1
            chunk = list(rows[at : at + ENTRY_ROWS_MAX])
            con_id, show = state.contract.con_id, state.what_to_show
            found.append(Ticks(0, state.entries, con_id, now_ns, None, FEED_LIVE, 0, show, chunk))
        state.rows += len(rows)
        return found

    def done(self, outcome: Outcome, message: str, now_ns: int) -> Done:
        """The last entry. Affects: `entries` of the state."""
        state = self.state
        state.entries += 1
        # What was found empty before it was known that data begins later is said once.
        found = [
            hole
            for hole in state.holes
            if not any(cut.from_ns <= hole.from_ns and hole.to_ns <= cut.to_ns for cut in self.plan_holes)
        ]
        holes = list(joined([*self.plan_holes, *found]))
        return Done(
            0,
            state.entries,
            state.contract.con_id,
            now_ns,
            None,
            FEED_LIVE,
            0,
            outcome,
            state.rows,
            state.entries,
            state.requests,
            state.cached,
            self.from_ns,
            self.to_ns,
            holes,
            message,
        )
