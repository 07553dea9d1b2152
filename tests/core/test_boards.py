"""Streams of no instrument, in the subscriptions core: scans and bulletins, from their command to their end."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from ibkr_actor.core.effects import CloseStream, Effect, HolderWrite, WriteHolders
from ibkr_actor.core.messages import (
    CommandsReadable,
    DataLost,
    FarmChanged,
    RedisForgot,
    RequestEnded,
    RequestRefused,
    RequestSent,
    RestoreHolders,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.reference.events import NewsBulletin, ScanEnd, ScanRow
from ibkr_actor.core.requests import ReqNewsBulletins, ReqScan
from ibkr_actor.schema.commands import List, Renew, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Bulletin, End, Gap, Ranking
from ibkr_actor.schema.reference_commands import HoldBulletins, HoldScan
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, notes, ns, one, only, published, ref, states, stock, told

GAINERS = HoldScan(scan_code="TOP_PERC_GAIN", lease_s=0.0)
NAME = "TOP_PERC_GAIN~STK~STK.US.MAJOR~50"
SCAN, BULLETINS = Stream("scan", NAME), Stream("bulletin", "all")


def row(req_id: int, rank: int, symbol: str = "AAPL") -> ScanRow:
    contract = Contract(100 + rank, symbol, "STK", "SMART", "USD", local_symbol=symbol, trading_class="NMS")
    return ScanRow(req_id, rank, contract, "1.5", "", "", "")


def rank(desk: Desk, s: float, *symbols: str, req_id: int | None = None) -> list[Effect]:
    """A whole ranking, its rows in no order."""
    req_id = desk.last_req_id if req_id is None else req_id
    for number, symbol in reversed(list(enumerate(symbols))):
        assert handle(desk, row(req_id, number, symbol), s) == []
    return handle(desk, ScanEnd(req_id, ns(s)), s)


def handle(desk: Desk, message: Struct, s: float) -> list[Effect]:
    return desk.note(desk.core.handle(message, at(s)))


def symbols(effects: list[Effect]) -> list[list[str]]:
    records = [record for _, record in published(effects) if isinstance(record, Ranking)]
    return [[each.symbol for each in record.rows] for record in records]


def gaps(effects: list[Effect]) -> list[tuple[str, int | None, int | None]]:
    return [(each.cause, each.from_ns, each.to_ns) for _, each in published(effects) if isinstance(each, Gap)]


def bulletin(number: int, s: float, text: str = "words") -> NewsBulletin:
    return NewsBulletin(ns(s), number, 1, text, "")


def told_bulletins(effects: list[Effect]) -> list[int]:
    return [record.bulletin_id for _, record in published(effects) if isinstance(record, Bulletin)]


def test_a_scan_is_asked_for_once_and_each_ranking_is_one_record() -> None:
    desk = Desk()
    accepted = desk.send(GAINERS, 1)
    reply = answer(accepted).reply
    assert (reply.status, reply.streams, reply.result) == ("accepted", [f"ibkr:{{g1}}:scan:{NAME}"], {"scan": NAME})
    assert asked(accepted) == [ReqScan(desk.last_req_id, "TOP_PERC_GAIN", "STK", "STK.US.MAJOR", 50)]
    # A second holder costs nothing.
    assert asked(desk.send(GAINERS, 1, id="2", client="d")) == []
    first = rank(desk, 2, "MSFT", "AAPL")
    assert symbols(first) == [["MSFT", "AAPL"]]
    assert notes(first) == [("c", "1", "active", ["scan"]), ("d", "2", "active", ["scan"])]
    assert states(first) == [("scan", "live", "")]
    ((stream, record),) = published(first)
    assert stream == SCAN
    assert isinstance(record, Ranking)
    assert (record.con_id, record.received_ns, record.feed, record.rows[0].rank) == (0, ns(2), 1, 0)
    assert (record.rows[0].con_id, record.rows[0].distance, record.rows[0].strike) == (100, "1.5", None)
    # The next ranking holds its own rows only, and who comes now is told at once.
    assert symbols(rank(desk, 32, "IBM")) == [["IBM"]]
    assert notes(desk.send(GAINERS, 33, id="3", client="e")) == [("e", "3", "active", ["scan"])]


def test_equal_wishes_are_one_stream_and_others_are_not() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    fields: list[dict[str, Any]] = [
        {"rows": 10},
        {"above_price": 5.0},
        {"below_price": 5.0},
        {"above_volume": 5},
        {"filters": {"marketCapAbove1e6": "10~0"}},
        {"location": "STK.EU"},
    ]
    names = []
    for number, each in enumerate(fields):
        sent = desk.send(HoldScan(scan_code="TOP_PERC_GAIN", lease_s=0.0, **each), 1, id=str(number))
        assert len(asked(sent)) == 1
        names += answer(sent).reply.streams or []
    assert len(set(names)) == len(fields)
    assert names[4] == f"ibkr:{{g1}}:scan:{NAME}~marketCapAbove1e6=10%7E0"
    desk.down(2)
    (request,) = [each for each in asked(desk.up(3)) if isinstance(each, ReqScan) and each.filters]
    assert request.filters == (("marketCapAbove1e6", "10~0"),)


def test_what_cannot_be_is_refused_before_ib_is_asked() -> None:
    desk = Desk()
    wrong: list[HoldScan] = [
        HoldScan(scan_code=""),
        HoldScan(scan_code="A\nB"),
        HoldScan(scan_code="A", rows=51),
        HoldScan(scan_code="A", above_price=float("nan")),
        HoldScan(scan_code="A", above_volume=-1),
        HoldScan(scan_code="A", filters={"": "1"}),
        HoldScan(scan_code="A", lease_s=-1.0),
    ]
    for command in wrong:
        refused = desk.send(command, 1)
        error = answer(refused).reply.error
        assert error is not None
        assert error.code == "validation_error"
        assert len(refused) == 1


def test_scans_leave_one_of_ibs_ten_to_questions() -> None:
    desk = Desk()
    for number in range(9):
        assert answer(desk.send(HoldScan(scan_code=f"S{number}"), 1, id=str(number))).reply.status == "accepted"
    error = answer(desk.send(GAINERS, 1, id="x")).reply.error
    assert error is not None
    assert (error.code, error.retryable) == ("line_limit", True)
    assert "(c)" in error.message
    # Another holder of one that is there, and bulletins, need none of them.
    assert answer(desk.send(HoldScan(scan_code="S1"), 1, id="y", client="d")).reply.status == "accepted"
    assert answer(desk.send(HoldBulletins(), 1, id="z")).reply.status == "accepted"
    assert desk.core.status()["scans"] == {"taken": 9, "of": 9}
    # One is given back: there is room.
    desk.send(Unsubscribe(scan="S3~STK~STK.US.MAJOR~50"), 2, id="u")
    assert answer(desk.send(GAINERS, 2, id="x2")).reply.status == "accepted"


def test_the_last_to_leave_ends_the_scan() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    desk.send(GAINERS, 1, id="2", client="d")
    req_id = desk.last_req_id
    rank(desk, 2, "AAPL")
    left = desk.send(Unsubscribe(scan=NAME), 3, client="c", id="3")
    assert told(left, Withdraw) == []
    assert answer(left).holders == (HolderWrite(f"scan:{NAME}:c", None),)
    assert answer(left).reply.streams == [f"ibkr:{{g1}}:scan:{NAME}"]
    last = desk.send(Unsubscribe(kinds=["scan"]), 4, client="d", id="4")
    assert told(last, Withdraw) == [Withdraw(req_id)]
    assert [record.reason for _, record in published(last) if isinstance(record, End)] == ["no_holders"]
    assert one(CloseStream, last).stream == SCAN
    # What is in flight is nobody's.
    assert rank(desk, 5, "AAPL", req_id=req_id) == []


def test_unsubscribe_without_words_ends_everything_and_with_an_instrument_no_scan() -> None:
    desk = Desk()
    desk.subscribe("quote", s=1)
    desk.send(GAINERS, 1, id="2")
    desk.send(HoldBulletins(), 1, id="3")
    kept = desk.send(Unsubscribe(instrument="AAPL"), 2, id="4", contract=stock())
    assert answer(kept).reply.streams == ["ibkr:{g1}:quote:AAPL.STK.SMART.USD"]
    gone = desk.send(Unsubscribe(), 3, id="5")
    assert answer(gone).reply.streams == [f"ibkr:{{g1}}:scan:{NAME}", "ibkr:{g1}:bulletin:all"]
    assert len(told(gone, Withdraw)) == 2


def test_a_lease_that_is_not_renewed_ends_the_scan() -> None:
    desk = Desk()
    desk.send(HoldScan(scan_code="TOP_PERC_GAIN", lease_s=60.0), 1)
    rank(desk, 2, "AAPL")
    assert answer(desk.send(Renew(), 50, id="2")).reply.streams == [f"ibkr:{{g1}}:scan:{NAME}"]
    assert desk.core.next_wakeup_s() == 110
    handle(desk, CommandsReadable(), 100)
    assert desk.core.next_wakeup_s() == 160
    over = handle(desk, WakeUp(), 160)
    assert notes(over) == [("c", "1", "expired", ["scan"])]
    assert one(WriteHolders, over).holders == (HolderWrite(f"scan:{NAME}:c", None),)
    assert [record.reason for _, record in published(over) if isinstance(record, End)] == ["expired"]


def test_after_a_reconnect_it_is_asked_again_and_the_gap_goes_before_the_next_ranking() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    old = desk.last_req_id
    rank(desk, 2, "AAPL")
    handle(desk, row(old, 0, "HALF"), 3)
    lost = desk.down(10)
    assert states(lost) == [("scan", "starved", "disconnect")]
    assert [type(each) for each in asked(desk.up(20))] == [ReqScan]
    assert desk.last_req_id != old
    assert rank(desk, 21, "AAPL", req_id=old) == []
    # Half a ranking of before is no part of the next.
    back = rank(desk, 22, "MSFT")
    assert symbols(back) == [["MSFT"]]
    assert gaps(back) == [("disconnect", ns(10), ns(22))]
    assert isinstance(published(back)[0][1], Gap)
    assert gaps(rank(desk, 52, "MSFT")) == []


def test_without_a_connection_it_is_accepted_and_asked_for_when_there_is_one() -> None:
    desk = Desk(up=False)
    early = desk.send(GAINERS, 1)
    assert answer(early).reply.note is not None
    assert asked(early) == []
    assert [type(each) for each in asked(desk.up(5))] == [ReqScan]
    # Nobody saw anything of it, so nothing is missing.
    assert gaps(rank(desk, 6, "AAPL")) == []


def test_ib_forgets_or_goes_away_and_the_scan_is_asked_anew() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    old = desk.last_req_id
    handle(desk, RequestSent(old, 1), 1)
    rank(desk, 2, "AAPL")
    forgot = handle(desk, DataLost(ns(5), 1101), 5)
    assert told(forgot, RequestEnded) == [RequestEnded(old)]
    assert len(asked(forgot)) == 1
    assert gaps(rank(desk, 6, "AAPL")) == [("disconnect", ns(5), ns(6))]
    old = desk.last_req_id
    assert states(handle(desk, UpstreamDown(ns(7), 1100), 7)) == [("scan", "starved", "upstream")]
    up = handle(desk, UpstreamUp(ns(9), 1102), 9)
    assert told(up, Withdraw) == [Withdraw(old)]
    assert gaps(rank(desk, 10, "AAPL")) == [("disconnect", ns(7), ns(10))]


def test_nothing_is_asked_while_tws_is_without_ib_and_all_of_it_afterwards() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 2, "AAPL")
    desk.send(HoldScan(scan_code="MOST_ACTIVE"), 3, id="2")
    assert states(handle(desk, UpstreamDown(ns(4), 1100), 4)) == [("scan", "starved", "upstream")] * 2
    # Neither a scan that was silent for long nor a new one.
    assert asked(handle(desk, WakeUp(), 500)) == []
    assert asked(desk.send(HoldScan(scan_code="HOT_BY_VOLUME"), 501, id="3")) == []
    up = handle(desk, UpstreamUp(ns(600), 1102), 600)
    assert sorted(each.scan_code for each in asked(up) if isinstance(each, ReqScan)) == [
        "HOT_BY_VOLUME",
        "MOST_ACTIVE",
        "TOP_PERC_GAIN",
    ]


def test_a_farm_of_history_that_is_away_is_waited_for() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 2, "AAPL")
    gone = handle(desk, FarmChanged("ushmds", "history", False, ns(3)), 3)
    assert states(gone) == [("scan", "starved", "farm")]
    # A new one waits too.
    assert asked(desk.send(HoldScan(scan_code="MOST_ACTIVE"), 4, id="2")) == []
    back = handle(desk, FarmChanged("ushmds", "history", True, ns(5)), 5)
    assert sorted(each.scan_code for each in asked(back) if isinstance(each, ReqScan)) == [
        "MOST_ACTIVE",
        "TOP_PERC_GAIN",
    ]
    first = next(each.req_id for each in asked(back) if isinstance(each, ReqScan) and each.scan_code == "TOP_PERC_GAIN")
    assert gaps(rank(desk, 6, "AAPL", req_id=first)) == [("farm", ns(3), ns(6))]


def test_what_ib_refuses_is_told_to_every_holder() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    desk.send(GAINERS, 1, id="2", client="d")
    refused = desk.error(desk.last_req_id, 162, 2)
    assert told(refused, RequestEnded) == [RequestEnded(desk.last_req_id)]
    assert notes(refused) == [("c", "1", "rejected", ["scan"]), ("d", "2", "rejected", ["scan"])]
    assert {write.field for effect in only(WriteHolders, refused) for write in effect.holders} == {
        f"scan:{NAME}:c",
        f"scan:{NAME}:d",
    }
    assert [record.reason for _, record in published(refused) if isinstance(record, End)] == ["failed"]
    # It is no pacing violation of history, and no stream is left.
    assert answer(desk.send(List(), 3, id="3")).reply.result == {"subscriptions": []}


def test_a_scan_that_ranked_before_is_kept_over_a_refusal_and_asked_for_again() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 2, "AAPL")
    assert states(desk.error(desk.last_req_id, 162, 3)) == [("scan", "starved", "farm_transient")]
    # Who joins meanwhile does not ask sooner.
    assert asked(desk.send(GAINERS, 4, id="2", client="d")) == []
    again_s = desk.core.next_wakeup_s()
    assert again_s == 18
    assert [type(each) for each in asked(handle(desk, WakeUp(), again_s))] == [ReqScan]
    assert gaps(rank(desk, 19, "AAPL")) == [("disconnect", ns(3), ns(19))]


def test_codes_that_end_nothing_or_only_the_id_leave_the_scan_in_place() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    first = desk.last_req_id
    assert desk.error(first, 492, 1) == []
    taken = desk.error(first, 385, 2)
    assert told(taken, RequestEnded) == [RequestEnded(first)]
    assert [type(each) for each in asked(taken)] == [ReqScan]
    desk.error(desk.last_req_id, 385, 3)
    # Three in a row are enough.
    assert notes(desk.error(desk.last_req_id, 385, 4)) == [("c", "1", "rejected", ["scan"])]


def test_pacing_without_room_refuses_the_scan() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    full = handle(desk, RequestRefused(desk.last_req_id, "queue is full", 3.0), 1)
    assert notes(full) == [("c", "1", "rejected", ["scan"])]


def test_a_scan_that_finds_nothing_is_an_empty_ranking_even_if_ib_does_not_end_it() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    assert desk.error(desk.last_req_id, 165, 2) == []
    assert desk.core.next_wakeup_s() == 4
    nothing = handle(desk, WakeUp(), 4)
    assert symbols(nothing) == [[]]
    assert notes(nothing) == [("c", "1", "active", ["scan"])]
    # Where IB does end it, that is the one record.
    assert desk.error(desk.last_req_id, 165, 34) == []
    assert symbols(rank(desk, 34)) == [[]]
    assert desk.core.next_wakeup_s() == 34 + 180


def test_a_silent_scan_is_asked_for_anew_ever_more_rarely() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 10, "AAPL")
    looks = []
    s = 10.0
    for _ in range(6):
        next_s = desk.core.next_wakeup_s()
        assert next_s is not None
        looks.append(next_s - s)
        s = next_s
        old = desk.last_req_id
        anew = handle(desk, WakeUp(), s)
        assert told(anew, Withdraw) == [Withdraw(old)]
        assert len(asked(anew)) == 1
        # The answer to our own question, and nothing was missed that we know of.
        assert gaps(rank(desk, s, "AAPL")) == []
    assert looks == [180, 360, 720, 1440, 2880, 2880]
    # A ranking that comes by itself: it is alive.
    rank(desk, s + 30, "AAPL")
    assert desk.core.next_wakeup_s() == s + 30 + 180


def test_bulletins_are_there_once_they_are_asked_for_though_ib_says_nothing() -> None:
    desk = Desk()
    accepted = desk.send(HoldBulletins(lease_s=0.0), 1)
    assert answer(accepted).reply.streams == ["ibkr:{g1}:bulletin:all"]
    assert asked(accepted) == [ReqNewsBulletins(desk.last_req_id, True)]
    assert notes(handle(desk, RequestSent(desk.last_req_id, 1), 1)) == [("c", "1", "active", ["bulletin"])]
    ((stream, record),) = published(handle(desk, NewsBulletin(ns(2), 7, 2, "gone", "ARCA"), 2))
    assert stream == BULLETINS
    assert isinstance(record, Bulletin)
    assert (record.con_id, record.bulletin_id, record.bulletin_type) == (0, 7, 2)
    assert (record.text, record.exchange, record.received_ns) == ("gone", "ARCA", ns(2))


def test_a_break_loses_no_bulletin_and_doubles_none() -> None:
    desk = Desk()
    desk.send(HoldBulletins(lease_s=0.0), 1)
    assert told_bulletins(handle(desk, bulletin(1, 2), 2)) == [1]
    desk.down(3)
    assert asked(desk.up(9)) == [ReqNewsBulletins(desk.last_req_id, True)]
    handle(desk, RequestSent(desk.last_req_id, 9), 9)
    assert told_bulletins(handle(desk, bulletin(1, 9), 9)) == []
    missed = handle(desk, bulletin(2, 9), 9)
    assert told_bulletins(missed) == [2]
    assert gaps(missed) == [("disconnect", ns(3), ns(9))]
    # After an outage upstream the day's are asked for too, without a cancel, which would name no request.
    handle(desk, UpstreamDown(ns(20), 1100), 20)
    up = handle(desk, UpstreamUp(ns(22), 1102), 22)
    assert told(up, Withdraw) == []
    assert asked(up) == [ReqNewsBulletins(desk.last_req_id, True)]
    # Nobody wants them any more: a straggler is nobody's.
    desk.send(Unsubscribe(kinds=["bulletin"]), 30, id="2")
    assert handle(desk, bulletin(3, 31), 31) == []


def test_a_restart_takes_up_what_was_held() -> None:
    before = Desk()
    writes = answer(before.send(GAINERS, 1)).holders + answer(before.send(HoldBulletins(lease_s=9.0), 1)).holders
    assert {write.field for write in writes} == {f"scan:{NAME}:c", "bulletin:all:c"}
    after = Desk(up=False)
    broken = HolderWrite("scan:X:c", b'{"lease_s":0,"command_id":"1","since_ns":0}')
    restored = handle(after, RestoreHolders((*writes, broken)), 1)
    assert [each.record.event for each in restored if hasattr(each, "record")] == ["holders_unreadable"]
    assert {type(each) for each in asked(after.up(2))} == {ReqScan, ReqNewsBulletins}
    assert after.core.next_wakeup_s() == 10
    again = handle(after, RedisForgot(), 3)
    assert {write.field for effect in only(WriteHolders, again) for write in effect.holders} == {
        write.field for write in writes
    }
    assert {kind for kind, _, _ in states(again)} == {"scan", "bulletin"}


def test_a_stop_takes_requests_back_and_keeps_the_holders() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 2, "AAPL")
    stopped = handle(desk, Stop(), 3)
    assert told(stopped, Withdraw) == [Withdraw(desk.last_req_id)]
    assert only(WriteHolders, stopped) == []
    assert states(stopped) == [("scan", "starved", "stopped")]


def test_a_list_names_them_with_their_holders() -> None:
    desk = Desk()
    desk.send(GAINERS, 1)
    rank(desk, 2, "AAPL")
    result = answer(desk.send(List(), 3, id="2")).reply.result
    assert isinstance(result, dict)
    (found,) = result["subscriptions"]
    assert (found["kind"], found["instrument"], found["state"]) == ("scan", NAME, "live")
    assert (found["stream"], found["received_ns"]) == (f"ibkr:{{g1}}:scan:{NAME}", str(ns(2)))
    assert found["holders"] == [{"client": "c", "lease_s": 0.0, "left_s": None}]
    assert desk.core.status()["holders"] == 1
    assert answer(desk.send(List(of_client="d"), 3, id="3")).reply.result == {"subscriptions": []}


def test_a_kind_of_its_own_command_is_no_kind_to_subscribe_to() -> None:
    command = Subscribe(instrument="AAPL", kinds=["scan"])
    refused = Desk().send(command, 1, contract=stock())
    error = answer(refused).reply.error
    assert error is not None
    assert error.code == "validation_error"
    assert answer(refused).ref == ref("1", "c", "subscribe")
