"""Owns the turns of a chain's members: which of them have a line, who is next, and when a turn is over.

Sends nothing and knows no budget beyond the number it is given; every time is monotonic seconds.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

# A turn lasts until the member's data are there, and at least and at most so long after its request was sent.
TURN_MIN_S: Final = 1.0
TURN_MAX_S: Final = 5.0


class TurnsConfig(Struct, frozen=True):
    """`waiting_max` requests may be without data at a time; between two of them `delay_s` go by.

    A member that IB refused for now is asked again `retries_max` times, after a wait that grows by `backoff`.
    """

    waiting_max: int = 5
    delay_s: float = 0.1
    retries_max: int = 3
    backoff: float = 1.5
    turn_min_s: float = TURN_MIN_S
    turn_max_s: float = TURN_MAX_S


class Turn:
    """One member, by its number (a con_id). `rank` is its place by nearness to the price, 0 the nearest."""

    __slots__ = ("asked", "complete", "heard", "key", "over", "rank", "refusals", "rests_until_s", "sent_s")

    def __init__(self, key: int) -> None:
        self.key = key
        self.rank = 0
        # Whether it has a line, since when its request is on the way to IB, and what has come.
        self.asked = False
        self.sent_s: float | None = None
        self.heard = False
        self.complete = False
        # The number of the turn that was its last; 0 before the first.
        self.over = 0
        self.refusals = 0
        self.rests_until_s = -math.inf


class Turns:
    """Members with and without a line. With fewer lines than members, half of the lines stay with the nearest ones."""

    def __init__(self, config: TurnsConfig) -> None:
        self._config = config
        self._turns: dict[int, Turn] = {}
        self._order: list[Turn] = []
        # (number of its last turn, rank, key) of those without a line; entries that are out of date are passed over.
        self._queue: list[tuple[int, int, int]] = []
        # Those that IB refused for now.
        self._resting: dict[int, Turn] = {}
        self._count = 0
        self._next_ask_s = -math.inf
        # Those that have a line now; and the lines that were granted last.
        self.asked: dict[int, Turn] = {}
        self.cap = 0

    def __len__(self) -> int:
        return len(self._order)

    def order(self) -> list[int]:
        """All members, the nearest first."""
        return [turn.key for turn in self._order]

    def get(self, key: int) -> Turn | None:
        """A member."""
        return self._turns.get(key)

    def lay(self, keys: Iterable[int]) -> list[int]:
        """The members from now on, the nearest first; returns those that are gone and have a line still."""
        self._order = [self._turns.get(key) or Turn(key) for key in keys]
        for rank, turn in enumerate(self._order):
            turn.rank = rank
        self._turns = {turn.key: turn for turn in self._order}
        self._resting = {key: turn for key, turn in self._resting.items() if key in self._turns}
        self._queue = [(turn.over, turn.rank, turn.key) for turn in self._order if not turn.asked]
        heapq.heapify(self._queue)
        return [key for key in self.asked if key not in self._turns]

    # ---- what happens to a member's request

    def ask(self, key: int, now_s: float) -> None:
        """It gets a line."""
        turn = self._turns[key]
        turn.asked, turn.sent_s, turn.heard, turn.complete = True, None, False, False
        self.asked[key] = turn
        self._next_ask_s = now_s + self._config.delay_s

    def sent(self, key: int, now_s: float) -> None:
        """Its request is on the way."""
        turn = self.asked.get(key)
        if turn is not None and turn.sent_s is None:
            turn.sent_s = now_s

    def drop(self, key: int, now_s: float) -> None:
        """Its line is given up. A turn in which nothing could come yet does not count."""
        turn = self.asked.pop(key, None)
        if turn is None:
            return
        turn.asked = False
        if turn.heard or now_s >= self._turn_over_s(turn):
            self._count += 1
            turn.over = self._count
        self._enqueue(turn)

    def lost(self) -> None:
        """All lines are gone with the connection; no turn is over for that."""
        for turn in self.asked.values():
            turn.asked = False
            self._enqueue(turn)
        self.asked = {}
        self._next_ask_s = -math.inf

    def refuse(self, key: int, now_s: float, *, counts: bool = True) -> bool:
        """IB ended its request; it rests for a while. False when it was refused too often."""
        turn = self.asked.pop(key, None)
        if turn is None:
            return True
        turn.asked = False
        turn.refusals += counts
        wait_s = max(1.0, self._config.delay_s) * self._config.backoff**turn.refusals
        turn.rests_until_s = now_s + wait_s
        if self._turns.get(key) is turn:
            self._resting[key] = turn
        return turn.refusals <= self._config.retries_max

    # ---- who gives up a line, and who gets one

    def yielded(self, count: int) -> list[int]:
        """The `count` members that can best do without their line: those far from the price first."""
        return [turn.key for turn in sorted(self.asked.values(), key=lambda turn: -turn.rank)[:count]]

    def over(self, cap: int, now_s: float) -> list[int]:
        """Those whose line is to be given up, with `cap` lines for this chain from now on."""
        self.cap = cap
        self._end_rests(now_s)
        pinned = self.pinned
        gone = self.yielded(max(0, len(self.asked) - cap))
        if len(self._order) <= cap:
            return gone
        going = [turn for turn in self.asked.values() if turn.rank >= pinned and turn.key not in gone]
        near = sum(1 for turn in self.asked.values() if turn.rank < pinned and turn.key not in gone)
        # The nearest have their lines for good: who is in their place makes way.
        missing = sum(1 for turn in self._order[:pinned] if self._may_ask(turn))
        too_many = max(0, near + len(going) + missing - cap)
        done = [turn for turn in going if now_s >= self._turn_over_s(turn)]
        done = done[: self._successors(cap - len(self.asked) + len(gone), now_s)]
        if too_many > len(done):
            rest = sorted((turn for turn in going if turn not in done), key=lambda turn: -turn.rank)
            done += rest[: too_many - len(done)]
        return gone + [turn.key for turn in done]

    def _successors(self, free: int, now_s: float) -> int:
        """How many turns may end because somebody else can be asked at once, beyond those for `free` lines."""
        if now_s < self._next_ask_s:
            return 0
        idle = self._idle(self.pinned)
        may = self._config.waiting_max - self._waiting(now_s)
        if self._config.delay_s > 0:
            may = min(may, 1)
        return max(0, min(idle, may) - max(0, free))

    @property
    def pinned(self) -> int:
        """How many of the nearest keep their lines."""
        return len(self._order) if len(self._order) <= self.cap else self.cap // 2

    def _turn_over_s(self, turn: Turn) -> float:
        if turn.sent_s is None:
            return math.inf
        return turn.sent_s + (self._config.turn_min_s if turn.complete else self._config.turn_max_s)

    def _may_ask(self, turn: Turn) -> bool:
        return not turn.asked and turn.key not in self._resting

    def _idle(self, first_rank: int = 0) -> int:
        """How many members from a rank on have no line and do not rest."""
        busy = sum(1 for turn in self.asked.values() if turn.rank >= first_rank and turn.key in self._turns)
        busy += sum(1 for turn in self._resting.values() if turn.rank >= first_rank)
        return max(0, len(self._order) - first_rank - busy)

    def _enqueue(self, turn: Turn) -> None:
        if self._turns.get(turn.key) is turn:
            heapq.heappush(self._queue, (turn.over, turn.rank, turn.key))

    def _end_rests(self, now_s: float) -> None:
        for turn in [turn for turn in self._resting.values() if turn.rests_until_s <= now_s]:
            del self._resting[turn.key]
            self._enqueue(turn)

    def next(self, now_s: float) -> int | None:
        """Who gets a line now: a nearest one without, else whose last turn is longest ago. None when it is not time."""
        if len(self.asked) >= self.cap or now_s < self._next_ask_s or self._waiting(now_s) >= self._config.waiting_max:
            return None
        self._end_rests(now_s)
        for turn in self._order[: self.pinned]:
            if self._may_ask(turn):
                return turn.key
        return self._longest_ago()

    def _longest_ago(self) -> int | None:
        """The first of the queue that is neither asked, nor resting, nor one of the nearest, who come first anyway."""
        passed: list[tuple[int, int, int]] = []
        found: int | None = None
        while self._queue and found is None:
            entry = heapq.heappop(self._queue)
            turn = self._turns.get(entry[2])
            if turn is None or not self._may_ask(turn) or (turn.over, turn.rank) != entry[:2]:
                continue
            passed.append(entry)
            if turn.rank >= self.pinned:
                found = turn.key
        for entry in passed:
            heapq.heappush(self._queue, entry)
        return found

    def _waiting(self, now_s: float) -> int:
        """Requests that may still get their first data."""
        return sum(
            1
            for turn in self.asked.values()
            if not turn.heard and (turn.sent_s is None or now_s < turn.sent_s + self._config.turn_max_s)
        )

    # ---- times

    def next_s(self, now_s: float) -> float | None:
        """When to look again, if nothing happens before."""
        times = [turn.rests_until_s for turn in self._resting.values()]
        idle = self._idle() > 0
        if idle and self._next_ask_s > now_s:
            times.append(self._next_ask_s)
        if idle or any(not turn.heard for turn in self.asked.values()):
            for turn in self.asked.values():
                over_s = self._turn_over_s(turn)
                if over_s > now_s and (turn.rank >= self.pinned or not turn.heard):
                    times.append(over_s)
        return min((at_s for at_s in times if at_s > now_s and math.isfinite(at_s)), default=None)

    @property
    def rotation_s(self) -> float | None:
        """How long a round may take when each takes as long as it may; 0 without turns, None without lines."""
        rest = len(self._order) - self.pinned
        if rest == 0:
            return 0.0
        at_a_time = min(self._config.waiting_max, self.cap - self.pinned)
        if at_a_time < 1:
            return None
        return math.ceil(rest / at_a_time) * (self._config.turn_max_s + at_a_time * self._config.delay_s)
