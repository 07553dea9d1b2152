from __future__ import annotations

import pytest

from ibkr_actor.core.lines.tick_types import QUOTE_PRICES, QUOTE_SIZES, TickType


def test_names_and_numbers_are_those_of_the_official_client() -> None:
    enum = pytest.importorskip("ibapi.ticktype").TickTypeEnum
    assert {kind.name: kind.value for kind in TickType} == {
        enum.toStr(number): number for number in range(enum.NOT_SET)
    }


def test_the_top_of_book_is_bid_ask_last_their_sizes_and_the_volume_live_and_delayed() -> None:
    assert sorted(QUOTE_PRICES) == [1, 2, 4, 66, 67, 68]
    assert sorted(QUOTE_SIZES) == [0, 3, 5, 8, 69, 70, 71, 74]
