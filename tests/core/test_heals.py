"""A gap that is refilled from history, at literal times: what is fetched, what comes out; nothing live waits."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer
from ibkr_actor.core.messages import RestoreHolders
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, Gap, Hole
from tests.core.kit import answer, at, ns, one, stock
from tests.core.test_backfills import PastDesk

LATE = FLAG_REFILLED | FLAG_LATE
HEAL = SubscriptionsConfig(heal=True)


class Healed(PastDesk):
    """A desk with one stream whose gaps are refilled."""

    def __init__(self, kind: str, config: SubscriptionsConfig = HEAL) -> None:
        super().__init__(kind, "", config)

    def lost(self, s: float, back_s: float) -> None:
        """The connection is lost and comes back; the line is asked for anew."""
        self.down(s)
        self.up(back_s)
        self.req_id = self.last_req_id
        self.sent(self.req_id, back_s)

    def counted(self, what: str) -> object:
        backfills = self.core.status()["backfills"]
        assert isinstance(backfills, dict)
        return backfills["heals"][what]


def broken_bars() -> Healed:
    """Bars until 10, lost at 12, live again with the bar of 30; what is missing are those of 10 to 25."""
    desk = Healed("bar.5s")
    desk.live(0, s=5)
    desk.live(5, s=10)
    desk.lost(12, 28)
    desk.live(30, s=35)
    return desk


def test_live_bars_go_on_at_once_and_those_missed_come_behind_them_in_order_and_marked() -> None:
    desk = broken_bars()
    assert desk.bars == [(0, 0), (5, 0), (30, 0)]
    desk.wake(37)
    (fetch,) = desk.fetched
    assert (fetch.bar, fetch.what_to_show, fetch.priority) == ("5s", "TRADES", "backfill")
    assert (fetch.start, fetch.end_ns - ns(0)) == ("2026-01-01T00:00:10+00:00", 30 * 10**9)
    desk.live(35, s=40)
    desk.past(5, 10, 15, s=41)
    desk.live(40, s=45)
    desk.past(15, 20, 25, 30, s=46)
    desk.done(47)
    assert desk.bars == [(0, 0), (5, 0), (30, 0), (35, 0), (10, LATE), (15, LATE), (40, 0), (20, LATE), (25, LATE)]
    assert [(gap.refilled, gap.flags) for gap in desk.records if isinstance(gap, Gap)] == [
        (False, 0),
        (True, FLAG_LATE),
    ]
    announced, refilled = (gap for gap in desk.records if isinstance(gap, Gap))
    assert (announced.cause, announced.from_ns, announced.to_ns) == (refilled.cause, refilled.from_ns, refilled.to_ns)
    assert desk.records[-1] is refilled


def test_ticks_of_the_seams_seconds_are_matched_one_by_one_on_both_sides() -> None:
    desk = Healed("trade")
    desk.trades(9, "1", s=9)
    desk.trades(10, "1", "2", "2", s=10)
    desk.lost(10.5, 12)
    desk.trades(13, "2", "3", s=13)
    desk.trades(14, "9", s=14)
    desk.wake(16)
    assert desk.fetched[0].start == "2026-01-01T00:00:10+00:00"
    desk.past_trades((10, "1"), (10, "2"), (10, "2"), (10, "2"), (10, "4"), (11, "5"), s=17)
    desk.past_trades((12, "6"), (13, "2"), (13, "7"), (13, "2"), (13, "3"), s=17)
    desk.done(17)
    healed = [(at_s, size) for at_s, size, flags in desk.ticks if flags == LATE]
    assert healed == [(10, "2"), (10, "4"), (11, "5"), (12, "6"), (13, "2"), (13, "7")]


def test_nothing_is_fetched_for_a_gap_in_which_no_bar_lies() -> None:
    desk = Healed("bar.5s")
    desk.live(0, s=5)
    desk.lost(6, 7)
    desk.live(5, s=10)
    desk.wake(12)
    assert desk.fetched == []
    assert [gap.refilled for gap in desk.records if isinstance(gap, Gap)] == [False, True]


def test_what_ib_does_not_have_of_it_is_said_before_it_is_called_refilled() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.past(10, s=38)
    desk.done(39, "incomplete", [Hole(ns(15), ns(30), "no_data", "", None)])
    assert desk.gaps[1:] == [("no_history", 15.0, 30.0), ("disconnect", 12.0, 35.0)]


def test_history_that_does_not_come_is_given_up() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.wake(37 + 3600)
    assert desk.forgotten == 1
    assert desk.gaps[1:] == [("no_history", 12.0, 35.0)]
    assert desk.counted("failed") == 1
    desk.past(10, s=3700)
    assert desk.bars[-1] == (30, 0)


def test_a_gap_behind_another_is_refilled_on_its_own() -> None:
    desk = broken_bars()
    desk.lost(36, 50)
    desk.live(60, s=65)
    desk.wake(70)
    assert [fetch.start[-14:-6] for fetch in desk.fetched] == ["00:00:10", "00:00:35"]


def test_only_so_many_are_fetched_at_a_time_and_each_has_its_turn() -> None:
    desk = Healed("bar.5s", SubscriptionsConfig(heal=True, heals_open_max=1))
    desk.live(0, s=5)
    for n in (1, 2, 3):
        desk.lost(100 * n, 100 * n + 10)
        desk.live(100 * n + 20, s=100 * n + 25)
    desk.wake(400)
    assert len(desk.fetched) == 1
    desk.done(401)
    assert len(desk.fetched) == 2
    desk.done(402)
    desk.done(403)
    assert len(desk.fetched) == 3
    assert desk.counted("refilled") == 3


def test_when_the_stream_ends_nothing_more_is_fetched() -> None:
    desk = broken_bars()
    desk.wake(37)
    desk.unsubscribe(s=38)
    assert desk.forgotten == 1
    desk.past(10, s=39)
    assert desk.bars[-1] == (30, 0)


def test_without_the_wish_a_gap_stays_a_gap() -> None:
    desk = Healed("bar.5s", SubscriptionsConfig())
    desk.live(0, s=5)
    desk.lost(6, 28)
    desk.live(30, s=35)
    desk.wake(40)
    assert desk.fetched == []


def test_a_client_may_ask_for_it_and_a_restart_remembers() -> None:
    desk = PastDesk("bar.5s", "")
    command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=["bar.5s"], lease_s=0, heal=True)
    effects = desk.send(command, 1, id="2", client="d", contract=stock())
    after = Healed("quote", SubscriptionsConfig())
    after.note(after.core.handle(RestoreHolders(one(Answer, effects).holders), at(2)))
    after.req_id = after.last_req_id
    after.live(0, s=5)
    after.lost(6, 28)
    after.req_id = after.last_req_id
    after.live(30, s=35)
    after.wake(40)
    assert len(after.fetched) == 1


@pytest.mark.parametrize("kind", ["quote", "alltrade", "depth"])
def test_a_kind_that_ib_has_no_history_of_is_refused_if_it_is_asked_for(kind: str) -> None:
    desk = PastDesk("bar.5s", "")
    command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=[kind], heal=True)
    refused = answer(desk.send(command, 1, id="2", contract=stock())).reply.error
    assert refused is not None
    assert refused.code == "unsupported"
