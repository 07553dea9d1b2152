"""IB's errors of history: what each code and each meaning of 162 does to a window, a job or a question."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.codes.meaning import ROWS
from ibkr_actor.core.config import HistoryConfig
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.history.durations import caps
from ibkr_actor.core.history.errors import Verdict, judge
from ibkr_actor.core.history.events import HistoricalTick, HistoricalTicks
from ibkr_actor.core.history.resolutions import RESOLUTIONS
from ibkr_actor.core.messages import DataLost, ForgetContract, RateExceeded, UpstreamDown, UpstreamUp
from ibkr_actor.core.requests import ReqHistoricalData, ReqHistoricalTicks
from ibkr_actor.schema.commands import HeadTimestamp, HistoryTicks, Rejection
from ibkr_actor.schema.instruments import Contract
from tests.core.kit import at, ns, stock, told
from tests.core.past_desk import BARS, DECEMBER, PastDesk, december, later, reply

SMALL = structs.replace(DECEMBER, bar="30s", start="2025-12-30", end="2025-12-30")
TICKS = HistoryTicks(instrument="AAPL", start="2025-12-30T15:00:00", end="2025-12-30T15:01:00", use_rth=True)
HMDS = "Historical Market Data Service error message:"
HOURLY = ReqHistoricalData(13, stock(), "20251231-21:00:00", "5 D", "1 hour", "TRADES", True)
PAGE = ReqHistoricalTicks(13, stock(), "20251230-15:00:00", "", 1000, "TRADES", True)

# What 162 has been seen to say -> what it means. Spanish: wrighter/ib-scripts#1.
WORDS_OF_162: tuple[tuple[str, Verdict], ...] = (
    (f"{HMDS}Historical data request pacing violation", "pacing"),
    ("Mensaje de error del servicio de datos históricos:Infracción de ritmo de solicitudes de datos", "pacing"),
    (f"{HMDS}HMDS query returned no data: AAPL@SMART Trades", "no_data"),
    (f"{HMDS}No head time stamp", "no_data"),
    ("Mensaje de error:La consulta HMDS no devolvió ningún dato", "no_data"),
    ("Fehlermeldung des historischen Marktdatenservices:Keine Daten", "no_data"),
    ("历史市场数据服务错误信息:没有数据", "no_data"),
    (f"{HMDS}No market data permissions for NYSE STK", "fail"),
    ("Mensaje de error:No tiene permiso para los datos de mercado", "fail"),
    ("Fehlermeldung:Keine Berechtigung für Marktdaten", "fail"),
    (f"{HMDS}Trading TWS session is connected from a different IP address", "fail"),
    (f"{HMDS}invalid step: 5", "shorter"),
    (f"{HMDS}Time length exceed max.", "shorter"),
    ("API historical data query cancelled: 13", "later"),
    (f"{HMDS}HMDS server disconnect occurred.  Attempting reconnection...", "farm"),
    (f"{HMDS}HMDS connection attempt failed.  Connection will be re-attempted...", "farm"),
    (f"{HMDS}Historical data request for greater than 365 days rejected.", "shorter"),
    (f"{HMDS}HMDS expired contract violation:contract can not expire.", "no_data"),
    (f"{HMDS}Requested market data is not subscribed.", "fail"),
    (f"{HMDS}Starting time must occur before ending time", "no_data"),
    ("Bericht van de dienst: iets anders", "unclear"),
    ("", "unclear"),
)


def notice(code: int, message: str = "words", req_id: int = 13) -> ErrorNotice:
    return ErrorNotice(1, 1, req_id, code, message)


@pytest.mark.parametrize(("message", "verdict"), WORDS_OF_162)
def test_162_means_what_its_words_say_in_the_languages_seen(message: str, verdict: Verdict) -> None:
    assert judge(notice(162, message), HOURLY).verdict == verdict


@pytest.mark.parametrize(
    ("message", "code", "retry_after_s"),
    [
        (f"{HMDS}Historical data request pacing violation", "pacing_violation", 600.0),
        (f"{HMDS}No market data permissions for NYSE STK", "permissions_missing", None),
        (f"{HMDS}Trading TWS session is connected from a different IP address", "competing_session", 60.0),
        (f"{HMDS}invalid step: 5", "validation_error", None),
        (f"{HMDS}HMDS query returned no data: AAPL@SMART Trades", "invalid_instrument", None),
        ("onbekend", "internal", 15.0),
    ],
)
def test_each_meaning_of_162_has_its_rejection(message: str, code: str, retry_after_s: float | None) -> None:
    rejection = judge(notice(162, message), HOURLY).rejection
    assert (rejection.code, rejection.retry_after_s, rejection.ib_code) == (code, retry_after_s, 162)
    assert rejection.retryable is (retry_after_s is not None)
    assert message in rejection.message


# Every code that can come for a request of history, and what it does to one of bars. IB_PROTOCOL's classes: T ends it,
# R is asked for again, I leaves it.
VERDICTS: dict[int, Verdict] = {
    100: "slow_down",
    102: "again",
    165: "ignore",
    166: "fail",
    200: "fail",
    203: "fail",
    300: "ignore",
    320: "fail",
    321: "fail",
    322: "later",
    354: "fail",
    366: "again",
    386: "again",
    391: "fail",
    406: "fail",
    420: "fail",
    503: "fail",
    509: "later",
    527: "later",
    566: "later",
    575: "later",
    588: "later",
    1100: "ignore",
    2103: "ignore",
    2105: "ignore",
    2106: "ignore",
    2107: "ignore",
    2127: "ignore",
    2176: "ignore",
    10090: "ignore",
    10167: "ignore",
    10168: "fail",
    10182: "later",
    10186: "fail",
    10187: "fail",
    10189: "fail",
    10197: "ignore",
    10285: "fail",
    10295: "fail",
    10299: "fail",
    10300: "fail",
    10301: "fail",
    10314: "fail",
    10330: "fail",
    10337: "fail",
    10338: "fail",
    10339: "fail",
    10346: "fail",
    99_999: "fail",
}


@pytest.mark.parametrize(("code", "verdict"), VERDICTS.items())
def test_every_code_has_its_consequence(code: int, verdict: Verdict) -> None:
    assert judge(notice(code), HOURLY).verdict == verdict


@pytest.mark.parametrize("code", sorted(ROWS))
def test_no_code_of_the_table_ends_a_job_without_a_typed_reply(code: int) -> None:
    desk = PastDesk()
    desk.begun()
    effects = desk.error(desk.asked[0], code)
    if not desk.is_done("c.1"):
        # It goes on: what was asked is asked still or will be asked again.
        assert desk.open
        return
    (told_to_client,) = later(effects)
    assert told_to_client.status == "rejected"
    assert told_to_client.error is not None
    assert told_to_client.error.ib_code == code
    row = ROWS[code]
    assert told_to_client.error.code == (row.rejection or "internal")
    assert (told_to_client.error.retryable, told_to_client.error.retry_after_s) == (row.retryable, row.retry_after_s)
    done = desk.done("c.1")
    assert (done.outcome, bool(done.message)) == ("failed", True)
    assert not desk.open


@pytest.mark.parametrize("message", ["Invalid step or duration", "Bar size is not valid for this duration"])
@pytest.mark.parametrize("code", [321, 10314])
def test_a_complaint_of_duration_or_step_is_one_of_its_length(code: int, message: str) -> None:
    assert judge(notice(code, message), HOURLY).verdict == "shorter"
    assert judge(notice(code, message), PAGE).verdict == "fail"


def test_ticks_that_are_not_there_are_no_matter_of_permission() -> None:
    assert judge(notice(10187, "Failed to request historical ticks:No data"), PAGE).verdict == "no_data"
    assert judge(notice(10187, "Failed to request historical ticks:No permissions"), PAGE).verdict == "fail"


# ---- what the verdicts do


def test_a_pacing_violation_is_told_to_pacing_and_the_window_asked_for_again_however_often() -> None:
    desk = PastDesk()
    desk.begun()
    for turn in range(10):
        req_id = desk.asked[0]
        request = desk.open[req_id]
        desk.error(req_id, 162, f"{HMDS}Historical data request pacing violation", turn)
        assert desk.violated[-1] == req_id
        assert req_id not in desk.open
        assert structs.replace(request, req_id=desk.asked[-1]) == desk.open[desk.asked[-1]]
        # Let the others stay behind it.
        desk.open = {desk.asked[-1]: desk.open[desk.asked[-1]]} | desk.open
    desk.finish(20)
    assert desk.rows("c.1") == december()
    assert desk.done("c.1").holes == []


def test_no_data_of_a_window_is_a_hole_with_ibs_words_and_the_rest_is_delivered() -> None:
    desk = PastDesk()
    desk.begun()
    second = desk.asked[1]
    desk.error(second, 162, f"{HMDS}HMDS query returned no data: AAPL@SMART Trades")
    desk.finish()
    done = desk.done("c.1")
    ((from_ns, to_ns, reason, message, code),) = [structs.astuple(hole) for hole in done.holes]
    assert (done.outcome, reason, code) == ("incomplete", "no_data", 162)
    assert "returned no data" in message
    assert desk.rows("c.1") == [at for at in december() if not from_ns <= at < to_ns]
    assert done.rows == BARS - 35


@pytest.mark.parametrize("command", [DECEMBER, SMALL], ids=["1h", "30s"])
def test_words_that_nobody_knows_are_tried_once_more_and_then_are_a_hole_or_pacing(command: object) -> None:
    assert isinstance(command, type(DECEMBER))
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun(command)
    small = command is SMALL
    first = desk.asked[0]
    desk.error(first, 162, "onbekende woorden", 1)
    assert desk.asked == [] or first not in desk.open
    assert desk.violated == []
    assert not desk.is_done("c.1")
    desk.wake(16.9)
    assert not desk.open
    desk.wake(17.0)
    desk.error(desk.asked[0], 162, "onbekende woorden", 18)
    if small:
        # None but time heals a violation of small bars' pacing.
        assert len(desk.violated) == 1
        desk.error(desk.asked[0], 162, "onbekende woorden", 700)
    done = desk.done("c.1")
    assert (done.outcome, [hole.reason for hole in done.holes]) == ("incomplete", ["refused"])
    assert done.holes[0].message == "onbekende woorden"


def test_words_that_nobody_knows_said_once_cost_nothing() -> None:
    desk = PastDesk()
    desk.begun()
    desk.error(desk.asked[0], 162, "onbekende woorden", 1)
    desk.wake(17.0)
    desk.finish(18)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


@pytest.mark.parametrize(
    ("code", "message"),
    [(162, f"{HMDS}Time length exceed max."), (162, f"{HMDS}invalid step: 3600"), (321, "Invalid duration")],
)
def test_a_duration_that_ib_refuses_is_not_used_again_and_shorter_ones_deliver_the_same(
    code: int, message: str
) -> None:
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun()
    refused: set[str] = set()
    while not desk.is_done("c.1"):
        req_id, request = next(iter(desk.open.items()))
        assert isinstance(request, ReqHistoricalData)
        days = int(request.duration.split()[0]) if request.duration.endswith(" D") else 99
        if days > 3 and not request.duration.endswith(" S"):
            assert request.duration not in refused
            refused.add(request.duration)
            desk.error(req_id, code, message)
        else:
            desk.answer(req_id)
    assert refused
    assert desk.rows("c.1") == december()
    assert desk.done("c.1").outcome == "complete"


def test_a_resolution_of_which_ib_takes_no_duration_ends_with_a_hole_that_says_so() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun()
    for _ in range(2_000):
        if desk.is_done("c.1"):
            break
        desk.error(desk.asked[0], 162, f"{HMDS}Time length exceed max.")
    done = desk.done("c.1")
    assert (done.outcome, done.rows, {hole.reason for hole in done.holes}) == ("incomplete", 0, {"refused"})
    assert caps(RESOLUTIONS["1h"])  # there were some to try


def test_data_that_ib_names_instead_is_taken_and_stands_in_the_entries() -> None:
    desk = PastDesk()
    desk.begun()
    message = "Expected what to show is AGGTRADES, please use that instead of TRADES."
    desk.error(desk.asked[0], 10299, message)
    assert {request.what_to_show for request in desk.windows} == {"AGGTRADES"}
    assert desk.read_state("c.1").what_to_show in {"TRADES", "AGGTRADES"}
    desk.finish()
    assert desk.rows("c.1") == december()
    shows = {getattr(entry, "what_to_show", "AGGTRADES") for write in desk.writes for entry in write.entries}
    assert shows == {"AGGTRADES"}


def test_an_ib_that_names_what_it_refused_before_ends_the_job() -> None:
    desk = PastDesk()
    desk.begun()
    desk.error(desk.asked[0], 10299, "Expected what to show is AGGTRADES, please use that instead of TRADES.")
    (note,) = later(desk.error(desk.asked[0], 10299, "Expected what to show is TRADES, please use that"))
    assert note.error is not None
    assert (note.error.code, note.error.ib_code, desk.done("c.1").outcome) == ("validation_error", 10299, "failed")


def test_no_permission_ends_the_job_with_its_rejection() -> None:
    desk = PastDesk()
    desk.begun()
    desk.answer(desk.asked[0])
    (note,) = later(desk.error(desk.asked[0], 162, f"{HMDS}No market data permissions for NYSE STK"))
    assert (note.status, note.error) == (
        "rejected",
        Rejection(
            "permissions_missing",
            f"historical service error; IB says (162): {HMDS}No market data permissions for NYSE STK",
            162,
        ),
    )
    done = desk.done("c.1")
    assert (done.outcome, done.rows) == ("failed", 35)
    assert not desk.open


def test_an_error_ends_all_jobs_that_wait_for_the_same() -> None:
    desk = PastDesk()
    anna = desk.begun(id="1", client="anna")
    bert = desk.begun(id="2", client="bert")
    notes = later(desk.error(desk.asked[0], 354, "Not subscribed"))
    assert [note.status for note in notes] == ["rejected", "rejected"]
    assert desk.is_done(anna)
    assert desk.is_done(bert)
    assert not desk.open


def test_a_contract_that_ib_does_not_know_any_more_is_resolved_anew_next_time() -> None:
    desk = PastDesk()
    desk.begun()
    effects = desk.error(desk.asked[0], 200, "No security definition has been found for the request")
    assert told(effects, ForgetContract) == [ForgetContract(265598, "SMART")]
    (note,) = later(effects)
    assert note.error is not None
    assert note.error.code == "invalid_instrument"


def test_a_silent_gateway_is_asked_three_times_and_then_the_window_is_a_hole() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, use_rth=True, answer_timeout_s=60.0))
    desk.begun()
    _, *others = desk.asked
    for req_id in others:
        desk.answer(req_id)
    for turn in range(3):
        (req_id,) = desk.asked
        desk.sent(req_id, 100.0 * turn)
        desk.wake(100.0 * turn + 59)
        assert desk.asked == [req_id]
        desk.wake(100.0 * turn + 60)
        assert req_id in desk.withdrawn
    done = desk.done("c.1")
    ((_, _, reason, message, code),) = [structs.astuple(hole) for hole in done.holes]
    assert (done.outcome, reason, code) == ("incomplete", "no_answer", None)
    assert message == "IB did not answer the request within 60 s"
    assert desk.rows("c.1") == december()[35:]


def test_time_in_pacings_queue_is_not_ibs() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, use_rth=True, answer_timeout_s=60.0))
    desk.begun()
    before = desk.asked
    for s in range(0, 3_000, 100):
        desk.wake(s)
    assert desk.asked == before


def test_reconnects_are_no_failures_of_a_window() -> None:
    desk = PastDesk(HistoryConfig(bars_max=35, use_rth=True, answer_timeout_s=60.0))
    desk.begun()
    for turn in range(5):
        desk.down(turn)
        desk.up(turn + 0.5)
    req_id = desk.asked[0]
    desk.sent(req_id, 10.0)
    desk.wake(70.0)
    assert not desk.is_done("c.1")
    desk.finish(71)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


@pytest.mark.parametrize("code", [509, 527, 588])
def test_what_could_not_be_sent_is_tried_again_also_on_a_connection_that_stays(code: int) -> None:
    desk = PastDesk()
    desk.begun()
    first = desk.asked[0]
    desk.error(first, code, "could not send", 1)
    assert first not in desk.open
    assert len(desk.open) == 4
    desk.wake(6.0)
    assert len(desk.open) == 5
    desk.finish(7)
    assert desk.rows("c.1") == december()


def test_what_can_never_be_sent_is_a_hole_in_the_end() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(DECEMBER, end="2025-12-05"))
    for turn in range(3):
        desk.error(desk.asked[0], 588, "cannot encode", 10 * turn)
        desk.wake(10 * turn + 5)
    done = desk.done("c.1")
    assert (done.outcome, [hole.reason for hole in done.holes]) == ("incomplete", ["no_answer"])
    assert "cannot encode" in done.holes[0].message


def test_messages_that_came_too_fast_are_told_to_pacing_and_asked_again() -> None:
    desk = PastDesk()
    desk.begun()
    effects = desk.error(desk.asked[0], 100, "Max rate of messages per second has been exceeded")
    assert told(effects, RateExceeded) == [RateExceeded(100)]
    desk.finish()
    assert desk.rows("c.1") == december()


def test_advisories_leave_the_request_as_it_is() -> None:
    desk = PastDesk()
    desk.begun()
    before = desk.asked
    for code in (2103, 2105, 2106, 2107, 2176, 10090, 10167, 10197, 165, 300):
        assert desk.error(before[0], code) == []
    assert desk.asked == before


# ---- questions on the way to the bars


@pytest.mark.parametrize(
    ("code", "message"), [(162, f"{HMDS}HMDS query returned no data"), (321, "not valid"), (354, "Not subscribed")]
)
def test_without_a_list_of_sessions_the_week_of_the_contracts_own_hours_serves(code: int, message: str) -> None:
    desk = PastDesk()
    hours = ";".join(f"202601{day:02d}:0930-202601{day:02d}:1600" for day in (5, 6, 7, 8, 9))
    contract = Contract(
        265598, "AAPL", "STK", "SMART", "USD", trading_hours=hours, liquid_hours=hours, time_zone="US/Eastern"
    )
    desk.send(DECEMBER, contract=contract)
    desk.error(desk.asked[0], code, message)
    assert desk.windows
    desk.finish()
    # Christmas is open by the week's pattern: nothing there is no reason to miss another.
    assert desk.rows("c.1") == december()


def test_a_contract_without_any_hours_ends_the_job_with_the_reason() -> None:
    desk = PastDesk()
    desk.send(DECEMBER)
    (note,) = later(desk.error(desk.asked[0], 162, f"{HMDS}HMDS query returned no data"))
    assert (note.status, desk.done("c.1").outcome) == ("rejected", "failed")
    assert "when AAPL.STK.SMART.USD trades is not known" in desk.done("c.1").message


def test_a_contract_that_is_gone_is_not_asked_for_by_the_week() -> None:
    desk = PastDesk()
    desk.send(DECEMBER)
    (note,) = later(desk.error(desk.asked[0], 200, "No security definition"))
    assert note.error is not None
    assert (note.error.code, desk.done("c.1").outcome) == ("invalid_instrument", "failed")


def test_a_refused_page_of_ticks_ends_the_job_or_is_a_hole() -> None:
    desk = PastDesk()
    desk.begun(TICKS, id="1")
    (req_id,) = desk.asked
    (note,) = later(desk.error(req_id, 10187, "Failed to request historical ticks:No market data permissions"))
    assert note.error is not None
    assert (note.error.code, desk.done("c.1").outcome) == ("permissions_missing", "failed")
    desk.begun(TICKS, id="2")
    (req_id,) = desk.asked
    desk.error(req_id, 10187, "Failed to request historical ticks:No data")
    done = desk.done("c.2")
    assert (done.outcome, [hole.reason for hole in done.holes]) == ("incomplete", ["no_data"])


def test_no_ticks_on_one_date_in_words_is_a_hole_of_that_date_and_the_next_one_is_asked_for() -> None:
    desk = PastDesk()
    desk.begun(structs.replace(TICKS, start="2025-12-29", end="2025-12-30"))
    (req_id,) = desk.asked
    desk.error(req_id, 162, f"{HMDS}HMDS query returned no data: AAPL@SMART Trades")
    (request,) = desk.pages
    assert request.start == "20251230-14:30:00"
    desk.page(HistoricalTicks(request.req_id, 1, "TRADES", (HistoricalTick(1_767_106_800, 1.0, "1", "X"),), True))
    done = desk.done("c.1")
    assert (done.outcome, done.rows) == ("incomplete", 1)
    assert [(hole.reason, hole.ib_code, "no data" in hole.message) for hole in done.holes] == [("no_data", 162, True)]


def test_a_request_that_ib_gave_up_is_asked_for_again() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun()
    (req_id,) = desk.asked
    assert not later(desk.error(req_id, 162, "API historical data query cancelled: 13", 1))
    assert desk.asked == []
    desk.wake(20)
    desk.finish(20)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


def test_too_many_queries_of_all_clients_together_are_asked_for_again_a_little_later() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True))
    desk.begun()
    text = "Error processing request.-'bU' : cause - Only 50 simultaneous API historical data requests allowed."
    desk.error(desk.asked[0], 322, text, 1)
    desk.wake(5)
    assert desk.asked == []
    desk.wake(7)
    desk.finish(7)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


# ---- TWS without IB


def test_while_tws_has_lost_ib_silence_is_no_failure_and_then_all_is_asked_for_again() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True, answer_timeout_s=60.0))
    desk.begun()
    desk.sent(desk.asked[0], 0)
    desk.note(desk.core.handle(UpstreamDown(ns(1), 1100), at(1)))
    s = 1.0
    for _ in range(10):
        # Not answered, and asked now and then, should IB be there without a word of it.
        s += 60.0
        desk.wake(s)
        for req_id in desk.asked:
            desk.sent(req_id, s)
    assert not desk.is_done("c.1")
    desk.note(desk.core.handle(UpstreamUp(ns(s), 1102), at(s)))
    assert len(desk.asked) == 1
    desk.finish(s)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


def test_what_was_asked_before_tws_lost_ib_has_little_time_once_it_is_back() -> None:
    desk = PastDesk(HistoryConfig(use_rth=True, answer_timeout_s=60.0))
    desk.begun()
    (before,) = desk.asked
    desk.sent(before, 0)
    desk.note(desk.core.handle(UpstreamDown(ns(1), 1100), at(1)))
    desk.note(desk.core.handle(DataLost(ns(2), 1101), at(2)))
    assert desk.asked == [before], "it may still be answered"
    desk.wake(8.1)
    (again,) = desk.asked
    assert again != before
    desk.answer(again, 9)
    assert (desk.done("c.1").outcome, desk.rows("c.1")) == ("complete", december())


def test_a_question_that_tws_cannot_pass_on_is_answered_with_the_reason() -> None:
    desk = PastDesk(HistoryConfig(answer_timeout_s=10.0))
    desk.send(HeadTimestamp(instrument="AAPL"))
    desk.sent(desk.asked[0], 0)
    desk.note(desk.core.handle(UpstreamDown(ns(1), 1100), at(1)))
    refused = reply(desk.wake(10))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retryable) == ("connection_failed", True)
    assert "TWS has lost its connection to IB" in refused.error.message


def test_a_question_that_ib_refuses_is_rejected_with_the_same_words() -> None:
    desk = PastDesk()
    desk.send(HeadTimestamp(instrument="AAPL"))
    refused = reply(desk.error(desk.asked[0], 162, f"{HMDS}No head time stamp"))
    assert refused.error is not None
    assert (refused.status, refused.error.code, refused.error.ib_code) == ("rejected", "invalid_instrument", 162)
