from __future__ import annotations

import pytest

from ibkr_actor.core.events import (
    RealTimeBar,
    TickByTickBidAsk,
    TickByTickLast,
    TickByTickMidPoint,
    TickGeneric,
    TickPrice,
    TickSize,
    TickString,
)
from ibkr_actor.core.lines import translate
from ibkr_actor.schema.records import Bar, BidAsk, MidPoint, Tick, Trade


def test_a_trade_keeps_the_exchanges_time_and_flags() -> None:
    event = TickByTickLast(12, 7, True, 1_000_000_000, 10.5, "3", True, False, "ARCA", " T")
    assert translate.trade(event, 5, 1, 0) == Trade(
        0, 0, 5, 7, 1_000_000_000, 1, 0, 10.5, "3", "ARCA", " T", True, False
    )


def test_a_bid_and_ask_keep_their_own_flags() -> None:
    event = TickByTickBidAsk(12, 7, 1_000_000_000, 1.0, 2.0, "3", "4", True, False)
    assert translate.bid_ask(event, 5, 1, 0) == BidAsk(0, 0, 5, 7, 1_000_000_000, 1, 0, 1.0, 2.0, "3", "4", True, False)


def test_a_midpoint() -> None:
    event = TickByTickMidPoint(12, 7, 1_000_000_000, 1.5)
    assert translate.midpoint(event, 5, 1, 0) == MidPoint(0, 0, 5, 7, 1_000_000_000, 1, 0, 1.5)


def test_a_real_time_bar_ends_five_seconds_after_its_start_and_is_final() -> None:
    event = RealTimeBar(12, 7, 1_000_000_000, 1.0, 2.0, 0.5, 1.5, "9", "1.2", 4)
    assert translate.bar(event, 5, 1, 0, "TRADES") == Bar(
        0, 0, 5, 7, None, 1, 0, 1_000_000_000, 6_000_000_000, 1.0, 2.0, 0.5, 1.5, "9", "1.2", 4, True, 0, "TRADES"
    )


@pytest.mark.parametrize("shown", ["MIDPOINT", "BID", "ASK"])
def test_a_bar_of_what_is_not_traded_has_no_volume_average_or_count(shown: str) -> None:
    event = RealTimeBar(12, 7, 1_000_000_000, 1.0, 2.0, 0.5, 1.5, "-1", "-1", -1)
    bar = translate.bar(event, 5, 1, 0, shown)
    assert (bar.volume, bar.wap, bar.count, bar.what_to_show) == (None, None, None, shown)


def test_a_volume_that_ib_does_not_know_is_unknown_and_a_negative_average_is_one() -> None:
    bar = translate.bar(RealTimeBar(12, 7, 0, -1.0, -1.0, -1.0, -1.0, "-1", "-1.05", -1), 5, 1, 0, "TRADES")
    assert (bar.volume, bar.wap, bar.count) == (None, "-1.05", None)


def test_a_tick_has_a_number_a_text_or_nothing() -> None:
    assert translate.tick_price(TickPrice(2, 7, 6, 9.5, "0", 0), 5, 2, 8) == Tick(0, 0, 5, 7, None, 2, 8, 6, 9.5)
    assert translate.tick_size(TickSize(2, 7, 21, "100"), 5, 1, 0).value == "100"
    assert translate.tick_value(TickGeneric(2, 7, 49, None), 5, 1, 0).value is None
    assert translate.tick_value(TickString(2, 7, 45, "1767225600"), 5, 1, 0).value == "1767225600"
