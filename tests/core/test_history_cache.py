"""Windows from the cache instead of IB: which are looked for and kept, and that nobody waits for a silent one."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Effect, LookUpWindow, StoreWindow
from ibkr_actor.core.messages import WindowFound, WindowMissing
from ibkr_actor.schema.commands import Cancel, History, Pause
from tests.core.kit import at, only
from tests.core.past_desk import BARS, DECEMBER, FIVE, PastDesk, december

CACHED = structs.replace(FIVE, cache=True)
# A second job some time later.
AGAIN_S = 100.0
DAY_S = 86_400.0
HOUR_S = 3_600.0


class CacheDesk(PastDesk):
    """A desk with a cache that answers when it is told to."""

    def __init__(self, config: HistoryConfig = CACHED, *, up: bool = True) -> None:
        self.kept: dict[str, bytes] = {}
        self.looked_up: list[str] = []
        super().__init__(config, up=up)

    def note(self, effects: list[Effect]) -> list[Effect]:
        self.looked_up += [each.name for each in only(LookUpWindow, effects)]
        self.kept.update({each.name: each.value for each in only(StoreWindow, effects)})
        return super().note(effects)

    def look(self, s: float = 0) -> None:
        """The cache answers all questions there are, and those that follow."""
        while self.looked_up:
            name = self.looked_up.pop(0)
            value = self.kept.get(name)
            message = WindowMissing(name) if value is None else WindowFound(name, value)
            self.note(self.core.handle(message, at(s)))

    def through(self, command: History = DECEMBER, s: float = 0, id: str = "1") -> str:
        """A whole job; its name."""
        job = self.begun(command, s, id)
        while self.looked_up or self.open:
            self.look(s)
            if self.open:
                self.answer(self.asked[0], s)
        assert self.is_done(job)
        return job


def test_what_was_asked_once_is_not_asked_again() -> None:
    desk = CacheDesk()
    first = desk.through()
    assert (desk.done(first).requests, desk.done(first).cached) == (5, 0)
    job = desk.begun(s=AGAIN_S, id="2")
    desk.look(AGAIN_S)
    assert not desk.open
    assert desk.rows(job) == desk.rows(first) == december()
    done = desk.done(job)
    assert (done.outcome, done.rows, done.requests, done.cached) == ("complete", BARS, 0, 5)


def test_ib_is_asked_only_when_the_cache_has_said_that_it_has_nothing() -> None:
    desk = CacheDesk()
    desk.begun()
    assert (len(desk.looked_up), len(desk.open)) == (5, 0)
    desk.look()
    assert len(desk.windows) == 5


def test_a_cache_that_does_not_answer_is_not_waited_for_and_a_late_answer_changes_nothing() -> None:
    desk = CacheDesk()
    desk.through()
    job = desk.begun(s=AGAIN_S, id="2")
    assert desk.core.next_wakeup_s() == AGAIN_S + 2.0
    desk.wake(AGAIN_S + 1.9)
    assert not desk.windows
    desk.wake(AGAIN_S + 2.0)
    assert len(desk.windows) == 5
    desk.look(AGAIN_S + 3)
    assert len(desk.windows) == 5
    desk.finish(AGAIN_S + 4)
    assert desk.rows(job) == december()
    assert (desk.done(job).requests, desk.done(job).cached) == (5, 0)


@pytest.mark.parametrize(
    "other",
    [
        structs.replace(DECEMBER, use_rth=False),
        structs.replace(DECEMBER, what_to_show="MIDPOINT"),
        structs.replace(DECEMBER, bar="30m"),
        structs.replace(DECEMBER, start="2025-12-02"),
    ],
)
def test_what_asks_for_something_else_is_not_answered_with_it(other: History) -> None:
    desk = CacheDesk()
    desk.through()
    desk.begun(other, AGAIN_S, "2")
    assert desk.looked_up
    assert not set(desk.looked_up) & set(desk.kept)


def test_two_jobs_that_ask_at_once_wait_for_one_answer_and_then_for_one_request() -> None:
    desk = CacheDesk()
    jobs = [desk.begun(id=id) for id in ("1", "2")]
    assert len(desk.looked_up) == 5
    desk.look()
    assert len(desk.windows) == 5
    desk.finish()
    assert [desk.rows(job) for job in jobs] == [december(), december()]


def test_a_window_that_ended_a_moment_ago_is_neither_looked_for_nor_kept() -> None:
    # 2025-12-31 20:02 UTC: the hour that ended at 20:00 may still change.
    now_s = -4 * HOUR_S + 120
    desk = CacheDesk(up=False)
    desk.up(now_s)
    desk.through(structs.replace(DECEMBER, end=""), now_s)
    assert len(desk.kept) == 4
    desk.begun(structs.replace(DECEMBER, end="2025-12-31T20:00:00"), now_s + 10, "2")
    assert len(desk.looked_up) == 4
    desk.look(now_s + 10)
    assert len(desk.windows) == 1


def test_what_is_kept_for_too_long_is_asked_for_again() -> None:
    desk = CacheDesk()
    desk.through()
    assert desk.done(desk.through(s=DAY_S - 1, id="2")).cached == 5
    assert desk.done(desk.through(s=DAY_S + 1, id="3")).cached == 0


def test_what_cannot_be_read_is_asked_for() -> None:
    desk = CacheDesk()
    desk.through()
    desk.kept = dict.fromkeys(desk.kept, b"\xff")
    assert desk.done(desk.through(s=AGAIN_S, id="2")).requests == 5


def test_windows_with_a_hole_and_prices_that_dividends_change_are_not_kept() -> None:
    desk = CacheDesk()
    desk.begun()
    desk.look()
    desk.error(desk.asked[1], 162, "Historical Market Data Service error message:HMDS query returned no data")
    desk.finish()
    assert len(desk.kept) == 4
    adjusted = CacheDesk()
    adjusted.begun(structs.replace(DECEMBER, what_to_show="ADJUSTED_LAST"))
    assert not adjusted.looked_up


def test_without_a_cache_nothing_is_looked_for_or_kept() -> None:
    desk = CacheDesk(FIVE)
    desk.begun()
    assert len(desk.windows) == 5
    desk.finish()
    assert (desk.looked_up, desk.kept) == ([], {})


@pytest.mark.parametrize("command", [Cancel(job="c.1"), Pause(job="c.1")])
def test_an_answer_for_a_job_that_wants_it_no_more_is_dropped(command: Cancel | Pause) -> None:
    desk = CacheDesk()
    desk.begun()
    desk.send(command, id="9")
    desk.look()
    assert not desk.open
