"""Lines held for longer than IB lists hours: they are asked for again in time, and a holiday is no alarm."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from msgspec import structs

from ibkr_actor.core.calendar.bar_times import BarTimes
from ibkr_actor.core.config import ContractsConfig, SubscriptionsConfig
from ibkr_actor.core.contracts.core import ContractsCore
from ibkr_actor.core.effects import Effect, Publish, WriteHolders
from ibkr_actor.core.events import ContractDetails, ContractDetailsEnd, RealTimeBar
from ibkr_actor.core.history.events import HistoricalBar
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.holders import read_holder
from ibkr_actor.core.lines.bar_builder import BarBuilder
from ibkr_actor.core.lines.kept_bars import KeptBars
from ibkr_actor.core.lines.known_hours import listed_until_ns
from ibkr_actor.core.messages import ContractRefreshed, MarketData, RefreshContract, SessionDown, SessionUp, WakeUp
from ibkr_actor.core.requests import ReqContractDetails
from ibkr_actor.schema.instruments import Contract, Leg
from ibkr_actor.schema.records import Bar
from tests.core.kit import asked, at, only, told
from tests.core.test_freshness import Watched, events, stock, utc_ns

HOLIDAY = date(2026, 1, 19)
# One look a minute is enough for days on end.
MINUTELY = SubscriptionsConfig(sweep_s=60.0, stale_min_s=300.0)


def hours_from(day: date, regular: tuple[str, str]) -> str:
    """What IB lists on that day: six days, the holiday among them."""
    listed = []
    for n in range(6):
        each = day + timedelta(days=n)
        text = each.strftime("%Y%m%d")
        closed = each.weekday() >= 5 or each == HOLIDAY
        listed.append(f"{text}:CLOSED" if closed else f"{text}:{regular[0]}-{text}:{regular[1]}")
    return ";".join(listed)


def as_of(day: date, symbol: str = "AAPL", con_id: int = 1) -> Contract:
    return stock(symbol, hours_from(day, ("0400", "2000")), hours_from(day, ("0930", "1600")), con_id=con_id)


class Held(Watched):
    """One stream for weeks, which speaks each minute of its trading hours; IB's word on the contract when asked."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__("2026-01-12 15:00", MINUTELY)
        self.answers = answers
        self.refreshed: list[date] = []
        self.subscribe(as_of(date(2026, 1, 12)))

    def minutes(self, count: int) -> list[Effect]:
        first = len(self.effects)
        for _ in range(count):
            self.s += 60.0
            now = datetime.fromtimestamp(self.now.ns / 1e9, UTC)
            local = now - timedelta(hours=5)
            if local.weekday() < 5 and local.date() != HOLIDAY and 4 <= local.hour < 20:
                self.price("AAPL")
            for refresh in told(self.handle(WakeUp()), RefreshContract):
                self.refreshed.append(now.date())
                if self.answers:
                    assert (refresh.con_id, refresh.exchange) == (1, "SMART")
                    self.handle(ContractRefreshed(as_of(local.date())))
        return self.effects[first:]


def test_a_line_held_over_two_weeks_is_asked_for_in_time_and_a_holiday_is_no_alarm() -> None:
    held = Held(answers=True)
    effects = held.minutes(14 * 24 * 60)
    assert "stale" not in events(effects)
    assert 2 <= len(held.refreshed) <= 6
    assert held.fresh() == "fresh" or held.fresh() == "quiet"


def test_without_ibs_word_the_holiday_would_be_a_false_alarm() -> None:
    held = Held(answers=False)
    held.minutes(6 * 24 * 60)
    assert "stale" in events(held.minutes(2 * 24 * 60))


def test_a_contract_that_ib_tells_nothing_new_of_is_not_asked_for_at_every_look() -> None:
    held = Held(answers=False)
    held.minutes(8 * 24 * 60)
    late = [day for day in held.refreshed if day == date(2026, 1, 18)]
    assert 1 <= len(late) <= 4


def test_while_there_is_no_connection_nothing_is_asked() -> None:
    held = Held(answers=True)
    held.handle(SessionDown(held.conn, held.now.ns, "disconnect", "lost"))
    held.minutes(6 * 24 * 60)
    assert held.refreshed == []
    held.up()
    held.minutes(20)
    assert len(held.refreshed) == 1


def test_a_restart_remembers_the_new_hours() -> None:
    held = Held(answers=True)
    new = as_of(date(2026, 1, 18))
    (written,) = only(WriteHolders, held.handle(ContractRefreshed(new)))
    (write,) = written.holders
    _, _, contract = read_holder(write)
    assert contract.trading_hours == new.trading_hours


