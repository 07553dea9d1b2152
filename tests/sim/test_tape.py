"""Owns the tests of the tape: bars of every size, ticks and states of every kind of instrument agree.

Must not open a socket.
"""

from __future__ import annotations

import datetime
import itertools
import zoneinfo
from collections.abc import Sequence
from decimal import Decimal

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ibkr_actor.sim.market import pricing
from ibkr_actor.sim.market.bars import BAR_SIZES, Bar, BarSize, Quote, Trade
from ibkr_actor.sim.market.calendar import MarketHours
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.instruments import ContractSpec, Instrument, Leg
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.market.tapes import Tapes

UTC = datetime.UTC
TODAY = datetime.date(2024, 6, 3)
CATALOGUE = default_catalogue(lambda: TODAY)
NAMES = (
    "AAPL", "SIM001", "SIM003", "EUR.USD", "700", "BMW", "SPX.IND.CBOE.USD", "BTC.CRYPTO.PAXOS.USD",
    "future", "ES.CONTFUT.CME.USD", "call", "put", "future option", "spread", "AAPL.CFD.SMART.USD",
)  # fmt: skip
SIZES = [BarSize.parse(text) for text in BAR_SIZES]
FIVE_SECONDS = BarSize.parse("5 secs")
INTRADAY = [size for size in SIZES if size.intraday and size.seconds >= 5]


def at(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())


def match(**spec: object) -> list[Instrument]:
    return CATALOGUE.match(msgspec.convert(spec, ContractSpec), 3)


def combination() -> Instrument:
    near, far, _ = match(symbol="ES", sec_type="FUT", exchange="CME")
    legs = (
        Leg(con_id=near.con_id, ratio=1, action="SELL", exchange="CME"),
        Leg(con_id=far.con_id, ratio=1, action="BUY", exchange="CME"),
    )
    return CATALOGUE.match(ContractSpec(symbol="ES", sec_type="BAG", currency="USD", exchange="CME", legs=legs))[0]


def find(name: str) -> Instrument:
    match name:
        case "future":
            return match(symbol="ES", sec_type="FUT", exchange="CME")[0]
        case "call" | "put":
            right = name[0].upper()
            return match(symbol="AAPL", sec_type="OPT", strike=220.0, exchange="SMART", right=right)[2]
        case "future option":
            return match(symbol="ES", sec_type="FOP", strike=5_900.0, exchange="CME", right="P")[0]
        case "spread":
            return combination()
        case _:
            return CATALOGUE.find(name)


def tapes(market_hours: MarketHours = "exchange", seed: int = 1, ticks_per_s: float = 4.0) -> Tapes:
    return Tapes(CATALOGUE, seed=seed, ticks_per_s=ticks_per_s, market_hours=market_hours)


ALWAYS, EXCHANGE = tapes("always"), tapes("exchange")
SHARED: dict[MarketHours, Tapes] = {"always": ALWAYS, "exchange": EXCHANGE}
# All the names are listed then; 29 March and 27 May were holidays, the clocks changed on 10 and 31 March.
DATES = st.dates(datetime.date(2024, 3, 4), datetime.date(2024, 6, 14))
TIMES = st.integers(at("2024-03-04T00:00Z"), at("2024-06-14T00:00Z"))
HOURS = st.sampled_from(["always", "exchange"])


def joined(bars: Sequence[Bar]) -> tuple[float, float, float, float, Decimal, int]:
    high, low = max(each.high for each in bars), min(each.low for each in bars)
    volume = sum((each.volume for each in bars), Decimal(0))
    return bars[0].open, high, low, bars[-1].close, volume, sum(each.count for each in bars)


