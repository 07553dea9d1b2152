"""Owns what was learnt of contracts on the way: sessions, where data begins, durations that IB refuses.

Asks for nothing; bounded, the contract learnt of first goes first.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from ibkr_actor.core.calendar.sessions import NS, Sessions
from ibkr_actor.core.history.durations import Duration
from ibkr_actor.core.history.job import JobState


class _Listed(Struct, frozen=True):
    """Sessions, the days they were asked for, and when: a session that had begun by then may not be told whole."""

    sessions: Sessions
    first: date
    last: date
    as_of_ns: int


class _Contract(Struct):
    """Sessions by regular hours or not; head timestamps in UTC nanoseconds by what_to_show, 0 when IB names none."""

    sessions: dict[bool, _Listed]
    heads_ns: dict[str, int]


class Known:
    """What jobs of one contract need not ask for again."""

    def __init__(self, contracts_max: int) -> None:
        self._contracts_max = contracts_max
        self._contracts: dict[tuple[str, str], _Contract] = {}
        # resolution -> durations that IB refused for it.
        self.refused: dict[str, set[Duration]] = {}

    def sessions(self, state: JobState) -> Sessions | None:
        """Those that are known for all of the job's days."""
        listed = self._of(state).sessions.get(state.use_rth)
        first, last = state.asked.days(state.asked_ns)
        if listed is None or first < listed.first or listed.last < last or listed.as_of_ns < _end_ns(state):
            return None
        return listed.sessions

    def keep_sessions(self, state: JobState, sessions: Sessions) -> None:
        first, last = state.asked.days(state.asked_ns)
        self._of(state).sessions[state.use_rth] = _Listed(sessions, first, last, state.asked_ns)

    def head_ns(self, state: JobState) -> int | None:
        """Where data begins, None while that was not asked."""
        return self._of(state).heads_ns.get(state.what_to_show)

    def keep_head(self, state: JobState, head_ns: int) -> None:
        self._of(state).heads_ns[state.what_to_show] = head_ns

    def refuse(self, bar: str, duration: Duration) -> None:
        self.refused.setdefault(bar, set()).add(duration)

    def _of(self, state: JobState) -> _Contract:
        key = (state.contract.identity, state.contract.exchange)
        found = self._contracts.get(key)
        if found is None:
            if len(self._contracts) >= self._contracts_max:
                del self._contracts[next(iter(self._contracts))]
            found = self._contracts[key] = _Contract({}, {})
        return found


def _end_ns(state: JobState) -> int:
    """Where a job ends, its own present at the latest."""
    until = state.asked.until
    if until is None:
        return state.asked_ns
    if not isinstance(until, datetime):
        until = datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
    return min(state.asked_ns, int(until.timestamp()) * NS)
