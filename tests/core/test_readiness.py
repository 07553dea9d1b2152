"""Ready means that the data can be relied on: the connection stands and no stream is stale."""

from __future__ import annotations

import pytest

from ibkr_actor.core.messages import SessionDown
from ibkr_actor.core.session.readiness import readiness
from ibkr_actor.core.session.states import State
from tests.core.test_freshness import Watched, liquid, stock


def judged(house: Watched, state: State = State.READY) -> dict[str, object]:
    return readiness(state, {"subscriptions": house.core.status()})


def test_a_connection_with_fresh_streams_is_ready() -> None:
    assert judged(liquid()) == {"ok": True, "reasons": []}


def test_a_stream_that_fell_silent_makes_it_not_ready_and_is_named() -> None:
    house = liquid()
    house.run(15)
    found = judged(house)
    assert found["ok"] is False
    assert found["reasons"] == ["1 line is stale: quote:AAPL.STK.SMART.USD"]


def test_over_night_it_is_ready_though_nothing_comes() -> None:
    house = Watched("2026-01-06 05:00")
    house.subscribe(stock())
    house.run(600)
    assert house.fresh() == "quiet"
    assert judged(house) == {"ok": True, "reasons": []}


def test_a_stream_asked_for_just_now_is_not_in_the_way() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock())
    house.run(5)
    assert judged(house)["ok"] is True


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_without_a_whole_connection_it_is_not_ready_and_says_why(state: State) -> None:
    house = Watched("2026-01-06 05:00")
    found = judged(house, state)
    assert found["ok"] is False
    assert found["reasons"]


def test_a_lost_connection_names_both_the_connection_and_what_it_made_stale() -> None:
    house = liquid()
    house.handle(SessionDown(house.conn, house.now.ns, "disconnect", "lost"))
    house.run(5)
    reasons = judged(house, State.BACKING_OFF)["reasons"]
    assert isinstance(reasons, list)
    assert len(reasons) == 2
