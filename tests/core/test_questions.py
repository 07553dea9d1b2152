"""One-off questions: shared, paced, asked again after a loss, given up in time; and the look-up of a chain by them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from ibkr_actor.core.chains.messages import ChainFound, ChainNotFound, FindChain
from ibkr_actor.core.chains.window import ChainSpec
from ibkr_actor.core.config import ReferenceConfig
from ibkr_actor.core.effects import Answer, Effect
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, ErrorNotice
from ibkr_actor.core.messages import (
    FarmChanged,
    RateExceeded,
    RequestEnded,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    SessionDown,
    SessionUp,
    StatusQuery,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.reference.core import ReferenceCore
from ibkr_actor.core.reference.events import (
    Headline,
    HeadlinesEnd,
    MarketRuleIncrements,
    NewsProviderList,
    OptionParameters,
    OptionParametersEnd,
    PriceIncrement,
    ScanEnd,
    ScanRow,
    SmartComponent,
    SmartComponentMap,
)
from ibkr_actor.core.requests import ReqContractDetails, ReqOptionParams
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.reference_commands import (
    MarketRule,
    NewsArticle,
    NewsHeadlines,
    NewsProviders,
    OptionParams,
    ReferenceCommand,
    Scan,
    SmartComponents,
)
from tests.core.kit import answer, asked, at, ns, only, ref, stock, told

CONFIG = ReferenceConfig(timeout_s=30.0, listing_timeout_s=120.0, pending_max=4, at_a_time=2)


class Desk:
    def __init__(self, *, up: bool = True) -> None:
        self.core = ReferenceCore(CONFIG)
        self.conn = 0
        if up:
            self.up(0)

    def up(self, s: float) -> list[Effect]:
        self.conn += 1
        return self.handle(SessionUp(self.conn, 226), s)

    def handle(self, message: Struct, s: float) -> list[Effect]:
        return self.core.handle(message, at(s))

    def send(
        self, command: ReferenceCommand, s: float, id: str = "1", contract: Contract | None = None
    ) -> list[Effect]:
        op = str(type(command).__struct_config__.tag)
        return self.handle(ResolvedCommand(ref(id, "c", op), command, contract), s)

    def error(self, req_id: int, code: int, s: float) -> list[Effect]:
        return self.handle(ErrorNotice(self.conn, ns(s), req_id, code, "what IB says"), s)


def result(effects: list[Effect]) -> Any:
    reply = answer(effects).reply
    assert reply.status == "result"
    return reply.result


def refused(effects: list[Effect]) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for effect in only(Answer, effects):
        assert effect.reply.error is not None
        out.append((effect.ref.id, effect.reply.error.code))
    return out


COMPONENTS = SmartComponents(bbo_exchange="9c0001")


def test_who_asks_the_same_meanwhile_shares_the_answer() -> None:
    desk = Desk()
    (request,) = asked(desk.send(COMPONENTS, 0))
    assert request.req_id == 14
    assert asked(desk.send(COMPONENTS, 1, "2")) == []
    (other,) = asked(desk.send(SmartComponents(bbo_exchange="a6"), 1, "3"))
    effects = desk.handle(SmartComponentMap(14, (SmartComponent("Q", "NASDAQ", 5),)), 2)
    wanted = {
        "bbo_exchange": "9c0001",
        "components": [{"letter": "Q", "exchange": "NASDAQ", "bit_number": 5}],
    }
    assert [(it.ref.id, it.reply.result) for it in only(Answer, effects)] == [("1", wanted), ("2", wanted)]
    # Late and foreign answers are nobody's.
    assert desk.handle(SmartComponentMap(14, ()), 3) == []
    assert desk.error(14, 321, 3) == []
    assert refused(desk.error(other.req_id, 321, 4)) == [("3", "validation_error")]


def test_answers_without_a_req_id_are_told_apart_by_what_they_are() -> None:
    desk = Desk()
    desk.send(MarketRule(rule_id=26), 0, "1")
    desk.send(MarketRule(rule_id=239), 0, "2")
    desk.send(NewsProviders(), 0, "3")
    first = desk.handle(MarketRuleIncrements(239, (PriceIncrement(0.0, 0.0001), PriceIncrement(1.0, 0.01))), 1)
    assert answer(first).ref.id == "2"
    assert result(first)["increments"][1] == {"low_edge": 1.0, "increment": 0.01}
    assert result(desk.handle(NewsProviderList(()), 1)) == {"providers": []}
    # One that nobody asked for is nobody's.
    assert desk.handle(NewsProviderList(()), 1) == []
    assert desk.handle(MarketRuleIncrements(1, ()), 1) == []


def test_an_answer_in_parts_is_whole_and_a_scan_is_taken_back() -> None:
    desk = Desk()
    wish = NewsHeadlines(instrument="AAPL", providers=["BRFG"], start="2026-01-05T09:30:00-05:00", count=2)
    (request,) = asked(desk.send(wish, 0, contract=stock()))
    assert getattr(request, "start", None) == "2026-01-05 14:30:00.0"
    desk.handle(Headline(request.req_id, "2026-01-05 15:00:01.0", "BRFG", "BRFG$1", "up"), 1)
    desk.handle(Headline(request.req_id, "nonsense", "BRFG", "BRFG$2", "down"), 1)
    found = result(desk.handle(HeadlinesEnd(request.req_id, True), 1))
    assert [row["time_ns"] for row in found["headlines"]] == ["1767625201000000000", None]
    assert found["has_more"] is True
    (scan,) = asked(desk.send(Scan(scan_code="MOST_ACTIVE"), 2, "2"))
    effects = desk.handle(ScanEnd(scan.req_id), 3)
    assert result(effects) == {"rows": []}
    assert told(effects, Withdraw) == [Withdraw(scan.req_id)]


def test_headlines_are_newest_first_and_a_scan_is_best_first_in_whatever_order_they_come() -> None:
    desk = Desk()
    (request,) = asked(desk.send(NewsHeadlines(instrument="AAPL", providers=["BRFG"]), 0, contract=stock()))
    for hour in ("14", "16", "15"):
        desk.handle(Headline(request.req_id, f"2026-01-05 {hour}:00:00.0", "BRFG", hour, ""), 1)
    found = result(desk.handle(HeadlinesEnd(request.req_id, False), 1))
    assert [row["article_id"] for row in found["headlines"]] == ["16", "15", "14"]
    (scan,) = asked(desk.send(Scan(scan_code="MOST_ACTIVE"), 2, "2"))
    for rank in (1, 0):
        desk.handle(ScanRow(scan.req_id, rank, stock(), "", "", ""), 3)
    assert [row["rank"] for row in result(desk.handle(ScanEnd(scan.req_id), 3))["rows"]] == [0, 1]


def test_a_scan_that_ib_warns_of_is_answered_with_its_rows() -> None:
    desk = Desk()
    (scan,) = asked(desk.send(Scan(scan_code="TOP_PERC_GAIN"), 0))
    warning = "You must subscribe for additional permissions to obtain precise results for scanner."
    assert desk.handle(ErrorNotice(1, ns(1), scan.req_id, 492, warning), 1) == []
    desk.handle(ScanRow(scan.req_id, 0, stock(), "", "", ""), 1)
    assert len(result(desk.handle(ScanEnd(scan.req_id), 1))["rows"]) == 1


def test_a_question_is_asked_again_on_the_next_connection_and_within_its_time() -> None:
    desk = Desk(up=False)
    assert desk.send(COMPONENTS, 0) == []
    (first,) = asked(desk.up(5))
    assert desk.handle(SessionDown(1, ns(6), "disconnect", "lost"), 6) == []
    (second,) = asked(desk.up(10))
    assert second.req_id != first.req_id
    assert desk.core.next_wakeup_s() == 30.0
    effects = desk.handle(WakeUp(), 30)
    assert refused(effects) == [("1", "farm_transient")]
    assert told(effects, Withdraw) == [Withdraw(second.req_id)]
    # Without a connection it says so.
    desk.handle(SessionDown(2, ns(31), "disconnect", "lost"), 31)
    desk.send(COMPONENTS, 32, "2")
    assert refused(desk.handle(WakeUp(), 62)) == [("2", "connection_failed")]


def test_a_deadline_of_ones_own_ends_only_ones_own_wait() -> None:
    desk = Desk()
    hurried = SmartComponents(bbo_exchange="9c0001", deadline_ms=ns(5) // 1_000_000)
    desk.send(hurried, 0)
    desk.send(COMPONENTS, 0, "2")
    effects = desk.handle(WakeUp(), 5)
    assert [(it.ref.id, it.reply.status) for it in only(Answer, effects)] == [("1", "expired")]
    assert answer(desk.handle(SmartComponentMap(14, ()), 6)).ref.id == "2"


def test_ib_pacing_and_stops_are_answers_too() -> None:
    desk = Desk()
    (first,) = asked(desk.send(COMPONENTS, 0))
    effects = desk.error(first.req_id, 100, 1)
    assert told(effects, RateExceeded)
    (second,) = asked(effects)
    assert refused(desk.handle(RequestRefused(second.req_id, "full", 2.0), 2)) == [("1", "busy")]
    for n in range(CONFIG.pending_max):
        desk.send(SmartComponents(bbo_exchange=str(n)), 3, str(n))
    assert refused(desk.send(COMPONENTS, 3, "9")) == [("9", "busy")]
    (status,) = told(desk.handle(StatusQuery(ref(), {}), 3), StatusQuery)
    assert status.parts == {"reference": {"questions": 4, "farms_away": []}}
    assert refused(desk.handle(Stop(), 4)) == [(str(n), "connection_failed") for n in range(4)]


@pytest.mark.parametrize(
    "command",
    [
        SmartComponents(bbo_exchange=""),
        SmartComponents(bbo_exchange="a\0b"),
        MarketRule(rule_id=0),
        Scan(scan_code="X" * 201),
        Scan(scan_code="MOST_ACTIVE", rows=0),
    ],
)
def test_what_cannot_be_asked_is_refused_here(command: ReferenceCommand) -> None:
    effects = Desk().send(command, 0)
    assert refused(effects) == [("1", "validation_error")]
    assert asked(effects) == []


# ---- chains


def option(con_id: int, strike: float, right: str = "C", **more: Any) -> Contract:
    given: dict[str, Any] = {"last_trade_date": "20260116", "strike": strike, "right": right, "trading_class": "AAPL"}
    return Contract(con_id, "AAPL", "OPT", "SMART", "USD", **given | more)


def find(desk: Desk, spec: ChainSpec, underlying: Contract | None = None) -> list[Effect]:
    return desk.handle(FindChain("name", underlying or stock(), spec, "c"), 0)


SPEC = ChainSpec(3, "both", None, 0.2)
EXPIRIES = ("20251219", "20260102", "20260109", "20260116", "20260220")


def params(desk: Desk, effects: list[Effect], exchange: str = "SMART") -> list[Effect]:
    (request,) = asked(effects)
    assert isinstance(request, ReqOptionParams)
    for place in ("CBOE", exchange):
        desk.handle(OptionParameters(request.req_id, place, 265598, "AAPL", "100", EXPIRIES, (90.0, 100.0)), 0)
    return desk.handle(OptionParametersEnd(request.req_id), 0)


def test_a_chain_is_looked_up_an_expiry_at_a_time_and_few_at_once() -> None:
    desk = Desk()
    effects = params(desk, find(desk, SPEC))
    first, second = asked(effects)
    assert isinstance(first, ReqContractDetails)
    assert (first.query.last_trade_date, first.query.exchange, first.query.strike) == ("20260102", "SMART", None)
    desk.handle(ContractDetails(first.req_id, option(1, 90.0)), 1)
    desk.handle(ContractDetails(first.req_id, option(2, 90.0, "P")), 1)
    # The same again, of another class of shares: a name of its own.
    desk.handle(ContractDetails(first.req_id, option(3, 90.0)), 1)
    (third,) = asked(desk.handle(ContractDetailsEnd(first.req_id), 1))
    # An expiry for which IB has nothing is none.
    assert told(desk.error(second.req_id, 200, 2), ChainFound) == []
    (found,) = told(desk.handle(ContractDetailsEnd(third.req_id), 3), ChainFound)
    assert [contract.instrument for contract in found.contracts] == [
        "AAPL.OPT.SMART.USD.20260116.C.90.AAPL@1",
        "AAPL.OPT.SMART.USD.20260116.P.90.AAPL",
        "AAPL.OPT.SMART.USD.20260116.C.90.AAPL@3",
    ]


def test_strikes_rights_and_the_future_are_those_of_the_wish() -> None:
    desk = Desk()
    future = Contract(77, "ES", "FUT", "CME", "USD", "ES.FUT.CME.USD.20260320.ES")
    spec = ChainSpec(("20260116",), "P", (80.0, 95.0), None)
    (request,) = asked(params(desk, find(desk, spec, future), "CME"))
    assert isinstance(request, ReqContractDetails)
    assert (request.query.sec_type, request.query.exchange, request.query.right) == ("FOP", "CME", "P")
    for con_id, strike, under in ((1, 90.0, 77), (2, 100.0, 77), (3, 85.0, 78)):
        contract = option(con_id, strike, "P", under_con_id=under)
        desk.handle(ContractDetails(request.req_id, contract), 1)
    (found,) = told(desk.handle(ContractDetailsEnd(request.req_id), 1), ChainFound)
    assert [contract.con_id for contract in found.contracts] == [1]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (ChainSpec(("20260117",), "both", None, 0.2), "no such expiry"),
        (ChainSpec("nearest", "both", None, 0.2, trading_class="XYZ"), "no options"),
        (ChainSpec("nearest", "both", None, 0.2, exchange="ISE"), "no options"),
    ],
)
def test_what_is_not_listed_is_said(spec: ChainSpec, text: str) -> None:
    desk = Desk()
    (missing,) = told(params(desk, find(desk, spec)), ChainNotFound)
    assert missing.rejection.code == "invalid_instrument"
    assert text in missing.rejection.message


def test_a_look_up_that_fails_for_now_says_so_once() -> None:
    desk = Desk()
    effects = params(desk, find(desk, SPEC))
    first, second = asked(effects)
    effects = desk.handle(WakeUp(), 120)
    assert [it.rejection.code for it in told(effects, ChainNotFound)] == ["farm_transient"]
    assert {it.req_id for it in told(effects, Withdraw)} == {first.req_id, second.req_id}


# ---- refusals without a req_id, and farms


def test_a_refusal_without_a_req_id_is_of_the_one_question_that_has_none() -> None:
    desk = Desk()
    (rule,) = asked(desk.send(MarketRule(rule_id=999), 0))
    # Not yet with IB: what it says is of something else.
    assert desk.error(-1, 321, 1) == []
    desk.handle(RequestSent(rule.req_id, 1), 1)
    refusal = answer(desk.error(-1, 321, 2)).reply.error
    assert refusal is not None
    assert (refusal.code, refusal.ib_code, refusal.retryable) == ("validation_error", 321, False)
    # Of two it may be either: both wait for their answers.
    for command in (MarketRule(rule_id=998), NewsProviders()):
        (request,) = asked(desk.send(command, 3))
        desk.handle(RequestSent(request.req_id, 3), 3)
    assert desk.error(-1, 321, 4) == []
    # A word on something else refuses nothing.
    (_,) = only(Answer, desk.handle(NewsProviderList(()), 5))
    assert desk.error(-1, 2104, 6) == []
    assert desk.error(-1, 1100, 6) == []


def test_while_the_farm_of_definitions_is_away_option_parameters_wait_for_it() -> None:
    desk = Desk()
    desk.handle(FarmChanged("secdefnj", "definitions", False, ns(0)), 0)
    assert asked(desk.send(OptionParams(instrument="AAPL"), 1, "1", stock())) == []
    # What no farm answers goes its way.
    assert asked(desk.send(NewsProviders(), 1, "2"))
    (request,) = asked(desk.handle(FarmChanged("secdefnj", "definitions", True, ns(20)), 20))
    assert isinstance(request, ReqOptionParams)
    assert answer(desk.handle(OptionParametersEnd(request.req_id), 21)).reply.status == "result"


def test_a_question_under_way_when_the_farm_went_is_asked_again_and_in_vain_it_says_why() -> None:
    desk = Desk()
    (first,) = asked(desk.send(OptionParams(instrument="AAPL"), 0, "1", stock()))
    desk.handle(FarmChanged("secdefnj", "definitions", False, ns(1)), 1)
    back = desk.handle(FarmChanged("secdefnj", "definitions", True, ns(10)), 10)
    assert [word.req_id for word in told(back, Withdraw)] == [first.req_id]
    (second,) = asked(back)
    assert second.req_id != first.req_id
    desk.handle(FarmChanged("secdefnj", "definitions", False, ns(12)), 12)
    refusal = answer(desk.handle(WakeUp(), 30)).reply.error
    assert refusal is not None
    assert (refusal.code, refusal.retryable, refusal.retry_after_s) == ("farm_transient", True, 30.0)
    assert "secdefnj is away" in refusal.message
    (passed,) = told(desk.handle(StatusQuery(ref("s"), {}), 31), StatusQuery)
    assert passed.parts["reference"] == {"questions": 0, "farms_away": ["secdefnj"]}


def test_a_chain_is_looked_up_when_the_farm_of_definitions_is_back() -> None:
    desk = Desk()
    desk.handle(FarmChanged("secdefnj", "definitions", False, ns(0)), 0)
    wish = FindChain("n", stock(), ChainSpec("nearest", "both", None, 0.2), "c")
    assert asked(desk.handle(wish, 1)) == []
    (request,) = asked(desk.handle(FarmChanged("secdefnj", "definitions", True, ns(5)), 5))
    assert isinstance(request, ReqOptionParams)


def test_a_scan_that_finds_nothing_does_not_wait_for_its_time_to_run_out() -> None:
    desk = Desk()
    (scan,) = asked(desk.send(Scan(scan_code="MOST_ACTIVE"), 0))
    assert desk.error(scan.req_id, 165, 1) == []
    assert desk.core.next_wakeup_s() == 3
    nothing = desk.handle(WakeUp(), 3)
    assert result(nothing) == {"rows": []}
    assert told(nothing, Withdraw) == [Withdraw(scan.req_id)]
    # Where a ranking follows it is the answer, and nothing is left to do.
    (scan,) = asked(desk.send(Scan(scan_code="MOST_ACTIVE"), 10, "2"))
    desk.error(scan.req_id, 165, 11)
    desk.handle(ScanRow(scan.req_id, 0, stock(), "", "", ""), 12)
    assert len(result(desk.handle(ScanEnd(scan.req_id), 12))["rows"]) == 1
    assert desk.handle(WakeUp(), 13) == []


def test_a_question_that_ib_refuses_is_over_for_pacing_and_says_what_was_wrong() -> None:
    desk = Desk()
    (scan,) = asked(desk.send(Scan(scan_code="NO_SUCH"), 0))
    refused = desk.error(scan.req_id, 162, 1)
    assert told(refused, RequestEnded) == [RequestEnded(scan.req_id)]
    error = answer(refused).reply.error
    assert error is not None
    assert (error.code, error.retryable, error.ib_code) == ("validation_error", False, 162)
    (article,) = asked(desk.send(NewsArticle(provider="BRFG", article_id="no"), 2, "2"))
    error = answer(desk.error(article.req_id, 10172, 3)).reply.error
    assert error is not None
    assert error.code == "validation_error"
