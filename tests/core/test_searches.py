"""Searches for symbols: who shares an answer, and what becomes of those that IB refuses or does not answer."""

from __future__ import annotations

from ibkr_actor.core.config import ContractsConfig, PacingConfig
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import Answer, Effect, Send
from ibkr_actor.core.events import ErrorNotice, FoundSymbol, SymbolSamples
from ibkr_actor.core.messages import (
    CommandReceived,
    Enqueue,
    RequestRefused,
    SessionDown,
    SessionUp,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.pacing.core import PacingCore
from ibkr_actor.core.requests import ReqMatchingSymbols
from ibkr_actor.schema.commands import Search
from tests.core.kit import SECOND_S, answer, asked, at, ns, only, ref, told

APPLE = FoundSymbol(265598, "AAPL", "STK", "NASDAQ", "USD", ("OPT", "CFD"), "APPLE INC")
ISSUER = FoundSymbol(0, "", "BOND", "", "USD", (), "APPLE INC", "e1359061")


def core() -> ContractsCore:
    made = ContractsCore(ContractsConfig(timeout_s=30.0))
    made.handle(SessionUp(1, 200), at(0))
    return made


def search(
    contracts: ContractsCore, s: float, pattern: str = "AAP", id: str = "1", deadline_ms: int | None = None
) -> list[Effect]:
    command = Search(pattern=pattern, deadline_ms=deadline_ms)
    return contracts.handle(CommandReceived(ref(id, op="search"), command), at(s))


def outcomes(effects: list[Effect]) -> list[tuple[str, str, str]]:
    """(id, status, code) of each answer."""
    return [
        (a.reply.id, a.reply.status, a.reply.error.code if a.reply.error is not None else "")
        for a in only(Answer, effects)
    ]


def test_a_search_is_answered_with_what_ib_lists() -> None:
    contracts = core()
    assert asked(search(contracts, 1, " AAP ")) == [ReqMatchingSymbols(11, "AAP")]
    result = answer(contracts.handle(SymbolSamples(11, (APPLE, ISSUER)), at(2))).reply.result
    assert result == {
        "contracts": [
            {
                "con_id": 265598,
                "symbol": "AAPL",
                "sec_type": "STK",
                "primary_exchange": "NASDAQ",
                "currency": "USD",
                "derivative_sec_types": ["OPT", "CFD"],
                "description": "APPLE INC",
                "issuer_id": "",
            },
            {
                "con_id": 0,
                "symbol": "",
                "sec_type": "BOND",
                "primary_exchange": "",
                "currency": "USD",
                "derivative_sec_types": [],
                "description": "APPLE INC",
                "issuer_id": "e1359061",
            },
        ]
    }


def test_nothing_found_is_an_answer() -> None:
    contracts = core()
    search(contracts, 1)
    assert answer(contracts.handle(SymbolSamples(11, ()), at(2))).reply.result == {"contracts": []}


def test_two_who_ask_the_same_share_one_request() -> None:
    contracts = core()
    search(contracts, 1, id="1")
    assert search(contracts, 1.5, id="2") == []
    assert outcomes(contracts.handle(SymbolSamples(11, (APPLE,)), at(2))) == [("1", "result", ""), ("2", "result", "")]
    assert contracts.handle(SymbolSamples(11, (APPLE,)), at(3)) == []


def test_a_pattern_of_nothing_or_of_a_book_is_refused() -> None:
    contracts = core()
    assert outcomes(search(contracts, 1, "  ")) == [("1", "rejected", "validation_error")]
    assert outcomes(search(contracts, 1, "x" * 101)) == [("1", "rejected", "validation_error")]


def test_without_a_connection_it_waits_for_one_and_not_for_ever() -> None:
    contracts = ContractsCore(ContractsConfig(timeout_s=30.0))
    assert search(contracts, 1) == []
    assert contracts.next_wakeup_s() == 31
    assert outcomes(contracts.handle(WakeUp(), at(31))) == [("1", "rejected", "connection_failed")]
    search(contracts, 40)
    assert asked(contracts.handle(SessionUp(1, 200), at(41))) == [ReqMatchingSymbols(11, "AAP")]
    contracts.handle(SessionDown(1, ns(42), "disconnect", "lost"), at(42))
    assert asked(contracts.handle(SessionUp(2, 200), at(43))) == [ReqMatchingSymbols(21, "AAP")]
    effects = contracts.handle(WakeUp(), at(70))
    assert outcomes(effects) == [("1", "rejected", "farm_transient")]
    assert told(effects, Withdraw) == [Withdraw(21)]


def test_its_own_deadline_ends_it_as_expired() -> None:
    contracts = core()
    search(contracts, 1, deadline_ms=ns(5) // 1_000_000)
    assert outcomes(contracts.handle(WakeUp(), at(5))) == [("1", "expired", "expired")]


def test_what_ib_and_pacing_refuse_is_told() -> None:
    contracts = core()
    search(contracts, 1)
    assert outcomes(contracts.handle(ErrorNotice(1, ns(2), 11, 321, "no"), at(2))) == [
        ("1", "rejected", "validation_error")
    ]
    search(contracts, 3)
    assert outcomes(contracts.handle(RequestRefused(21, "full", 1.0), at(3))) == [("1", "rejected", "busy")]
    search(contracts, 4)
    assert outcomes(contracts.handle(Stop(), at(5))) == [("1", "rejected", "connection_failed")]


def test_searches_leave_one_a_second() -> None:
    pacing = PacingCore(PacingConfig())
    pacing.handle(SessionUp(1, 200), at(0))
    sends = []
    for number in (1, 2, 3):
        effects = pacing.handle(Enqueue(ReqMatchingSymbols(number * 10 + 1, "x"), conn=1), at(0))
        sends += [(0.0, send.request.req_id) for send in only(Send, effects)]
    while (wake_s := pacing.next_wakeup_s()) is not None and wake_s < 10:
        effects = pacing.handle(WakeUp(), at(wake_s))
        sends += [(round(wake_s, 3), send.request.req_id) for send in only(Send, effects)]
    assert sends == [(0.0, 11), (round(SECOND_S, 3), 21), (round(2 * SECOND_S, 3), 31)]
