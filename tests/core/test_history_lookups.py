"""Questions that IB answers with one message: head timestamp, schedule, histogram."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Answer, Effect
from ibkr_actor.core.history.events import HistogramData
from ibkr_actor.core.messages import RequestRefused, Stop
from ibkr_actor.core.requests import ReqHeadTimestamp, ReqHistogram, ReqHistoricalData
from ibkr_actor.schema.commands import AnyCommand, HeadTimestamp, Histogram, Schedule
from tests.core.kit import at, forex, ns, only
from tests.core.past_desk import PastDesk, reply

HMDS = "Historical Market Data Service error message:"
HEAD = HeadTimestamp(instrument="AAPL", use_rth=True)


def only_answers(effects: list[Effect]) -> list[Answer]:
    return only(Answer, effects)


def test_a_head_timestamp_is_in_nanoseconds_as_text_and_its_request_is_taken_back_for_it_counts_as_open() -> None:
    desk = PastDesk()
    desk.send(HEAD)
    ((req_id, request),) = desk.open.items()
    assert isinstance(request, ReqHeadTimestamp)
    assert (request.what_to_show, request.use_rth) == ("TRADES", True)
    found = reply(desk.head(req_id, "345479400"))
    assert (found.status, found.error) == ("result", None)
    assert found.result == {
        "con_id": 265598,
        "instrument": "AAPL.STK.SMART.USD",
        "head_ns": "345479400000000000",
    }
    assert desk.withdrawn == [req_id]


def test_an_answer_that_is_no_time_is_an_error() -> None:
    desk = PastDesk()
    desk.send(HEAD)
    refused = reply(desk.head(desk.asked[0], "19801212  09:30:00"))
    assert refused.error is not None
    assert refused.error.code == "internal"
    assert "19801212  09:30:00" in refused.error.message


def test_the_data_meant_is_that_of_the_type_of_security() -> None:
    desk = PastDesk()
    desk.send(HeadTimestamp(instrument="EUR"), contract=forex())
    (request,) = desk.heads
    assert request.what_to_show == "MIDPOINT"


def test_the_same_question_of_two_is_asked_once_and_answered_to_both() -> None:
    desk = PastDesk()
    desk.send(HEAD, id="1", client="anna")
    desk.send(HEAD, id="2", client="bert")
    (req_id,) = desk.asked
    effects = desk.head(req_id, "345479400")
    assert [(found.ref.client, found.reply.status) for found in only_answers(effects)] == [
        ("anna", "result"),
        ("bert", "result"),
    ]


def test_a_schedule_is_answered_by_trade_date_with_half_days_and_without_holidays() -> None:
    desk = PastDesk()
    desk.send(Schedule(instrument="AAPL", days=10, end="2025-12-31", use_rth=True))
    ((req_id, request),) = desk.open.items()
    assert isinstance(request, ReqHistoricalData)
    assert (request.end, request.duration, request.what_to_show) == ("20260101-00:00:00", "1 Y", "SCHEDULE")
    found = reply(desk.answer(req_id))
    assert isinstance(found.result, dict)
    assert found.result["time_zone"] == "America/New_York"
    assert len(found.result["sessions"]) == 10
    by_date = {row["trade_date"]: row["segments"] for row in found.result["sessions"]}
    assert by_date["20251224"] == [["1766586600000000000", "1766599200000000000"]]
    assert "20251225" not in by_date


def test_a_histogram_is_rows_of_price_and_size() -> None:
    desk = PastDesk()
    desk.send(Histogram(instrument="AAPL", period="1 week", use_rth=True))
    ((req_id, request),) = desk.open.items()
    assert isinstance(request, ReqHistogram)
    assert request.period == "1 week"
    found = reply(desk.note(desk.core.handle(HistogramData(req_id, ns(1), ((1.5, "100"), (1.6, "0.5"))), at(1))))
    assert isinstance(found.result, dict)
    assert found.result["rows"] == [[1.5, "100"], [1.6, "0.5"]]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (Schedule(instrument="AAPL", days=0), "days must be 1 to 365"),
        (Schedule(instrument="AAPL", days=366), "days must be 1 to 365"),
        (Schedule(instrument="AAPL", end="soon"), "soon"),
        (Histogram(instrument="AAPL", period=" "), "period"),
        (HeadTimestamp(instrument="AAPL", what_to_show="LAST"), "LAST"),
    ],
)
def test_what_is_wrong_is_said_before_ib_is_asked(command: AnyCommand, words: str) -> None:
    desk = PastDesk()
    refused = reply(desk.send(command))
    assert refused.error is not None
    assert refused.error.code == "validation_error"
    assert words in refused.error.message
    assert not desk.open


def test_a_silent_gateway_and_a_missing_one_are_told_apart_and_both_may_be_tried_again() -> None:
    desk = PastDesk(HistoryConfig(lookup_timeout_s=30.0, answer_timeout_s=20.0))
    desk.send(HEAD)
    desk.sent(desk.asked[0], 5.0)
    refused = reply(desk.wake(25.0))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retryable) == ("farm_transient", True)
    offline = PastDesk(HistoryConfig(lookup_timeout_s=30.0), up=False)
    offline.send(HEAD)
    assert offline.core.next_wakeup_s() == 30.0
    refused = reply(offline.wake(30.0))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retry_after_s) == ("connection_failed", 5.0)
    assert not offline.open


def test_a_deadline_of_the_command_ends_the_waiting_sooner() -> None:
    desk = PastDesk(up=False)
    desk.send(HeadTimestamp(instrument="AAPL", deadline_ms=ns(4) // 1_000_000))
    assert desk.core.next_wakeup_s() == 4.0


def test_a_pacing_violation_is_answered_with_when_to_come_again_and_told_to_pacing() -> None:
    desk = PastDesk()
    desk.send(HEAD)
    (req_id,) = desk.asked
    refused = reply(desk.error(req_id, 162, f"{HMDS}Historical data request pacing violation"))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retry_after_s) == ("pacing_violation", 600.0)
    assert desk.violated == [req_id]


def test_an_id_in_use_is_tried_with_others_but_not_for_ever() -> None:
    desk = PastDesk(HistoryConfig(tries_max=3))
    desk.send(HEAD)
    assert not only_answers(desk.error(desk.asked[0], 386, "Duplicate ticker ID for API historical data query"))
    assert not only_answers(desk.error(desk.asked[0], 386, "Duplicate ticker ID for API historical data query"))
    refused = reply(desk.error(desk.asked[0], 386, "Duplicate ticker ID for API historical data query"))
    assert refused.error is not None
    assert refused.error.code == "internal"
    assert not desk.open


def test_a_reconnect_asks_again_and_the_answer_still_comes() -> None:
    desk = PastDesk()
    desk.send(HEAD)
    desk.down(1)
    desk.up(2)
    assert reply(desk.head(desk.asked[0], "345479400", 3)).status == "result"


def test_a_full_queue_and_too_many_questions_are_busy() -> None:
    desk = PastDesk(HistoryConfig(lookups_max=1))
    desk.send(HEAD, id="1")
    refused = reply(desk.send(Histogram(instrument="AAPL"), id="2"))
    assert refused.error is not None
    assert refused.error.code == "busy"
    full = reply(desk.note(desk.core.handle(RequestRefused(desk.asked[0], "the queue is full", 7.0), at(1))))
    assert full.error is not None
    assert (full.error.code, full.error.retry_after_s) == ("busy", 7.0)


def test_at_a_stop_everyone_who_waits_is_told() -> None:
    desk = PastDesk()
    desk.send(HEAD)
    refused = reply(desk.note(desk.core.handle(Stop(), at(1))))
    assert refused.error is not None
    assert (refused.error.code, refused.error.message) == ("connection_failed", "the sidecar stops")
