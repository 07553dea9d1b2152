"""A stream that begins with its past, at literal times: what is fetched when, and what comes out in which order."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, Effect, HolderWrite, WriteHolders
from ibkr_actor.core.events import RealTimeBar, TickByTickLast
from ibkr_actor.core.holders import begun_with_past
from ibkr_actor.core.messages import FetchPast, ForgetPast, PastDone, PastRows, RestoreHolders, Stop
from ibkr_actor.core.past.joining import second_of
from ibkr_actor.schema.commands import Rejection, Subscribe
from ibkr_actor.schema.records import Bar, Bars, DataRecord, Done, End, Gap, Hole, Ticks, Trade
from tests.core.desk import Desk
from tests.core.kit import START_NS, answer, at, notes, ns, only, published, stock, told

NS = 1_000_000_000
HOUR_S = 3_600
DAY_S = 86_400


class PastDesk(Desk):
    """A desk with one stream that begins with its past, and the history core at the test's hand."""

    def __init__(
        self,
        kind: str,
        backfill: str = "1h",
        config: SubscriptionsConfig | None = None,
        *,
        before: PastDesk | None = None,
        s: float = 0,
    ) -> None:
        """With a desk of `before`, what a process does at `s` that finds what that one left in Redis."""
        self.fetched: list[FetchPast] = []
        self.forgotten = 0
        self.records: list[DataRecord] = []
        self.stored: dict[str, bytes] = {}
        super().__init__(config, up=before is None)
        if before is not None:
            self.take_up(before, s)
            return
        command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=[kind], lease_s=0, backfill=backfill)
        self.accepted = self.send(command, 0, contract=stock())
        self.req_id = self.last_req_id
        if self.req_id:
            self.sent(self.req_id, 0)

    def take_up(self, before: PastDesk, s: float) -> None:
        self.stored, self.records = dict(before.stored), list(before.records)
        writes = tuple(HolderWrite(name, value) for name, value in self.stored.items())
        tails = {stream.name: _tail(self.records) for stream in begun_with_past(writes)} if self.records else {}
        self.note(self.core.handle(RestoreHolders(writes, tails), at(s)))
        self.up(s)
        self.req_id = self.last_req_id
        self.sent(self.req_id, s)

    def note(self, effects: list[Effect]) -> list[Effect]:
        for write in [write for each in only(Answer, effects) for write in each.holders] + [
            write for each in only(WriteHolders, effects) for write in each.holders
        ]:
            if write.value is None:
                self.stored.pop(write.field)
            else:
                self.stored[write.field] = write.value
        self.fetched += told(effects, FetchPast)
        self.forgotten += len(told(effects, ForgetPast))
        self.records += [record for _, record in published(effects)]
        return super().note(effects)

    def live(self, *starts: float, s: float) -> None:
        """Live bars that begin at these times."""
        bars = [RealTimeBar(self.req_id, ns(s), ns(start), 1, 2, 1, 2, "10", "1", 3) for start in starts]
        self.data(*bars, s=s)

    def trades(self, at_s: float, *sizes: str, s: float) -> None:
        """Live trades of one second."""
        events = [TickByTickLast(self.req_id, ns(s), False, ns(at_s), 1.5, n, False, False, "X", "") for n in sizes]
        self.data(*events, s=s)

    def past(self, *starts: float, s: float, size: str = "5s", length_s: int = 5) -> None:
        """Bars of the past that begin at these times."""
        rows = [(ns(n), ns(n + length_s), 1.0, 2.0, 1.0, 2.0, "10", "1", 3, "20260101") for n in starts]
        self._rows(Bars(0, 1, 265598, ns(s), None, 1, 0, "TRADES", size, list(rows)), s)

    def past_trades(self, *ticks: tuple[float, str], s: float) -> None:
        rows: list[list[int | float | str | bool | None]] = [
            [ns(n), 1.5, size, "X", "", False, False] for n, size in ticks
        ]
        self._rows(Ticks(0, 1, 265598, ns(s), None, 1, 0, "TRADES", rows), s)

    def _rows(self, entry: DataRecord, s: float) -> None:
        self.note(self.core.handle(PastRows(self.fetched[-1].number, (entry,)), at(s)))

    def done(
        self, s: float, outcome: str = "complete", holes: list[Hole] | None = None, error: Rejection | None = None
    ) -> None:
        done = Done(0, 1, 265598, ns(s), None, 1, 0, outcome, 0, 1, 0, 0, None, None, holes or [])
        self.note(self.core.handle(PastDone(self.fetched[-1].number, done, error), at(s)))

    @property
    def bars(self) -> list[tuple[float, int]]:
        """Bars in the stream: when they begin, in seconds of the test, and their flags."""
        return [(_s(each.start_ns), each.flags) for each in self.records if isinstance(each, Bar)]

    @property
    def ticks(self) -> list[tuple[float, str | None, int]]:
        return [(_s(each.source_ns or 0), each.size, each.flags) for each in self.records if isinstance(each, Trade)]

    @property
    def gaps(self) -> list[tuple[str, float | None, float | None]]:
        return [
            (each.cause, _seconds(each.from_ns), _seconds(each.to_ns)) for each in self.records if isinstance(each, Gap)
        ]


