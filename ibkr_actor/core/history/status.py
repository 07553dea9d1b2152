"""Owns what is told of a job while it runs: how far it is, and when it will be done.

Decides nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect, Instant, Notify, Tell
from ibkr_actor.core.history.job import Job, JobState
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.messages import Forecasted, ForecastQuery
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.records import Done


class Outlook:
    """When jobs will be done: pacing is asked when the next small-bar request may go, and IB's rate says the rest."""

    def __init__(self, config: HistoryConfig) -> None:
        self._config = config
        # When the next small-bar request may go; as pacing said last.
        self._free_s = 0.0
        self._ask_again_s = 0.0
        # Small-bar windows that all jobs still lack, and when they were counted.
        self._left = 0
        self._counted_s: float | None = None

    def ask(self, now: Instant) -> list[Effect]:
        """A question to pacing, now and then."""
        if now.s < self._ask_again_s:
            return []
        self._ask_again_s = now.s + self._config.forecast_s
        return [Tell("pacing", ForecastQuery())]

    def take(self, message: Forecasted, now: Instant) -> list[Effect]:
        """Pacing's answer."""
        self._free_s = now.s + message.small_s
        return []

    def eta_s(self, job: Job, jobs: Iterable[Job], now_s: float) -> float | None:
        """By what IB allows: small-bar windows of all jobs share one rate, others go at once. None while unknown."""
        config = self._config
        if not job.planned or job.state.paused or job.ticks:
            return None
        if not resolution(job.state.bar).small:
            return round((job.parts - job.done_parts) * config.big_window_s, 1)
        if self._counted_s != now_s:
            # Once for all jobs that are told of at this moment.
            self._counted_s = now_s
            self._left = sum(other.parts - other.done_parts for other in jobs if _is_small(other))
        turns = max(0, self._left - 1) // config.small_count
        return round(max(0.0, self._free_s - now_s) + turns * config.small_window_s, 1)


def shown(
    job: Job, jobs: Iterable[Job], outlook: Outlook, now_s: float, held: Collection[str] = ()
) -> dict[str, object]:
    """One job for `progress` and `status`. Of ticks the number of windows (pages) is known only as they come."""
    state = job.state
    return {
        "job": state.job,
        "client": state.client,
        "instrument": state.contract.instrument,
        "state": _state(job, held),
        "windows": None if job.ticks else job.parts,
        "windows_done": job.done_parts,
        "rows": state.rows,
        "requests": state.requests,
        "cached": state.cached,
        "until_ns": str(state.cursor_ns) if state.cursor_ns else None,
        "eta_s": outlook.eta_s(job, jobs, now_s),
    }


def shown_all(
    jobs: Collection[Job], outlook: Outlook, shown_max: int, now_s: float, held: Collection[str]
) -> list[dict[str, object]]:
    """The first `shown_max` of them; `held` are the names of those that wait for a farm."""
    return [shown(job, jobs, outlook, now_s, held) for job in itertools.islice(jobs, shown_max)]


def progress(job: Job, jobs: Iterable[Job], outlook: Outlook, now_s: float, held: Collection[str]) -> Notify:
    """The reply that tells the client of a job how far it is."""
    state, result = job.state, shown(job, jobs, outlook, now_s, held)
    return Notify(state.client, Reply(id=state.command_id, op=state.op, status="progress", result=result))


def ended(state: JobState, done: Done) -> dict[str, object]:
    """The result of the reply that ends a job."""
    return {
        "job": state.job,
        "outcome": done.outcome,
        "rows": done.rows,
        "requests": done.requests,
        "cached": done.cached,
        "holes": len(done.holes),
    }


def _state(job: Job, held: Collection[str]) -> str:
    if job.state.paused:
        return "paused"
    if job.state.job in held:
        return "waiting_for_farm"
    if job.unread:
        return "waiting_for_reader"
    return "running" if job.planned else "starting"


def _is_small(job: Job) -> bool:
    return job.planned and not job.state.paused and not job.ticks and resolution(job.state.bar).small
