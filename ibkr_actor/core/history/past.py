"""Owns the fetching of what a stream of data begins with: a job whose entries go to the subscriptions, not to Redis.

Joins nothing: `core.past.joining` does.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect, Instant, Tell
from ibkr_actor.core.history.interval import asked
from ibkr_actor.core.history.job import Job, JobState
from ibkr_actor.core.history.work import Work
from ibkr_actor.core.messages import FetchPast, ForgetPast, PastDone


class Past:
    """Pasts that are fetched. Affects: the jobs of `work`."""

    def __init__(self, config: HistoryConfig, work: Work) -> None:
        self._config = config
        self._work = work

    def fetch(self, message: FetchPast, now: Instant) -> list[Effect]:
        """Starts a job, or says at once that there will be none."""
        state = _state(message, now)
        job = Job(state, message.number)
        try:
            asked(state.start, state.end, state.asked_ns)
        except ValueError as error:
            return _failed(job, str(error), now)
        if len(self._work.jobs) >= self._config.jobs_max:
            return _failed(job, f"{self._config.jobs_max} history jobs are not done yet", now)
        return self._work.add(job, now)

    def forget(self, message: ForgetPast, now: Instant) -> list[Effect]:
        """Takes back what is asked for it."""
        job = self._work.jobs.get(_name(message.number))
        return [] if job is None else self._work.finish(job, "cancelled", "nobody waits for it", now)


def _failed(job: Job, message: str, now: Instant) -> list[Effect]:
    assert job.past_of is not None
    return [Tell("subscriptions", PastDone(job.past_of, job.done("failed", message, now.ns)))]


def _name(number: int) -> str:
    # No client's name has a colon.
    return f"backfill:{number}" if number > 0 else f"heal:{-number}"


def _state(message: FetchPast, now: Instant) -> JobState:
    return JobState(
        job=_name(message.number),
        client=message.client,
        command_id="",
        op="history" if message.bar else "history_ticks",
        contract=message.contract,
        bar=message.bar,
        start=message.start,
        end=datetime.fromtimestamp(message.end_ns // NS, UTC).isoformat(),
        what_to_show=message.what_to_show,
        use_rth=message.use_rth,
        priority=message.priority,
        # IB's clock may be ahead of ours.
        asked_ns=max(now.ns, message.end_ns + NS),
    )
