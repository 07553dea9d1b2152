"""Owns what is told of a job while it runs: how far it is, and when it will be done.

Decides nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Notify
from ibkr_actor.core.history_job import Job, JobState
from ibkr_actor.core.resolutions import resolution
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.records import Done


def shown(job: Job, jobs: Iterable[Job], config: HistoryConfig) -> dict[str, object]:
    """One job for `progress` and `status`. Of ticks the number of windows (pages) is known only as they come."""
    state = job.state
    return {
        "job": state.job,
        "client": state.client,
        "instrument": state.contract.instrument,
        "state": _state(job),
        "windows": None if job.ticks else job.parts,
        "windows_done": job.done_parts,
        "rows": state.rows,
        "requests": state.requests,
        "cached": state.cached,
        "until_ns": str(state.cursor_ns) if state.cursor_ns else None,
        "eta_s": _eta_s(job, jobs, config),
    }


def shown_all(jobs: Collection[Job], config: HistoryConfig) -> list[dict[str, object]]:
    """The first `shown_max` of them."""
    return [shown(job, jobs, config) for job in itertools.islice(jobs, config.shown_max)]


def progress(job: Job, jobs: Iterable[Job], config: HistoryConfig) -> Notify:
    """The reply that tells the client of a job how far it is."""
    state, result = job.state, shown(job, jobs, config)
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


def _state(job: Job) -> str:
    if job.state.paused:
        return "paused"
    if job.unread:
        return "waiting_for_reader"
    return "running" if job.planned else "starting"


def _eta_s(job: Job, jobs: Iterable[Job], config: HistoryConfig) -> float | None:
    """By what IB allows: the small-bar windows of all jobs share one rate, others go at once. None while unknown."""
    if not job.planned or job.state.paused or job.ticks:
        return None
    if not resolution(job.state.bar).small:
        return round((job.parts - job.done_parts) * config.big_window_s, 1)
    left = sum(other.parts - other.done_parts for other in jobs if _is_small(other))
    turns = max(0, left - config.small_count) / config.small_count
    return round(turns * config.small_window_s, 1)


def _is_small(job: Job) -> bool:
    return job.planned and not job.state.paused and not job.ticks and resolution(job.state.bar).small
