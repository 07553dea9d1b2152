"""Owns the tests of the path of a price and of the volumes: their cells add up at every level.

Must not know sessions; instruments only for the calendar of the volumes.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.sim.market.calendar import Calendar
from ibkr_actor.sim.market.instruments import Instrument
from ibkr_actor.sim.market.path import LEAF_S, LEVELS, LOWEST, TOP_S, Cell, Path, Wander, shares
from ibkr_actor.sim.market.volume import Volumes

TIMES = st.integers(0, 4_000_000_000 // TOP_S).map(lambda index: index * TOP_S)
PRICES = st.sampled_from([5.0, 20.0, 400.0, 22_750.0, 6_000_000.0])
DAY = 86_400


def path(name: str, ticks: float, *, dense: bool = True, volatility: float = 0.3) -> Path:
    wander = Wander(name, ticks, volatility)
    return Path(name, wander.ticks, wander.swing, dense=dense)


def aggregate(cells: list[Cell]) -> Cell:
    return Cell(cells[0].open, max(each.high for each in cells), min(each.low for each in cells), cells[-1].close)


@settings(max_examples=80, deadline=None)
@given(name=st.text(max_size=4), ticks=PRICES, start=TIMES, dense=st.booleans(), data=st.data())
def test_parts_make_up_the_whole_at_every_level(
    name: str, ticks: float, start: int, dense: bool, data: st.DataObject
) -> None:
    price = path(name, ticks, dense=dense)
    time = start
    for parent, level in itertools.pairwise(LEVELS):
        whole, parts = price.cell(parent, time), price.block(parent, time)
        assert len(parts) == parent // level
        assert aggregate(parts) == whole
        for each in parts:
            assert LOWEST <= each.low <= min(each.open, each.close)
            assert max(each.open, each.close) <= each.high
        if dense or level > LEAF_S:
            assert all(left.close == right.open for left, right in itertools.pairwise(parts))
        time += level * data.draw(st.integers(0, parent // level - 1))


@settings(max_examples=80, deadline=None)
@given(name=st.text(max_size=4), ticks=PRICES, start=TIMES, leaf=st.integers(0, 2_879), count=st.integers(4, 60))
def test_points_make_up_five_seconds(name: str, ticks: float, start: int, leaf: int, count: int) -> None:
    price = path(name, ticks)
    time = start + leaf * LEAF_S
    points = price.points(time, count)
    assert len(points) == count
    assert Cell(points[0], max(points), min(points), points[-1]) == price.cell(LEAF_S, time)


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=4), start=TIMES, asked=st.permutations(range(12)))
def test_a_path_is_the_same_in_whatever_order_it_is_asked_for(name: str, start: int, asked: list[int]) -> None:
    first, second = path(name, 5_000.0), path(name, 5_000.0)
    hours = [first.block(60, start + 3_600 * hour) for hour in range(12)]
    again = {hour: second.block(60, start + 3_600 * hour) for hour in asked}
    assert hours == [again[hour] for hour in range(12)]
    assert second.value(start + 3_600) == first.cell(1_800, start + 3_600).open


def test_a_forgotten_cell_comes_back_the_same() -> None:
    price = path("x", 5_000.0)
    before = price.block(60, 0)
    for minute in range(60, 60 * 3_000, 60):
        price.block(60, minute)
    assert price.block(60, 0) == before
    assert price.block(60, 0) is not before


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=4), start=TIMES)
def test_top_cells_connect_and_the_price_stays_around_its_start(name: str, start: int) -> None:
    price = path(name, 10_000.0)
    cells = [price.cell(TOP_S, start + index * TOP_S) for index in range(60)]
    assert all(left.close == right.open for left, right in itertools.pairwise(cells))
    assert all(each.low > 2_500 and each.high < 40_000 for each in cells)


def test_a_year_moves_as_much_as_the_volatility_says() -> None:
    wander = Wander("v", 1_000_000.0, 0.4)
    days = [wander.ticks(index) for index in range(0, 6 * 3_650, 6)]
    moves = [(right - left) / left for left, right in itertools.pairwise(days)]
    assert 0.36 < (sum(move * move for move in moves) / len(moves) * 365) ** 0.5 < 0.44


def test_another_name_is_another_path() -> None:
    assert path("a", 5_000.0).block(60, 0) != path("b", 5_000.0).block(60, 0)


@given(total=st.integers(0, 10**15), weights=st.lists(st.integers(1, 1_000), min_size=1, max_size=70))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert sum(parts) == total
    assert all(part >= 0 for part in parts)


@pytest.mark.parametrize("trades", [1, 4, 8, 20, 2_000])
@settings(max_examples=20, deadline=None)
@given(start=TIMES, mean=st.sampled_from([1.0, 3.0, 60.0, 3e7]), data=st.data())
def test_volumes_and_trades_add_up_and_every_trade_has_a_unit(
    trades: int, start: int, mean: float, data: st.DataObject
) -> None:
    stock = Instrument(con_id=1, symbol="X", sec_type="STK", exchange="SMART", currency="USD")
    volumes = Volumes("v", Calendar(stock), trades, mean)
    time = start
    for parent, level in itertools.pairwise(LEVELS):
        parts = volumes.block(parent, time)
        assert sum(parts) == volumes.cell(parent, time)
        starts = range(time, time + parent, level)
        counts = [volumes.trades(level, each) for each in starts]
        assert sum(counts) == volumes.trades(parent, time)
        assert all(1 <= count <= units for count, units in zip(counts, parts, strict=True))
        time += level * data.draw(st.integers(0, parent // level - 1))


def test_more_is_traded_in_regular_hours() -> None:
    stock = Instrument(con_id=1, symbol="X", sec_type="STK", exchange="SMART", currency="USD")
    volumes = Volumes("v", Calendar(stock), 8, 60.0)
    # 12:00 to 16:00 UTC is 08:00 to 12:00 in New York: three half hours before the opening, five after it.
    halves = volumes.block(TOP_S, 1_717_416_000)
    assert 2 * max(halves[:3]) < min(halves[3:])
