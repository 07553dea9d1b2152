"""Routing: who owns an event, and that a burst keeps its order."""

import inspect

import pytest

from ibkr_actor.actors.mailbox import Mailbox
from ibkr_actor.actors.router import Router, grouped, owner
from ibkr_actor.core import events as ev
from ibkr_actor.core.history import events as hx
from ibkr_actor.core.messages import MarketData

pytestmark = pytest.mark.anyio

SIZE = ev.TickSize(12, 1_000, 0, "100")
PRICE = ev.TickPrice(22, 2_000, 1, 10.5, "3", 0)


def error(req_id: int) -> ev.ErrorNotice:
    return ev.ErrorNotice(1, 5, req_id, 200, "no security definition")


def test_an_error_belongs_to_whoever_made_the_request() -> None:
    assert [owner(error(req_id)) for req_id in (-1, 10, 21, 32, 43, 54, 39)] == [
        "session",
        "session",
        "contracts",
        "subscriptions",
        "history",
        "reference",
        "session",
    ]


def test_every_event_class_has_an_owner() -> None:
    owned = (ev.SessionEvent, ev.ContractsEvent, ev.ReferenceEvent, hx.HistoryEvent, ev.MarketDataEvent)
    members = inspect.getmembers(ev, inspect.isclass) + inspect.getmembers(hx, inspect.isclass)
    classes = [cls for _, cls in members if issubclass(cls, ev.Event)]
    assert len(classes) > 15
    for cls in set(classes) - {ev.Event, ev.ErrorNotice, *owned}:
        assert issubclass(cls, owned), cls


def test_runs_of_market_data_become_one_message_and_nothing_overtakes_them() -> None:
    lost = ev.ConnectionLost(1, 9, "closed by the gateway")
    assert grouped([SIZE, PRICE, error(12), SIZE, lost, error(-1)]) == [
        ("subscriptions", MarketData([SIZE, PRICE])),
        ("subscriptions", error(12)),
        ("subscriptions", MarketData([SIZE])),
        ("session", lost),
        ("session", error(-1)),
    ]


def test_an_event_without_an_owner_is_refused() -> None:
    class Orphan(ev.Event, frozen=True):
        pass

    with pytest.raises(TypeError, match="Orphan"):
        owner(Orphan())


async def test_a_burst_reaches_each_owners_mailbox() -> None:
    boxes = {name: Mailbox(name, waiting_max=5) for name in ("session", "contracts", "subscriptions", "pacing")}
    await Router(boxes).deliver([SIZE, ev.ContractDetailsEnd(11), PRICE])  # type: ignore[arg-type]
    assert boxes["contracts"].take_nowait() == ev.ContractDetailsEnd(11)
    assert [boxes["subscriptions"].take_nowait() for _ in range(2)] == [MarketData([SIZE]), MarketData([PRICE])]
    assert len(boxes["session"]) == len(boxes["pacing"]) == 0