def shown(tape: Tape) -> list[str]:
    return sorted(tape.shows - {"BID_ASK"})


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=2, deadline=None)
@given(day=DATES, market_hours=HOURS, regular_only=st.booleans(), data=st.data())
def test_bars_of_every_size_make_up_the_day(
    name: str, day: datetime.date, market_hours: MarketHours, regular_only: bool, data: st.DataObject
) -> None:
    tape = SHARED[market_hours].tape(find(name))
    segments = [each for each in tape.calendar.day(day) if each.regular or not regular_only]
    show = data.draw(st.sampled_from(shown(tape)))
    if not segments:
        return
    start_s, end_s = segments[0].start_s, segments[-1].end_s
    [whole] = tape.bars(start_s, end_s, BarSize.parse("1 day"), show, regular_only)
    assert (whole.start_s, whole.end_s, whole.trade_date) == (start_s, end_s, day)
    for size in data.draw(st.sets(st.sampled_from(INTRADAY), min_size=2, max_size=3)):
        bars = tape.bars(start_s, end_s, size, show, regular_only)
        assert joined(bars) == joined([whole])
        assert all(left.end_s <= right.start_s for left, right in itertools.pairwise(bars))
        assert sum(each.end_s - each.start_s for each in bars) == sum(each.end_s - each.start_s for each in segments)
        for bar in bars:
            assert bar.end_s - bar.start_s <= size.seconds + 3_600 * (size.seconds > 3_600)
            assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert bar.low <= bar.wap <= bar.high


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3, deadline=None)
@given(time=TIMES, market_hours=HOURS, rate=st.sampled_from([0.3, 1.0, 4.0, 33.0]))
def test_ticks_make_up_bars_of_five_seconds(name: str, time: int, market_hours: MarketHours, rate: float) -> None:
    tape = tapes(market_hours, ticks_per_s=rate).tape(find(name))
    start_s = time - time % 300
    ticks = tape.ticks(start_s, start_s + 300)
    assert [tick.time_s for tick in ticks] == sorted(tick.time_s for tick in ticks)
    for show in shown(tape):
        expected = {each.start_s: joined([each]) for each in tape.bars(start_s, start_s + 300, FIVE_SECONDS, show)}
        found: dict[int, list[Bar]] = {}
        for tick in ticks:
            bar = as_bar(tick, show)
            if bar is not None:
                found.setdefault(int(tick.time_s // 5) * 5, []).append(bar)
        assert {each: joined(bars) for each, bars in found.items()} == expected


def as_bar(tick: Quote | Trade, show: str) -> Bar | None:
    """A tick as the bar of itself alone, None when it does not belong to the view."""
    if isinstance(tick, Trade):
        price, volume, count = tick.price, tick.size, 1
    else:
        middle = round((tick.bid + tick.ask) / 2, 6)
        price, volume, count = {"BID": tick.bid, "ASK": tick.ask}.get(show, middle), Decimal(0), 0
    if isinstance(tick, Trade) != (show == "TRADES"):
        return None
    return Bar(0, 0, TODAY, price, price, price, price, volume, price, count)


@pytest.mark.parametrize("name", ["AAPL", "EUR.USD", "put", "SPX.IND.CBOE.USD", "SIM001"])
@settings(max_examples=3, deadline=None)
@given(time=TIMES, data=st.data())
def test_bars_of_a_second_make_up_bars_of_five(name: str, time: int, data: st.DataObject) -> None:
    tape = ALWAYS.tape(find(name))
    show = data.draw(st.sampled_from(shown(tape)))
    start_s = tape.calendar.after(time - time % 60).start_s
    seconds = tape.bars(start_s, start_s + 60, BarSize.parse("1 secs"), show)
    assert [each.start_s for each in seconds] == list(range(start_s, start_s + 60))
    for position, whole in enumerate(tape.bars(start_s, start_s + 60, FIVE_SECONDS, show)):
        assert joined(seconds[5 * position : 5 * position + 5]) == joined([whole])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=2, deadline=None)
@given(time=TIMES, market_hours=HOURS, regular_only=st.booleans(), unit=st.sampled_from(["1 week", "1 month"]))
def test_days_make_up_weeks_and_months(
    name: str, time: int, market_hours: MarketHours, regular_only: bool, unit: str
) -> None:
    tape = SHARED[market_hours].tape(find(name))
    show = shown(tape)[-1]
    for whole in tape.bars(time, time + 40 * 86_400, BarSize.parse(unit), show, regular_only):
        days = tape.bars(whole.start_s, whole.end_s, BarSize.parse("1 day"), show, regular_only)
        assert joined(days) == joined([whole])
        assert (days[0].start_s, days[-1].end_s, days[-1].trade_date) == (whole.start_s, whole.end_s, whole.trade_date)
        key = (lambda d: d.isocalendar()[:2]) if unit == "1 week" else (lambda d: (d.year, d.month))
        assert len({key(each.trade_date) for each in days}) == 1


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=2, deadline=None)
@given(
    time=TIMES,
    market_hours=HOURS,
    size=st.sampled_from(SIZES),
    cuts=st.lists(st.integers(1, 30), min_size=2, max_size=2),
    data=st.data(),
)
def test_answers_do_not_depend_on_what_was_asked_before_or_how_it_is_divided(
    name: str, time: int, market_hours: MarketHours, size: BarSize, cuts: list[int], data: st.DataObject
) -> None:
    fresh, used = tapes(market_hours).tape(find(name)), SHARED[market_hours].tape(find(name))
    show = data.draw(st.sampled_from(sorted(used.shows)))
    middle_s = time + cuts[0] * size.seconds - 1
    end_s = middle_s + cuts[1] * size.seconds
    late, early = fresh.bars(middle_s, end_s, size, show), fresh.bars(time, middle_s, size, show)
    assert early + late == used.bars(time, end_s, size, show)
    assert fresh.state_at(time) == used.state_at(time)
    assert fresh.day_so_far(time + 17) == used.day_so_far(time + 17)
    # A look goes on from the one before where it can; one that goes back cannot.
    looks = [time + after for after in (0.0, 0.1, 0.9, 0.9, 3.3, 4.99, 5.0, 5.5, 11.0, 11.2)]
    back = [(fresh.state_at(look), fresh.day_so_far(look)) for look in reversed(looks)]
    assert [(used.state_at(look), used.day_so_far(look)) for look in looks] == back[::-1]
    assert fresh.ticks(time, time + 20) == used.ticks(time, time + 11) + used.ticks(time + 11, time + 20)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3, deadline=None)