def _tail(records: list[DataRecord]) -> tuple[DataRecord, ...]:
    """What a restart finds at the end of a stream."""
    data = [each for each in records if isinstance(each, Bar | Trade)]
    return tuple(each for each in data if second_of(each) == second_of(data[-1]))


def _seconds(at_ns: int | None) -> float | None:
    return None if at_ns is None else _s(at_ns)


def _s(at_ns: int) -> float:
    return (at_ns - START_NS) / NS


def test_history_up_to_the_first_live_bar_comes_first_and_then_what_was_held() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.live(10, s=15)
    assert desk.records == []
    desk.wake(12)
    (fetch,) = desk.fetched
    assert (fetch.bar, fetch.what_to_show, fetch.use_rth, fetch.client) == ("5s", "TRADES", False, "c")
    assert (fetch.start, _s(fetch.end_ns)) == ("2025-12-31T23:00:05+00:00", 5)
    desk.past(-10, -5, s=16)
    desk.past(0, 5, s=17)
    assert desk.bars == [(-10, 1), (-5, 1), (0, 1)]
    desk.live(15, s=20)
    desk.done(21)
    desk.live(20, s=25)
    assert desk.bars == [(-10, 1), (-5, 1), (0, 1), (5, 0), (10, 0), (15, 0), (20, 0)]
    assert desk.gaps == []


@pytest.mark.parametrize(
    ("kind", "bar", "show", "rth"),
    [
        ("bar.5s.bid", "5s", "BID", False),
        ("bar.5s.midpoint.rth", "5s", "MIDPOINT", True),
        ("trade", "", "TRADES", False),
        ("bidask", "", "BID_ASK", False),
        ("midpoint", "", "MIDPOINT", False),
    ],
)
def test_each_kind_has_a_history_of_its_own(kind: str, bar: str, show: str, rth: bool) -> None:
    desk = PastDesk(kind, "2025-12-31")
    desk.wake(10)
    (fetch,) = desk.fetched
    assert (fetch.bar, fetch.what_to_show, fetch.use_rth, fetch.start) == (bar, show, rth, "2025-12-31")


def test_ticks_of_the_seams_second_are_matched_one_by_one() -> None:
    desk = PastDesk("trade", "10s")
    # In second 3 there were trades of 1, 2, 1 and 3; the line was up in time for the last two.
    desk.trades(3, "1", "3", s=3.9)
    desk.trades(4, "5", s=4.5)
    desk.wake(5.9)
    assert (desk.fetched[0].start, _s(desk.fetched[0].end_ns)) == ("2025-12-31T23:59:53+00:00", 3)
    desk.past_trades((1, "9"), (2, "8"), (2, "8"), s=6)
    desk.past_trades((3, "1"), (3, "2"), (3, "1"), (3, "3"), (4, "5"), s=6.1)
    assert desk.ticks == [(1, "9", 1), (2, "8", 1), (2, "8", 1)]
    desk.done(6.2)
    seam = [(3, "1", 1), (3, "2", 1), (3, "1", 0), (3, "3", 0)]
    assert desk.ticks == [(1, "9", 1), (2, "8", 1), (2, "8", 1), *seam, (4, "5", 0)]
    assert desk.gaps == []


