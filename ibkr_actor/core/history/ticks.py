"""Owns jobs of ticks: page after page, each joined to the one before it.

Reads no command; shares asks, sessions and ends with the jobs of bars (`core.history.work`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import structs

from ibkr_actor.core.calendar.sessions import Sessions
from ibkr_actor.core.effects import Effect, Instant
from ibkr_actor.core.history.events import HistoricalTicks
from ibkr_actor.core.history.interval import bounds
from ibkr_actor.core.history.schedules import unknown_hours
from ibkr_actor.core.history.tick_pages import PAGE_MAX, Turned, first_seam, page_of, row_of, skip, turn
from ibkr_actor.core.requests import ReqHistoricalTicks

if TYPE_CHECKING:
    from ibkr_actor.core.history.asks import Ask
    from ibkr_actor.core.history.job import Job
    from ibkr_actor.core.history.work import Work

# The part of a job that is a page of ticks.
TICKS_PART: Final = -3


class Paging:
    """Jobs of ticks. Affects: the jobs and asks of `work`."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def plan(self, job: Job, sessions: Sessions) -> None:
        """Where the job begins and ends. It keeps its sessions: other jobs may replace what is known of them."""
        state = job.state
        job.planned, job.sessions = True, _wide(job, sessions)
        from_ns, to_ns = bounds(state.asked, job.sessions, state.asked_ns)
        job.from_ns, job.to_ns = from_ns, min(to_ns, state.asked_ns)
        if not state.begun:
            state.begun, state.seam = True, first_seam(job.from_ns, job.to_ns, job.sessions)
            if state.seam is None:
                state.holes += unknown_hours(state, sessions)

    def advance(self, job: Job, now: Instant) -> list[Effect]:
        """Asks for the next page, or ends the job when there is none."""
        state = job.state
        if state.seam is None:
            return self._work.finish(job, "incomplete" if state.holes else "complete", "", now)
        if job.turning or job.unread or job.unwritten >= self._work.unwritten_max:
            return []
        job.turning = True
        state.requests += 1
        page = page_of(state.seam)
        request = ReqHistoricalTicks(0, state.contract, page.start, "", page.count, state.what_to_show, state.use_rth)
        return self._work.ask(job, request, TICKS_PART)

    def answered(self, event: HistoricalTicks, now: Instant) -> list[Effect]:
        """A page, for all jobs that wait for it."""
        ask = self._work.asks.of(event.req_id)
        if ask is None:
            return []
        ask.ticks.extend(event.ticks)
        if not event.done and len(ask.ticks) < PAGE_MAX:
            self._work.asks.goes_on(event.req_id, now)
            return []
        return self._turn(ask, PAGE_MAX, now)

    def went_silent(self, ask: Ask, now: Instant) -> list[Effect] | None:
        """The rest of a page did not come: it goes on behind what did. None when nothing did."""
        return self._turn(ask, len(ask.ticks), now, ended=False) if ask.ticks else None

    def no_data(self, ask: Ask, message: str, ib_code: int, now: Instant) -> list[Effect]:
        """IB says in words what an empty page says: there may be ticks on the next trade date."""
        return self._turn(ask, PAGE_MAX, now, message=message, ib_code=ib_code)

    def _turn(
        self,
        ask: Ask,
        count: int,
        now: Instant,
        *,
        ended: bool = True,
        message: str = "",
        ib_code: int | None = None,
    ) -> list[Effect]:
        effects = self._work.asks.close(ask, ended=ended)
        for job in self._work.waiting(ask, TICKS_PART):
            if job.state.seam is None or job.sessions is None or job.to_ns is None:
                continue
            turned = turn(job.state.seam, ask.ticks, job.to_ns, job.sessions, count)
            if ib_code is not None:
                holes = tuple(structs.replace(hole, message=message, ib_code=ib_code) for hole in turned.holes)
                turned = structs.replace(turned, holes=holes)
            effects += self._take(job, turned, now)
        return effects

    def give_up(self, ask: Ask, reason: str, message: str, ib_code: int | None, now: Instant) -> list[Effect]:
        """A page that IB does not give: what is left is a hole."""
        effects: list[Effect] = []
        for job in self._work.waiting(ask, TICKS_PART):
            if job.state.seam is None or job.sessions is None or job.to_ns is None:
                continue
            turned = skip(job.state.seam, job.to_ns, job.sessions, reason, message, ib_code)
            effects += self._take(job, turned, now)
        return effects

    def _take(self, job: Job, turned: Turned, now: Instant) -> list[Effect]:
        state = job.state
        job.turning = False
        job.done_parts += 1
        state.holes += turned.holes
        state.seam = turned.seam
        rows = [row_of(state.what_to_show, tick) for tick in turned.ticks]
        return [self._work.write(job, list(job.ticks_of(rows, now.ns))), *self._work.advance(job, now)]


def _wide(job: Job, sessions: Sessions) -> Sessions:
    first, last = job.state.asked.days(job.state.asked_ns)
    return sessions.extended(first, last)