@given(time=TIMES, market_hours=HOURS, size=st.sampled_from([each for each in SIZES if each.seconds >= 5]))
def test_a_growing_bar_ends_as_the_bar_it_becomes(
    name: str, time: int, market_hours: MarketHours, size: BarSize
) -> None:
    tape = SHARED[market_hours].tape(find(name))
    show = shown(tape)[-1]
    start_s = tape.calendar.day(tape.calendar.trade_date_at(time))[0].start_s
    bars = tape.bars(start_s, start_s + max(3 * size.seconds, 40 * 86_400 * (not size.intraday)), size, show)
    assume(bars)  # none begins in the last month of an option
    first = bars[-1]
    grown = tape.bar_so_far(first.end_s - 0.001, size, show)
    assert tape.bar_so_far(first.start_s + 4.9, size, show) is None
    last = tape.bars(first.end_s - 5, first.end_s, FIVE_SECONDS, show)
    if size.seconds == 5:
        assert grown is None
        return
    assert grown is not None
    assert (grown.start_s, grown.end_s, grown.trade_date) == (first.start_s, first.end_s, first.trade_date)
    assert joined([grown])[0] == first.open
    assert joined([grown, *last]) == joined([first])


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=3, deadline=None)
@given(time=TIMES, market_hours=HOURS)
def test_the_state_is_what_the_ticks_before_left(name: str, time: int, market_hours: MarketHours) -> None:
    tape = SHARED[market_hours].tape(find(name))
    state, day = tape.state_at(time), tape.day_so_far(time)
    segment = tape.calendar.at(time) or tape.calendar.before(time)
    upto_s = min(time, segment.end_s)
    ticks = tape.ticks(upto_s - 30, upto_s) if upto_s - 30 > segment.start_s else []
    quotes = [tick for tick in ticks if isinstance(tick, Quote)]
    trades = [tick for tick in ticks if isinstance(tick, Trade)]
    if quotes:
        assert state[1:5] == (quotes[-1].bid, quotes[-1].ask, quotes[-1].bid_size, quotes[-1].ask_size)
    if trades:
        assert state[5:] == (trades[-1].price, trades[-1].size, trades[-1].time_s)
        assert day.volume == trades[-1].volume
        # The mean of cells and the mean of trades: a cheap option moves much within a day.
        assert day.vwap == pytest.approx(trades[-1].vwap, abs=max(0.02 * day.high, (day.high - day.low) / 2))
        assert day.low <= trades[-1].price <= day.high
    if segment.end_s <= time and "TRADES" in tape.shows:
        [whole] = tape.bars(
            tape.calendar.day(segment.trade_date)[0].start_s, segment.end_s, BarSize.parse("1 day"), "TRADES"
        )
        if segment == tape.calendar.day(segment.trade_date)[-1]:
            assert (day.open, day.high, day.low, state.last, day.volume) == joined([whole])[:5]
    assert day.trade_date == segment.trade_date


