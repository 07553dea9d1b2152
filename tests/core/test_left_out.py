"""Bars of 5 s that stayed away without a word: their gap, and what such silences teach."""

from __future__ import annotations

from ibkr_actor.core.effects import Effect
from ibkr_actor.core.events import ErrorNotice, RealTimeBar
from ibkr_actor.core.messages import FarmChanged, MarketData, UpstreamDown, UpstreamUp
from tests.core.test_freshness import Watched, gaps, stock

NS = 10**9


def bar(house: Watched) -> list[Effect]:
    ns = house.now.ns
    event = RealTimeBar(house.req_ids["AAPL"], ns, ns - 5 * NS, 1.0, 1.0, 1.0, 1.0, "1", "1", 1)
    return house.handle(MarketData([event]))


def steady(start: str) -> Watched:
    """A bar every five seconds for five minutes."""
    house = Watched(start)
    house.subscribe(stock(), "bar.5s")
    go_on(house, 300)
    return house


def go_on(house: Watched, seconds: float) -> list[Effect]:
    first = len(house.effects)
    house.run(seconds, lambda second: None if second % 5 != 4 else (bar(house), None)[1])
    return house.effects[first:]


def test_bars_that_stay_away_too_shortly_for_an_alarm_are_a_gap_before_the_next() -> None:
    # 05:00 in New York: before the opening a silence is no alarm for a minute.
    house = steady("2026-01-05 10:00")
    end_ns = house.now.ns
    house.run(45)
    assert house.fresh() == "fresh"
    (gap,) = gaps(go_on(house, 60))
    assert (gap.cause, gap.from_ns, gap.to_ns) == ("stall", end_ns, end_ns + 50 * NS)


def test_bars_that_are_left_out_as_a_rule_are_no_gap() -> None:
    house = Watched("2026-01-05 10:00")
    house.subscribe(stock(), "bar.5s")
    house.run(600, lambda second: None if second % 20 else (bar(house), None)[1])
    assert gaps(house.effects) == []


def test_bars_of_the_next_day_are_no_gap() -> None:
    # The last bar at 20:00 in New York, the next from 04:00 on.
    house = steady("2026-01-06 00:55")
    house.run(8 * 3_600)
    assert gaps(go_on(house, 60)) == []


def test_a_silence_whose_cause_is_known_does_not_pass_for_its_habit() -> None:
    house = steady("2026-01-05 15:00")
    # The loss comes before anybody has looked at the newest bar.
    house.s += 5.0
    bar(house)
    house.handle(UpstreamDown(house.now.ns, 1100))
    house.run(40)
    house.handle(UpstreamUp(house.now.ns, 1102))
    assert [gap.cause for gap in gaps(go_on(house, 60))] == ["disconnect"]
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.run(10)
    assert [gap.cause for gap in gaps(go_on(house, 5))] == ["farm"]


def test_each_login_elsewhere_is_a_gap_of_bars() -> None:
    house = steady("2026-01-05 10:00")
    house.subscribe(stock("MSFT", con_id=2))
    house.price("MSFT")
    for _ in range(2):
        house.handle(ErrorNotice(house.conn, house.now.ns, house.req_ids["MSFT"], 10197, "competing live session"))
        house.run(45)
        assert [gap.cause for gap in gaps(go_on(house, 300)) if gap.con_id == 1] == ["competing_session"]
        house.price("MSFT")
