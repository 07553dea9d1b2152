from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from ibkr_actor.core.config import ContractsConfig
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.contracts.match import choose, fits
from ibkr_actor.core.effects import Answer, Effect, Tell, WriteContract
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, ErrorNotice
from ibkr_actor.core.messages import (
    CommandReceived,
    ForgetContract,
    RateExceeded,
    RequestRefused,
    RequestSent,
    ResolvedCommand,
    RestoreContracts,
    SessionDown,
    SessionUp,
    Start,
    StatusQuery,
    Stop,
    WakeUp,
    Withdraw,
)
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.commands import (
    AnyCommand,
    List,
    Rejection,
    Renew,
    Resolve,
    StatusCommand,
    Subscribe,
    Unsubscribe,
)
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from tests.core.kit import answer, asked, at, ns, one, only, ref, said, stock, told

AAPL = structs.replace(stock(), instrument="")
QUERY = InstrumentQuery("AAPL", "STK", "SMART", "USD")
DECEMBER = Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20261218")


def up(config: ContractsConfig | None = None) -> ContractsCore:
    core = ContractsCore(config or ContractsConfig())
    core.handle(SessionUp(1, 200), at(0))
    return core


def subscribe(instrument: str | InstrumentQuery = "AAPL", **more: int) -> Subscribe:
    return Subscribe(instrument=instrument, kinds=["quote"], **more)  # type: ignore[arg-type]  # deadline_ms only


def send(core: ContractsCore, command: AnyCommand, s: float, id: str = "1", client: str = "c") -> list[Effect]:
    op = str(type(command).__struct_config__.tag)
    return core.handle(CommandReceived(ref(id, client, op), command), at(s))


def reply_with(core: ContractsCore, req_id: int, contracts: list[Contract], s: float) -> list[Effect]:
    for contract in contracts:
        assert core.handle(ContractDetails(req_id, contract), at(s)) == []
    return core.handle(ContractDetailsEnd(req_id), at(s))


def error(core: ContractsCore, req_id: int, code: int, s: float) -> list[Effect]:
    return core.handle(ErrorNotice(1, ns(s), req_id, code, "what IB says"), at(s))


def resolved(effects: list[Effect]) -> list[tuple[str, Contract | None]]:
    return [(message.ref.id, message.contract) for message in told(effects, ResolvedCommand)]


def rejection(effects: list[Effect]) -> Rejection:
    found = answer(effects).reply.error
    assert found is not None
    return found


def writes(effects: list[Effect]) -> dict[str, bytes | None]:
    return {effect.field: effect.value for effect in only(WriteContract, effects)}


# ---- resolving


def test_an_unknown_name_is_asked_and_the_answer_goes_on_with_its_command() -> None:
    core = up()
    effects = send(core, subscribe(), 0)
    assert asked(effects) == [ReqContractDetails(11, QUERY)]
    effects = reply_with(core, 11, [AAPL], 1)
    assert resolved(effects) == [("1", stock())]
    assert one(Tell, effects).to == "subscriptions"


def test_a_name_resolved_before_is_not_asked_again_until_its_time_is_over() -> None:
    core = up(ContractsConfig(ttl_s=100.0))
    send(core, subscribe(), 0)
    reply_with(core, 11, [AAPL], 1)
    assert resolved(send(core, subscribe(), 101.0)) == [("1", stock())]
    assert asked(send(core, subscribe(), 101.1))


