"""Who asks a farm that is away waits for it, goes on when it is back, and is told what the matter is."""

from __future__ import annotations

import random

import pytest
from msgspec import structs

from ibkr_actor.core.config import ContractsConfig, HistoryConfig, SessionConfig
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import Answer, Effect, Tell
from ibkr_actor.core.events import Connected, ContractDetails, ContractDetailsEnd, ErrorNotice, NextValidId
from ibkr_actor.core.messages import CommandReceived, FarmChanged, SessionUp, Start, WakeUp
from ibkr_actor.core.requests import CalcOptionPrice, ReqContractDetails
from ibkr_actor.core.session.core import SessionCore
from ibkr_actor.schema.commands import HeadTimestamp, History, Resolve
from ibkr_actor.schema.reference_commands import CalcPrice
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, ns, only, ref, stock, told
from tests.core.past_desk import FIVE, PastDesk, later, reply


def farm(desk: PastDesk, up: bool, s: float, name: str = "ushmds") -> list[Effect]:
    return desk.note(desk.core.handle(FarmChanged(name, "history", up, ns(s)), at(s)))


# ---- the session tells whom it concerns


@pytest.mark.parametrize(
    ("broken", "text", "to", "family"),
    [
        (2103, "Market data farm connection is broken:usfarm", ["subscriptions"], "market"),
        (2105, "HMDS data farm connection is broken:ushmds", ["history", "subscriptions"], "history"),
        (2157, "Sec-def data farm connection is broken:secdefnj", ["contracts", "reference"], "definitions"),
    ],
)
def test_a_farm_is_told_to_the_actors_that_ask_it(broken: int, text: str, to: list[str], family: str) -> None:
    session = SessionCore(SessionConfig(), random.Random(1))
    session.handle(Start(), at(0))
    session.handle(Connected(1, ns(0), 200, "now"), at(0))
    # What is said before the end of the handshake is not lost.
    session.handle(ErrorNotice(1, ns(0), -1, broken, text), at(0))
    early = [
        each
        for each in session.handle(NextValidId(1, 1), at(1))
        if isinstance(each, Tell) and isinstance(each.message, FarmChanged)
    ]
    assert [each.to for each in early] == to
    assert isinstance(early[0].message, FarmChanged)
    assert (early[0].message.family, early[0].message.is_up) == (family, False)
    up = ErrorNotice(1, ns(2), -1, broken + 1, text.replace("broken", "OK"))
    assert all(change.is_up for change in told(session.handle(up, at(2)), FarmChanged))


def test_an_idle_history_farm_can_be_asked() -> None:
    session = SessionCore(SessionConfig(), random.Random(1))
    session.handle(Start(), at(0))
    session.handle(Connected(1, ns(0), 200, "now"), at(0))
    session.handle(NextValidId(1, 1), at(0))
    session.handle(ErrorNotice(1, ns(1), -1, 2105, "HMDS data farm connection is broken:ushmds"), at(1))
    text = "HMDS data farm connection is inactive but should be available upon demand.ushmds"
    changes = told(session.handle(ErrorNotice(1, ns(2), -1, 2107, text), at(2)), FarmChanged)
    assert {(change.name, change.is_up) for change in changes} == {("ushmds", True)}


# ---- history


def test_while_the_history_farm_is_away_nothing_is_asked_and_then_the_job_goes_on_to_its_end() -> None:
    desk = PastDesk()
    farm(desk, False, 0)
    desk.send(History(instrument="AAPL", start="2025-12-01", end="2025-12-31", bar="1h", use_rth=True))
    assert desk.asked == []
    progress = [each for each in later(desk.wake(2.0)) if each.status == "progress"]
    assert progress
    assert isinstance(progress[0].result, dict)
    assert progress[0].result["state"] == "waiting_for_farm"
    status = desk.core._work.status(at(3))
    assert status["farms_away"] == ["ushmds"]
    assert status["waiting_for_farm"] == 1
    farm(desk, True, 600)
    assert desk.asked
    desk.finish(601)
    assert desk.done("c.1").outcome == "complete"


def test_what_was_asked_while_one_farm_of_several_is_away_waits_for_it_and_is_no_failure() -> None:
    desk = PastDesk()
    farm(desk, True, 0, "euhmds")
    farm(desk, False, 0)
    job = desk.begun()
    assert desk.windows, "another farm may be the one that has it"
    s = 1.0
    for _ in range(5):
        for req_id in desk.asked:
            desk.sent(req_id, s)
        s += 60.0
        desk.wake(s)
        assert not desk.is_done(job)
    assert desk.core._work.status(at(s))["waiting_for_farm"] == 5
    farm(desk, True, s + 1)
    desk.finish(s + 2)
    assert (desk.done(job).outcome, desk.done(job).holes) == ("complete", [])


def test_what_was_asked_before_the_farm_came_back_is_soon_asked_again() -> None:
    desk = PastDesk()
    job = desk.begun()
    first = desk.asked
    for req_id in first:
        desk.sent(req_id, 1.0)
    farm(desk, False, 2)
    farm(desk, True, 5)
    due_s = desk.core.next_wakeup_s()
    assert due_s is not None
    desk.wake(11.0)
    assert desk.asked
    assert not set(desk.asked) & set(first)
    desk.finish(12)
    assert desk.done(job).outcome == "complete"


