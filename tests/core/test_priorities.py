"""Lines that are short: who gives way to whom, what is told of it, and how it comes back."""

from __future__ import annotations

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, HolderWrite, SetState, WriteHolders
from ibkr_actor.core.holders import PRIORITIES
from ibkr_actor.core.messages import DataLost, RestoreHolders, Withdraw
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.commands import List, PriorityName
from ibkr_actor.schema.records import Gap
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, ns, one, only, published, stock, told

TWO_LINES = SubscriptionsConfig(lines=2)
A, B, C, D = (stock(symbol, number) for number, symbol in enumerate("ABCD", start=1))


def asked_for(effects: list[Effect]) -> list[int]:
    """The con_ids that IB is asked for, in order."""
    return [request.contract.con_id for request in asked(effects) if isinstance(request, ReqMktData)]


def full(*priorities: PriorityName) -> Desk:
    """A desk whose two lines, of A and B, are taken at these priorities."""
    desk = Desk(TWO_LINES)
    for n, (contract, priority) in enumerate(zip((A, B), priorities, strict=True)):
        desk.subscribe("quote", client=contract.symbol.lower(), contract=contract, priority=priority, s=n)
        desk.price(desk.last_req_id, n)
    return desk


def test_the_least_urgent_and_of_those_alike_the_newest_gives_way() -> None:
    cases: tuple[tuple[PriorityName, PriorityName, int], ...] = (
        ("low", "normal", 1), ("normal", "low", 2), ("normal", "normal", 2),
    )  # fmt: skip
    for of_a, of_b, gone in cases:
        desk = full(of_a, of_b)
        effects = desk.subscribe("quote", contract=C, priority="high", s=5)
        assert answer(effects).reply.status == "accepted"
        assert asked_for(effects) == [3]
        assert len(told(effects, Withdraw)) == 1
        changed = {effect.stream.instrument: (effect.state, effect.reason) for effect in only(SetState, effects)}
        assert changed[f"{'AB'[gone - 1]}.STK.SMART.USD"] == ("starved", "evicted")
        said = one(Announce, effects).record
        assert (said.event, said.subject) == ("evicted", "C.STK.SMART.USD")


def test_nobody_gives_way_to_the_same_priority_and_the_refusal_says_who_holds_the_lines() -> None:
    desk = full("normal", "high")
    for priority in PRIORITIES[:2]:
        found = answer(desk.subscribe("quote", contract=C, priority=priority, s=5)).reply.error
        assert found is not None
        assert found.code == "line_limit"
        assert "2 of 2 market data lines are taken (a 1, b 1)" in found.message
    # Two are needed, and only one would give way: nothing is taken from anybody.
    effects = desk.subscribe("quote", "bar.5s", contract=C, priority="high", s=6)
    assert answer(effects).reply.status == "rejected"
    assert len(effects) == 1


def test_a_line_is_worth_what_its_most_urgent_holder_says() -> None:
    desk = full("low", "low")
    desk.subscribe("quote", client="urgent", contract=B, priority="high", s=4)
    effects = desk.subscribe("quote", contract=C, s=5)
    assert answer(effects).reply.status == "accepted"
    assert [effect.stream.instrument for effect in only(SetState, effects) if effect.reason == "evicted"] == [
        "A.STK.SMART.USD"
    ]


def test_who_gave_way_gets_the_next_free_line_and_goes_on_behind_a_gap() -> None:
    desk = full("low", "normal")
    desk.subscribe("quote", contract=C, priority="high", s=5)
    effects = desk.unsubscribe(client="b", contract=B, s=8)
    assert asked_for(effects) == [1]
    desk.note(effects)
    records = [record for _, record in published(desk.price(desk.last_req_id, 9, value=2.5))]
    assert [type(record).__name__ for record in records] == ["Gap", "Quote"]
    gap = records[0]
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.from_ns, gap.to_ns) == ("evicted", ns(0), ns(9))


def test_after_a_loss_the_urgent_are_asked_for_first() -> None:
    desk = full("low", "high")
    assert asked_for(desk.core.handle(DataLost(ns(4), 1101), at(4))) == [2, 1]
    desk.down(5)
    assert asked_for(desk.up(6)) == [2, 1]


def test_priorities_survive_a_restart_and_are_listed() -> None:
    desk = Desk(TWO_LINES)
    stored: list[HolderWrite] = []
    for contract, priority in zip((A, B, C), PRIORITIES, strict=True):
        effects = desk.subscribe("quote", contract=contract, client="c", priority=priority, s=1)
        stored += answer(effects).holders
    other = Desk(TWO_LINES)
    effects = other.core.handle(RestoreHolders(tuple(stored)), at(0))
    assert not only(WriteHolders, effects)
    assert asked_for(effects) == [3, 2]
    rows = answer(other.send(List(), 1)).reply.result
    assert isinstance(rows, dict)
    told_of = {row["instrument"][0]: (row["holders"][0]["priority"], row["reason"]) for row in rows["subscriptions"]}
    assert told_of == {"A": ("low", "line_limit"), "B": ("normal", ""), "C": ("high", "")}


def test_twenty_clients_on_one_instrument_take_one_line() -> None:
    desk = Desk(TWO_LINES)
    requests = [
        request
        for n in range(20)
        for request in asked(desk.subscribe("quote", "tick", client=f"c{n}", contract=A, s=n))
    ]
    assert len(requests) == 1
    assert desk.core.status()["lines"] == {"taken": 1, "of": 2}