def test_without_live_data_the_past_comes_at_once_and_the_rest_with_the_first_of_it() -> None:
    desk = PastDesk("bar.5s")
    desk.wake(10)
    (early,) = desk.fetched
    assert (early.start, _s(early.end_ns)) == ("2025-12-31T23:00:10+00:00", -50)
    desk.past(-60, -55, s=11)
    desk.done(12)
    assert desk.bars == [(-60, 1), (-55, 1)]
    desk.live(HOUR_S, s=HOUR_S + 5)
    desk.wake(HOUR_S + 7)
    late = desk.fetched[1]
    assert (late.start, _s(late.end_ns)) == ("2025-12-31T23:59:10+00:00", HOUR_S)
    desk.past(-50, s=HOUR_S + 8)
    desk.done(HOUR_S + 8)
    assert desk.bars == [(-60, 1), (-55, 1), (-50, 1), (HOUR_S, 0)]


def test_nothing_is_fetched_early_before_the_line_was_asked_for() -> None:
    desk = Desk(up=False)
    command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=["bar.5s"], backfill="1h")
    desk.send(command, 0, contract=stock())
    assert not told(desk.wake(10), FetchPast)
    desk.up(15)
    desk.sent(desk.last_req_id, 15)
    assert told(desk.wake(20), FetchPast)


def test_of_an_early_fetch_that_failed_nothing_is_doubled() -> None:
    desk = PastDesk("trade", "10m")
    desk.wake(10)
    desk.past_trades((-100, "1"), (-90, "2"), (-90, "2"), s=11)
    desk.done(12, "failed")
    assert desk.ticks == [(-100, "1", 1)]
    desk.trades(20, "7", s=20.5)
    desk.wake(22.5)
    # The second of which not all was sure to be there is fetched again.
    assert desk.fetched[1].start == "2025-12-31T23:58:30+00:00"
    desk.past_trades((-90, "2"), (-90, "2"), (-80, "3"), s=23)
    desk.done(23)
    assert desk.ticks == [(-100, "1", 1), (-90, "2", 1), (-90, "2", 1), (-80, "3", 1), (20, "7", 0)]
    assert desk.gaps == []


@pytest.mark.parametrize("outcome", ["failed", "cancelled"])
def test_what_ib_refuses_is_a_gap_and_the_stream_goes_live(outcome: str) -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.past(-15, s=13)
    desk.done(14, outcome)
    assert desk.gaps == [("no_history", -10, 5)]
    assert desk.bars == [(-15, 1), (5, 0)]
    desk.live(10, s=15)
    assert desk.bars[-1] == (10, 0)


def test_holes_of_the_history_are_gaps_and_what_lies_before_all_data_is_none() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    holes = [Hole(ns(-3000), ns(-2000), "before_head"), Hole(ns(-100), ns(-50), "no_answer")]
    desk.done(14, "incomplete", holes)
    assert desk.gaps == [("no_history", -100, -50)]
    assert desk.bars == [(5, 0)]


def test_history_that_does_not_come_is_given_up_and_the_stream_goes_live() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.wake(12 + HOUR_S)
    assert desk.forgotten == 1
    assert desk.gaps == [("no_history", 5 - HOUR_S, 5)]
    assert desk.bars == [(5, 0)]
    desk.done(12 + HOUR_S + 1)
    assert desk.bars == [(5, 0)]


def test_when_too_much_is_held_the_oldest_goes_and_a_gap_says_so() -> None:
    desk = PastDesk("bar.5s", config=SubscriptionsConfig(backfill_held_max=2))
    desk.live(5, s=10)
    desk.wake(12)
    desk.live(10, 15, 20, s=25)
    desk.past(0, s=26)
    desk.done(26)
    assert desk.bars == [(0, 1), (15, 0), (20, 0)]
    assert desk.gaps == [("overflow", 5, 15)]
    assert "'dropped': 2" in str(desk.core.status()["backfills"])


