"""Owns history jobs: from a command to requests, from answers to entries in order, and on after every interruption.

Times no request (`core.pacing.core`), plans none (`core.history.plan`) and stitches none (`core.history.stitch`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET, Struct

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Announce, Answer, CommandRef, Effect, HolderWrite, Instant, Tell
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history import what_to_show
from ibkr_actor.core.history.events import (
    HeadTimestamp,
    HistogramData,
    HistoricalBars,
    HistoricalBarsEnd,
    HistoricalSchedule,
    HistoricalTicks,
)
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.history.job import Job, JobState, decode_state, encode_state
from ibkr_actor.core.history.lookups import Lookups
from ibkr_actor.core.history.past import Past
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.history.trouble import Trouble
from ibkr_actor.core.history.work import Work
from ibkr_actor.core.messages import (
    DataLost,
    FarmChanged,
    FetchPast,
    Forecasted,
    ForgetPast,
    JobAbandoned,
    JobUnread,
    JobWritten,
    RedisForgot,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    RestoreJobs,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
    WindowFound,
    WindowMissing,
)
from ibkr_actor.core.replies import rejected
from ibkr_actor.core.req_ids import ReqIds
from ibkr_actor.schema.commands import (
    Cancel,
    Histogram,
    History,
    HistoryTicks,
    Pause,
    Rejection,
    Reply,
    Resume,
    Schedule,
)
from ibkr_actor.schema.commands import HeadTimestamp as HeadTimestampCommand
from ibkr_actor.schema.instruments import Contract, escape
from ibkr_actor.schema.records import System


class HistoryCore:
    """Jobs and single look-ups in the past, shared among all who ask for the same."""

    def __init__(self, config: HistoryConfig) -> None:
        self._config = config
        # Both take their ids here: an answer belongs to one of them.
        req_ids = ReqIds("history")
        self._work = Work(config, req_ids)
        self._trouble = Trouble(config, self._work)
        self._past = Past(config, self._work)
        self._lookups = Lookups(config, req_ids)
        self._handlers: dict[type[Struct], Callable[..., list[Effect]]] = {
            ResolvedCommand: self._command,
            HistoricalBars: self._work.bars,
            HistoricalBarsEnd: self._work.bars_end,
            HistoricalTicks: self._work.paging.answered,
            HistoricalSchedule: self._schedule,
            HeadTimestamp: self._head,
            HistogramData: self._lookups.histogram,
            ErrorNotice: self._error,
            RequestSent: self._sent,
            RequestRefused: self._refused,
            SessionUp: self._session_up,
            SessionDown: self._session_down,
            FarmChanged: self._farm,
            UpstreamDown: self._upstream,
            UpstreamUp: self._upstream,
            DataLost: self._upstream,
            RestoreJobs: self._restore,
            FetchPast: self._past.fetch,
            ForgetPast: self._past.forget,
            JobWritten: self._work.written,
            JobUnread: self._work.unread,
            JobAbandoned: self._work.abandoned,
            Forecasted: self._work.outlook.take,
            WindowFound: self._work.cache.found,
            WindowMissing: self._work.cache.missing,
            RedisForgot: self._say_again,
            WakeUp: self._wake_up,
            StatusQuery: self._status_query,
            Start: self._nothing,
            Stop: self._stop,
        }

    def handle(self, message: Struct, now: Instant) -> list[Effect]:
        """Takes the message in, and asks for what may be asked."""
        return self._handlers[type(message)](message, now)

    def next_wakeup_s(self) -> float | None:
        """When something is to be repeated, given up or told."""
        times = [at_s for at_s in (self._work.next_wakeup_s(), self._lookups.next_wakeup_s()) if at_s is not None]
        return min(times, default=None)

    # ---- commands

    def _command(self, message: ResolvedCommand, now: Instant) -> list[Effect]:
        ref, command, contract = message.ref, message.command, message.contract
        match command:
            case History() | HistoryTicks():
                assert contract is not None
                return self._begin(ref, command, contract, now)
            case HeadTimestampCommand() | Schedule() | Histogram():
                assert contract is not None
                return self._lookups.begin(ref, command, contract, now)
            case Cancel():
                return self._cancel(ref, command, now)
            case Pause() | Resume():
                return self._pause(ref, command, now)
        return [rejected(ref, Rejection("unsupported", f"{ref.op} is not served here"))]

    def _begin(
        self, ref: CommandRef, command: History | HistoryTicks, contract: Contract, now: Instant
    ) -> list[Effect]:
        """Accepts a job, or says what is wrong with it, before IB is asked anything."""
        job = job_id(ref.client, ref.id)
        if job not in self._work.jobs and len(self._work.jobs) >= self._config.jobs_max:
            text = f"{self._config.jobs_max} history jobs are not done yet"
            return [rejected(ref, Rejection("busy", text, None, True, 30.0))]
        try:
            asked(command.start, command.end, now.ns)
            if isinstance(command, History):
                bar, show = resolution(command.bar).name, what_to_show.for_bars(contract.sec_type, command.what_to_show)
            else:
                bar, show = "", what_to_show.for_ticks(contract.sec_type, command.what_to_show)
        except ValueError as error:
            return [rejected(ref, Rejection("validation_error", str(error)))]
        state = JobState(
            job=job,
            client=ref.client,
            command_id=ref.id,
            op=ref.op,
            contract=contract,
            bar=bar,
            start=command.start,
            end=command.end,
            what_to_show=show,
            use_rth=self._config.use_rth if command.use_rth is UNSET else bool(command.use_rth),
            priority=command.priority,
            asked_ns=now.ns,
        )
        stream = self._config.keys.history(job)
        result = {"job": job, "what_to_show": show, "use_rth": state.use_rth}
        reply = Reply(id=ref.id, op=ref.op, status="accepted", streams=[stream], result=result)
        answer = Answer(ref, reply, jobs=(HolderWrite(job, encode_state(state)),))
        if job in self._work.jobs:
            # Found pending after a crash, and restored as well: it is under way.
            return [Answer(ref, reply)]
        return [answer, *self._work.add(Job(state), now)]

    def _cancel(self, ref: CommandRef, command: Cancel, now: Instant) -> list[Effect]:
        job = self._work.jobs.get(command.job)
        if job is None:
            return [rejected(ref, Rejection("validation_error", f"there is no job {command.job!r}, or it is done"))]
        reply = Reply(id=ref.id, op=ref.op, status="done", result={"job": command.job})
        return [Answer(ref, reply), *self._work.finish(job, "cancelled", f"cancelled by {ref.client}", now)]

    def _pause(self, ref: CommandRef, command: Pause | Resume, now: Instant) -> list[Effect]:
        paused = isinstance(command, Pause)
        if command.job and command.job not in self._work.jobs:
            return [rejected(ref, Rejection("validation_error", f"there is no job {command.job!r}, or it is done"))]
        jobs = [
            job
            for job in self._work.jobs.values()
            if job.past_of is None and (job.state.job == command.job if command.job else job.state.client == ref.client)
        ]
        effects: list[Effect] = []
        for job in jobs:
            effects += self._work.pause(job, now) if paused else self._work.resume(job, now)
        reply = Reply(id=ref.id, op=ref.op, status="done", result={"jobs": [job.state.job for job in jobs]})
        return [Answer(ref, reply), *effects]

    # ---- events

    def _schedule(self, event: HistoricalSchedule, now: Instant) -> list[Effect]:
        return self._lookups.schedule(event, now) + self._work.learning.schedule(event, now)

    def _head(self, event: HeadTimestamp, now: Instant) -> list[Effect]:
        return self._lookups.head(event, now) + self._work.learning.head(event, now)

    def _error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        return self._lookups.error(event, now) + self._trouble.error(event, now)

    def _refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        return self._lookups.refused(message, now) + self._trouble.refused(message, now)

    def _sent(self, message: RequestSent, now: Instant) -> list[Effect]:
        self._lookups.asks.was_sent(message.req_id, now)
        self._work.asks.was_sent(message.req_id, now)
        return []

    # ---- session, restart and time

    def _session_up(self, message: SessionUp, now: Instant) -> list[Effect]:
        return self._lookups.asks.session_up(message.conn) + self._work.session_up(message, now)

    def _session_down(self, message: SessionDown, now: Instant) -> list[Effect]:
        self._lookups.asks.session_down()
        self._work.session_down()
        return []

    def _farm(self, message: FarmChanged, now: Instant) -> list[Effect]:
        return self._lookups.asks.farm(message, now) + self._work.asks.farm(message, now)

    def _upstream(self, message: UpstreamDown | UpstreamUp | DataLost, now: Instant) -> list[Effect]:
        lost = isinstance(message, UpstreamDown)
        return self._lookups.asks.upstream(lost, now) + self._work.asks.upstream(lost, now)

    def _restore(self, message: RestoreJobs, now: Instant) -> list[Effect]:
        """Goes on with what a process before this one left."""
        effects: list[Effect] = []
        unreadable: list[str] = []
        for name, value in message.jobs.items():
            try:
                state = decode_state(value)
            except msgspec.MsgspecError:
                unreadable.append(name)
                continue
            effects += self._work.add(Job(state), now)
        if unreadable:
            text = f"{len(unreadable)} fields of the jobs hash cannot be read, such as {unreadable[0]!r}."
            effects.append(Announce(System(0, 0, now.ns, "command", "jobs_unreadable", "jobs", text)))
        return effects

    def _say_again(self, message: RedisForgot, now: Instant) -> list[Effect]:
        return self._work.say_again()

    def _wake_up(self, message: WakeUp, now: Instant) -> list[Effect]:
        effects = self._work.wake_up(now) + self._lookups.wake_up(now)
        return effects + self._work.outlook.ask(now) if self._work.jobs else effects

    def _stop(self, message: Stop, now: Instant) -> list[Effect]:
        """Jobs wait for the next start; who waits for a single answer is told."""
        self._work.session_down()
        return self._lookups.stop()

    def _nothing(self, message: Struct, now: Instant) -> list[Effect]:
        return []

    def _status_query(self, message: StatusQuery, now: Instant) -> list[Effect]:
        return [Tell("pacing", StatusQuery(message.ref, {**message.parts, "history": self._work.status(now)}))]


def job_id(client: str, command_id: str) -> str:
    """The name of a job: its client's, and its command's, so that two clients may use the same id."""
    return f"{client}.{escape(command_id)}"