def test_a_future_whose_last_day_is_over_everywhere_is_asked_for_anew() -> None:
    core = up(ContractsConfig(ttl_s=1e9))
    # The clock of the tests begins on 2026-01-01 in UTC.
    query = InstrumentQuery("ES", "FUT", "CME", "USD", last_trade_date="202601")
    send(core, subscribe(query), 0)
    reply_with(core, 11, [Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20260116")], 1)
    day_s = 86_400.0
    assert resolved(send(core, subscribe(query), 16.4 * day_s, "2"))
    assert asked(send(core, subscribe(query), 16.6 * day_s, "3"))


def test_different_ways_of_saying_the_same_ask_once_and_all_are_answered_in_order() -> None:
    core = up()
    assert asked(send(core, subscribe("AAPL"), 0, "1"))
    assert not asked(send(core, subscribe("AAPL.STK.SMART.USD"), 0, "2"))
    assert not asked(send(core, subscribe(InstrumentQuery("AAPL")), 0, "3"))
    assert resolved(reply_with(core, 11, [AAPL], 1)) == [("1", stock()), ("2", stock()), ("3", stock())]


def test_a_con_id_is_asked_by_itself_and_checked_against_what_else_was_said() -> None:
    core = up()
    effects = send(core, subscribe("MSFT.STK.SMART.USD@265598"), 0)
    assert asked(effects) == [ReqContractDetails(11, InstrumentQuery(con_id=265598, exchange="SMART"))]
    found = rejection(reply_with(core, 11, [AAPL], 1))
    assert found.code == "invalid_instrument"
    assert "AAPL.STK.SMART.USD" in found.message


def test_the_object_of_market_data_core_names_an_instrument() -> None:
    core = up()
    query = msgspec.convert(
        {"symbol": "AAPL", "exchange": "SMART", "currency": "USD", "conid": 265598}, InstrumentQuery
    )
    assert asked(send(core, subscribe(query), 0))
    assert resolved(reply_with(core, 11, [AAPL], 1)) == [("1", stock())]


def test_resolve_is_answered_here_with_the_contract_as_an_object() -> None:
    core = up()
    send(core, Resolve(instrument="AAPL"), 0)
    reply = answer(reply_with(core, 11, [AAPL], 1)).reply
    assert reply.status == "result"
    assert reply.result == {
        "con_id": 265598, "symbol": "AAPL", "sec_type": "STK", "exchange": "SMART", "currency": "USD",
        "instrument": "AAPL.STK.SMART.USD",
    }  # fmt: skip


def test_resolve_with_refresh_asks_again() -> None:
    core = up()
    send(core, Resolve(instrument="AAPL"), 0)
    reply_with(core, 11, [AAPL], 1)
    assert answer(send(core, Resolve(instrument="AAPL"), 2)).reply.status == "result"
    assert asked(send(core, Resolve(instrument="AAPL", refresh=True), 3))


# ---- several, or none


def test_several_contracts_are_answered_with_candidates_that_can_be_asked_for() -> None:
    core = up()
    send(core, subscribe(InstrumentQuery("ES", "FUT", "CME")), 0)
    months = [
        Contract(n, "ES", "FUT", "CME", "USD", last_trade_date=date, trading_class="ES")
        for n, date in enumerate(("20261218", "20270319"), 1)
    ]
    found = rejection(reply_with(core, 11, months, 1))
    assert found.code == "ambiguous_instrument"
    assert [contract.instrument for contract in found.candidates or []] == [
        "ES.FUT.CME.USD.20261218.ES",
        "ES.FUT.CME.USD.20270319.ES",
    ]


def test_candidates_are_at_most_50_and_the_message_counts_all() -> None:
    core = up(ContractsConfig(matches_max=100))
    send(core, subscribe(InstrumentQuery("AAPL", "OPT")), 0)
    options = [
        Contract(n, "AAPL", "OPT", "SMART", "USD", last_trade_date="20261218", strike=float(n), right="C")
        for n in range(1, 131)
    ]
    found = rejection(reply_with(core, 11, options, 1))
    assert len(found.candidates or []) == 50
    assert "130 contracts match" in found.message


def test_candidates_that_would_share_an_id_are_told_apart_by_con_id() -> None:
    core = up()
    send(core, subscribe("ABC"), 0)
    twins = [Contract(n, "ABC", "STK", "SMART", "USD") for n in (1, 2)]
    found = rejection(reply_with(core, 11, twins, 1))
    assert [contract.instrument for contract in found.candidates or []] == [
        "ABC.STK.SMART.USD@1",
        "ABC.STK.SMART.USD@2",
    ]


def test_no_match_is_an_invalid_instrument_and_is_not_asked_again_for_a_while() -> None:
    core = up(ContractsConfig(negative_ttl_s=60.0))
    send(core, subscribe("NOPE"), 0)
    effects = error(core, 11, 200, 1)
    assert rejection(effects).code == "invalid_instrument"
    assert rejection(effects).ib_code == 200
    assert "what IB says" in rejection(effects).message
    assert rejection(send(core, subscribe("NOPE"), 60)).code == "invalid_instrument"
    assert asked(send(core, subscribe("NOPE"), 61.1))


def test_an_empty_answer_is_an_invalid_instrument() -> None:
    core = up()
    send(core, subscribe("NOPE"), 0)
    assert rejection(reply_with(core, 11, [], 1)).code == "invalid_instrument"


def con(con_id: int, exchange: str, primary: str = "", symbol: str = "AAPL") -> Contract:
    return Contract(con_id, symbol, "STK", exchange, "USD", primary_exchange=primary)


@pytest.mark.parametrize(
    ("query", "matches", "chosen"),
    [
        (QUERY, [con(1, "SMART")], con(1, "SMART")),
        (QUERY, [con(1, "NYSE"), con(1, "SMART")], con(1, "SMART")),
        (InstrumentQuery(con_id=1), [con(1, "ARCA"), con(1, "SMART")], con(1, "SMART")),
        (InstrumentQuery(con_id=1), [con(1, "ARCA", "NYSE"), con(1, "NYSE", "NYSE")], con(1, "NYSE", "NYSE")),
        (InstrumentQuery(con_id=1), [con(1, "ARCA"), con(1, "IEX")], con(1, "ARCA")),
        (QUERY, [con(1, "SMART"), con(2, "SMART", symbol="AAPLX")], con(1, "SMART")),
        (
            structs.replace(QUERY, primary_exchange="NASDAQ"),
            [con(1, "SMART", "NASDAQ"), con(2, "SMART", "MEXI")],
            con(1, "SMART", "NASDAQ"),
        ),
        (QUERY, [con(1, "SMART", "NASDAQ"), con(2, "SMART", "MEXI")], None),
    ],
)
def test_the_one_contract_that_is_meant(
    query: InstrumentQuery, matches: list[Contract], chosen: Contract | None
) -> None:
    assert choose(query, matches, lambda _: False).contract == chosen


@pytest.mark.parametrize(
    ("query", "contract", "verdict"),
    [
        (InstrumentQuery(con_id=2), con(1, "SMART"), False),
        (InstrumentQuery("AAPL", "FUT"), con(1, "SMART"), False),
        (InstrumentQuery("AAPL", currency="EUR"), con(1, "SMART"), False),
        (InstrumentQuery("ES", "CONTFUT"), Contract(1, "ES", "FUT", "CME", "USD"), True),
        (InstrumentQuery("ES", last_trade_date="202612"), DECEMBER, True),
        (InstrumentQuery("ES", last_trade_date="202703"), DECEMBER, False),
        (InstrumentQuery("A", right="C"), Contract(1, "A", "OPT", "SMART", "USD", right="P"), False),
        (InstrumentQuery("A", strike=5.0), Contract(1, "A", "OPT", "SMART", "USD", strike=6.0), False),
    ],
)
def test_an_answer_that_contradicts_the_query_does_not_count(
    query: InstrumentQuery, contract: Contract, verdict: bool
) -> None:
    assert fits(query, contract) is verdict


# ---- names that stay


def test_the_first_con_id_keeps_an_id_for_ever_and_the_second_is_told_apart() -> None:
    core = up(ContractsConfig(ttl_s=10.0))
    send(core, subscribe("AAPL"), 0)
    effects = reply_with(core, 11, [AAPL], 1)
    assert writes(effects)["claim:AAPL.STK.SMART.USD"] == b"265598"
    other = structs.replace(AAPL, con_id=7)
    send(core, subscribe("@7"), 2)
    ((_, contract),) = resolved(reply_with(core, 21, [other], 2))
    assert contract is not None
    assert contract.instrument == "AAPL.STK.SMART.USD@7"
    send(core, subscribe("AAPL"), 1000)
    ((_, contract),) = resolved(reply_with(core, 31, [AAPL], 1000))
    assert contract is not None
    assert contract.instrument == "AAPL.STK.SMART.USD"


def test_between_twins_the_owner_of_the_plain_id_is_meant_by_it() -> None:
    core = up()
    send(core, subscribe("@1"), 0)
    reply_with(core, 11, [Contract(1, "ABC", "STK", "SMART", "USD")], 0)
    send(core, subscribe("ABC"), 1)
    twins = [Contract(n, "ABC", "STK", "SMART", "USD") for n in (2, 1)]
    ((_, contract),) = resolved(reply_with(core, 21, twins, 1))
    assert contract is not None
    assert contract.con_id == 1


def test_a_restart_finds_everything_as_it_was() -> None:
    core = up()
    send(core, subscribe("AAPL"), 0)
    effects = reply_with(core, 11, [AAPL], 1)
    send(core, subscribe("NOPE"), 1)
    effects += error(core, 21, 200, 1)
    stored = {field: value for field, value in writes(effects).items() if value is not None}
    assert "contract:265598:SMART" in stored
    again = up()
    assert again.handle(RestoreContracts(stored), at(100)) == []
    assert resolved(send(again, subscribe("AAPL"), 100)) == [("1", stock())]
    assert rejection(send(again, subscribe("NOPE"), 100)).code == "invalid_instrument"
    send(again, subscribe("@7"), 100)
    ((_, other),) = resolved(reply_with(again, 11, [structs.replace(AAPL, con_id=7)], 100))
    assert other is not None
    assert other.instrument == "AAPL.STK.SMART.USD@7"


def test_what_is_over_or_unreadable_in_the_hash_is_removed_and_said() -> None:
    core = up()
    send(core, subscribe("NOPE"), 0)
    stored = {field: value for field, value in writes(error(core, 11, 200, 1)).items() if value is not None}
    stored |= {"contract:1:SMART": b"{", "query:x": b"{}", "elsewhere": b"1", "claim:X": b"x"}
    effects = up().handle(RestoreContracts(stored), at(10_000))
    gone = {field for field, value in writes(effects).items() if value is None}
    assert gone == set(stored) - {"claim:X"}
    assert said(effects) == ["contracts_unreadable"]


def test_the_cache_is_bounded_and_what_leaves_it_leaves_the_hash() -> None:
    core = up(ContractsConfig(cache_max=2))
    gone: set[str] = set()
    for n in range(1, 5):
        send(core, subscribe(f"S{n}"), n)
        effects = reply_with(core, n * 10 + 1, [Contract(n, f"S{n}", "STK", "SMART", "USD")], n)
        gone |= {field for field, value in writes(effects).items() if value is None}
    assert {"contract:1:SMART", "contract:2:SMART"} <= gone
    assert core.status()["resolved"] == 2
    assert core.status()["queries"] == 2
    assert core.status()["claims"] == 4
    assert asked(send(core, subscribe("S1"), 9))


def test_a_contract_that_ib_refuses_after_all_is_resolved_anew() -> None:
    core = up()
    send(core, subscribe("AAPL"), 0)
    reply_with(core, 11, [AAPL], 1)
    assert set(writes(core.handle(ForgetContract(265598, "SMART"), at(2))).values()) == {None}
    assert asked(send(core, subscribe("AAPL"), 3))


# ---- trouble


@pytest.mark.parametrize("text", ["", "BRK.B", "AAPL.XXX.SMART.USD", "A\x00B"])
def test_text_that_names_nothing_is_refused_before_ib_hears_of_it(text: str) -> None:
    effects = send(up(), subscribe(text), 0)
    assert rejection(effects).code == "invalid_instrument"
    assert not asked(effects)


def test_a_combination_without_legs_is_refused() -> None:
    assert rejection(send(up(), subscribe(InstrumentQuery("X", "BAG")), 0)).code == "invalid_instrument"


def test_a_command_past_its_deadline_is_expired() -> None:
    effects = send(up(), subscribe(deadline_ms=ns(1) // 1_000_000), 2)
    assert answer(effects).reply.status == "expired"


def test_a_command_whose_deadline_passes_while_it_waits_is_expired_and_the_others_wait_on() -> None:
    core = up(ContractsConfig(timeout_s=30.0))
    send(core, subscribe(deadline_ms=ns(5) // 1_000_000), 0, "1")
    send(core, subscribe(), 0, "2")
    assert core.next_wakeup_s() == 5.0
    effects = core.handle(WakeUp(), at(5))
    assert (answer(effects).ref.id, answer(effects).reply.status) == ("1", "expired")
    assert resolved(reply_with(core, 11, [AAPL], 6)) == [("2", stock())]
    assert core.next_wakeup_s() is None


def test_a_look_up_that_nobody_waits_for_is_withdrawn() -> None:
    core = up()
    send(core, subscribe(deadline_ms=ns(5) // 1_000_000), 0)
    assert told(core.handle(WakeUp(), at(5)), Withdraw) == [Withdraw(11)]
    assert reply_with(core, 11, [AAPL], 6) == []
    assert core.status()["lookups"] == 0


@pytest.mark.parametrize("command", [Unsubscribe(), Unsubscribe(instrument="AAPL"), Unsubscribe(kinds=["quote"])])
def test_who_unsubscribes_while_ib_is_still_asked_is_not_subscribed_after_all(command: Unsubscribe) -> None:
    core = up()
    send(core, subscribe(), 0, "1", "anna")
    send(core, subscribe(), 0, "1", "bert")
    effects = send(core, command, 1, "2", "anna")
    assert (answer(effects).ref.id, rejection(effects).code) == ("1", "expired")
    assert [message.ref.id for message in told(effects, ResolvedCommand)] == ["2"]
    (message,) = told(reply_with(core, 11, [AAPL], 2), ResolvedCommand)
    assert message.ref.client == "bert"


def test_who_unsubscribes_from_part_of_what_waits_is_subscribed_to_the_rest() -> None:
    core = up()
    send(core, Subscribe(instrument="AAPL", kinds=["quote", "trade"]), 0)
    assert only(Answer, send(core, Unsubscribe(instrument="AAPL", kinds=["quote"]), 1, "2")) == []
    send(core, Unsubscribe(instrument="MSFT"), 1, "3")
    (message,) = told(reply_with(core, 11, [AAPL], 2), ResolvedCommand)
    assert isinstance(message.command, Subscribe)
    assert message.command.kinds == ["trade"]


def test_an_answer_that_does_not_come_is_a_retryable_rejection() -> None:
    core = up(ContractsConfig(timeout_s=30.0))
    send(core, subscribe(), 0)
    assert core.next_wakeup_s() == 30.0
    effects = core.handle(WakeUp(), at(30))
    assert (rejection(effects).code, rejection(effects).retryable) == ("farm_transient", True)
    assert told(effects, Withdraw) == [Withdraw(11)]
    assert reply_with(core, 11, [AAPL], 31) == []
    assert asked(send(core, subscribe(), 32)) == [ReqContractDetails(21, QUERY)]


def test_without_a_connection_a_command_waits_for_it_and_is_asked_when_it_comes() -> None:
    core = ContractsCore(ContractsConfig(timeout_s=30.0))
    assert send(core, subscribe(), 0) == []
    assert asked(core.handle(SessionUp(1, 200), at(20))) == [ReqContractDetails(11, QUERY)]


def test_without_a_connection_for_too_long_it_is_rejected() -> None:
    core = ContractsCore(ContractsConfig(timeout_s=30.0))
    send(core, subscribe(), 0)
    found = rejection(core.handle(WakeUp(), at(30)))
    assert (found.code, found.retryable) == ("connection_failed", True)


def test_a_look_up_cut_off_by_a_lost_connection_is_asked_on_the_next() -> None:
    core = up()
    send(core, subscribe(), 0)
    core.handle(ContractDetails(11, AAPL), at(1))
    core.handle(SessionDown(1, ns(1), "disconnect", "x"), at(1))
    assert core.handle(ContractDetailsEnd(11), at(1)) == []
    assert asked(core.handle(SessionUp(2, 200), at(2))) == [ReqContractDetails(21, QUERY)]
    assert resolved(reply_with(core, 21, [AAPL], 3)) == [("1", stock())]


def test_an_old_answer_is_better_than_none_while_ib_cannot_be_asked() -> None:
    core = up(ContractsConfig(ttl_s=10.0))
    send(core, subscribe(), 0)
    reply_with(core, 11, [AAPL], 1)
    core.handle(SessionDown(1, ns(2), "disconnect", "x"), at(2))
    assert resolved(send(core, subscribe(), 1000)) == [("1", stock())]


def test_commands_that_wait_are_bounded() -> None:
    core = up(ContractsConfig(pending_max=2))
    send(core, subscribe("A"), 0, "1")
    send(core, subscribe("B"), 0, "2")
    found = rejection(send(core, subscribe("C"), 0, "3"))
    assert (found.code, found.retryable) == ("busy", True)


def test_a_refusal_of_pacing_is_busy() -> None:
    core = up()
    send(core, subscribe(), 0)
    found = rejection(core.handle(RequestRefused(11, "full", 3.0), at(0)))
    assert (found.code, found.retry_after_s) == ("busy", 3.0)


def test_codes_do_what_their_rows_say() -> None:
    core = up()
    send(core, subscribe(), 0)
    assert error(core, 11, 2104, 1) == []
    assert asked(error(core, 11, 102, 1)) == [ReqContractDetails(21, QUERY)]
    effects = error(core, 21, 100, 1)
    assert told(effects, RateExceeded) == [RateExceeded(100)]
    assert asked(effects) == [ReqContractDetails(31, QUERY)]
    found = rejection(error(core, 31, 322, 1))
    assert (found.code, found.ib_code) == ("internal", 322)


def test_a_request_that_could_not_be_sent_waits_for_the_next_connection() -> None:
    core = up()
    send(core, subscribe(), 0)
    assert error(core, 11, 518, 1) == []
    assert asked(core.handle(SessionUp(2, 200), at(2))) == [ReqContractDetails(21, QUERY)]


def test_an_error_about_the_request_itself_is_not_remembered() -> None:
    core = up()
    send(core, subscribe(), 0)
    assert rejection(error(core, 11, 321, 1)).code == "validation_error"
    assert asked(send(core, subscribe(), 2))


def test_a_stop_answers_everyone_who_waits() -> None:
    core = up()
    core.handle(Start(), at(0))
    send(core, subscribe("A"), 0, "1")
    send(core, subscribe("B"), 0, "2")
    core.handle(RequestSent(11, 0.0), at(0))
    answers = only(Answer, core.handle(Stop(), at(1)))
    assert [effect.ref.id for effect in answers] == ["1", "2"]
    assert core.next_wakeup_s() is None


# ---- passing on


def test_commands_without_an_instrument_pass_through() -> None:
    core = up()
    for command in (Renew(), List(), Unsubscribe()):
        passed = one(Tell, send(core, command, 0))
        assert passed.to == "subscriptions"
        assert isinstance(passed.message, ResolvedCommand)
        assert (passed.message.command, passed.message.contract) == (command, None)


def test_a_status_query_takes_this_part_along() -> None:
    tell = one(Tell, send(up(), StatusCommand(), 0))
    assert tell.to == "reference"
    assert isinstance(tell.message, StatusQuery)
    assert list(tell.message.parts) == ["contracts"]


@pytest.mark.parametrize(
    ("instrument", "name"),
    [
        ("AAPL", "AAPL.STK.SMART.USD"),
        ("BRK%20B.STK.SMART.USD", "BRK%20B.STK.SMART.USD"),
        ("AAPL.STK.SMART.USD@7", "AAPL.STK.SMART.USD@7"),
        ("ES.FUT.CME.USD.20261218.ES", "ES.FUT.CME.USD.20261218.ES"),
    ],
)
def test_an_unsubscribe_never_asks_ib(instrument: str, name: str) -> None:
    effects = send(up(), Unsubscribe(instrument=instrument), 0)
    assert not asked(effects)
    ((_, contract),) = resolved(effects)
    assert contract is not None
    assert contract.instrument == name


def test_an_unsubscribe_by_con_id_finds_what_was_resolved() -> None:
    core = up(ContractsConfig(ttl_s=1.0))
    query = InstrumentQuery(con_id=265598, exchange="SMART")
    send(core, subscribe(query), 0)
    reply_with(core, 11, [AAPL], 0)
    assert resolved(send(core, Unsubscribe(instrument=query), 500)) == [("1", stock())]
