"""CFDs: IB names the contract whose data it serves, which is asked for instead, on every connection anew."""

from __future__ import annotations

from ibkr_actor.core.events import Rerouted
from ibkr_actor.core.messages import RequestEnded
from ibkr_actor.core.requests import ReqMktData, ReqMktDepth
from ibkr_actor.schema.instruments import Contract
from tests.core.desk import Desk
from tests.core.kit import asked, notes, ns, published, said, told

CFD = Contract(930000032, "IBM", "CFD", "SMART", "USD", instrument="IBM.CFD.SMART.USD")
UNDER = Contract(8314, "", "", "SMART", "")


def test_the_line_is_asked_for_again_with_the_contract_named_and_it_is_said() -> None:
    desk = Desk()
    assert asked(desk.subscribe("quote", contract=CFD)) == [ReqMktData(12, CFD)]
    effects = desk.data(Rerouted(12, ns(1), 8314, "SMART"), s=1)
    assert asked(effects) == [ReqMktData(22, UNDER)]
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert said(effects) == ["rerouted"]
    effects = desk.price(22, 2)
    assert [(stream.name, record.con_id) for stream, record in published(effects)] == [
        ("quote:IBM.CFD.SMART.USD", 930000032)
    ]
    assert notes(effects) == [("c", "1", "active", ["quote"])]


def test_books_are_rerouted_too_and_more_ticks_keep_the_route() -> None:
    desk = Desk()
    desk.subscribe("depth", contract=CFD)
    assert asked(desk.data(Rerouted(12, ns(1), 8314, "SMART"), s=1)) == [ReqMktDepth(22, UNDER, 10)]
    desk.subscribe("quote", s=2, contract=CFD)
    desk.data(Rerouted(32, ns(3), 8314, "SMART"), s=3)
    desk.price(42, 4)
    assert asked(desk.subscribe("quote", s=5, client="d", contract=CFD, ticks=[233])) == [ReqMktData(52, UNDER, (233,))]


def test_a_new_connection_asks_for_the_cfd_itself() -> None:
    desk = Desk()
    desk.subscribe("quote", contract=CFD)
    desk.data(Rerouted(12, ns(1), 8314, "SMART"), s=1)
    desk.down(2)
    assert asked(desk.up(3)) == [ReqMktData(32, CFD)]


def test_a_route_that_leads_on_is_refused() -> None:
    desk = Desk()
    desk.subscribe("quote", contract=CFD)
    desk.data(Rerouted(12, ns(1), 8314, "SMART"), s=1)
    assert notes(desk.data(Rerouted(22, ns(2), 9, "SMART"), s=2)) == [("c", "1", "rejected", ["quote"])]
