"""Continuous futures live: the future at the front feeds them, and a roll is told in every stream."""

from __future__ import annotations

import pytest
from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect, WriteHolders
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, RealTimeBar
from ibkr_actor.core.holders import read_holder
from ibkr_actor.core.messages import RestoreHolders
from ibkr_actor.core.requests import ReqContractDetails, ReqHistoricalData, ReqMktData
from ibkr_actor.core.subscriptions.fronts import chosen
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.records import Bar, Quote, Roll
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, ns, published, said

MARCH = Contract(1, "ES", "FUT", "CME", "USD", last_trade_date="20260320", trading_class="ES", local_symbol="ESH6")
JUNE = Contract(2, "ES", "FUT", "CME", "USD", last_trade_date="20260618", trading_class="ES", local_symbol="ESM6")
CONTINUOUS = structs.replace(MARCH, sec_type="CONTFUT", instrument="ES.CONTFUT.CME.USD")
QUERY = InstrumentQuery("ES", "CONTFUT", "CME", "USD")


def desk_of(roll_days: int = 0) -> Desk:
    return Desk(SubscriptionsConfig(roll_look_s=100.0, roll_days=roll_days))


def answered(desk: Desk, req_id: int, s: float, *contracts: Contract) -> list[Effect]:
    for contract in contracts:
        assert desk.core.handle(ContractDetails(req_id, contract), at(s)) == []
    return desk.note(desk.core.handle(ContractDetailsEnd(req_id), at(s)))


def test_it_is_fed_by_the_future_that_ib_shows() -> None:
    desk = desk_of()
    effects = desk.subscribe("quote", contract=CONTINUOUS)
    assert answer(effects).reply.streams == ["ibkr:{g1}:quote:ES.CONTFUT.CME.USD"]
    (request,) = asked(effects)
    assert request == ReqMktData(12, structs.replace(MARCH, instrument=""))
    ((stream, quote),) = published(desk.price(12, 1))
    assert (stream.instrument, quote.con_id) == ("ES.CONTFUT.CME.USD", 1)


def test_ib_is_asked_now_and_then_which_it_is_and_the_same_answer_changes_nothing() -> None:
    desk = desk_of()
    desk.subscribe("quote", contract=CONTINUOUS)
    (request,) = asked(desk.wake(0))
    assert request == ReqContractDetails(22, QUERY)
    assert answered(desk, 22, 1, CONTINUOUS) == []
    assert desk.core.next_wakeup_s() == 100.0
    assert len(asked(desk.wake(100))) == 1


def test_a_roll_is_told_in_every_stream_before_the_first_record_of_the_new_future() -> None:
    desk = desk_of()
    desk.subscribe("quote", "bar.1m", contract=CONTINUOUS)
    desk.price(12, 1)
    (look,) = asked(desk.wake(0))
    effects = answered(desk, look.req_id, 2, structs.replace(JUNE, sec_type="CONTFUT"))
    rolls = [(stream.kind, record) for stream, record in published(effects)]
    assert [kind for kind, _ in rolls] == ["quote", "bar.1m"]
    for _, roll in rolls:
        assert isinstance(roll, Roll)
        assert (roll.from_con_id, roll.to_con_id, roll.from_symbol, roll.to_symbol) == (1, 2, "ESH6", "ESM6")
        assert (roll.con_id, roll.at_ns) == (2, ns(2))
    assert "rolled" in said(effects)
    requests = asked(effects)
    lines = [request for request in requests if isinstance(request, ReqMktData | ReqHistoricalData)]
    assert [request.contract for request in lines] == [structs.replace(JUNE, instrument="")] * 2
    quote_id = next(request.req_id for request in requests if isinstance(request, ReqMktData))
    ((_, quote),) = published(desk.price(quote_id, 3, 9.5))
    assert isinstance(quote, Quote)
    assert (quote.con_id, quote.bid, quote.ask) == (2, 9.5, None)


def test_what_the_old_future_still_sends_is_nobodys() -> None:
    desk = desk_of()
    desk.subscribe("quote", contract=CONTINUOUS)
    (look,) = asked(desk.wake(0))
    answered(desk, look.req_id, 2, structs.replace(JUNE, sec_type="CONTFUT"))
    assert published(desk.price(12, 3)) == []


def test_a_restart_goes_on_with_the_future_it_had_and_rolls_when_that_has_changed_meanwhile() -> None:
    desk = desk_of()
    (write,) = answer(desk.subscribe("quote", contract=CONTINUOUS)).holders
    again = desk_of()
    (request,) = asked(again.note(again.core.handle(RestoreHolders((write,)), at(0))))
    assert isinstance(request, ReqMktData)
    assert request.contract.con_id == 1
    (look,) = asked(again.wake(0))
    effects = answered(again, look.req_id, 1, structs.replace(JUNE, sec_type="CONTFUT"))
    ((_, roll),) = published(effects)
    assert isinstance(roll, Roll)


def test_a_question_that_ib_refuses_is_asked_again_at_the_next_look() -> None:
    desk = desk_of()
    desk.subscribe("quote", contract=CONTINUOUS)
    (look,) = asked(desk.wake(0))
    assert desk.error(look.req_id, 200, s=1) == []
    assert len(asked(desk.wake(100))) == 1


def test_with_days_all_futures_are_looked_at_and_the_next_far_enough_away_is_taken() -> None:
    desk = desk_of(roll_days=80)
    desk.subscribe("quote", contract=CONTINUOUS)
    (look,) = asked(desk.wake(0))
    assert look == ReqContractDetails(22, InstrumentQuery("ES", "FUT", "CME", "USD", trading_class="ES"))
    effects = answered(desk, 22, 1, JUNE, MARCH)
    ((_, roll),) = published(effects)
    assert isinstance(roll, Roll)
    assert roll.to_symbol == "ESM6"


@pytest.mark.parametrize(("days", "expected"), [(8, "ESH6"), (77, "ESH6"), (78, "ESM6"), (400, None)])
def test_the_roll_rule(days: int, expected: str | None) -> None:
    # 2026-01-01: March's last day is 78 days away.
    found = chosen([JUNE, MARCH], days, ns(0))
    assert (None if found is None else found.local_symbol) == expected


def test_ibs_own_front_must_be_one() -> None:
    assert chosen([MARCH], 0, ns(0)) == MARCH
    assert chosen([MARCH, JUNE], 0, ns(0)) is None
    assert chosen([], 0, ns(0)) is None


def test_its_lines_go_by_the_hours_that_ib_tells_with_the_same_future() -> None:
    desk = desk_of()
    desk.subscribe("quote", "bar.5m.built", contract=CONTINUOUS)
    (look,) = asked(desk.wake(0))
    hours = "20260101:0000-20260101:0002"
    told = structs.replace(CONTINUOUS, trading_hours=hours, liquid_hours=hours, time_zone="UTC")
    writes = [effect for effect in answered(desk, look.req_id, 1, told) if isinstance(effect, WriteHolders)]
    assert [read_holder(holder)[2].trading_hours for write in writes for holder in write.holders] == [hours, hours]
    # A bar of five minutes ends with the trading.
    desk.data(RealTimeBar(22, ns(5), ns(0), 1.0, 1.0, 1.0, 1.0, "1", "1", 1), s=5)
    desk.data(RealTimeBar(32, ns(5), ns(0), 1.0, 1.0, 1.0, 1.0, "1", "1", 1), s=5)
    (closed,) = [record for _, record in published(desk.wake(127)) if isinstance(record, Bar)]
    assert (closed.end_ns, closed.final) == (ns(120), True)