def test_what_goes_before_the_fetch_is_fetched_and_no_loss() -> None:
    desk = PastDesk("bar.5s", config=SubscriptionsConfig(backfill_held_max=2))
    desk.live(5, 10, 15, s=20)
    desk.wake(22)
    assert _s(desk.fetched[0].end_ns) == 10
    desk.past(0, 5, s=26)
    desk.done(26)
    assert desk.bars == [(0, 1), (5, 1), (10, 0), (15, 0)]
    assert desk.gaps == []


def test_a_connection_lost_meanwhile_is_a_gap_in_its_place() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.down(13)
    desk.up(20)
    desk.req_id = desk.last_req_id
    desk.live(20, s=25)
    desk.past(0, s=26)
    desk.done(26)
    assert desk.bars == [(0, 1), (5, 0), (20, 0)]
    assert [(type(each), getattr(each, "cause", "")) for each in desk.records[1:4]] == [
        (Bar, ""),
        (Gap, "disconnect"),
        (Bar, ""),
    ]


def test_who_leaves_meanwhile_ends_the_stream_and_the_fetching() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.unsubscribe("bar.5s", s=13)
    assert desk.forgotten == 1
    assert [type(each) for each in desk.records] == [End]
    desk.past(0, s=14)
    desk.done(14)
    assert len(desk.records) == 1


# ---- restart


def test_the_end_of_the_process_leaves_the_rest_to_the_next_one() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.past(-5, s=13)
    desk.note(desk.core.handle(Stop(), at(13)))
    assert (desk.bars, desk.gaps, desk.forgotten) == ([(-5, 1)], [], 1)
    after = PastDesk("bar.5s", before=desk, s=60)
    after.live(65, s=70)
    after.wake(72)
    assert (after.fetched[0].start, _s(after.fetched[0].end_ns)) == ("2026-01-01T00:00:00+00:00", 65)


def test_a_stream_whose_past_was_on_its_way_goes_on_behind_what_stands_in_it() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.past(-20, -15, s=13)
    after = PastDesk("bar.5s", before=desk, s=100)
    after.live(105, s=110)
    after.wake(112)
    (fetch,) = after.fetched
    assert (fetch.bar, fetch.client) == ("5s", "c")
    assert (fetch.start, _s(fetch.end_ns)) == ("2025-12-31T23:59:50+00:00", 105)
    after.past(-10, -5, s=113)
    after.live(110, s=115)
    after.past(100, s=116)
    after.done(116)
    assert after.bars == [(-20, 1), (-15, 1), (-10, 1), (-5, 1), (100, 1), (105, 0), (110, 0)]
    assert after.gaps == []


def test_a_past_of_which_nothing_stands_in_the_stream_is_begun_again() -> None:
    desk = PastDesk("bar.5s", "10m")
    desk.live(5, s=10)
    after = PastDesk("bar.5s", before=desk, s=100)
    after.live(105, s=110)
    after.wake(112)
    assert (after.fetched[0].start, _s(after.fetched[0].end_ns)) == ("2025-12-31T23:51:45+00:00", 105)


def test_a_stream_that_went_live_is_no_longer_looked_at_after_half_a_minute() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.past(0, s=13)
    desk.done(13)
    desk.live(10, s=15)
    # Until then nobody knows whether all of it was written: what is missing behind its end is fetched.
    early = PastDesk("bar.5s", before=desk, s=40)
    early.live(45, s=50)
    early.wake(52)
    assert (early.fetched[0].start, _s(early.fetched[0].end_ns)) == ("2026-01-01T00:00:15+00:00", 45)
    desk.wake(43)
    assert not begun_with_past(HolderWrite(name, value) for name, value in desk.stored.items())
    late = PastDesk("bar.5s", before=desk, s=60)
    late.live(65, s=70)
    late.wake(80)
    assert (late.fetched, late.bars[-1]) == ([], (65, 0))


def test_a_second_holder_keeps_the_wish_when_the_first_one_leaves() -> None:
    desk = PastDesk("bar.5s")
    desk.subscribe("bar.5s", client="second", s=1)
    desk.unsubscribe("bar.5s", s=2)
    assert list(desk.stored) == ["bar.5s:AAPL.STK.SMART.USD:second"]
    after = PastDesk("bar.5s", before=desk, s=100)
    after.wake(110)
    assert after.fetched[0].client == "second"