def test_every_quote_changes_something_and_bid_is_below_ask() -> None:
    for name in NAMES:
        tape = ALWAYS.tape(find(name))
        tick = float(tape.instrument.min_tick)
        bid = ask = 0.0
        for event in tape.ticks(at("2024-06-03T14:00Z"), at("2024-06-03T14:02Z")):
            if isinstance(event, Quote):
                bid, ask = event.bid, event.ask
                assert bid < ask
                assert any((event.bid_moved, event.ask_moved, event.bid_resized, event.ask_resized))
                assert min(event.bid_size, event.ask_size) > 0
                assert abs(bid / tick - round(bid / tick)) < 1e-6
            elif ask:
                assert bid <= event.price <= ask
                assert event.size > 0


def test_hours_begin_on_the_clock_of_the_exchange() -> None:
    apple = EXCHANGE.tape(find("AAPL"))
    hours = apple.bars(
        at("2024-06-03T00:00-04:00"), at("2024-06-04T00:00-04:00"), BarSize.parse("1 hour"), "TRADES", True
    )
    assert [clock(each) for each in hours] == ["09:30", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    fours = apple.bars(at("2024-06-03T00:00-04:00"), at("2024-06-04T00:00-04:00"), BarSize.parse("4 hours"))
    assert [clock(each) for each in fours] == ["04:00", "08:00", "12:00", "16:00"]
    euro = EXCHANGE.tape(find("EUR.USD"))
    quarter = euro.bars(at("2024-06-02T17:00-04:00"), at("2024-06-02T18:00-04:00"), BarSize.parse("30 mins"), "BID")
    assert [(clock(each), each.end_s - each.start_s) for each in quarter] == [("17:15", 900), ("17:30", 1800)]
    hongkong = EXCHANGE.tape(find("700"))
    noon = hongkong.bars(at("2024-06-03T09:00+08:00"), at("2024-06-03T17:00+08:00"), BarSize.parse("1 hour"))
    assert [clock(each, "Asia/Hong_Kong") for each in noon] == [
        "09:30", "10:00", "11:00", "13:00", "14:00", "15:00",
    ]  # fmt: skip


def test_the_night_the_clocks_change_has_a_bar_of_another_length() -> None:
    bitcoin = EXCHANGE.tape(find("BTC.CRYPTO.PAXOS.USD"))
    spring = bitcoin.bars(at("2024-03-10T00:00-05:00"), at("2024-03-11T00:00-04:00"), BarSize.parse("4 hours"))
    assert [(clock(each), (each.end_s - each.start_s) // 3600) for each in spring] == [
        ("00:00", 3), ("04:00", 4), ("08:00", 4), ("12:00", 4), ("16:00", 4), ("20:00", 4),
    ]  # fmt: skip
    autumn = bitcoin.bars(at("2023-11-05T00:00-04:00"), at("2023-11-06T00:00-05:00"), BarSize.parse("8 hours"))
    assert [(clock(each), (each.end_s - each.start_s) // 3600) for each in autumn] == [
        ("00:00", 9), ("08:00", 8), ("16:00", 8),
    ]  # fmt: skip
    assert len(bitcoin.bars(at("2023-11-05T00:00-04:00"), at("2023-11-06T00:00-05:00"), BarSize.parse("1 hour"))) == 25


def clock(bar: Bar, zone: str = "America/New_York") -> str:
    return datetime.datetime.fromtimestamp(bar.start_s, zoneinfo.ZoneInfo(zone)).strftime("%H:%M")


def test_a_closed_exchange_has_no_bars_and_no_ticks() -> None:
    apple = EXCHANGE.tape(find("AAPL"))
    saturday = at("2024-06-01T12:00Z")
    assert apple.bars(saturday, saturday + 3_600, FIVE_SECONDS) == []
    assert apple.ticks(saturday, saturday + 3_600) == []
    assert apple.bar_so_far(saturday, BarSize.parse("1 min")) is None
    assert ALWAYS.tape(find("AAPL")).ticks(saturday, saturday + 60)
    friday = apple.bars(at("2024-05-31T15:59:55-04:00"), saturday, FIVE_SECONDS, "TRADES", True)
    assert len(friday) == 1
    assert apple.state_at(saturday).last_time_s < at("2024-05-31T20:00-04:00")


def test_regular_ticks_leave_out_the_others() -> None:
    apple = EXCHANGE.tape(find("AAPL"))
    opening = at("2024-06-03T09:30-04:00")
    found = apple.ticks(opening - 60, opening + 60, regular_only=True)
    assert found == apple.ticks(opening, opening + 60)
    assert len(apple.ticks(opening - 60, opening + 60)) > len(found)


def test_an_instrument_begins_with_its_listing_and_ends_with_its_expiry() -> None:
    future = EXCHANGE.tape(find("future"))
    assert datetime.datetime.fromtimestamp(future.head_s, UTC).isoformat() == "2023-02-28T23:00:00+00:00"
    assert future.end_s == at("2024-06-21T16:00-05:00")
    days = future.bars(0, 4_000_000_000, BarSize.parse("1 day"))
    assert (days[0].trade_date, days[-1].trade_date) == (datetime.date(2023, 3, 1), datetime.date(2024, 6, 21))
    weeks = future.bars(0, 4_000_000_000, BarSize.parse("1 week"))
    assert weeks[0].trade_date == datetime.date(2023, 3, 3)
    assert future.ticks(future.end_s, future.end_s + 1e6) == []
    assert future.ticks(future.head_s - 100, future.head_s + 10) == future.ticks(future.head_s, future.head_s + 10)
    assert future.state_at(future.end_s + 1e6)[1:] == future.state_at(future.end_s)[1:]


def test_what_an_instrument_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="TRADES"):
        EXCHANGE.tape(find("EUR.USD")).bars(0, 1, FIVE_SECONDS, "TRADES")
    with pytest.raises(ValueError, match="BID"):
        EXCHANGE.tape(find("SPX.IND.CBOE.USD")).bars(0, 1, FIVE_SECONDS, "BID")
    with pytest.raises(ValueError, match="4 mins"):
        BarSize.parse("4 mins")


def test_an_index_has_trades_without_sizes() -> None:
    index = EXCHANGE.tape(find("SPX.IND.CBOE.USD"))
    [bar] = index.bars(at("2024-06-03T10:00-04:00"), at("2024-06-03T10:00:05-04:00"), FIVE_SECONDS)
    assert (bar.volume, bar.wap) == (Decimal(0), bar.close)
    ticks = index.ticks(bar.start_s, bar.end_s)
    assert ticks
    assert all(isinstance(tick, Trade) and tick.size == 0 for tick in ticks)


def test_an_option_is_worth_what_the_formula_says_of_its_underlying() -> None:
    day = datetime.date(2024, 6, 3)
    start_s, end_s = at("2024-06-03T10:00-04:00"), at("2024-06-03T11:00-04:00")
    minute = BarSize.parse("1 min")
    for name in ("call", "put"):
        option = find(name)
        unders = EXCHANGE.tape(CATALOGUE.find("AAPL")).bars(start_s, end_s, minute)
        bars = EXCHANGE.tape(option).bars(start_s, end_s, minute)
        for under, bar in zip(unders, bars, strict=True):
            high, low = (under.high, under.low) if name == "call" else (under.low, under.high)
            for price, spot in ((bar.open, under.open), (bar.high, high), (bar.low, low), (bar.close, under.close)):
                assert price == pytest.approx(max(0.01, pricing.derived_price(option, spot, day)), abs=0.0051)
        assert len({bar.close for bar in bars}) > 5


def test_a_future_carries_its_underlying_and_the_continuous_one_is_its_front_month() -> None:
    future = find("future")
    start_s, end_s = at("2024-06-03T09:00-05:00"), at("2024-06-03T10:00-05:00")
    minute = BarSize.parse("1 min")
    bars = EXCHANGE.tape(future).bars(start_s, end_s, minute)
    for under, bar in zip(EXCHANGE.tape(find("SPX.IND.CBOE.USD")).bars(start_s, end_s, minute), bars, strict=True):
        assert bar.high == pytest.approx(pricing.derived_price(future, under.high, TODAY), abs=0.126)
    continuous = EXCHANGE.tape(CATALOGUE.find("ES.CONTFUT.CME.USD"))
    front = CATALOGUE.front(continuous.instrument, TODAY)
    assert continuous.bars(start_s, end_s, minute) == EXCHANGE.tape(front).bars(start_s, end_s, minute)
    assert continuous.end_s == float("inf")


def test_a_combination_is_the_sum_of_its_legs() -> None:
    spread = EXCHANGE.tape(combination())
    legs = [EXCHANGE.tape(CATALOGUE.instrument(leg.con_id)) for leg in spread.instrument.legs]
    start_s, end_s = at("2024-06-03T09:00-05:00"), at("2024-06-03T10:00-05:00")
    minute = BarSize.parse("1 min")
    near, far = (leg.bars(start_s, end_s, minute) for leg in legs)
    bars = spread.bars(start_s, end_s, minute)
    sums = [b.close - a.close for a, b in zip(near, far, strict=True)]
    assert [bar.close for bar in bars] == pytest.approx(sums, abs=0.25)
    backwards = msgspec.structs.replace(
        spread.instrument,
        con_id=1,
        legs=tuple(
            msgspec.structs.replace(leg, action="SELL" if leg.action == "BUY" else "BUY")
            for leg in spread.instrument.legs
        ),
    )
    assert all(bar.high < 0 for bar in tapes().tape(backwards).bars(start_s, end_s, minute))


def test_a_cfd_follows_its_underlying_without_trading() -> None:
    cfd = EXCHANGE.tape(CATALOGUE.find("AAPL.CFD.SMART.USD"))
    assert "TRADES" not in cfd.shows
    time = at("2024-06-03T11:00-04:00")
    assert abs(cfd.state_at(time).bid - EXCHANGE.tape(find("AAPL")).state_at(time).bid) < 0.04


def test_what_is_made_of_itself_or_of_nothing_is_refused() -> None:
    class Loop:
        def instrument(self, con_id: int) -> Instrument:
            return snake

        def front(self, continuous: Instrument, day: datetime.date) -> Instrument:
            raise KeyError

    snake = msgspec.structs.replace(find("AAPL"), price_model="same", price_con_id=265598)
    with pytest.raises(ValueError, match="itself"):
        Tapes(Loop(), seed=1, ticks_per_s=4.0, market_hours="always").tape(snake)
    lost = msgspec.structs.replace(snake, con_id=7, price_con_id=123)
    with pytest.raises(KeyError):
        EXCHANGE.tape(lost)


def test_tapes_are_forgotten_when_there_are_too_many_and_come_back_the_same() -> None:
    many = tapes()
    apple = many.tape(find("AAPL"))
    before = apple.state_at(at("2024-06-03T14:00Z"))
    for number in range(600):
        many.tape(msgspec.structs.replace(apple.instrument, con_id=10_000_000 + number))
    again = many.tape(find("AAPL"))
    assert again is not apple
    assert again.state_at(at("2024-06-03T14:00Z")) == before


def test_another_seed_is_another_market() -> None:
    times = at("2024-06-03T14:00Z"), at("2024-06-03T14:10Z")
    assert tapes(seed=1).tape(find("AAPL")).ticks(*times) != tapes(seed=2).tape(find("AAPL")).ticks(*times)
