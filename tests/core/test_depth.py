"""Order books as subscriptions: what is asked, when a book is shown whole, and what heals one that is wrong."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Effect
from ibkr_actor.core.events import DepthUpdate
from ibkr_actor.core.messages import RequestEnded, UpstreamDown, UpstreamUp, Withdraw
from ibkr_actor.core.requests import ReqMktDepth
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Depth, Gap
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, forex, notes, ns, published, said, states, stock, told

NASDAQ = Contract(265598, "AAPL", "STK", "ISLAND", "USD", instrument="AAPL.STK.ISLAND.USD")


def insert(desk: Desk, s: float, position: int = 0, req_id: int | None = None) -> list[Effect]:
    req_id = desk.last_req_id if req_id is None else req_id
    return desk.data(DepthUpdate(req_id, ns(s), position, 0, 1, 1.5, "10", None, False), s=s)


def told_of(effects: list[Effect]) -> list[str]:
    """Gaps by their cause, depth records by operation and number of bids."""
    found = []
    for _, record in published(effects):
        if isinstance(record, Gap):
            found.append(record.cause)
        elif isinstance(record, Depth):
            found.append(record.operation + (str(len(record.bids)) if record.bids is not None else ""))
    return found


def test_a_book_is_asked_for_as_deep_as_set_and_by_kind() -> None:
    desk = Desk(SubscriptionsConfig(depth_rows=7))
    assert asked(desk.subscribe("depth", contract=NASDAQ)) == [ReqMktDepth(12, NASDAQ, 7)]
    assert asked(desk.subscribe("depth.smart")) == [ReqMktDepth(22, stock(), 7, True)]


@pytest.mark.parametrize(
    ("kind", "contract"),
    [
        ("depth.smart", NASDAQ),
        ("depth.smart", forex()),
        ("depth", Contract(1, "SPX", "IND", "CBOE", "USD", instrument="SPX.IND.CBOE.USD")),
        ("depth", Contract(2, "VFIAX", "FUND", "FUNDSERV", "USD", instrument="VFIAX.FUND.FUNDSERV.USD")),
    ],
)
def test_books_that_do_not_exist_are_refused_without_asking(kind: str, contract: Contract) -> None:
    effects = Desk().subscribe(kind, contract=contract)
    error = answer(effects).reply.error
    assert error is not None
    assert error.code == "unsupported"
    assert asked(effects) == []


def test_books_have_a_budget_of_their_own() -> None:
    desk = Desk(SubscriptionsConfig(lines=1, depth_lines=2))
    for number in (1, 2):
        desk.subscribe("depth", contract=stock(f"S{number}", number))
    assert asked(desk.subscribe("quote")) != []
    refused = answer(desk.subscribe("depth", contract=stock("S3", 3))).reply.error
    assert refused is not None
    assert refused.code == "line_limit"
    assert "2 of 2 order books are taken (c 2)" in refused.message


def test_ibs_own_limit_is_told_as_line_limit() -> None:
    desk = Desk()
    desk.subscribe("depth")
    assert notes(desk.error(12, 309, 1)) == [("c", "1", "rejected", ["depth"])]


def test_a_book_begins_with_an_empty_snapshot_and_is_shown_whole_a_quarter_second_after_a_change() -> None:
    desk = Desk()
    desk.subscribe("depth")
    assert told_of(insert(desk, 1.0)) == ["snapshot0", "insert"]
    assert desk.core.next_wakeup_s() == 1.25
    assert told_of(insert(desk, 1.1, 1)) == ["insert"]
    assert told_of(desk.wake(1.25)) == ["snapshot2"]
    assert desk.core.next_wakeup_s() is None


def test_a_reset_empties_the_book_at_once() -> None:
    desk = Desk()
    desk.subscribe("depth")
    insert(desk, 1.0)
    assert told_of(desk.error(12, 317, 2)) == ["snapshot0"]
    assert told_of(insert(desk, 2.1)) == ["insert"]
    assert told_of(desk.wake(2.5)) == ["snapshot1"]


def test_a_halted_book_is_asked_for_again_and_begins_anew() -> None:
    desk = Desk()
    desk.subscribe("depth")
    insert(desk, 1.0)
    effects = desk.error(12, 316, 2)
    assert asked(effects) == [ReqMktDepth(22, stock(), 10)]
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    assert told_of(insert(desk, 3.0)) == ["bust", "snapshot0", "insert"]


def test_a_row_that_does_not_fit_is_counted_and_healed_by_asking_again() -> None:
    desk = Desk()
    desk.subscribe("depth")
    insert(desk, 1.0)
    effects = insert(desk, 2.0, position=5)
    assert told_of(effects) == []
    assert told(effects, Withdraw) == [Withdraw(12)]
    assert asked(effects) == [ReqMktDepth(22, stock(), 10)]
    assert said(effects) == ["book_restarted"]
    assert desk.core.status()["books"] == {"bad_rows": 1, "restarted": 1}
    assert told_of(insert(desk, 2.5)) == ["restart", "snapshot0", "insert"]


def test_a_book_that_is_wrong_again_at_once_waits_before_it_is_asked_for() -> None:
    desk = Desk()
    desk.subscribe("depth")
    insert(desk, 1.0, position=5)
    effects = insert(desk, 2.0, position=5)
    assert asked(effects) == []
    assert states(effects)[-1] == ("depth", "starved", "bad_rows")
    assert asked(desk.wake(32.0)) == [ReqMktDepth(32, stock(), 10)]


def test_a_book_that_may_have_missed_rows_is_not_believed() -> None:
    desk = Desk()
    desk.subscribe("depth")
    insert(desk, 1.0)
    desk.core.handle(UpstreamDown(ns(2), 1100), at(2))
    desk.core.handle(UpstreamUp(ns(3), 1102), at(3))
    assert told_of(desk.wake(3.5)) == []
    effects = insert(desk, 4.0, 1, req_id=12)
    assert told_of(effects) == []
    assert asked(effects) == [ReqMktDepth(22, stock(), 10)]
    assert told_of(insert(desk, 5.0)) == ["disconnect", "snapshot0", "insert"]
    assert desk.core.status()["books"] == {"bad_rows": 0, "restarted": 1}
