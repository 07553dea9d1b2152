from __future__ import annotations

import pytest

from ibkr_actor.core.events import TickPrice, TickSize
from ibkr_actor.core.lines.quote import TopOfBook
from ibkr_actor.core.lines.translate import known_quote, quote
from ibkr_actor.schema.records import FLAG_BUILT, Quote


def price(tick_type: int, value: float | None, size: str | None = None, received_ns: int = 7) -> TickPrice:
    return TickPrice(2, received_ns, tick_type, value, size, 0)


def state(top: TopOfBook) -> tuple[object, ...]:
    return top.bid, top.ask, top.last, top.bid_size, top.ask_size, top.last_size, top.volume


def test_everything_is_unknown_at_first() -> None:
    assert state(TopOfBook()) == (None,) * 7


@pytest.mark.parametrize(
    ("live", "delayed", "expected"),
    [
        (1, 66, (1.5, None, None, "10", None, None, None)),
        (2, 67, (None, 1.5, None, None, "10", None, None)),
        (4, 68, (None, None, 1.5, None, None, "10", None)),
    ],
)
def test_a_price_with_a_size_sets_both(live: int, delayed: int, expected: tuple[object, ...]) -> None:
    for tick_type in (live, delayed):
        top = TopOfBook()
        top.merge_price(price(tick_type, 1.5, "10"))
        assert state(top) == expected


@pytest.mark.parametrize(("live", "delayed", "place"), [(0, 69, 3), (3, 70, 4), (5, 71, 5), (8, 74, 6)])
def test_a_size_sets_its_own_field(live: int, delayed: int, place: int) -> None:
    for tick_type in (live, delayed):
        top = TopOfBook()
        top.merge_size(TickSize(2, 7, tick_type, "10"))
        assert state(top)[place] == "10"
        assert sum(value is not None for value in state(top)) == 1


def test_a_price_without_a_size_leaves_the_size() -> None:
    top = TopOfBook()
    top.merge_price(price(1, 1.5, "10"))
    top.merge_price(price(1, 1.6))
    assert (top.bid, top.bid_size) == (1.6, "10")


@pytest.mark.parametrize("size", [None, "0"])
@pytest.mark.parametrize(("tick_type", "field"), [(1, "bid"), (2, "ask"), (4, "last"), (66, "bid")])
def test_minus_one_without_a_size_means_that_there_is_no_price(tick_type: int, field: str, size: str | None) -> None:
    top = TopOfBook()
    top.merge_price(price(tick_type, 1.5, "10"))
    top.merge_price(price(tick_type, -1.0, size))
    assert getattr(top, field) is None
    assert getattr(top, f"{field}_size") == size


@pytest.mark.parametrize(("value", "size"), [(-1.0, "5"), (0.0, "0"), (0.0, None), (-37.63, "0"), (-0.5, None)])
def test_negative_and_zero_prices_are_prices(value: float, size: str | None) -> None:
    top = TopOfBook()
    top.merge_price(price(1, value, size))
    assert top.bid == value


def test_a_price_that_ib_left_unset_is_unknown() -> None:
    top = TopOfBook()
    top.merge_price(price(2, 1.5, "10"))
    top.merge_price(price(2, None))
    assert (top.ask, top.ask_size) == (None, None)


def test_a_record_is_a_picture_and_does_not_change_with_the_book() -> None:
    top = TopOfBook()
    top.merge_price(price(1, 1.5, "10"))
    record = quote(top, 7, 1, 265598, 1, 0)
    top.merge_price(price(2, 1.6, "20"))
    assert record == Quote(0, 0, 265598, 7, None, 1, 0, 1.5, None, None, "10", None, None, None, 1)


def test_what_is_known_is_marked_as_built_here_and_dated_by_its_last_message() -> None:
    top = TopOfBook()
    assert known_quote(top, 265598, 1, 0) is None
    top.merge_price(price(1, 1.5, "10", received_ns=99))
    assert known_quote(top, 265598, 3, 0) == Quote(
        0, 0, 265598, 99, None, 3, FLAG_BUILT, 1.5, None, None, "10", None, None, None, 1
    )
