"""Option computations: which source each is of, what is not computed, and who joins late."""

from __future__ import annotations

import pytest

from ibkr_actor.core.events import TickOptionComputation
from ibkr_actor.core.kinds import why_not
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Greeks
from tests.core.desk import Desk
from tests.core.kit import answer, asked, ns, published

OPTION = Contract(
    700, "AAPL", "OPT", "SMART", "USD", instrument="AAPL.OPT.SMART.USD.20261218.C.62.5.AAPL", strike=62.5, right="C"
)


def computed(req_id: int, s: float, tick_type: int, vol: float | None = 0.25) -> TickOptionComputation:
    return TickOptionComputation(req_id, ns(s), tick_type, 0, vol, -0.5, 1.25, None, 0.0, 0.1, -0.02, 190.0)


def test_greeks_share_the_line_of_the_quote() -> None:
    desk = Desk()
    assert asked(desk.subscribe("greeks", "quote", contract=OPTION)) == [ReqMktData(12, OPTION)]
    assert desk.core.status()["lines"] == {"taken": 1, "of": 100}


@pytest.mark.parametrize(
    ("tick_type", "source", "feed"),
    [
        (10, "bid", 1), (11, "ask", 1), (12, "last", 1), (13, "model", 1), (53, "custom", 1),
        (80, "bid", 3), (81, "ask", 3), (82, "last", 3), (83, "model", 3),
    ],
)  # fmt: skip
def test_each_tick_type_is_a_source_and_a_feed(tick_type: int, source: str, feed: int) -> None:
    desk = Desk()
    desk.subscribe("greeks", contract=OPTION)
    ((stream, record),) = published(desk.data(computed(12, 1, tick_type), s=1))
    assert stream.kind == "greeks"
    assert record == Greeks(
        0, 0, 700, ns(1), None, feed, 0, source, 0.25, -0.5, 0.0, 0.1, -0.02, 1.25, None, 190.0
    )  # fmt: skip


def test_who_joins_finds_the_newest_computation_of_each_source() -> None:
    desk = Desk()
    desk.subscribe("quote", contract=OPTION)
    desk.data(computed(12, 1, 13, vol=0.1), computed(12, 1, 10), computed(12, 1, 13, vol=None), s=1)
    found = [record for _, record in published(desk.subscribe("greeks", s=2, client="late", contract=OPTION))]
    assert [(r.source, r.implied_vol, r.flags) for r in found if isinstance(r, Greeks)] == [
        ("model", None, 2),
        ("bid", 0.25, 2),
    ]


def test_only_options_have_greeks() -> None:
    assert [sec_type for sec_type in ("STK", "OPT", "FOP", "WAR", "FUT", "IND") if not why_not("greeks", sec_type)] == [
        "OPT",
        "FOP",
        "WAR",
    ]
    error = answer(Desk().subscribe("greeks")).reply.error
    assert error is not None
    assert error.code == "unsupported"
