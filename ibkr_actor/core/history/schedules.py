"""Owns what a job must know before its windows are cut: when its instrument trades, and where its data begins.

Cuts and delivers nothing: `core.history.work` does, once this is known.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from msgspec import structs

from ibkr_actor.core.calendar.sessions import NS, Sessions, from_hours, from_schedule
from ibkr_actor.core.effects import Effect, Instant
from ibkr_actor.core.history.events import HeadTimestamp, HistoricalSchedule
from ibkr_actor.core.history.plan import schedule_request
from ibkr_actor.core.requests import ReqHeadTimestamp, ReqHistoricalData
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.records import Hole

if TYPE_CHECKING:
    from ibkr_actor.core.history.job import Job, JobState
    from ibkr_actor.core.history.work import Work

# Parts of a job that are none of its windows.
SESSIONS_PART: Final = -1
HEAD_PART: Final = -2
# Windows that bring nothing at all before it is asked where data begins: the question is paced like small bars.
EMPTY_BEFORE_HEAD: Final = 2
_DAY: Final = timedelta(days=1)


class Learning:
    """Sessions and head timestamps. Affects: the jobs, asks and `known` of `work`."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # job -> how many of its windows came back empty in a row.
        self._empty: dict[str, int] = {}

    def forget(self, job: Job) -> None:
        """The job is over."""
        self._empty.pop(job.state.job, None)

    # ---- sessions

    def ask_sessions(self, job: Job) -> list[Effect]:
        """Asks for IB's list of the sessions of the job's days."""
        state = job.state
        end, duration = schedule_request(state.asked, state.asked_ns)
        # IB takes no end for a continuous future (10339); the future at its front has the same sessions.
        continuous = state.contract.sec_type == "CONTFUT"
        contract = structs.replace(state.contract, sec_type="FUT") if continuous else state.contract
        request = ReqHistoricalData(0, contract, end, duration, "1 day", "SCHEDULE", state.use_rth)
        return self._work.ask(job, request, SESSIONS_PART)

    def schedule(self, event: HistoricalSchedule, now: Instant) -> list[Effect]:
        """IB's list of sessions, for all jobs that wait for it."""
        work = self._work
        ask = work.asks.of(event.req_id)
        if ask is None:
            return []
        effects = work.asks.close(ask)
        for job in work.waiting(ask, SESSIONS_PART):
            try:
                sessions = from_schedule(event, job.state.contract.time_zone)
            except ValueError:
                effects += self.by_the_week(job, now)
                continue
            if not len(sessions):
                effects += self.by_the_week(job, now)
                continue
            work.known.keep_sessions(job.state, sessions)
            effects += work.advance(job, now)
        return effects

    def by_the_week(self, job: Job, now: Instant) -> list[Effect]:
        """Sessions by the week that the contract's own hours show, where IB lists none."""
        contract = job.state.contract
        hours = contract.liquid_hours if job.state.use_rth else contract.trading_hours
        try:
            sessions = from_hours(hours or contract.trading_hours, contract.time_zone)
        except ValueError as error:
            text = f"when {contract.instrument} trades is not known: {error}"
            return self._work.finish(job, "failed", text, now, Rejection("invalid_instrument", text))
        self._work.known.keep_sessions(job.state, sessions)
        return self._work.advance(job, now)

    # ---- where data begins

    def was_empty(self, job: Job, empty: bool) -> bool:
        """Notes whether a window brought nothing; whether it is time to ask where data begins."""
        state = job.state
        count = self._empty[state.job] = self._empty.get(state.job, 0) + 1 if empty else 0
        wanted = count == EMPTY_BEFORE_HEAD and state.rows == 0
        return empty and wanted and self._work.known.head_ns(state) is None

    def ask_head(self, job: Job) -> list[Effect]:
        """Nothing came twice: where data begins is asked for before more of it is."""
        state = job.state
        effects = self._work.asks.leave(state.job)
        job.unplan()
        request = ReqHeadTimestamp(0, state.contract, state.what_to_show, state.use_rth)
        return effects + self._work.ask(job, request, HEAD_PART)

    def head(self, event: HeadTimestamp, now: Instant) -> list[Effect]:
        """Where data begins: nothing before it is asked for."""
        work = self._work
        ask = work.asks.of(event.req_id)
        if ask is None:
            return []
        # IB counts it as open until it is cancelled.
        effects = work.asks.close(ask, ended=False)
        for job in work.waiting(ask, HEAD_PART):
            # What is no time tells nothing: the windows are asked one after the other.
            work.known.keep_head(job.state, int(event.head) * NS if event.head.isdecimal() else 0)
            effects += work.advance(job, now)
        return effects


def unknown_hours(state: JobState, sessions: Sessions) -> tuple[Hole, ...]:
    """What stands for an interval that is closed only as far as anybody knows: to find nothing is then no success."""
    first, last = state.asked.days(state.asked_ns)
    # Those are a day wider than what was asked for, on either side.
    days = [first + n * _DAY for n in range(1, (last - first).days)]
    if not sessions.unlisted & {day.weekday() for day in days}:
        return ()
    text = "IB lists neither sessions nor hours for these days of the week"
    return (Hole(_midnight_ns(days[0]), min(state.asked_ns, _midnight_ns(last)), "unknown_hours", text),)


def _midnight_ns(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * NS
