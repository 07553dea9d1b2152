from __future__ import annotations

import pytest

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.pacing.limits import SMALL_BARS, Limit, is_big, is_history, is_small, limits_of, open_limits_of
from ibkr_actor.core.pacing.rolling_window import Window
from ibkr_actor.core.requests import (
    AnyRequest,
    ReqContractDetails,
    ReqCurrentTime,
    ReqHeadTimestamp,
    ReqHistoricalData,
    ReqHistoricalTicks,
)
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from tests.core.ib_at_work import bars, big, by_tick, head, histogram, level1, small, ticks

ROWS = {limit.name: limit for limit in limits_of(PacingConfig())}


def counted(request: AnyRequest) -> dict[str, int]:
    """limit -> weight, of what counts the request."""
    return {
        limit.name: limit.weight(request)
        for limit in ROWS.values()
        if limit.scope is None or limit.scope(request) is not None
    }


SMALL = {"messages": 1, "small_bars": 1, "same_contract": 1, "identical": 1}
SMALL_TWICE = {"messages": 1, "small_bars": 2, "same_contract": 2, "identical": 1}


@pytest.mark.parametrize(
    ("request_", "limits"),
    [
        (small(1), SMALL),
        (small(1, what="BID_ASK"), SMALL_TWICE),
        (small(1, size="30 secs"), SMALL),
        (small(1, size="1 min"), {"messages": 1, "big_bars": 1}),
        (small(1, size="1 min", what="BID_ASK"), {"messages": 1, "big_bars": 1}),
        (big(1), {"messages": 1, "big_bars": 1}),
        (histogram(1), {"messages": 1, "big_bars": 1}),
        (head(1), SMALL),
        (ticks(1), SMALL),
        (ticks(1, what="BID_ASK"), SMALL_TWICE),
        (bars(1), {"messages": 1, "small_bars": 1}),
        (by_tick(1), {"messages": 1, "tick_by_tick_instrument": 1}),
        (level1(1), {"messages": 1}),
        (ReqContractDetails(11, InstrumentQuery("A")), {"messages": 1}),
        (ReqCurrentTime(10), {"messages": 1}),
    ],
)
def test_each_request_counts_where_ib_counts_it(request_: AnyRequest, limits: dict[str, int]) -> None:
    assert counted(request_) == limits


def test_what_is_open_is_counted_for_history_only() -> None:
    rows = {limit.name: limit for limit in open_limits_of(PacingConfig())}
    history: list[AnyRequest] = [small(1), big(1), ticks(1), head(1), histogram(1)]
    others: list[AnyRequest] = [bars(1), by_tick(1), level1(1)]
    assert all(rows["open_history"].concerns(request) for request in history)
    assert not any(rows["open_history"].concerns(request) for request in others)
    assert [rows["open_big_bars"].concerns(request) for request in history] == [False, True, False, False, True]
    assert all(limit.source for limit in rows.values())
    assert all(limit.source for limit in ROWS.values())


def test_history_is_either_small_or_big() -> None:
    asked: list[AnyRequest] = [small(1, size=size) for size in ("30 secs", "1 min", "1 hour", "1W", "1M")]
    for request in [*asked, head(1), histogram(1), ticks(1)]:
        assert is_history(request)
        assert is_small(request) != is_big(request)
    assert {"1 secs", "30 secs"} <= SMALL_BARS
    assert "1 min" not in SMALL_BARS


def key(name: str, request: AnyRequest) -> object:
    scope = ROWS[name].scope
    assert scope is not None
    return scope(request)


def contract(**changes: object) -> Contract:
    fields: dict[str, object] = {"con_id": 1, "symbol": "X", "sec_type": "STK", "exchange": "SMART", "currency": "USD"}
    return Contract(**{**fields, **changes})  # type: ignore[arg-type]  # a field's type is the test's own business


def test_the_same_contract_is_one_by_con_id_exchange_and_what_is_shown() -> None:
    def of(what: str = "TRADES", **changes: object) -> object:
        return key("same_contract", ReqHistoricalTicks(13, contract(**changes), "a", "", 5, what, False))

    assert of() == of(symbol="Y") == key("same_contract", ReqHeadTimestamp(23, contract(), "TRADES", True))
    assert len({of(), of(con_id=2), of(exchange="NYSE"), of("MIDPOINT")}) == 4
    assert len({of(con_id=0), of(con_id=0, symbol="Y"), of(con_id=0, strike=1.0), of(con_id=0, right="C")}) == 4


def test_identical_is_what_asks_for_the_same_in_everything() -> None:
    def of(**changes: object) -> object:
        fields: dict[str, object] = {"end": "e", "duration": "d", "bar_size": "5 secs", "what_to_show": "TRADES"}
        request = ReqHistoricalData(13, contract(), use_rth=False, **{**fields, **changes})  # type: ignore[arg-type]
        return key("identical", request)

    different = [of(), of(end="f"), of(duration="g"), of(bar_size="1 secs"), of(what_to_show="BID")]
    assert len(set(different)) == 5
    assert of() == of()
    assert key("identical", ticks(1)) != key("identical", ticks(2))
    assert key("identical", head(1)) == key("identical", head(2))


# ---- the window


def test_requests_of_different_weight_fill_one_window() -> None:
    window = Window(Limit("x", 10.0, 5, 0.5, "test"))
    for s, weight in ((0.0, 2), (1.0, 1), (2.0, 2)):
        window.add(s, weight)
    assert window.free_at(3.0, 1) == 10.5
    assert window.free_at(3.0, 2) == 10.5
    assert window.free_at(3.0, 3) == 11.5
    assert window.free_at(10.5, 3) == 11.5


def test_what_weighs_more_than_the_window_goes_into_an_empty_one() -> None:
    window = Window(Limit("x", 10.0, 1, 0.0, "test"))
    assert window.free_at(0.0, 2) == 0.0
    window.add(0.0, 2)
    assert window.free_at(1.0, 1) == 10.0


def test_a_window_held_shut_has_room_for_nothing_until_then() -> None:
    window = Window(Limit("x", 10.0, 5, 0.0, "test"))
    window.blocked_until_s = 100.0
    assert window.free_at(50.0, 1) == 100.0
    assert window.free_at(100.0, 1) == 100.0
    assert window.full_turns_at(50.0, 5) == 100.0


def test_what_is_restored_counts_in_the_order_of_its_times() -> None:
    window = Window(Limit("x", 10.0, 3, 0.0, "test"))
    window.add(5.0, 1)
    window.restore([(6.0, 1), (1.0, 1)])
    assert list(window.entries()) == [(1.0, 1), (5.0, 1), (6.0, 1)]
    assert window.free_at(7.0, 1) == 11.0
    assert window.free_at(11.0, 2) == 15.0


def test_the_settings_move_the_limits() -> None:
    rows = {
        limit.name: (limit.count, limit.window_s)
        for limit in limits_of(PacingConfig(small_bars_count=7, small_bars_window_s=30.0, big_bars_per_s=3))
    }
    assert rows["small_bars"] == (7, 30.0)
    assert rows["big_bars"] == (3, 1.0)
    assert [limit.count for limit in open_limits_of(PacingConfig(open_max=9, big_bars_open_max=4))] == [9, 4, 10]
