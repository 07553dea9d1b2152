"""Slow lines of level 1: what the answer to a new request teaches, and that dead lines are found all the same."""

from __future__ import annotations

import pytest

from ibkr_actor.core.events import MarketDataEvent, TickPrice, TickSize
from ibkr_actor.core.messages import FarmChanged, MarketData
from tests.core.kit import asked
from tests.core.test_freshness import Watched, events, gaps, stock


class Answered(Watched):
    """IB answers each request with all it knows: bid, ask and volume. `traded` is the volume, `answers` whether."""

    def __init__(self, start: str = "2026-01-05 15:00", *symbols: str) -> None:
        super().__init__(start)
        self.traded = 100
        self.answers = True
        self.bid: tuple[float, str] = (1.5, "10")
        self.shown: dict[str, int] = {}
        for n, symbol in enumerate(symbols or ("AAPL",)):
            self.subscribe(stock(symbol, con_id=n + 1))

    def image(self, symbol: str) -> list[MarketDataEvent]:
        req_id, ns = self.req_ids[symbol], self.now.ns
        prices = [TickPrice(req_id, ns, 1, *self.bid, 0), TickPrice(req_id, ns, 2, 1.75, "20", 0)]
        return [*prices, TickSize(req_id, ns, 8, str(self.traded))]

    def answer_all(self, second: int) -> None:
        for symbol, req_id in self.req_ids.items():
            if self.answers and self.shown.get(symbol) != req_id:
                self.shown[symbol] = req_id
                self.handle(MarketData(self.image(symbol)))

    def trade(self, second: int) -> None:
        """Something happens in each second."""
        self.answer_all(second)
        self.traded += 1
        for symbol, req_id in self.req_ids.items():
            if self.shown.get(symbol) == req_id:
                self.handle(MarketData([TickSize(req_id, self.now.ns, 8, str(self.traded))]))


@pytest.mark.parametrize("symbols", [("AAPL",), ("S1", "S2", "S3", "S4", "S5")], ids=["one", "five"])
def test_lines_that_have_nothing_to_say_are_soon_left_in_peace(symbols: tuple[str, ...]) -> None:
    house = Answered("2026-01-05 15:00", *symbols)
    effects = house.run(1_800, house.answer_all)
    # At first 60 s are too long, then 150, 375, 965: what is asked for in an hour is asked once.
    assert len(asked(effects)) == 4 * len(symbols)
    assert len(gaps(effects)) == 4 * len(symbols)
    assert len(gaps(house.run(3_600, house.answer_all))) == len(symbols)
    assert {house.fresh(symbol) for symbol in symbols} == {"fresh"}
    assert "stale" not in events(house.effects)


def test_a_line_that_missed_something_each_time_has_its_gap_each_time() -> None:
    house = Answered()
    house.run(300, house.trade)
    for _ in range(5):
        silent_ns = house.now.ns
        found = house.run(31)
        assert house.fresh() == "stale"
        assert events(found) == ["stale"]
        house.traded += 50
        (gap,) = gaps(house.run(120, house.trade))
        assert (gap.cause, gap.from_ns) == ("stall", silent_ns)
        assert house.fresh() == "fresh"


def test_a_dead_line_that_sends_often_is_found_within_ten_seconds_though_it_once_was_slow() -> None:
    house = Answered()
    house.run(180, house.answer_all)
    # Hours of a lively market later.
    house.run(2 * 3_600, house.trade)
    house.run(10)
    assert house.fresh() == "stale"


@pytest.mark.parametrize("size", ["0", "-1"])
def test_a_bid_that_vanished_in_a_silence_was_missed(size: str) -> None:
    house = Answered()
    # The answer, then silence for 60 s and the request; its answer shows that the bid is gone, and so on.
    house.run(50, house.answer_all)
    house.bid = (-1.0, size)
    house.run(30, house.answer_all)
    assert len(house.shown) == 1
    assert len(gaps(house.effects)) == 1
    # Learnt from a silence in which nothing happened, the next would be no alarm before 150 s.
    assert len(gaps(house.run(100, house.answer_all))) == 1


def test_without_an_answer_nothing_is_learnt() -> None:
    house = Answered()
    house.run(300, house.trade)
    house.answers = False
    house.run(200, house.answer_all)
    house.answers = True
    house.run(300, house.trade)
    house.run(10)
    assert house.fresh() == "stale"


def test_a_silence_while_a_farm_is_away_is_no_habit() -> None:
    house = Answered()
    house.run(300, house.trade)
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.run(60, house.answer_all)
    house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    house.run(100, house.trade)
    house.run(10)
    assert house.fresh() == "stale"