def test_a_farm_that_flaps_asks_nothing_twice_that_was_answered() -> None:
    desk = PastDesk()
    job = desk.begun()
    for n in range(10):
        farm(desk, False, 1 + n)
        farm(desk, True, 1.5 + n)
    desk.finish(20)
    assert desk.done(job).requests == 5


def test_a_question_that_the_farm_does_not_answer_in_time_is_refused_with_its_name_and_when_to_try() -> None:
    desk = PastDesk(HistoryConfig(lookup_timeout_s=30.0))
    farm(desk, False, 0)
    desk.send(HeadTimestamp(instrument="AAPL"))
    assert desk.asked == []
    refused = reply(desk.wake(30.0))
    assert refused.error is not None
    assert (refused.error.code, refused.error.retryable, refused.error.retry_after_s) == ("farm_transient", True, 30.0)
    assert "ushmds" in refused.error.message


def test_the_next_connection_names_its_farms_anew() -> None:
    desk = PastDesk(FIVE)
    farm(desk, False, 0)
    desk.down(1)
    desk.up(2)
    desk.begun()
    assert desk.asked


# ---- definitions


def contracts() -> ContractsCore:
    core = ContractsCore(ContractsConfig(timeout_s=30.0))
    core.handle(SessionUp(1, 200), at(0))
    return core


def resolve(core: ContractsCore, s: float) -> list[Effect]:
    return core.handle(CommandReceived(ref(op="resolve"), Resolve(instrument="AAPL")), at(s))


def secdef(core: ContractsCore, up: bool, s: float) -> list[Effect]:
    return core.handle(FarmChanged("secdefnj", "definitions", up, ns(s)), at(s))


def test_a_look_up_waits_for_the_farm_of_definitions() -> None:
    core = contracts()
    secdef(core, False, 1)
    assert asked(resolve(core, 2)) == []
    assert core.status()["farms_away"] == ["secdefnj"]
    (request,) = asked(secdef(core, True, 20))
    assert isinstance(request, ReqContractDetails)
    core.handle(ContractDetails(request.req_id, stock()), at(21))
    assert answer(core.handle(ContractDetailsEnd(request.req_id), at(21))).reply.status == "result"


def test_a_look_up_asked_when_the_farm_went_is_asked_again_when_it_is_back() -> None:
    core = contracts()
    (first,) = asked(resolve(core, 1))
    secdef(core, False, 2)
    (second,) = asked(secdef(core, True, 5))
    assert second.req_id != first.req_id


def test_a_look_up_that_waits_too_long_is_refused_with_the_farm_and_when_to_try() -> None:
    core = contracts()
    secdef(core, False, 1)
    resolve(core, 2)
    refused = answer(core.handle(WakeUp(), at(32))).reply.error
    assert refused is not None
    assert (refused.code, refused.retryable, refused.retry_after_s) == ("farm_transient", True, 30.0)
    assert "secdefnj" in refused.message


def test_ibs_word_that_its_server_is_gone_is_no_hole_and_no_refusal() -> None:
    text = "Historical Market Data Service error message:HMDS server disconnect occurred.  Attempting reconnection..."
    desk = PastDesk()
    farm(desk, False, 0, "ushmds")
    farm(desk, True, 0, "euhmds")
    job = desk.begun()
    for _ in range(4):
        for req_id in desk.asked:
            desk.sent(req_id, 1.0)
            desk.error(req_id, 162, text, 2.0)
    assert desk.asked == []
    assert not desk.is_done(job)
    farm(desk, True, 30, "ushmds")
    desk.finish(31)
    assert (desk.done(job).outcome, desk.done(job).holes) == ("complete", [])


# ---- computations


def test_a_computation_waits_while_no_market_data_farm_is_there() -> None:
    desk = Desk()
    option = structs.replace(stock(), sec_type="OPT", last_trade_date="20261218", strike=230.0, right="C")
    command = CalcPrice(instrument="AAPL", volatility=0.3, underlying_price=227.5)

    def market_farm(name: str, up: bool, s: float) -> list[Effect]:
        return desk.core.handle(FarmChanged(name, "market", up, ns(s)), at(s))

    market_farm("usfarm", True, 0)
    market_farm("usopt", False, 0)
    # One of them is there, and which it is that computes is not known.
    assert asked(desk.send(command, 1, contract=option))
    market_farm("usfarm", False, 2)
    assert asked(desk.send(structs.replace(command, volatility=0.4), 3, "2", contract=option)) == []
    again = market_farm("usopt", True, 5)
    assert [type(request) for request in asked(again)] == [CalcOptionPrice, CalcOptionPrice]
    market_farm("usopt", False, 6)
    refusals = [each.reply.error for each in only(Answer, desk.wake(30))]
    assert [each.retry_after_s for each in refusals if each is not None and each.code == "farm_transient"] == [30.0] * 2
