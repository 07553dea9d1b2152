"""Fresh, quiet or stale: lines under a literal clock, with the hours of real markets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec import Struct, structs

from ibkr_actor.core.calendar.market_phases import MarketPhases
from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import Announce, Effect, Instant, Publish, SetFreshness
from ibkr_actor.core.events import RealTimeBar, TickGeneric, TickNews, TickPrice
from ibkr_actor.core.messages import (
    FarmChanged,
    GatewayMute,
    MarketData,
    RequestSent,
    ResolvedCommand,
    SessionDown,
    SessionUp,
    Stop,
    UpstreamDown,
    UpstreamUp,
    WakeUp,
)
from ibkr_actor.core.requests import ReqMktData, ReqRealTimeBars
from ibkr_actor.core.subscriptions.core import SubscriptionsCore
from ibkr_actor.schema.commands import List, Subscribe
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import Gap
from tests.core.kit import answer, asked, only, ref

NEW_YORK = ";".join(f"202601{day:02}:0400-202601{day:02}:2000" for day in (5, 6, 7, 8, 9)) + ";20260110:CLOSED"
LIQUID = ";".join(f"202601{day:02}:0930-202601{day:02}:1600" for day in (5, 6, 7, 8, 9)) + ";20260110:CLOSED"
WITH_HOLIDAY = "20260116:0930-20260116:1600;20260117:CLOSED;20260118:CLOSED;20260119:CLOSED"
TOKYO = "20260105:0900-20260105:1130,20260105:1230-20260105:1530;20260106:0900-20260106:1130,1230-1530"


def stock(
    symbol: str = "AAPL", hours: str = NEW_YORK, liquid: str = LIQUID, zone: str = "US/Eastern", con_id: int = 1
) -> Contract:
    return Contract(
        con_id, symbol, "STK", "SMART", "USD", instrument=f"{symbol}.STK.SMART.USD",
        trading_hours=hours, liquid_hours=liquid, time_zone=zone,
    )  # fmt: skip


def utc_ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


class Watched:
    """A subscriptions core from a UTC time on, woken every second; `effects` is all that came of it."""

    def __init__(self, start: str, config: SubscriptionsConfig | None = None) -> None:
        self.core = SubscriptionsCore(config or SubscriptionsConfig())
        self.start_ns = utc_ns(start)
        self.s = 0.0
        self.effects: list[Effect] = []
        self.req_ids: dict[str, int] = {}
        self.conn = 0
        self.up()

    @property
    def now(self) -> Instant:
        return Instant(1000.0 + self.s, self.start_ns + round(self.s * 1e9))

    def handle(self, message: Struct) -> list[Effect]:
        effects = self.core.handle(message, self.now)
        self.effects += effects
        for request in asked(effects):
            assert isinstance(request, ReqMktData | ReqRealTimeBars)
            self.req_ids[request.contract.symbol] = request.req_id
            self.core.handle(RequestSent(request.req_id, self.now.s), self.now)
        return effects

    def up(self) -> None:
        self.conn += 1
        self.handle(SessionUp(self.conn, 200))

    def subscribe(self, contract: Contract, kind: str = "quote") -> None:
        command = Subscribe(instrument=contract.instrument, kinds=[kind], lease_s=0.0)
        self.handle(ResolvedCommand(ref(contract.symbol), command, contract))

    def price(self, *symbols: str) -> list[Effect]:
        events = [TickPrice(self.req_ids[symbol], self.now.ns, 1, 1.5, "10", 0) for symbol in symbols]
        return self.handle(MarketData(list(events)))

    def run(self, seconds: float, speak: Callable[[int], None] | None = None) -> list[Effect]:
        """Seconds go by; in each `speak(second)` first, then the core is woken when it wants to be."""
        first = len(self.effects)
        for second in range(int(seconds)):
            self.s += 1.0
            if speak is not None:
                speak(second)
            due_s = self.core.next_wakeup_s()
            if due_s is not None and due_s <= self.now.s:
                self.handle(WakeUp())
        return self.effects[first:]

    def every(self, interval_s: int, *symbols: str) -> Callable[[int], None]:
        return lambda second: None if second % interval_s else (self.price(*symbols), None)[1]

    def fresh(self, symbol: str = "AAPL") -> str:
        found = [effect for effect in only(SetFreshness, self.effects) if effect.stream.instrument.startswith(symbol)]
        return found[-1].freshness if found else ""


def gaps(effects: list[Effect]) -> list[Gap]:
    return [record for effect in only(Publish, effects) for _, record in effect.items if isinstance(record, Gap)]


def events(effects: list[Effect]) -> list[str]:
    return [effect.record.event for effect in only(Announce, effects)]


def liquid(start: str = "2026-01-05 15:00", config: SubscriptionsConfig | None = None, *symbols: str) -> Watched:
    """Streams that speak every second, for five minutes of regular hours."""
    house = Watched(start, config)
    for n, symbol in enumerate(symbols or ("AAPL",)):
        house.subscribe(stock(symbol, con_id=n + 1))
    house.run(300, house.every(1, *(symbols or ("AAPL",))))
    return house


# ---- when a market is open


@pytest.mark.parametrize(
    ("contract", "at", "name"),
    [
        (stock(), "2026-01-05 15:00", "regular"),
        (stock(), "2026-01-05 14:29:59", "extended"),
        (stock(), "2026-01-05 14:30", "regular"),
        (stock(), "2026-01-05 22:00", "extended"),
        (stock(), "2026-01-06 01:00", "closed"),
        (stock(), "2026-01-06 08:59:59", "closed"),
        (stock(), "2026-01-10 15:00", "closed"),
        # Behind the listed week its pattern holds: a weekend, a Monday, and the day the clock is changed.
        (stock(), "2026-01-11 15:00", "closed"),
        (stock(), "2026-01-12 15:00", "regular"),
        (stock(), "2026-03-06 14:00", "extended"),
        (stock(), "2026-03-09 14:00", "regular"),
        # A holiday at the end of the list stays closed, though it is a Monday.
        (stock(hours=WITH_HOLIDAY, liquid=WITH_HOLIDAY), "2026-01-19 16:00", "closed"),
        (stock(hours=WITH_HOLIDAY, liquid=WITH_HOLIDAY), "2026-01-20 16:00", "regular"),
        (stock(hours=TOKYO, liquid=TOKYO, zone="JST"), "2026-01-05 02:29", "regular"),
        (stock(hours=TOKYO, liquid=TOKYO, zone="JST"), "2026-01-05 03:00", "closed"),
        (stock(hours=TOKYO, liquid=TOKYO, zone="JST"), "2026-01-05 03:30", "regular"),
        (stock(hours=""), "2026-01-05 15:00", "unknown"),
        (stock(zone="Nowhere/City"), "2026-01-05 15:00", "unknown"),
        (stock(liquid=""), "2026-01-05 12:00", "regular"),
    ],
)
def test_the_phase_of_a_market_is_read_from_its_hours(contract: Contract, at: str, name: str) -> None:
    assert MarketPhases(contract).at(utc_ns(at)).name == name


def test_a_feed_of_news_may_be_silent_for_as_long_as_there_are_none() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(structs.replace(stock("BRFG:BRFG_ALL"), sec_type="NEWS"), "news")
    headline = TickNews(house.req_ids["BRFG:BRFG_ALL"], house.now.ns, house.now.ns, "BRFG", "BRFG$1", "Up", "")
    effects = house.run(600) + house.handle(MarketData([headline])) + house.run(7_200)
    assert [told.freshness for told in only(SetFreshness, effects)] == ["quiet", "fresh", "quiet"]
    assert not asked(effects)
    assert not gaps(effects)
    assert "stale" not in events(effects)


def test_for_bars_of_regular_hours_the_rest_of_the_day_is_closed() -> None:
    assert MarketPhases(stock(), regular_only=True).at(utc_ns("2026-01-05 22:00")).name == "closed"


# ---- a line that falls silent


def test_a_liquid_line_is_stale_ten_seconds_after_its_last_data_at_the_latest() -> None:
    house = liquid()
    assert house.fresh() == "fresh"
    last_ns = house.now.ns
    effects = house.run(13)
    (told,) = only(SetFreshness, effects)
    assert (told.freshness, told.received_ns) == ("stale", last_ns)
    assert told.since_ns - last_ns <= 10e9
    assert events(effects) == ["stale"]
    assert "quote:AAPL.STK.SMART.USD" in only(Announce, effects)[0].record.message


def test_when_it_speaks_again_the_silence_is_one_gap_and_it_is_fresh_at_once() -> None:
    house = liquid()
    last_ns = house.now.ns
    house.run(15)
    effects = house.price("AAPL")
    assert [(gap.cause, gap.from_ns, gap.to_ns) for gap in gaps(effects)] == [("stall", last_ns, house.now.ns)]
    assert [told.freshness for told in only(SetFreshness, effects)] == ["fresh"]
    effects = house.run(120, house.every(1, "AAPL"))
    assert gaps(effects) == []
    assert events(effects) == ["fresh"]


def test_a_line_that_is_always_slow_is_not_called_stale_at_its_own_pace() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock())
    house.run(600, house.every(25, "AAPL"))
    effects = house.run(1800, house.every(50, "AAPL"))
    assert house.fresh() == "fresh"
    assert events(effects) == []
    assert gaps(effects) == []
    assert "stale" in events(house.run(200))


@pytest.mark.parametrize(
    ("spoke_s", "every_s", "state"),
    [(7, 1, "stale"), (36, 3, "stale"), (3, 1, "fresh"), (15, 3, "fresh")],
)
def test_the_pace_of_a_line_is_known_after_some_seconds_in_which_it_spoke(
    spoke_s: int, every_s: int, state: str
) -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock())
    house.run(spoke_s, house.every(every_s, "AAPL"))
    house.run(10)
    assert house.fresh() == state


def test_bars_come_every_five_seconds_and_are_missed_soon() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock(), "bar.5s")

    def bar(second: int) -> None:
        if second % 5 == 0:
            req_id, ns = house.req_ids["AAPL"], house.now.ns
            house.handle(MarketData([RealTimeBar(req_id, ns, ns - 5 * 10**9, 1.0, 1.0, 1.0, 1.0, "1", "1", 1)]))

    house.run(300, bar)
    assert house.fresh() == "fresh"
    last_ns = house.now.ns - 4 * 10**9
    house.run(3)
    # One that comes two seconds late is no alarm.
    assert house.fresh() == "fresh"
    effects = house.run(20)
    (stale,) = only(SetFreshness, effects)
    assert stale.freshness == "stale"
    assert stale.since_ns - last_ns <= 10 * 10**9
    assert events(effects) == ["stale"]


# ---- no false alarm


@pytest.mark.parametrize(
    ("contract", "start", "hours"),
    [
        pytest.param(stock(), "2026-01-06 00:59:50", 8, id="over night"),
        pytest.param(stock(), "2026-01-10 00:59:50", 12, id="at the week-end"),
        pytest.param(stock(hours=WITH_HOLIDAY, liquid=WITH_HOLIDAY), "2026-01-19 12:00", 10, id="on a holiday"),
        pytest.param(stock(hours=TOKYO, liquid=TOKYO, zone="JST"), "2026-01-05 02:29:50", 1, id="at lunch in Tokyo"),
    ],
)
def test_no_alarm_while_the_market_is_closed(contract: Contract, start: str, hours: int) -> None:
    house = Watched(start)
    house.subscribe(contract)
    house.price("AAPL")
    effects = house.run(hours * 3600 - 60)
    assert house.fresh() == "quiet"
    assert set(events(effects)) <= {"quiet"}
    assert len(events(effects)) <= 1
    assert not gaps(effects)
    assert not asked(effects)
    # The market opens within the minute: silence counts from then on, and the opening may be late.
    assert events(house.run(70)) == []


def test_at_the_close_a_hundred_lines_are_quiet_with_one_message() -> None:
    symbols = [f"S{n}" for n in range(100)]
    house = liquid("2026-01-06 00:54", None, *symbols)
    effects = house.run(300)
    assert {house.fresh(symbol) for symbol in ("S0", "S99")} == {"quiet"}
    assert events(effects).count("quiet") == 1
    assert "100 streams" in only(Announce, effects)[-1].record.message


def test_outside_regular_hours_a_liquid_line_may_be_slow() -> None:
    house = liquid("2026-01-05 20:58")
    effects = house.run(1200, house.every(40, "AAPL"))
    assert events(effects) == []
    assert house.fresh() == "fresh"


def test_a_halted_line_is_quiet() -> None:
    house = liquid()
    house.handle(MarketData([TickGeneric(house.req_ids["AAPL"], house.now.ns, 49, 1.0)]))
    effects = house.run(600)
    assert house.fresh() == "quiet"
    assert events(effects) == ["quiet"]


def test_without_known_hours_silence_is_no_alarm() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock(hours="", liquid=""))
    house.run(120, house.every(1, "AAPL"))
    effects = house.run(600)
    assert house.fresh() == "quiet"
    assert not gaps(effects)
    assert not asked(effects)


# ---- outages


def test_a_silent_gateway_makes_all_lines_stale_at_once_with_one_message() -> None:
    house = Watched("2026-01-05 15:00")
    quick = [f"S{n}" for n in range(20)]
    for n, symbol in enumerate([*quick, "SLOW"]):
        house.subscribe(stock(symbol, con_id=n + 1))

    def speak(second: int) -> None:
        house.price(*quick, *(["SLOW"] if second % 50 == 0 else []))

    house.run(301, speak)
    effects = house.run(13)
    assert [told.freshness for told in only(SetFreshness, effects)] == ["stale"] * 21
    assert all(told.since_ns - told.received_ns <= 10e9 for told in only(SetFreshness, effects)[:20])
    assert len({told.since_ns for told in only(SetFreshness, effects)}) == 1
    assert events(effects) == ["stale"]


def test_a_gateway_that_does_not_tell_its_time_makes_stale_what_was_heard_for_a_moment_only() -> None:
    house = Watched("2026-01-05 15:00")
    for n, symbol in enumerate(("NEW", "SLOW", "SHUT", "HALTED", "UNKNOWN")):
        hours = {"SHUT": "20260105:0900-20260105:0930", "UNKNOWN": ""}.get(symbol, NEW_YORK)
        house.subscribe(stock(symbol, hours=hours, liquid=hours and LIQUID, con_id=n + 1))
    house.run(100, house.every(50, "SLOW", "SHUT", "HALTED", "UNKNOWN"))
    house.run(3, house.every(1, "NEW"))
    house.handle(MarketData([TickGeneric(house.req_ids["HALTED"], house.now.ns, 49, 1.0)]))
    assert [house.fresh(symbol) for symbol in ("NEW", "SLOW")] == ["fresh", "fresh"]
    house.run(7)
    effects = house.handle(GatewayMute())
    assert {effect.stream.instrument.split(".")[0] for effect in only(SetFreshness, effects)} == {"NEW", "SLOW"}
    assert [house.fresh(symbol) for symbol in ("NEW", "SLOW")] == ["stale", "stale"]
    house.run(2)
    (gap,) = gaps(house.price("NEW"))
    assert (gap.cause, (gap.to_ns or 0) - (gap.from_ns or 0)) == ("stall", 9_000_000_000)
    assert [house.fresh(symbol) for symbol in ("NEW", "SLOW")] == ["fresh", "stale"]


def test_what_came_with_the_word_that_a_gateway_is_mute_is_not_stale() -> None:
    house = liquid()
    house.price("AAPL")
    house.s += 0.5
    assert house.handle(GatewayMute()) == []


def test_a_lost_connection_makes_lines_stale_with_its_reason_and_they_are_fresh_when_data_come() -> None:
    house = liquid()
    house.handle(SessionDown(house.conn, house.now.ns, "disconnect", "lost"))
    effects = house.run(5)
    assert house.fresh() == "stale"
    assert "(disconnect 1)" in only(Announce, effects)[0].record.message
    house.run(100)
    house.up()
    house.run(2)
    assert house.fresh() == "stale"
    house.price("AAPL")
    assert house.fresh() == "fresh"


def test_kept_subscriptions_that_stay_dead_after_1102_are_asked_for_again() -> None:
    house = liquid()
    house.handle(UpstreamDown(house.now.ns, 1100))
    house.run(5)
    house.handle(UpstreamUp(house.now.ns, 1102))
    effects = house.run(130)
    assert asked(effects)
    effects = house.price("AAPL")
    assert [gap.cause for gap in gaps(effects)] == ["disconnect"]


def test_a_dead_line_is_asked_for_again_and_less_and_less_often() -> None:
    house = liquid()
    effects = house.run(31)
    requests = asked(effects)
    assert len(requests) == 1
    assert isinstance(requests[0], ReqMktData)
    assert 1 <= len(asked(house.run(120))) <= 2
    assert len(asked(house.run(3600))) <= 6
    effects = house.price("AAPL")
    assert [gap.cause for gap in gaps(effects)] == ["stall"]
    assert house.fresh() == "fresh"


def test_a_hundred_dead_lines_are_asked_for_one_after_the_other() -> None:
    house = liquid("2026-01-05 15:00", None, *(f"S{n}" for n in range(100)))
    house.run(29)
    counts = [len(asked(house.run(1))) for _ in range(40)]
    assert sum(counts) == 100
    assert max(counts) <= 6
    assert events(house.effects).count("stale") == 1


def test_with_a_probe_of_zero_nothing_is_asked_again() -> None:
    house = liquid("2026-01-05 15:00", SubscriptionsConfig(stale_probe_s=0.0))
    assert asked(house.run(600)) == []
    assert house.fresh() == "stale"
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["stall"]


def test_a_stop_leaves_nothing_that_is_called_fresh() -> None:
    house = liquid()
    house.handle(Stop())
    assert house.fresh() == "stale"


def test_the_list_and_the_status_tell_how_fresh_each_line_is() -> None:
    house = liquid()
    last_ns = house.now.ns
    house.run(10)
    listed = answer(house.handle(ResolvedCommand(ref("2", op="list"), List(), None))).reply.result
    assert isinstance(listed, dict)
    (row,) = listed["subscriptions"]
    assert (row["freshness"], row["received_ns"]) == ("stale", str(last_ns))
    assert house.core.status()["freshness"] == {"stale": 1, "stale_lines": ["quote:AAPL.STK.SMART.USD"]}


def test_who_joins_a_line_is_told_how_fresh_it_is() -> None:
    house = liquid()
    command = Subscribe(instrument="AAPL.STK.SMART.USD", kinds=["tick"], lease_s=0.0)
    effects = house.handle(ResolvedCommand(ref("2"), command, structs.replace(stock())))
    assert [(told.stream.kind, told.freshness) for told in only(SetFreshness, effects)] == [("tick", "fresh")]


# ---- farms


def test_a_farm_that_flaps_is_one_gap_in_each_stream_that_was_silent_meanwhile() -> None:
    house = liquid("2026-01-05 15:00", None, "US1", "US2", "EU")
    last_ns = house.now.ns
    house.handle(FarmChanged("usfarm", "market", False, last_ns))
    house.run(5, house.every(1, "EU"))
    effects = house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    (said,) = [told.record for told in only(Announce, effects)]
    assert (said.topic, said.event, said.subject) == ("gap", "farm", "usfarm")
    assert "2 lines" in said.message
    effects = house.price("US1", "US2", "EU")
    assert [(gap.cause, gap.from_ns) for gap in gaps(effects)] == [("farm", last_ns)] * 2
    assert gaps(house.run(100, house.every(1, "US1", "US2", "EU"))) == []
    assert asked(house.effects[-1:]) == []


def test_a_long_absence_of_a_farm_is_stale_in_time_and_still_one_gap() -> None:
    house = liquid()
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    assert events(house.run(20)) == ["stale"]
    house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["farm"]


def test_data_that_overtake_the_word_that_a_farm_is_back_have_their_gap_before_them() -> None:
    house = liquid()
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.run(5)
    assert house.fresh() == "stale"
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["farm"]
    effects = house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    assert events(effects) == ["farm"]
    assert gaps(house.run(60, house.every(1, "AAPL"))) == []


def test_a_slow_line_is_not_stale_while_a_farm_is_away_but_has_its_gap() -> None:
    house = Watched("2026-01-05 15:00")
    house.subscribe(stock())
    house.run(601, house.every(50, "AAPL"))
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.run(10)
    assert house.fresh() == "fresh"
    house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    house.run(2)
    assert house.fresh() == "fresh"
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["farm"]


def test_a_farm_that_comes_back_without_data_leads_to_a_new_request() -> None:
    house = liquid()
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.run(5)
    house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
    assert asked(house.run(120))
    assert [gap.cause for gap in gaps(house.price("AAPL"))] == ["farm"]


@pytest.mark.parametrize("away_s", [3, 8, 11])
def test_a_farm_is_noticed_however_rarely_lines_are_looked_at(away_s: int) -> None:
    house = liquid("2026-01-05 15:00", SubscriptionsConfig(sweep_s=10.0), "US", "EU")
    for _ in range(3):
        last_ns = house.now.ns
        house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
        house.run(away_s, house.every(1, "EU"))
        house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
        effects = house.price("US", "EU")
        assert [(gap.cause, gap.from_ns) for gap in gaps(effects)] == [("farm", last_ns)]
        house.run(13, house.every(1, "US", "EU"))


@pytest.mark.parametrize("away_s", [0.5, 1.2])
def test_a_farm_that_was_away_for_an_instant_touched_nothing(away_s: float) -> None:
    house = liquid()
    house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
    house.s += away_s
    assert house.handle(FarmChanged("usfarm", "market", True, house.now.ns)) == []
    assert gaps(house.price("AAPL")) == []


def test_a_farm_that_comes_and_goes_before_data_do_is_one_gap() -> None:
    house = liquid()
    last_ns = house.now.ns
    for _ in range(10):
        house.handle(FarmChanged("usfarm", "market", False, house.now.ns))
        house.run(3)
        house.handle(FarmChanged("usfarm", "market", True, house.now.ns))
        house.run(1)
    effects = house.price("AAPL")
    assert [(gap.cause, gap.from_ns) for gap in gaps(effects)] == [("farm", last_ns)]
    assert gaps(house.run(60, house.every(1, "AAPL"))) == []
