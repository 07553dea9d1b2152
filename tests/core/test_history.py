"""History jobs from their command to their `done`: what is accepted, what is shared, what comes in which order."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.effects import Announce, Answer, Notify, Tell
from ibkr_actor.core.history.events import HistoricalBar, HistoricalBars, HistoricalBarsEnd
from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.core.messages import Enqueue, RedisForgot, RequestRefused, StatusQuery, Stop
from ibkr_actor.core.requests import ReqHistoricalData
from ibkr_actor.schema.commands import AnyCommand, Cancel, History, HistoryTicks, Pause, Resume, StatusCommand
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Bars
from tests.core.kit import at, forex, one, only, ref, stock, told
from tests.core.markets import answer
from tests.core.past_desk import A_WINDOW, BARS, DECEMBER, FIVE, PastDesk, december, later, reply

HOURS = History(instrument="AAPL", start="2025-12-01", end="2025-12-31", bar="2h", use_rth=True)


# ---- commands


def test_a_job_is_accepted_with_its_name_and_stream_and_stored_before_ib_is_asked() -> None:
    desk = PastDesk(up=False)
    effects = desk.send(DECEMBER, id="q/1", client="anna")
    accepted = reply(effects)
    assert (accepted.status, accepted.streams) == ("accepted", ["ibkr:{g1}:history:anna.q%2F1"])
    assert accepted.result == {"job": "anna.q%2F1", "what_to_show": "TRADES", "use_rth": True}
    assert [write.field for write in one(Answer, effects).jobs] == ["anna.q%2F1"]
    assert desk.read_state("anna.q%2F1").contract.symbol == "AAPL"
    assert not desk.open


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (structs.replace(DECEMBER, bar="45m"), "45m"),
        (structs.replace(DECEMBER, bar=""), "is not one of"),
        (structs.replace(DECEMBER, start="yesterday"), "yesterday"),
        (structs.replace(DECEMBER, start=""), "start"),
        (structs.replace(DECEMBER, end="2025-13-01"), "2025-13-01"),
        (structs.replace(DECEMBER, start="2025-12-31", end="2025-12-01"), "is before"),
        (structs.replace(DECEMBER, what_to_show="LAST"), "LAST"),
        (HistoryTicks(instrument="AAPL", start="2025-12-01", what_to_show="BID"), "BID"),
    ],
)
def test_what_is_wrong_with_a_command_is_said_before_ib_is_asked(command: AnyCommand, words: str) -> None:
    desk = PastDesk()
    refused = reply(desk.send(command))
    assert refused.status == "rejected"
    assert refused.error is not None
    assert refused.error.code == "validation_error"
    assert words in refused.error.message
    assert not desk.open


@pytest.mark.parametrize(
    ("contract", "show"),
    [
        (stock(), "TRADES"),
        (forex(), "MIDPOINT"),
        (Contract(1, "BTC", "CRYPTO", "PAXOS", "USD"), "AGGTRADES"),
        (Contract(2, "IBUS500", "CFD", "SMART", "USD"), "MIDPOINT"),
        (Contract(3, "XAUUSD", "CMDTY", "SMART", "USD"), "MIDPOINT"),
        (Contract(4, "SPX", "IND", "CBOE", "USD"), "TRADES"),
    ],
)
def test_without_a_name_the_data_is_what_the_type_of_security_has(contract: Contract, show: str) -> None:
    effects = PastDesk().send(DECEMBER, contract=contract)
    assert reply(effects).result == {"job": "c.1", "what_to_show": show, "use_rth": True}


def test_more_jobs_than_may_wait_are_refused_as_busy_with_a_time() -> None:
    desk = PastDesk(HistoryConfig(jobs_max=1))
    desk.send(DECEMBER, id="1")
    refused = reply(desk.send(HOURS, id="2"))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retryable, refused.error.retry_after_s) == ("busy", True, 30.0)


def test_a_command_found_again_after_a_crash_is_accepted_and_goes_on_once() -> None:
    desk = PastDesk(HistoryConfig(jobs_max=1, bars_max=35))
    desk.begun()
    before = desk.asked
    again = desk.send(DECEMBER)
    assert reply(again).status == "accepted"
    assert desk.asked == before
    assert not one(Answer, again).jobs


@pytest.mark.parametrize("command", [Cancel(job="c.9"), Pause(job="c.9"), Resume(job="c.9")])
def test_a_job_that_is_not_there_is_named(command: AnyCommand) -> None:
    refused = reply(PastDesk().send(command))
    assert refused.error is not None
    assert refused.error.code == "validation_error"
    assert "'c.9'" in refused.error.message


# ---- one job


def test_sessions_come_first_then_windows_and_every_bar_comes_once_in_order() -> None:
    desk = PastDesk()
    desk.send(DECEMBER)
    (schedule,) = desk.open.values()
    assert isinstance(schedule, ReqHistoricalData)
    assert (schedule.what_to_show, schedule.bar_size, schedule.use_rth) == ("SCHEDULE", "1 day", True)
    desk.finish()
    assert desk.rows("c.1") == december()
    done = desk.done("c.1")
    assert (done.outcome, done.rows, done.entries, done.requests, done.holes) == ("complete", BARS, 6, 5, [])
    assert [write.number for write in desk.writes] == [1, 2, 3, 4, 5, 6]


def test_answers_that_come_out_of_order_are_delivered_in_order() -> None:
    desk = PastDesk()
    desk.begun()
    first, *others = desk.asked
    for req_id in reversed(others):
        desk.answer(req_id)
    assert desk.rows("c.1") == []
    desk.answer(first)
    assert desk.rows("c.1") == december()
    assert desk.done("c.1").outcome == "complete"


def test_at_most_so_many_windows_are_asked_for_at_a_time() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, windows_ahead=2, use_rth=True))
    desk.begun()
    assert len(desk.asked) == 2
    second = desk.asked[1]
    desk.answer(second)
    # The second waits for the first, which is still in its place.
    assert len(desk.asked) == 1
    desk.answer(desk.asked[0])
    assert len(desk.asked) == 2
    desk.finish()
    assert desk.rows("c.1") == december()


def test_entries_hold_500_bars_at_most_and_count_from_1() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun(structs.replace(DECEMBER, bar="1m"))
    desk.finish()
    entries = [entry for write in desk.writes for entry in write.entries]
    sizes = [len(entry.rows) for entry in entries if isinstance(entry, Bars)]
    assert max(sizes) == 500
    assert sum(sizes) == desk.done("c.1").rows == 21 * 390 + 210
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))


def test_no_more_is_asked_for_while_too_much_is_unwritten() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, windows_ahead=1, unwritten_max=2, use_rth=True))
    desk.begun()
    desk.answer(desk.asked[0])
    desk.answer(desk.asked[0])
    assert not desk.open
    desk.written("c.1", 1)
    assert len(desk.open) == 1
    desk.written("c.1", 2)
    desk.finish()
    desk.written("c.1", 4)
    desk.finish()
    assert desk.rows("c.1") == december()


def test_the_client_is_told_how_far_its_job_is_and_when_it_will_be_done() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    assert desk.core.next_wakeup_s() == 2.0
    (progress,) = later(desk.wake(2.0))
    assert (progress.id, progress.op, progress.status) == ("1", "history", "progress")
    assert isinstance(progress.result, dict)
    found = {name: progress.result[name] for name in ("job", "windows", "windows_done", "rows", "requests", "eta_s")}
    assert found == {"job": "c.1", "windows": 5, "windows_done": 1, "rows": A_WINDOW, "requests": 5, "eta_s": 0.8}


def test_the_end_is_told_to_the_client_beside_the_stream() -> None:
    desk = PastDesk()
    desk.begun()
    for req_id in desk.asked[:-1]:
        desk.answer(req_id)
    (note,) = only(Notify, desk.finish())
    assert (note.client, note.reply.status) == ("c", "done")
    assert isinstance(note.reply.result, dict)
    assert note.reply.result["outcome"] == "complete"
    assert not desk.states


def test_an_interval_without_any_trading_is_complete_and_says_so() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, start="2025-12-25", end="2025-12-25"))
    done = desk.done("c.1")
    assert (done.outcome, done.rows, done.message) == ("complete", 0, "no whole bar of trading in this interval")


# ---- sharing


def test_identical_requests_of_several_clients_are_made_once_and_delivered_to_each() -> None:
    desk = PastDesk()
    desk.send(DECEMBER, id="1", client="anna")
    desk.send(DECEMBER, id="2", client="bert")
    assert len(desk.open) == 1
    desk.answer(desk.asked[0])
    assert len(desk.windows) == 5
    desk.finish()
    assert desk.rows("anna.1") == desk.rows("bert.2") == december()


def test_a_cancelled_job_takes_nothing_from_another_that_wants_the_same() -> None:
    desk = PastDesk()
    anna = desk.begun(id="1", client="anna")
    bert = desk.begun(id="2", client="bert")
    before = desk.asked
    desk.send(Cancel(job=anna), id="3", client="anna")
    assert desk.asked == before
    desk.finish()
    assert desk.rows(bert) == december()
    assert desk.done(anna).outcome == "cancelled"


def test_who_is_in_a_hurry_moves_what_is_asked_for_forward() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, priority="backfill"), id="1")
    effects = desk.send(DECEMBER, id="2")
    assert [message.priority for message in told(effects, Enqueue)] == [2] * 5
    assert len(desk.open) == 5
    desk.finish()
    assert desk.rows("c.1") == desk.rows("c.2") == december()


def test_what_has_left_is_not_asked_again_for_one_in_a_hurry() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, priority="backfill"), id="1")
    for req_id in desk.asked:
        desk.sent(req_id, 1.0)
    assert told(desk.send(DECEMBER, s=1.0, id="2"), Enqueue) == []


def test_sessions_that_are_known_are_not_asked_for_again() -> None:
    desk = PastDesk()
    desk.begun(id="1")
    desk.send(structs.replace(DECEMBER, start="2025-12-09", end="2025-12-11"), id="2")
    assert {request.what_to_show for request in desk.windows} == {"TRADES"}
    assert len(desk.open) == 5 + 1


# ---- pause, resume, cancel


def test_pause_takes_back_what_is_asked_and_resume_goes_on_behind_what_was_delivered() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    open_before = desk.asked
    effects = desk.send(Pause(job="c.1"), id="2")
    assert reply(effects).result == {"jobs": ["c.1"]}
    assert desk.withdrawn == open_before
    assert desk.read_state("c.1").paused
    assert desk.send(Pause(job="c.1"), id="3") == [one(Answer, desk.send(Pause(job="c.1"), id="3"))]
    desk.send(Resume(job="c.1"), id="4")
    desk.finish()
    assert desk.rows("c.1") == december()


def test_pause_without_a_job_holds_all_of_the_clients_and_no_others() -> None:
    desk = PastDesk()
    desk.begun(id="1", client="anna")
    desk.begun(HOURS, id="2", client="anna")
    desk.begun(structs.replace(DECEMBER, bar="30m"), id="3", client="bert")
    effects = desk.send(Pause(), id="4", client="anna")
    assert reply(effects).result == {"jobs": ["anna.1", "anna.2"]}
    assert {request.bar_size for request in desk.windows} == {"30 mins"}
    resumed = desk.send(Resume(), id="5", client="anna")
    assert reply(resumed).result == {"jobs": ["anna.1", "anna.2"]}
    assert {request.bar_size for request in desk.windows} == {"30 mins", "1 hour", "2 hours"}


def test_a_late_answer_to_what_was_taken_back_changes_nothing() -> None:
    desk = PastDesk()
    desk.begun()
    req_id, request = next(iter(desk.open.items()))
    desk.send(Cancel(job="c.1"), id="2")
    desk.open[req_id] = request
    assert desk.answer(req_id) == []
    assert desk.error(req_id, 162, "API historical data query cancelled: 3") == []
    assert desk.error(req_id, 366, "No historical data query found for ticker id:3") == []


def test_cancel_closes_the_stream_with_a_done_that_says_who() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    effects = desk.send(Cancel(job="c.1"), id="2", client="admin")
    assert [each.status for each in later(effects)] == ["done"]
    done = desk.done("c.1")
    assert (done.outcome, done.message, done.rows, done.entries) == ("cancelled", "cancelled by admin", A_WINDOW, 2)
    assert not desk.open
    assert not desk.states


# ---- connection, restart, Redis


def test_a_reconnect_in_the_middle_asks_again_under_new_ids_and_doubles_nothing() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    before = desk.asked
    desk.down(5)
    assert desk.core.next_wakeup_s() == 2.0  # only the progress is due
    desk.up(10)
    assert len(desk.asked) == 4
    assert not set(before) & set(desk.asked)
    assert desk.error(before[0], 366, "No historical data query found", 11) == []
    desk.finish(12)
    assert desk.rows("c.1") == december()


def test_half_an_answer_before_a_reconnect_is_forgotten() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, end="2025-12-05"))
    (req_id,) = desk.asked
    odd = HistoricalBar("1764601200", 1.0, 1.0, 1.0, 1.0)
    desk.note(desk.core.handle(HistoricalBars(req_id, 1, (odd,), False), at(1)))
    desk.down(2)
    desk.up(3)
    desk.finish(4)
    assert desk.rows("c.1") == december()[:A_WINDOW]
    bars = [entry for write in desk.writes for entry in write.entries if isinstance(entry, Bars)]
    assert 1.0 not in {row[2] for entry in bars for row in entry.rows}


def test_an_answer_in_several_messages_is_one_and_goes_on_while_they_come() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, use_rth=True, answer_timeout_s=10.0))
    desk.begun(structs.replace(DECEMBER, end="2025-12-05"))
    (req_id,) = desk.asked
    request = desk.open[req_id]
    assert isinstance(request, ReqHistoricalData)
    bars = answer("us-rth", RESOLUTIONS["1h"], request.end, request.duration)
    desk.sent(req_id, 0)
    desk.note(desk.core.handle(HistoricalBars(req_id, 1, tuple(bars[:20]), False), at(9)))
    desk.wake(11)
    assert desk.asked == [req_id]
    desk.note(desk.core.handle(HistoricalBars(req_id, 1, tuple(bars[20:]), False), at(18)))
    desk.note(desk.core.handle(HistoricalBarsEnd(req_id, 1), at(19)))
    assert desk.rows("c.1") == december()[:A_WINDOW]


@pytest.mark.parametrize("after", range(6))
def test_a_restart_at_any_point_goes_on_behind_what_redis_has(after: int) -> None:
    desk = PastDesk()
    desk.begun()
    for _ in range(min(after, 4)):
        desk.answer(desk.asked[0])
    if after == 5:  # the answers after the first two are there, but not delivered
        desk = PastDesk()
        desk.begun()
        desk.answer(desk.asked[0])
        for req_id in desk.asked[1:]:
            desk.answer(req_id)
    delivered = desk.rows("c.1")
    number = desk.read_state("c.1").entries
    second = PastDesk(up=False)
    second.restore(desk.states)
    assert not second.open
    second.up(1)
    second.finish(2)
    assert delivered + second.rows("c.1") == december()
    assert [write.number for write in second.writes] == list(range(number + 1, 7))
    done = second.done("c.1")
    assert (done.outcome, done.rows, done.entries) == ("complete", BARS, 6)


def test_a_paused_job_stays_paused_over_a_restart() -> None:
    desk = PastDesk()
    desk.begun()
    desk.send(Pause(job="c.1"), id="2")
    second = PastDesk()
    second.restore(desk.states)
    assert not second.open
    second.send(Resume(job="c.1"), id="3")
    second.finish()
    assert second.rows("c.1") == december()


def test_a_restart_at_another_durations_table_still_delivers_each_bar_once() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    second = PastDesk(HistoryConfig(bars_max=49, use_rth=True))
    second.restore(desk.states)
    second.finish()
    assert desk.rows("c.1") + second.rows("c.1") == december()


def test_what_cannot_be_read_in_the_jobs_hash_is_announced_and_stops_no_other() -> None:
    desk = PastDesk()
    desk.begun()
    second = PastDesk()
    effects = second.restore(desk.states | {"odd": b"{}"})
    record = one(Announce, effects).record
    assert (record.topic, record.event) == ("command", "jobs_unreadable")
    assert "'odd'" in record.message
    assert second.open


def test_what_redis_forgot_is_said_again() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    desk.writes.clear()
    desk.note(desk.core.handle(RedisForgot(), at(3)))
    (write,) = desk.writes
    assert (write.job, write.entries, write.number) == ("c.1", (), 1)
    assert desk.read_state("c.1").rows == A_WINDOW


def test_a_full_queue_means_later() -> None:
    desk = PastDesk()
    desk.begun()
    first = desk.asked[0]
    desk.note(desk.core.handle(RequestRefused(first, "full", 7.0), at(1)))
    assert first not in desk.open
    assert len(desk.open) == 4
    desk.wake(8.0)
    assert len(desk.open) == 5
    desk.finish(9)
    assert desk.rows("c.1") == december()


def test_at_a_stop_jobs_wait_for_the_next_start() -> None:
    desk = PastDesk()
    desk.begun()
    desk.note(desk.core.handle(Stop(), at(1)))
    assert set(desk.states) == {"c.1"}
    assert desk.writes == []


def test_the_status_shows_jobs_with_their_progress() -> None:
    desk = PastDesk()
    desk.begun()
    query = StatusQuery(ref("9", "c", "status"), {"contracts": {}})
    (tell,) = only(Tell, desk.core.handle(query, at(1)))
    assert tell.to == "pacing"
    assert isinstance(tell.message, StatusQuery)
    shown = tell.message.parts["history"]
    assert isinstance(shown, dict)
    assert (shown["jobs_open"], shown["asked"], shown["jobs"][0]["job"]) == (1, 5, "c.1")
    assert list(tell.message.parts) == ["contracts", "history"]


def test_what_is_no_command_of_history_is_refused() -> None:
    refused = reply(PastDesk().send(StatusCommand()))
    assert refused.error is not None
    assert refused.error.code == "unsupported"


def test_the_setting_says_whether_regular_hours_are_meant_where_the_command_does_not() -> None:
    command = History(instrument="AAPL", start="2025-12-01", bar="1d")
    for use_rth in (True, False):
        desk = PastDesk(structs.replace(FIVE, use_rth=use_rth))
        desk.send(command)
        assert desk.read_state("c.1").use_rth is use_rth
