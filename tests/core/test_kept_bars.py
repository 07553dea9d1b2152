"""Bars that IB keeps up to date: told as they stand, closed when over, healed after a break."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer
from ibkr_actor.core.events import ErrorNotice, HistoricalBarUpdate
from ibkr_actor.core.history.events import HistoricalBar, HistoricalBars
from ibkr_actor.core.messages import PacingViolated, RequestSent, RestoreHolders
from ibkr_actor.core.requests import ReqHistoricalData
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_REFILLED, Bar, DataRecord, Gap
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, notes, ns, one, published, states, stock, told

# 2026-01-01 is a holiday; tests begin at 2026-01-05 15:00:00 UTC, a Monday at ten o'clock in New York.
T = 4 * 86_400 + 15 * 3_600
HOURS = ";".join(f"202601{day:02}:0930-202601{day:02}:1600" for day in (5, 6, 7, 8, 9))


def new_york() -> Contract:
    return structs.replace(stock(), trading_hours=HOURS, liquid_hours=HOURS, time_zone="US/Eastern")


def epoch(s: float) -> str:
    return str(ns(s) // 1_000_000_000)


def update(req_id: int, s: float, start: str, close: float = 1.5, volume: str = "10") -> HistoricalBarUpdate:
    return HistoricalBarUpdate(req_id, ns(s), start, 1.0, 2.0, 0.5, close, volume, "1.25", 3)


def row(start: str, close: float = 1.5, volume: str = "10") -> HistoricalBar:
    return HistoricalBar(start, 1.0, 2.0, 0.5, close, volume, "1.25", 3)


class Kept:
    """A desk with one line of bars."""

    def __init__(self, kind: str = "bar.1m", contract: Contract | None = None) -> None:
        self.desk = Desk()
        self.accepted = self.desk.subscribe(kind, s=T, contract=contract or new_york())

    @property
    def req_id(self) -> int:
        return self.desk.last_req_id

    def answer(self, s: float, *rows: HistoricalBar) -> list[DataRecord]:
        effects = self.desk.core.handle(HistoricalBars(self.req_id, ns(s), rows, False), at(s))
        return [record for _, record in published(self.desk.note(effects))]

    def update(self, s: float, start: str, close: float = 1.5, volume: str = "10") -> list[DataRecord]:
        return [record for _, record in published(self.desk.data(update(self.req_id, s, start, close, volume), s=s))]

    def wake(self, s: float) -> list[DataRecord]:
        return [record for _, record in published(self.desk.wake(s))]


def bars(records: list[DataRecord]) -> list[tuple[float, float, float | None, bool, int]]:
    """Start and end in seconds after T, close, final, revision."""
    found = [record for record in records if isinstance(record, Bar)]
    return [((b.start_ns - ns(T)) / 1e9, (b.end_ns - ns(T)) / 1e9, b.close, b.final, b.revision) for b in found]


@pytest.mark.parametrize(
    ("kind", "size", "duration", "show", "rth"),
    [
        ("bar.10s", "10 secs", "120 S", "TRADES", False),
        ("bar.1m", "1 min", "180 S", "TRADES", False),
        ("bar.5m.bid", "5 mins", "1 D", "BID", False),
        ("bar.1h.rth", "1 hour", "1 D", "TRADES", True),
        ("bar.4h.midpoint", "4 hours", "1 W", "MIDPOINT", False),
        ("bar.8h", "8 hours", "1 M", "TRADES", False),
        ("bar.1d.rth", "1 day", "1 Y", "TRADES", True),
        ("bar.1w", "1W", "1 Y", "TRADES", False),
        ("bar.1M.ask.rth", "1M", "1 Y", "ASK", True),
    ],
)
def test_each_size_is_asked_for_with_the_shortest_duration_that_goes_with_it(
    kind: str, size: str, duration: str, show: str, rth: bool
) -> None:
    (request,) = asked(Kept(kind).accepted)
    assert request == ReqHistoricalData(12, new_york(), "", duration, size, show, rth, keep_up_to_date=True)


def test_crypto_shows_midpoints_since_ib_keeps_no_aggregated_trades_up_to_date() -> None:
    coin = Contract(5, "BTC", "CRYPTO", "PAXOS", "USD", instrument="BTC.CRYPTO.PAXOS.USD")
    (request,) = asked(Kept("bar.1m", coin).accepted)
    assert isinstance(request, ReqHistoricalData)
    assert request.what_to_show == "MIDPOINT"


def test_the_first_answer_tells_the_bar_that_goes_on_and_makes_the_stream_active() -> None:
    kept = Kept()
    effects = kept.desk.core.handle(
        HistoricalBars(12, ns(T + 5), (row(epoch(T - 60)), row(epoch(T), 1.75)), False), at(T + 5)
    )
    assert bars([record for _, record in published(effects)]) == [(0, 60, 1.75, False, 0)]
    assert states(effects) == [("bar.1m", "live", "")]
    assert notes(effects) == [("c", "1", "active", ["bar.1m"])]


def test_an_answer_without_bars_is_no_data_and_the_first_update_is() -> None:
    kept = Kept()
    effects = kept.desk.core.handle(HistoricalBars(kept.req_id, ns(T + 1), (), False), at(T + 1))
    assert notes(effects) == []
    assert states(effects) == []
    effects = kept.desk.data(update(kept.req_id, T + 4, epoch(T)), s=T + 4)
    assert notes(effects) == [("c", "1", "active", ["bar.1m"])]
    assert bars([record for _, record in published(effects)]) == [(0, 60, 1.5, False, 0)]


def test_a_bar_is_told_as_it_goes_on_and_is_final_with_the_first_news_of_the_next() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    assert bars(kept.update(T + 10, epoch(T), 1.6)) == [(0, 60, 1.6, False, 1)]
    assert bars(kept.update(T + 15, epoch(T), 1.6)) == []
    assert bars(kept.update(T + 62, epoch(T + 60), 1.7)) == [(0, 60, 1.6, True, 2), (60, 120, 1.7, False, 0)]


def test_a_bar_is_closed_by_a_deadline_when_ib_stays_silent_and_a_correction_is_a_revision() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    assert kept.desk.core.next_wakeup_s() == T + 67
    assert bars(kept.wake(T + 66)) == []
    assert bars(kept.wake(T + 67)) == [(0, 60, 1.5, True, 1)]
    assert bars(kept.update(T + 68, epoch(T), 1.8)) == [(0, 60, 1.8, True, 2)]
    assert bars(kept.update(T + 70, epoch(T + 60))) == [(60, 120, 1.5, False, 0)]
    assert bars(kept.wake(T + 127)) == [(60, 120, 1.5, True, 1)]


def test_a_line_that_is_cut_off_closes_nothing_and_is_filled_from_history() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    kept.desk.down(T + 30)
    assert kept.wake(T + 100) == []
    (request,) = asked(kept.desk.up(T + 200))
    assert isinstance(request, ReqHistoricalData)
    assert request.duration == "380 S"
    records = kept.answer(
        T + 201,
        row(epoch(T - 60)),
        row(epoch(T), 1.6),
        row(epoch(T + 60)),
        row(epoch(T + 120)),
        row(epoch(T + 180)),
    )
    assert isinstance(records[0], Gap)
    assert (records[0].cause, records[0].from_ns) == ("disconnect", ns(T + 30))
    assert bars(records) == [
        (0, 60, 1.6, True, 1),
        (60, 120, 1.5, True, 0),
        (120, 180, 1.5, True, 0),
        (180, 240, 1.5, False, 0),
    ]
    flags = [record.flags for record in records if isinstance(record, Bar)]
    assert flags == [FLAG_REFILLED, FLAG_REFILLED, FLAG_REFILLED, 0]


def test_over_a_restart_bars_go_on_behind_a_gap_with_those_that_were_missed() -> None:
    before = Kept()
    left = before.answer(T + 5, row(epoch(T))) + before.update(T + 10, epoch(T), 1.6)
    kept = Kept("bar.5m")
    stream = Stream("bar.1m", new_york().instrument)
    holders = one(Answer, before.accepted).holders
    effects = kept.desk.note(kept.desk.core.handle(RestoreHolders(holders, {stream.name: (left[-1],)}), at(T + 200)))
    (request,) = asked(effects)
    assert isinstance(request, ReqHistoricalData)
    assert request.duration == "380 S"
    starts = [epoch(T + s) for s in (-60, 0, 60, 120, 180)]
    records = kept.answer(T + 201, *(row(start) for start in starts))
    assert isinstance(records[0], Gap)
    assert (records[0].cause, records[0].from_ns) == ("restart", ns(T + 10))
    assert bars(records) == [
        (0, 60, 1.5, True, 2),
        (60, 120, 1.5, True, 0),
        (120, 180, 1.5, True, 0),
        (180, 240, 1.5, False, 0),
    ]


def test_a_bust_is_announced_asked_for_again_and_what_it_changed_is_a_revision() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T), 9.0))
    kept.update(T + 62, epoch(T + 60))
    effects = kept.desk.error(kept.req_id, 10225, s=T + 65)
    assert len(asked(effects)) == 1
    records = kept.answer(T + 66, row(epoch(T), 1.5), row(epoch(T + 60)))
    assert isinstance(records[0], Gap)
    assert records[0].cause == "bust"
    assert bars(records) == [(0, 60, 1.5, True, 2)]


@pytest.mark.parametrize("code", [366, 386])
def test_a_query_that_ib_has_lost_is_asked_for_again_at_once(code: int) -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    assert len(asked(kept.desk.error(kept.req_id, code, s=T + 10))) == 1


def test_updates_that_ib_cannot_serve_are_asked_for_again_a_little_later() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    effects = kept.desk.error(kept.req_id, 10182, s=T + 10)
    assert asked(effects) == []
    assert states(effects) == [("bar.1m", "starved", "connection_failed")]
    assert len(asked(kept.desk.wake(T + 15))) == 1


def test_a_pacing_violation_is_told_to_pacing_and_asked_for_again() -> None:
    kept = Kept("bar.10s")
    notice = ErrorNotice(1, ns(T), kept.req_id, 162, "Historical Market Data Service error message: pacing violation")
    effects = kept.desk.core.handle(notice, at(T + 1))
    assert told(effects, PacingViolated) == [PacingViolated(kept.req_id)]
    assert len(asked(kept.desk.wake(T + 6))) == 1


def test_a_missing_permission_is_refused() -> None:
    kept = Kept()
    notice = ErrorNotice(1, ns(T), kept.req_id, 162, "No market data permissions for NASDAQ STK")
    effects = kept.desk.core.handle(notice, at(T + 1))
    assert notes(effects) == [("c", "1", "rejected", ["bar.1m"])]


def test_the_cancel_of_a_bar_is_no_trouble_unless_it_is_still_wanted() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    notice = ErrorNotice(1, ns(T), kept.req_id, 162, "API historical data query cancelled: 12")
    kept.desk.core.handle(notice, at(T + 6))
    assert len(asked(kept.desk.wake(T + 66))) == 1
    kept.desk.unsubscribe("bar.1m", s=T + 67, contract=new_york())
    assert kept.desk.core.handle(notice, at(T + 68)) == []


def test_daily_bars_have_their_session_and_its_date() -> None:
    kept = Kept("bar.1d")
    (bar,) = kept.answer(T + 5, row("20260102"), row("20260105"))
    assert isinstance(bar, Bar)
    assert (bar.start_ns, bar.end_ns) == (ns(T - 1_800), ns(T + 6 * 3_600))
    assert (bar.session_date, bar.final) == ("20260105", False)


def test_a_week_keeps_its_begin_while_its_date_moves_on() -> None:
    kept = Kept("bar.1w")
    (monday,) = kept.answer(T + 5, row("20260105"))
    (tuesday,) = kept.update(T + 86_400, "20260106", 1.7)
    assert isinstance(monday, Bar)
    assert isinstance(tuesday, Bar)
    assert tuesday.start_ns == monday.start_ns == ns(T - 1_800)
    assert (tuesday.session_date, tuesday.revision) == ("20260106", 1)


def test_bars_of_quotes_have_no_volume_where_ib_writes_minus_one_and_negative_prices_stay() -> None:
    kept = Kept("bar.1m.bid")
    effects = kept.desk.data(HistoricalBarUpdate(12, ns(T), epoch(T), -1.0, 0.0, -37.63, -1.0, "-1", "-1", -1), s=T)
    ((_, bar),) = published(effects)
    assert isinstance(bar, Bar)
    assert (bar.open, bar.high, bar.low, bar.close) == (-1.0, 0.0, -37.63, -1.0)
    assert (bar.volume, bar.wap, bar.count) == (None, None, None)


def test_live_bars_leave_room_for_history() -> None:
    desk = Desk(SubscriptionsConfig(kept_bars=2))
    desk.subscribe("bar.1m", "bar.5m", contract=new_york())
    refused = answer(desk.subscribe("bar.1h", id="2", contract=new_york())).reply.error
    assert refused is not None
    assert (refused.code, refused.retryable) == ("line_limit", True)
    assert "2 of 2 live requests of history are taken (c 2)" in refused.message


def test_what_is_not_a_time_is_counted_and_costs_no_other_bar() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    assert kept.update(T + 6, "yesterday") == []
    assert kept.desk.core.status()["unreadable_bars"] == 1
    assert bars(kept.update(T + 7, epoch(T), 1.9)) == [(0, 60, 1.9, False, 1)]


def test_a_bar_named_by_the_clock_is_that_bar() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    text = datetime.fromtimestamp(int(epoch(T)), UTC).strftime("%Y%m%d-%H:%M:%S")
    assert bars(kept.update(T + 6, text, 1.9)) == [(0, 60, 1.9, False, 1)]


def test_bars_that_stall_in_market_hours_are_asked_for_again() -> None:
    desk = Desk(looks_every_s=1.0)
    desk.subscribe("bar.1m", s=T, contract=new_york())
    desk.core.handle(RequestSent(12, T), at(T))
    desk.wake(T)
    desk.core.handle(HistoricalBars(12, ns(T + 1), (row(epoch(T)),), False), at(T + 1))
    asked_s = None
    for s in range(T + 2, T + 200):
        if asked(desk.wake(s)):
            asked_s = s
            break
    assert asked_s is not None
    (_, gap), *_ = published(desk.data(update(desk.last_req_id, asked_s + 1, epoch(T + 120)), s=asked_s + 1))
    assert isinstance(gap, Gap)
    assert gap.cause == "stall"


def test_bars_that_another_login_silenced_say_so_when_ib_does() -> None:
    text = "Historical Market Data Service error message:Trading TWS session is connected from a different IP address"
    desk = Desk(looks_every_s=1.0)
    desk.subscribe("bar.1m", s=T, contract=new_york())
    desk.core.handle(RequestSent(12, T), at(T))
    desk.core.handle(HistoricalBars(12, ns(T + 1), (row(epoch(T)),), False), at(T + 1))
    refused = 0
    for s in range(T + 2, T + 400):
        if asked(desk.wake(s)):
            desk.core.handle(RequestSent(desk.last_req_id, s), at(s))
            if refused:
                break
            refused = s
            desk.error(desk.last_req_id, 162, s + 0.5, text)
    assert 60 < refused - T < 120
    (_, gap), *_ = published(desk.data(update(desk.last_req_id, T + 400, epoch(T + 360)), s=T + 400))
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.from_ns) == ("competing_session", ns(T + 1))


def test_bars_are_silenced_with_the_level_1_that_another_login_took() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    bars_id = kept.req_id
    kept.desk.subscribe("quote", s=T + 6)
    kept.desk.price(kept.req_id, T + 7)
    kept.desk.error(kept.req_id, 10197, T + 10, "No market data during competing live session")
    (_, gap), *_ = published(kept.desk.data(update(bars_id, T + 90, epoch(T + 60)), s=T + 90))
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.from_ns) == ("competing_session", ns(T + 5))


def test_a_bar_that_ib_leaves_out_of_its_answer_is_over_all_the_same() -> None:
    kept = Kept()
    kept.answer(T + 5, row(epoch(T)))
    kept.desk.down(T + 30)
    kept.desk.up(T + 70)
    assert bars(kept.answer(T + 71, row(epoch(T + 60)))) == [(0, 60, 1.5, True, 1), (60, 120, 1.5, False, 0)]
