"""Snapshots by command: one answer with all that came, what it costs, and what becomes of those that do not end."""

from __future__ import annotations

import pytest

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Answer, Effect, Instant
from ibkr_actor.core.events import (
    MarketDataType,
    Rerouted,
    TickGeneric,
    TickOptionComputation,
    TickPrice,
    TickReqParams,
    TickSize,
    TickSnapshotEnd,
    TickString,
)
from ibkr_actor.core.messages import DataLost, RequestEnded, RequestRefused, Stop, Withdraw
from ibkr_actor.core.requests import ReqMktData
from ibkr_actor.core.subscriptions.snapshots import COST
from ibkr_actor.schema.commands import Snapshot
from ibkr_actor.schema.instruments import Contract, Leg
from tests.core.desk import Desk
from tests.core.kit import answer, asked, at, ns, only, stock, told


def take(
    desk: Desk, s: float = 1, id: str = "1", *, regulatory: bool = False, deadline_ms: int | None = None
) -> list[Effect]:
    command = Snapshot(instrument="AAPL", regulatory=regulatory, deadline_ms=deadline_ms)
    return desk.send(command, s, id=id, contract=stock())


def price(s: float, tick_type: int, value: float | None, size: str | None = None, req_id: int = 12) -> TickPrice:
    return TickPrice(req_id, ns(s), tick_type, value, size, 0)


def outcomes(effects: list[Effect]) -> list[tuple[str, str, str]]:
    """(id, status, code) of each answer."""
    return [
        (a.reply.id, a.reply.status, a.reply.error.code if a.reply.error is not None else "")
        for a in only(Answer, effects)
    ]


def test_a_snapshot_is_answered_with_every_value_when_ib_says_it_is_whole() -> None:
    desk = Desk()
    assert asked(take(desk)) == [ReqMktData(12, stock(), (), True)]
    assert (
        desk.data(
            MarketDataType(12, ns(2), 2),
            TickReqParams(12, ns(2), 0.01, "9c0001", 3),
            price(2, 1, -1.0, "0"),
            price(2, 2, 0.0, "7"),
            price(2, 4, -37.63, "0.5"),
            price(2, 6, 2.5),
            TickSize(12, ns(2), 8, "123.5"),
            TickString(12, ns(2), 45, "1767225600"),
            TickGeneric(12, ns(2), 49, 0.0),
            s=2,
        )
        == []
    )
    effects = desk.data(TickSnapshotEnd(12, ns(3)), s=3)
    assert told(effects, RequestEnded) == [RequestEnded(12)]
    reply = answer(effects).reply
    assert (reply.status, reply.note) == ("result", None)
    assert reply.result == {
        "instrument": "AAPL.STK.SMART.USD",
        "con_id": 265598,
        "feed": 2,
        "received_ns": str(ns(3)),
        "bid": None,
        "ask": 0.0,
        "last": -37.63,
        "bid_size": "0",
        "ask_size": "7",
        "last_size": "0.5",
        "volume": "123.5",
        "ticks": {"halted": 0.0, "high": 2.5, "last_timestamp": "1767225600"},
        "greeks": {},
        "min_tick": 0.01,
        "bbo_exchange": "9c0001",
    }
    assert desk.core.status()["lines"] == {"taken": 0, "of": 100}


def test_what_ib_does_not_know_is_none_among_the_values_too() -> None:
    desk = Desk()
    take(desk)
    desk.data(price(2, 9, -1.0), TickSize(12, ns(2), 21, "-1"), TickGeneric(12, ns(2), 49, -1.0), s=2)
    result = answer(desk.data(TickString(12, ns(2), 45, "0"), TickSnapshotEnd(12, ns(3)), s=3)).reply.result
    assert isinstance(result, dict)
    assert result["ticks"] == {"avg_volume": None, "close": None, "halted": None, "last_timestamp": None}


def test_combinations_have_a_snapshot_each_though_none_has_a_con_id() -> None:
    desk = Desk()
    requests = []
    for number, other in enumerate((5, 6)):
        legs = (Leg(1, 1, "BUY", "SMART"), Leg(other, 1, "SELL", "SMART"))
        spread = Contract(0, "AAPL", "BAG", "SMART", "USD", instrument=f"BAG@{other:016x}", legs=legs)
        requests += asked(desk.send(Snapshot(instrument="x"), 1, id=str(number), contract=spread))
    assert len(requests) == 2


def test_delayed_values_stand_under_the_same_names_and_the_feed_says_so() -> None:
    desk = Desk()
    take(desk)
    desk.data(price(2, 66, 1.5, "10"), price(2, 72, 2.5), TickSize(12, ns(2), 74, "9"), s=2)
    result = answer(desk.data(TickSnapshotEnd(12, ns(3)), s=3)).reply.result
    assert isinstance(result, dict)
    assert (result["feed"], result["bid"], result["volume"], result["ticks"]) == (3, 1.5, "9", {"high": 2.5})


