"""A job whose results nobody reads: it asks for no more, goes on when there is room, and ends when they are gone."""

from __future__ import annotations

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.messages import JobAbandoned, JobUnread, StatusQuery
from tests.core.kit import at, ref, told
from tests.core.past_desk import PastDesk, december, later

TWO_AHEAD = HistoryConfig(bars_max=35, use_rth=True, windows_ahead=2)


def unread(desk: PastDesk, too_much: bool, s: float = 0) -> list[Effect]:
    return desk.note(desk.core.handle(JobUnread("c.1", too_much), at(s)))


def test_nothing_more_is_asked_for_until_there_is_room() -> None:
    desk = PastDesk(TWO_AHEAD)
    job = desk.begun()
    unread(desk, True)
    # What was asked before is taken, since IB gives it anyhow.
    desk.finish()
    rows = len(desk.rows(job))
    assert 0 < rows < len(december())
    assert not desk.is_done(job)
    unread(desk, False)
    assert desk.windows
    desk.finish()
    assert desk.rows(job) == december()


def test_progress_and_status_say_that_it_waits_for_its_reader() -> None:
    desk = PastDesk(TWO_AHEAD)
    desk.begun()
    unread(desk, True)
    (progress,) = later(desk.wake(2.0))
    assert isinstance(progress.result, dict)
    assert progress.result["state"] == "waiting_for_reader"
    (query,) = told(desk.core.handle(StatusQuery(ref("9"), {}), at(3)), StatusQuery)
    assert "waiting_for_reader" in str(query.parts)


def test_when_the_stream_of_a_waiting_job_is_gone_the_job_is_cancelled() -> None:
    desk = PastDesk(TWO_AHEAD)
    job = desk.begun()
    unread(desk, True)
    effects = desk.note(desk.core.handle(JobAbandoned(job), at(9)))
    assert desk.done(job).outcome == "cancelled"
    assert not desk.open
    (last,) = later(effects)
    assert last.status == "done"
    assert last.note is not None
    assert "not read" in last.note


def test_a_job_that_does_not_wait_for_its_reader_is_not_abandoned() -> None:
    desk = PastDesk(TWO_AHEAD)
    job = desk.begun()
    desk.note(desk.core.handle(JobAbandoned(job), at(9)))
    assert not desk.is_done(job)
    desk.note(desk.core.handle(JobAbandoned("c.9"), at(9)))
    desk.note(desk.core.handle(JobUnread("c.9", True), at(9)))
