"""Owns what IB's errors do to jobs: another request, a wait, a hole, or the end.

Judges no code (`core.history.errors`); it carries the verdict out.
"""

from __future__ import annotations

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history.asks import Ask
from ibkr_actor.core.history.errors import Judgement, judge
from ibkr_actor.core.history.job import Job, Part
from ibkr_actor.core.history.schedules import HEAD_PART, SESSIONS_PART
from ibkr_actor.core.history.ticks import TICKS_PART
from ibkr_actor.core.history.work import Work
from ibkr_actor.core.messages import ForgetContract, PacingViolated, RateExceeded, RequestRefused
from ibkr_actor.core.requests import ReqHeadTimestamp, ReqHistoricalData, ReqHistoricalTicks


class Trouble:
    """Errors of the requests that jobs wait for. Affects: the jobs and asks of `work`."""

    def __init__(self, config: HistoryConfig, work: Work) -> None:
        self._config = config
        self._work = work

    def error(self, event: ErrorNotice, now: Instant) -> list[Effect]:
        """What IB's error means for those who wait for the request."""
        work = self._work
        ask = work.asks.of(event.req_id)
        if ask is None:
            return []
        judgement = judge(event, ask.request)
        match judgement.verdict:
            case "ignore":
                return []
            case "again":
                return work.again(ask, judgement.rejection, now)
            case "later":
                return work.again(ask, judgement.rejection, now, after_s=judgement.rejection.retry_after_s or 0.0)
            case "slow_down":
                return [Tell("pacing", RateExceeded(event.code)), *work.asks.again(ask, now)]
            case "pacing":
                # However often: it is our fault, and time heals it.
                return [Tell("pacing", PacingViolated(event.req_id)), *work.asks.again(ask, now)]
            case "farm":
                return work.asks.park(ask, now)
            case "unclear":
                return self._unclear(ask, event, now)
            case "no_data" if work.waiting(ask, TICKS_PART):
                return work.paging.no_data(ask, event.message, event.code, now)
            case "no_data":
                return work.give_up(ask, judgement.reason, event.message, event.code, now)
        return self._judged(ask, event, judgement, now)

    def refused(self, message: RequestRefused, now: Instant) -> list[Effect]:
        """Pacing's queue is full: later."""
        ask = self._work.asks.of(message.req_id)
        return [] if ask is None else self._work.asks.again(ask, now, after_s=message.retry_after_s)

    def _judged(self, ask: Ask, event: ErrorNotice, judgement: Judgement, now: Instant) -> list[Effect]:
        work = self._work
        effects = work.asks.close(ask)
        request = ask.request
        if judgement.rejection.code == "invalid_instrument":
            assert isinstance(request, ReqHistoricalData | ReqHistoricalTicks | ReqHeadTimestamp)
            effects.append(Tell("contracts", ForgetContract(request.contract.con_id, request.contract.exchange)))
        for job in work.waiting(ask, SESSIONS_PART):
            # Without a list of sessions there is still the week of the contract's own hours, if there is a contract.
            gone = judgement.rejection.code == "invalid_instrument"
            effects += self._fail(job, judgement, now) if gone else work.learning.by_the_week(job, now)
        for job in work.waiting(ask, HEAD_PART):
            work.known.keep_head(job.state, 0)
            effects += work.advance(job, now)
        for job, part in work.parts(ask):
            effects += self._part(job, part, judgement, now)
        for job in work.waiting(ask, TICKS_PART):
            effects += self._fail(job, judgement, now)
        return effects

    def _part(self, job: Job, part: Part, judgement: Judgement, now: Instant) -> list[Effect]:
        state = job.state
        if judgement.verdict == "shorter" and part.wanted is not None:
            self._work.known.refuse(state.bar, part.wanted.duration)
            return self._work.replan(job, now)
        job.refused_shows.add(state.what_to_show)
        if judgement.verdict == "show" and judgement.what_to_show not in job.refused_shows:
            state.what_to_show = judgement.what_to_show
            return self._work.replan(job, now)
        return self._fail(job, judgement, now)

    def _fail(self, job: Job, judgement: Judgement, now: Instant) -> list[Effect]:
        return self._work.finish(job, "failed", judgement.rejection.message, now, judgement.rejection)

    def _unclear(self, ask: Ask, event: ErrorNotice, now: Instant) -> list[Effect]:
        """Words of 162 that are not known: once more after a while; said again, it is taken for what costs nothing.

        That is a pacing violation for small bars, which none but time heals, and a part without data for others.
        """
        ask.unclear += 1
        if ask.unclear == 1:
            return self._work.asks.again(ask, now, after_s=self._config.unclear_retry_s)
        request = ask.request
        small = isinstance(request, ReqHistoricalTicks) or (
            isinstance(request, ReqHistoricalData) and request.bar_size.endswith("secs")
        )
        if small and ask.unclear == 2:
            return [Tell("pacing", PacingViolated(event.req_id)), *self._work.asks.again(ask, now)]
        return self._work.give_up(ask, "refused", event.message, event.code, now)