def test_greeks_of_an_option_come_by_source() -> None:
    desk = Desk()
    take(desk)
    desk.data(TickOptionComputation(12, ns(2), 13, 0, 0.25, None, 1.0, None, 0.1, 0.2, -0.3, 190.0), s=2)
    result = answer(desk.data(TickSnapshotEnd(12, ns(3)), s=3)).reply.result
    assert isinstance(result, dict)
    assert result["greeks"]["model"] == {
        "implied_vol": 0.25,
        "delta": None,
        "gamma": 0.1,
        "vega": 0.2,
        "theta": -0.3,
        "option_price": 1.0,
        "pv_dividend": None,
        "underlying_price": 190.0,
    }


def test_a_regulatory_snapshot_says_what_it_costs_and_is_never_asked_twice() -> None:
    desk = Desk()
    assert asked(take(desk, regulatory=True)) == [ReqMktData(12, stock(), (), False, True)]
    assert take(desk, 1.5, "2", regulatory=True) == []
    desk.data(price(2, 1, 1.5, "10"), s=2)
    replies = [a.reply for a in only(Answer, desk.data(TickSnapshotEnd(12, ns(3)), s=3))]
    assert [(reply.id, reply.note) for reply in replies] == [("1", COST), ("2", COST)]
    take(desk, 4, regulatory=True)
    effects = desk.error(22, 322, 5)
    assert asked(effects) == []
    assert outcomes(effects) == [("1", "rejected", "internal")]


def test_who_asks_for_the_same_meanwhile_shares_it_but_not_what_costs() -> None:
    desk = Desk()
    take(desk, 1, "1")
    assert take(desk, 2, "2") == []
    assert asked(take(desk, 2, "3", regulatory=True)) == [ReqMktData(22, stock(), (), False, True)]
    assert outcomes(desk.data(TickSnapshotEnd(12, ns(3)), s=3)) == [("1", "result", ""), ("2", "result", "")]


def test_a_snapshot_that_does_not_end_is_answered_with_what_there_is() -> None:
    desk = Desk(SubscriptionsConfig(snapshot_timeout_s=20.0))
    take(desk)
    desk.data(price(2, 1, 1.5, "10"), s=2)
    assert desk.core.next_wakeup_s() == 21
    effects = desk.wake(21)
    assert told(effects, Withdraw) == [Withdraw(12)]
    assert answer(effects).reply.note == "IB did not say that this is all"
    take(desk, 30)
    assert outcomes(desk.wake(50)) == [("1", "rejected", "farm_transient")]


def test_its_own_deadline_ends_it_as_expired() -> None:
    desk = Desk()
    take(desk, deadline_ms=ns(5) // 1_000_000)
    assert outcomes(desk.wake(5)) == [("1", "expired", "expired")]


@pytest.mark.parametrize(
    ("code", "expected"), [(200, "invalid_instrument"), (354, "permissions_missing"), (101, "line_limit")]
)
def test_what_ib_refuses_is_told(code: int, expected: str) -> None:
    desk = Desk()
    take(desk)
    assert outcomes(desk.error(12, code, 2)) == [("1", "rejected", expected)]
    assert desk.data(TickSnapshotEnd(12, ns(3)), s=3) == []
    assert desk.core.status()["late_events"] == 1


def test_a_warning_counts_only_when_nothing_came() -> None:
    desk = Desk()
    take(desk)
    assert desk.error(12, 10089, 2) == []
    assert outcomes(desk.data(TickSnapshotEnd(12, ns(3)), s=3)) == [("1", "rejected", "permissions_missing")]
    take(desk, 4)
    desk.error(22, 10089, 5)
    desk.data(price(5, 66, 1.5, req_id=22), s=5)
    assert outcomes(desk.data(TickSnapshotEnd(22, ns(6)), s=6)) == [("1", "result", "")]


def test_every_end_is_told() -> None:
    assert outcomes(take(Desk(up=False))) == [("1", "rejected", "connection_failed")]
    desk = Desk()
    take(desk)
    assert outcomes(desk.down(2)) == [("1", "rejected", "connection_failed")]
    desk.up(3)
    take(desk, 4)
    assert outcomes(desk.core.handle(DataLost(ns(5), 1101), at(5))) == [("1", "rejected", "connection_failed")]
    take(desk, 6)
    assert outcomes(desk.core.handle(RequestRefused(desk.last_req_id, "full", 1.0), at(6))) == [
        ("1", "rejected", "busy")
    ]
    take(desk, 7)
    assert outcomes(desk.core.handle(Stop(), Instant(8, ns(8)))) == [("1", "rejected", "connection_failed")]
    full = Desk(SubscriptionsConfig(snapshots_max=1))
    take(full)
    assert outcomes(take(full, 2, "2")) == [("2", "rejected", "busy")]


# ---- CFDs, whose data is another contract's


def test_a_snapshot_follows_a_reroute_once() -> None:
    desk = Desk()
    take(desk)
    effects = desk.data(Rerouted(12, ns(2), 8314, "SMART"), s=2)
    assert asked(effects) == [ReqMktData(22, Contract(8314, "", "", "SMART", ""), (), True)]
    assert outcomes(desk.data(Rerouted(22, ns(3), 9, "SMART"), s=3)) == [("1", "rejected", "unsupported")]
