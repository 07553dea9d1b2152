"""Owns the judgement of one line: fresh, quiet or stale, by its market's phase and what it normally sends.

Asks for nothing and tells nobody: `core.lines.silences` does.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.core.calendar.market_phases import MarketPhases, Phase, PhaseName
from ibkr_actor.core.effects import Instant
from ibkr_actor.core.kinds import LineType
from ibkr_actor.schema.instruments import Contract

# `fresh`: data come as they usually do. `quiet`: silent, and no wonder: closed, halted, or hours that are not known.
# `stale`: silent in market hours for longer than is usual, or cut off from IB.
Freshness = Literal["", "fresh", "quiet", "stale"]

# Silence is compared with the longest of late: this many times it is out of the ordinary.
_FACTOR: Final = 2.5
# Bars come every five seconds: one that is so late is missing, so that silence shows within ten seconds.
_LATE_S: Final = 3.0
# After this time without another like it, a long silence counts half.
_HALF_LIFE_S: Final = 1_200.0
# What was heard for less than this says little about what is usual, unless it spoke in so many looks, or in every one.
_KNOWN_AFTER_S: Final = 60.0
_KNOWN_AFTER_LOOKS: Final = 10
_QUICK_AFTER_LOOKS: Final = 5
_QUICK_S: Final = 2.0
# What is taken for usual before; bars come every 5 s. Source: IBKR, TWS API, "Real Time Bars".
_UNKNOWN_S: Final[dict[LineType, float]] = {"level1": 60.0, "tick_by_tick": 120.0, "bars": 20.0}
_UNKNOWN_DEFAULT_S: Final = 60.0
# Bars that follow each other steadily come this much later at most.
_JITTER_S: Final = 2.0
# A market may open late, and outside regular hours little happens.
_OPENING_S: Final = 60.0
_EXTENDED_MIN_S: Final = 60.0
_LIMIT_MAX_S: Final = 3_600.0
_FROZEN: Final = frozenset({2, 4})


class Rhythm:
    """The longest silence of late in one phase of the market, as a measure of what is usual."""

    __slots__ = ("known_s", "longest_s", "looks")

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.known_s = 0.0
        # In how many looks it had spoken.
        self.looks = 0

    def note(self, silence_s: float) -> None:
        """A silence ended that was nothing out of the ordinary."""
        self.longest_s = max(silence_s, self.longest_s * 0.5 ** (silence_s / _HALF_LIFE_S))
        self.known_s += silence_s
        self.looks += 1

    @property
    def _is_known(self) -> bool:
        is_quick = self.looks >= _QUICK_AFTER_LOOKS and self.longest_s <= _QUICK_S
        return is_quick or self.looks >= _KNOWN_AFTER_LOOKS or self.known_s >= _KNOWN_AFTER_S

    def limit_s(self, least_s: float, unknown_s: float, *, steady: bool = False) -> float:
        """The silence from which on something is wrong; of what comes `steady` it is a little more than any of late."""
        usual_s = self.longest_s + _LATE_S if steady else _FACTOR * self.longest_s
        if not self._is_known:
            usual_s = max(usual_s, unknown_s)
        return min(max(usual_s, least_s), _LIMIT_MAX_S)


class Facts(Struct):
    """What a line is at a look: whether its request has left, whether data came for it, its feed, its halt."""

    req_id: int | None
    sent: bool
    live: bool
    newest_ns: int
    feed: int
    halted: bool


class Watch:
    """One line under observation. `look` is to be called about once a second; all times are those of the looks."""

    __slots__ = (
        "_answered", "_answers", "_least_s", "_newest_ns", "_phases", "_req_id", "_rhythms", "_steady", "_unknown_s",
        "heard_s", "lone", "phase", "reason", "said", "since_ns", "state",
    )  # fmt: skip

    def __init__(self, contract: Contract, line_type: LineType, *, rth: bool, least_s: float) -> None:
        self._phases = MarketPhases(contract, regular_only=rth)
        self._least_s = least_s
        self._unknown_s = _UNKNOWN_S.get(line_type, _UNKNOWN_DEFAULT_S)
        # Whether a request is answered at once, whatever happens in the market; how long that takes is no habit.
        self._answers = line_type == "level1"
        self._answered = False
        self._steady = line_type == "bars"
        self._rhythms: dict[PhaseName, Rhythm] = {}
        self._req_id: int | None = None
        self._newest_ns = 0
        self.phase = Phase("unknown", 0, 0)
        # When it was last heard, or asked for.
        self.heard_s = 0.0
        # Whether its present silence is its own alone: such a one may turn out to be its habit. One with a cause that
        # is known teaches nothing.
        self.lone = True
        self.state: Freshness = ""
        self.reason = ""
        self.since_ns = 0
        # What was last said of it in `system`.
        self.said: Freshness = ""

    def new_hours(self, contract: Contract, *, rth: bool) -> None:
        """IB has told the hours anew."""
        self._phases = MarketPhases(contract, regular_only=rth)

    def look(self, facts: Facts, now: Instant) -> bool:
        """Takes in what is there now; whether data came since the last look."""
        phase = self._phases.at(now.ns)
        same_phase, self.phase = phase == self.phase, phase
        if facts.req_id != self._req_id or not facts.sent:
            # A new request starts to be silent when it has left.
            self._req_id, self.heard_s, same_phase = facts.req_id, now.s, False
            self._answered = not self._answers
        if facts.newest_ns == self._newest_ns:
            return False
        if same_phase and self._newest_ns and self.lone and self._answered:
            self._learn(now.s - self.heard_s)
        self._newest_ns, self.heard_s, self._answered = facts.newest_ns, now.s, True
        # Of a line that was lost behind its newest data the cause is known already.
        self.lone = self.lone or facts.live
        return True

    def _learn(self, silence_s: float) -> None:
        if self.state == "stale":
            # It was too early to call it stale, if nothing else was wrong; one long silence teaches not too much.
            silence_s = min(silence_s, 2 * self.limit_s)
        self._rhythms.setdefault(self.phase.name, Rhythm()).note(silence_s)

    def take_for_habit(self, silence_s: float) -> None:
        """A silence may be its way, though no data of its own ended it: the next one as long is no alarm."""
        self._rhythms.setdefault(self.phase.name, Rhythm()).note(min(silence_s, 2 * self.limit_s))

    @property
    def newest_ns(self) -> int:
        """When the newest data had come at the last look."""
        return self._newest_ns

    @property
    def limit_s(self) -> float:
        """The silence from which on it is stale, in the present phase."""
        least_s = _EXTENDED_MIN_S if self.phase.name == "extended" else self._least_s
        rhythm = self._rhythms.get(self.phase.name)
        if rhythm is None:
            return max(least_s, self._unknown_s)
        return rhythm.limit_s(least_s, self._unknown_s, steady=self._steady)

    def silent_s(self, now: Instant) -> float:
        """How long it is silent, of the time in which it might have spoken."""
        return min(now.s - self.heard_s, max(0.0, (now.ns - self.phase.from_ns) / 1e9))

    def unusual(self, now: Instant) -> bool:
        """Whether it is silent for longer than it was of late, be that much or little."""
        rhythm = self._rhythms.get(self.phase.name)
        return rhythm is not None and now.s - self.heard_s > rhythm.longest_s

    def left_out(self, before_ns: int, at_ns: int) -> bool:
        """Whether bars that begin at these times should have others between them, by its pace of late."""
        rhythm = self._rhythms.get(self.phase.name)
        if not self.phase.is_open or before_ns < self.phase.from_ns:
            return False
        if rhythm is None or rhythm.known_s < _KNOWN_AFTER_S:
            return False
        return (at_ns - before_ns) / 1e9 > rhythm.longest_s + _JITTER_S

    def expects_data(self, facts: Facts) -> bool:
        """Whether data are to be expected at all."""
        return self.phase.is_open and not facts.halted and facts.feed not in _FROZEN

    def overdue(self, facts: Facts, now: Instant) -> bool:
        """Whether it is silent for longer than it may be while its market is open."""
        if not self.expects_data(facts):
            return False
        opening = not facts.live or now.s - self.heard_s > (now.ns - self.phase.from_ns) / 1e9
        limit_s = max(self.limit_s, _OPENING_S) if opening else self.limit_s
        return self.silent_s(now) >= limit_s

    def judge(self, facts: Facts, now: Instant) -> tuple[Freshness, str]:
        """The state, and why. A line without data since it was asked for or lost is stale while its market is open."""
        if facts.halted:
            return "quiet", "halted"
        if facts.feed in _FROZEN:
            return "quiet", "frozen"
        if not self.phase.is_open:
            # Data in closed time are fresh for a moment, but none are to be expected.
            limit_s = self.limit_s if self.phase.name == "unknown" else self._least_s
            speaks = facts.live and now.s - self.heard_s < limit_s
            return ("fresh", "") if speaks else ("quiet", self.phase.name)
        if facts.live and not self.overdue(facts, now):
            # Of a phase that began just now nothing may have been heard yet: what was holds on.
            waits = self.state == "quiet" and now.s - self.heard_s > (now.ns - self.phase.from_ns) / 1e9
            return ("quiet", "opening") if waits else ("fresh", "")
        return "stale", "silent"
