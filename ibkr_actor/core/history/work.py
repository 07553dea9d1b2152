"""Owns the jobs under way: their sessions, plans and parts, what each answer does to them, and how they end.

Reads no command; `core.history.core` does, and gives it jobs.
"""

from __future__ import annotations

from ibkr_actor.core.calendar.sessions import Sessions
from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, Instant, Notify, Tell, WriteJob
from ibkr_actor.core.history import status as history_status
from ibkr_actor.core.history.asks import BACKFILL, INTERACTIVE, Ask, Asks
from ibkr_actor.core.history.cache import WindowCache
from ibkr_actor.core.history.events import HistoricalBars, HistoricalBarsEnd
from ibkr_actor.core.history.job import Job, Outcome, Part, encode_state
from ibkr_actor.core.history.known import Known
from ibkr_actor.core.history.plan import Window, plan
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.history.schedules import HEAD_PART, SESSIONS_PART, Learning, unknown_hours
from ibkr_actor.core.history.ticks import Paging
from ibkr_actor.core.messages import JobAbandoned, JobUnread, JobWritten, PastDone, PastRows, SessionUp
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.commands import Rejection, Reply, Status
from ibkr_actor.schema.records import DataRecord


class Work:
    """All jobs that are not done, by name."""

    def __init__(self, config: HistoryConfig, req_ids: ReqIds) -> None:
        self._config = config
        self.asks = Asks(req_ids, timeout_s=config.answer_timeout_s)
        self.jobs: dict[str, Job] = {}
        self._conn: int | None = None
        self.known = Known(config.contracts_max)
        self.cache = WindowCache(config, self)
        self.paging = Paging(self)
        self.unwritten_max = config.unwritten_max
        self.learning = Learning(self)
        self._progress = Deadlines[str]()
        self.outlook = history_status.Outlook(config)
        self._done_total = 0

    def next_wakeup_s(self) -> float | None:
        times = (self.asks.next_wakeup_s(), self.cache.next_wakeup_s(), self._progress.next_s())
        return min((at_s for at_s in times if at_s is not None), default=None)

    # ---- jobs

    def add(self, job: Job, now: Instant) -> list[Effect]:
        """Takes a job up, new or restored."""
        self.jobs[job.state.job] = job
        if job.past_of is None:
            self._progress.set(job.state.job, now.s + self._config.progress_s)
        return self.advance(job, now)

    def pause(self, job: Job, now: Instant) -> list[Effect]:
        """Takes back what is asked for the job; what was delivered stays."""
        if job.state.paused:
            return []
        job.state.paused = True
        effects = self.asks.leave(job.state.job)
        job.unplan()
        return [*effects, self.write(job, [])]

    def resume(self, job: Job, now: Instant) -> list[Effect]:
        if not job.state.paused:
            return []
        job.state.paused = False
        return [self.write(job, []), *self.advance(job, now)]

    def finish(
        self, job: Job, outcome: Outcome, message: str, now: Instant, error: Rejection | None = None
    ) -> list[Effect]:
        """Closes the stream of the job and tells its client."""
        state = job.state
        effects = self.asks.leave(state.job)
        del self.jobs[state.job]
        self._progress.clear(state.job)
        self.learning.forget(job)
        self._done_total += 1
        done = job.done(outcome, message, now.ns)
        if job.past_of is not None:
            return [*effects, Tell("subscriptions", PastDone(job.past_of, done, error))]
        effects.append(WriteJob(state.job, (done,), state.entries, None))
        result = history_status.ended(state, done)
        status: Status = "rejected" if error is not None else "done"
        reply = Reply(id=state.command_id, op=state.op, status=status, error=error, result=result, note=message or None)
        effects.append(Notify(state.client, reply))
        return effects

    def say_again(self) -> list[Effect]:
        """Redis forgot: how far each job is, once more."""
        return [self.write(job, []) for job in self.jobs.values() if job.past_of is None]

    def written(self, message: JobWritten, now: Instant) -> list[Effect]:
        job = self.jobs.get(message.job)
        if job is None:
            return []
        job.written = max(job.written, message.number)
        return self.advance(job, now)

    def unread(self, message: JobUnread, now: Instant) -> list[Effect]:
        """A reader lags behind: nothing more is asked for until it has read."""
        job = self.jobs.get(message.job)
        if job is None:
            return []
        job.unread = message.too_much
        return self.advance(job, now)

    def abandoned(self, message: JobAbandoned, now: Instant) -> list[Effect]:
        """Nobody read what was delivered until it was gone: nobody waits for the rest."""
        job = self.jobs.get(message.job)
        if job is None or not job.unread:
            return []
        return self.finish(job, "cancelled", "its results were not read before they expired", now)

    def write(self, job: Job, entries: list[DataRecord]) -> Effect:
        """Hands entries over, to Redis or to the stream that begins with them."""
        if job.past_of is not None:
            job.written = job.state.entries
            return Tell("subscriptions", PastRows(job.past_of, tuple(entries)))
        return WriteJob(job.state.job, tuple(entries), job.state.entries, encode_state(job.state))

    # ---- getting on

    def advance(self, job: Job, now: Instant) -> list[Effect]:
        """Whatever can be done next for a job: its sessions, its plan, its next windows, its end."""
        state = job.state
        if state.paused or self._conn is None:
            return []
        if not job.planned:
            sessions = self.known.sessions(state)
            if sessions is None:
                return self.learning.ask_sessions(job)
            if job.ticks:
                self.paging.plan(job, sessions)
            else:
                self._plan(job, sessions)
        if job.ticks:
            return self.paging.advance(job, now)
        return self._ask_parts(job, now) + self._deliver(job, now)

    def _plan(self, job: Job, sessions: Sessions) -> None:
        state = job.state
        job.take_plan(
            plan(
                state.asked,
                resolution(state.bar),
                sessions,
                contract=state.contract,
                what_to_show=state.what_to_show,
                use_rth=state.use_rth,
                now_ns=state.asked_ns,
                head_ns=self.known.head_ns(state),
                bars_max=self._config.bars_max,
                refused=self.known.refused.get(state.bar, set()),
                resume_ns=state.cursor_ns,
            )
        )
        if job.is_over and not (job.plan_holes or state.holes or state.rows):
            job.plan_holes = unknown_hours(state, sessions)

    def _ask_parts(self, job: Job, now: Instant) -> list[Effect]:
        """The next windows, as long as what was delivered is written and read: from the cache first."""
        if job.unread or job.unwritten >= self._config.unwritten_max:
            return []
        effects: list[Effect] = []
        for part in job.to_ask(self._config.windows_ahead):
            part.asked = True
            looked_up = self.cache.look_up(job, part, now)
            effects += self.ask_part(job, part) if looked_up is None else looked_up
        return effects

    def ask_part(self, job: Job, part: Part) -> list[Effect]:
        """Asks IB for a window of a job."""
        assert part.wanted is not None
        job.state.requests += 1
        return self.ask(job, part.wanted.request(job.state.contract), part.number)

    def ask(self, job: Job, request: AnyRequest, part: int) -> list[Effect]:
        """Asks for a part of a job, or waits for the same that another job asked for."""
        priority = BACKFILL if job.state.priority == "backfill" else INTERACTIVE
        return self.asks.add(request, (job.state.job, part), client=job.state.client, priority=priority)

    def _deliver(self, job: Job, now: Instant) -> list[Effect]:
        """What is next in order, to Redis; and the end, when nothing is left."""
        effects: list[Effect] = []
        state = job.state
        for part in job.answered():
            filled = part.stitch.filled
            state.holes += filled.holes
            state.cursor_ns = part.stitch.window.to_ns
            effects += self.cache.store(part, now)
            effects.append(self.write(job, list(job.bars(filled.rows, now.ns))))
        if job.is_over:
            holes = job.plan_holes or state.holes
            return effects + self.finish(job, "incomplete" if holes else "complete", _quiet(job), now)
        return effects + self._ask_parts(job, now) if effects else []

    def settle(self, job: Job, part: Part, wanted: Window | None, now: Instant) -> list[Effect]:
        """A part was answered: it wants another request, or it is done."""
        part.wanted, part.asked = wanted, False
        if wanted is None and self.learning.was_empty(job, not part.stitch.filled.rows):
            return self.learning.ask_head(job)
        return self.advance(job, now)

    # ---- answers

    def bars(self, event: HistoricalBars, now: Instant) -> list[Effect]:
        ask = self.asks.of(event.req_id)
        if ask is None:
            return []
        ask.bars.extend(event.bars)
        if event.complete:
            return self._answered(ask, now)
        self.asks.goes_on(event.req_id, now)
        return []

    def bars_end(self, event: HistoricalBarsEnd, now: Instant) -> list[Effect]:
        ask = self.asks.of(event.req_id)
        return [] if ask is None else self._answered(ask, now)

    def _answered(self, ask: Ask, now: Instant) -> list[Effect]:
        effects = self.asks.close(ask)
        for job, part in self.parts(ask):
            effects += self.settle(job, part, part.stitch.take(ask.bars), now)
        return effects

    def parts(self, ask: Ask) -> list[tuple[Job, Part]]:
        found = [(self.jobs.get(name), number) for name, number in ask.waiters]
        pairs = [(job, job.part(number)) for job, number in found if job is not None]
        return [(job, part) for job, part in pairs if part is not None]

    def waiting(self, ask: Ask, number: int) -> list[Job]:
        names = [name for name, part in ask.waiters if part == number]
        return [self.jobs[name] for name in names if name in self.jobs]

    def again(
        self, ask: Ask, rejection: Rejection, now: Instant, *, after_s: float = 0.0, ended: bool = True
    ) -> list[Effect]:
        """Asks once more; when that was tried often enough, what it should have brought is a hole."""
        ask.failures += 1
        if ask.failures < self._config.tries_max:
            return self.asks.again(ask, now, after_s=after_s, ended=ended)
        return self.give_up(ask, "no_answer", rejection.message, rejection.ib_code, now, ended=ended)

    def give_up(
        self, ask: Ask, reason: str, message: str, ib_code: int | None, now: Instant, *, ended: bool = True
    ) -> list[Effect]:
        """Nothing comes of this one: a hole, and on with the next."""
        effects = self.asks.close(ask, ended=ended) + self.paging.give_up(ask, reason, message, ib_code, now)
        for job, part in self.parts(ask):
            effects += self.settle(job, part, part.stitch.refuse(reason, message, ib_code), now)
        for job in self.waiting(ask, SESSIONS_PART):
            effects += self.learning.by_the_week(job, now)
        for job in self.waiting(ask, HEAD_PART):
            self.known.keep_head(job.state, 0)
            effects += self.advance(job, now)
        return effects

    def replan(self, job: Job, now: Instant) -> list[Effect]:
        """Another duration or other data: the rest of the job is cut anew."""
        effects = self.asks.leave(job.state.job)
        job.unplan()
        return effects + self.advance(job, now)

    # ---- session and time

    def session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        self._conn = message.conn
        effects = self.asks.session_up(message.conn)
        for job in list(self.jobs.values()):
            effects += self.advance(job, now)
        return effects

    def session_down(self) -> None:
        self._conn = None
        self.asks.session_down()

    def wake_up(self, now: Instant) -> list[Effect]:
        effects, silent = self.asks.due(now)
        effects += self.cache.wake_up(now)
        for ask in silent:
            excused = self.paging.went_silent(ask, now) or self.asks.excused(ask, now)
            late = self.asks.farms.late("request", self._config.answer_timeout_s, was_asked=True)
            effects += self.again(ask, late, now, ended=False) if excused is None else excused
        told = self._progress.due(now.s)
        held = self.asks.held_jobs() if told else set()
        for name in told:
            job = self.jobs.get(name)
            if job is not None:
                effects.append(history_status.progress(job, self.jobs.values(), self.outlook, now.s, held))
                self._progress.set(name, now.s + self._config.progress_s)
        return effects

    def status(self, now: Instant) -> dict[str, object]:
        """This core's part of the status."""
        return {
            "jobs": history_status.shown_all(
                self.jobs.values(), self.outlook, self._config.shown_max, now.s, self.asks.held_jobs()
            ),
            "jobs_open": len(self.jobs),
            "jobs_done": self._done_total,
            **self.asks.status(),
            "refused_durations": {
                name: sorted(each.text for each in found) for name, found in self.known.refused.items()
            },
        }


def _quiet(job: Job) -> str:
    """Why a job that is complete has nothing to show."""
    return "" if job.state.rows or job.plan_holes or job.state.holes else "no whole bar of trading in this interval"