def test_the_end_of_what_is_listed_is_read_from_the_text() -> None:
    assert listed_until_ns(as_of(date(2026, 1, 12))) == utc_ns("2026-01-18")
    assert listed_until_ns(stock(hours="")) == 0
    assert listed_until_ns(stock(hours="20269999:CLOSED")) == 0


def test_a_contract_is_asked_for_by_its_number_and_its_lines_are_told() -> None:
    core = ContractsCore(ContractsConfig())
    core.handle(SessionUp(1, 200), at(0))
    (request,) = asked(core.handle(RefreshContract(1, "SMART"), at(1)))
    assert isinstance(request, ReqContractDetails)
    assert (request.query.con_id, request.query.exchange) == (1, "SMART")
    assert asked(core.handle(RefreshContract(1, "SMART"), at(2))) == []
    core.handle(ContractDetails(request.req_id, as_of(date(2026, 1, 18))), at(3))
    (word,) = told(core.handle(ContractDetailsEnd(request.req_id), at(3)), ContractRefreshed)
    assert word.contract.trading_hours == as_of(date(2026, 1, 18)).trading_hours


# The Friday after Thanksgiving 2026: the week's pattern says 16:00, IB in time that trading ends at 13:00.
BEFORE = as_of(date(2026, 11, 16))
SHORT_DAY = stock(hours="20261127:0400-20261127:1700", liquid="20261127:0930-20261127:1300")


def test_the_bars_of_a_line_that_is_held_for_long_end_by_the_hours_that_ib_tells_in_time() -> None:
    end_ns, early_ns = utc_ns("2026-11-27 21:00"), utc_ns("2026-11-27 18:00")
    kept = KeptBars(BarTimes(resolution("1d"), BEFORE, rth=True))
    kept.answer([HistoricalBar("20261127", 1.0, 1.0, 1.0, 1.0)])
    assert kept.closes_ns == end_ns
    kept.new_hours(SHORT_DAY)
    assert kept.closes_ns == early_ns

    builder = BarBuilder(BarTimes(resolution("4h"), BEFORE, rth=True))
    start_ns = utc_ns("2026-11-27 17:00")
    (told_before,) = builder.take(RealTimeBar(2, start_ns, start_ns, 1.0, 1.0, 1.0, 1.0, "1", "1", 1))
    assert told_before.span.end_ns == end_ns
    builder.new_hours(SHORT_DAY)
    assert builder.closes_ns == early_ns


def test_ibs_new_word_reaches_the_bars_of_a_line() -> None:
    house = Watched("2026-11-27 17:00")
    house.subscribe(BEFORE, "bar.4h.rth.built")
    ns = house.now.ns
    house.handle(MarketData([RealTimeBar(house.req_ids["AAPL"], ns, ns, 1.0, 1.0, 1.0, 1.0, "1", "1", 1)]))
    house.handle(ContractRefreshed(SHORT_DAY))
    # Told at once when the next bar comes, at the latest when it is over.
    house.handle(MarketData([RealTimeBar(house.req_ids["AAPL"], ns, ns + 5 * 10**9, 1.0, 1.0, 1.0, 1.0, "1", "1", 1)]))
    bars = [record for effect in only(Publish, house.effects) for _, record in effect.items if isinstance(record, Bar)]
    assert [bar.end_ns for bar in bars] == [utc_ns("2026-11-27 21:00"), utc_ns("2026-11-27 18:00")]


def test_a_combination_goes_by_the_hours_of_its_leg_and_has_them_asked_for_in_time() -> None:
    house = Watched("2026-01-16 15:00", MINUTELY)
    legs = (Leg(7, 1, "BUY", "SMART"), Leg(8, 1, "SELL", "SMART"))
    old = as_of(date(2026, 1, 12))
    spread = structs.replace(old, con_id=0, sec_type="BAG", instrument="BAG@0123456789abcdef", legs=legs)
    house.subscribe(spread)
    assert told(house.handle(WakeUp()), RefreshContract) == [RefreshContract(7, "SMART")]
    new = as_of(date(2026, 1, 16), con_id=7)
    (write,) = only(WriteHolders, house.handle(ContractRefreshed(new)))
    (held,) = [read_holder(holder)[2] for holder in write.holders]
    assert held == structs.replace(spread, trading_hours=new.trading_hours, liquid_hours=new.liquid_hours)