def test_ticks_of_the_second_in_which_the_process_ended_are_matched_one_by_one() -> None:
    desk = PastDesk("trade", "10m")
    desk.wake(10)
    desk.past_trades((-59, "1"), (-58, "2"), (-58, "2"), (-57, "4"), s=11)
    assert desk.ticks == [(-59, "1", 1), (-58, "2", 1), (-58, "2", 1)]
    # The last one of that second was lost with the process.
    desk.records.pop()
    after = PastDesk("trade", before=desk, s=100)
    after.wake(110)
    assert after.fetched[0].start == "2025-12-31T23:59:02+00:00"
    # It fails once: what was not published of that second is fetched again, and nothing else.
    after.past_trades((-58, "2"), (-58, "2"), s=111)
    after.done(111, "failed")
    after.trades(120, "7", s=120.5)
    after.wake(123)
    assert after.fetched[1].start == "2025-12-31T23:59:02+00:00"
    after.past_trades((-58, "2"), (-58, "2"), (-57, "4"), (120, "7"), s=124)
    after.done(124)
    assert after.ticks == [(-59, "1", 1), (-58, "2", 1), (-58, "2", 1), (-57, "4", 1), (120, "7", 0)]
    assert after.gaps == []


def test_what_lies_too_far_back_after_a_long_time_without_the_process_is_a_gap() -> None:
    desk = PastDesk("bar.5s", "2026-01-01")
    after = PastDesk("bar.5s", before=desk, s=10 * DAY_S)
    after.live(10 * DAY_S, s=10 * DAY_S + 5)
    after.wake(10 * DAY_S + 10)
    assert after.gaps == [("no_history", 0, 2 * DAY_S)]
    assert (after.fetched[0].start, _s(after.fetched[0].end_ns)) == ("2026-01-03T00:00:00+00:00", 10 * DAY_S)


def test_while_there_is_no_connection_history_is_not_late() -> None:
    desk = PastDesk("bar.5s")
    desk.live(5, s=10)
    desk.wake(12)
    desk.down(13)
    desk.wake(12 + HOUR_S)
    assert (desk.forgotten, desk.gaps) == (0, [])
    desk.up(12 + HOUR_S)
    desk.past(0, s=12 + HOUR_S)
    desk.done(12 + HOUR_S)
    assert desk.bars == [(0, 1), (5, 0)]
    assert desk.gaps == []


def test_a_client_is_told_active_with_the_first_live_data() -> None:
    desk = PastDesk("bar.5s")
    bar = RealTimeBar(desk.req_id, ns(10), ns(5), 1, 2, 1, 2, "10", "1", 3)
    assert notes(desk.data(bar, s=10)) == [("c", "1", "active", ["bar.5s"])]


@pytest.mark.parametrize(
    ("kind", "backfill", "code"),
    [
        ("quote", "1h", "unsupported"),
        ("tick", "1h", "unsupported"),
        ("alltrade", "1h", "unsupported"),
        ("bar.5s", "tomorrow", "validation_error"),
        ("bar.5s", "0s", "validation_error"),
        ("bar.5s", "8d", "validation_error"),
        ("bar.5s", "1.5h", "validation_error"),
        ("bar.5s", "2026-01-03", "validation_error"),
        ("bar.5s", "2025-12-01", "validation_error"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_asked(kind: str, backfill: str, code: str) -> None:
    desk = PastDesk(kind, backfill)
    error = answer(desk.accepted).reply.error
    assert error is not None
    assert error.code == code
    assert desk.last_req_id == 0


def test_nothing_is_put_before_what_an_open_stream_holds() -> None:
    desk = Desk()
    desk.subscribe("bar.5s", client="first")
    command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=["bar.5s", "trade"], backfill="1h")
    error = answer(desk.send(command, 1, "2", "second", stock())).reply.error
    assert error is not None
    assert (error.code, "`history`" in error.message) == ("unsupported", True)
