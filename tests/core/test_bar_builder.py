"""Bars built of bars of 5 s: those of the simulator's tape at every size, through sessions and changes of the clock."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.calendar.bar_times import BarTimes
from ibkr_actor.core.events import RealTimeBar
from ibkr_actor.core.history.resolutions import resolution
from ibkr_actor.core.lines.bar_builder import BarBuilder, Shape, Told
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import BUILT_SIZES
from ibkr_actor.schema.records import FLAG_BUILT, Bar, Gap
from ibkr_actor.sim.market import bars as sim_bars
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.tape import Tape
from ibkr_actor.sim.market.tapes import Tapes
from tests.core.desk import Desk
from tests.core.kit import answer, asked, ns, published, stock

NS = 1_000_000_000
CATALOGUE = default_catalogue()
TAPES = Tapes(CATALOGUE, seed=5, ticks_per_s=4.0, market_hours="exchange")
NEW_YORK = ZoneInfo("America/New_York")
FIVE = sim_bars.BarSize.parse("5 secs")


def seconds(text: str) -> int:
    """Seconds since 1970 of a time in New York."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp())


@cache
def five_second_bars(name: str, start_s: int, end_s: int, rth: bool) -> tuple[sim_bars.Bar, ...]:
    return tuple(tape_of(name).bars(start_s, end_s, FIVE, "TRADES", rth))


def tape_of(name: str) -> Tape:
    return TAPES.tape(CATALOGUE.find(name))


def times_of(name: str, size: str, at_s: int, *, rth: bool) -> BarTimes:
    """The bars of a contract whose hours IB lists as at that time."""
    instrument = CATALOGUE.find(name)
    calendar = TAPES.calendar(instrument)
    contract = Contract(
        instrument.con_id,
        instrument.symbol,
        instrument.sec_type,
        instrument.exchange,
        instrument.currency,
        trading_hours=calendar.trading_hours_text(at_s),
        liquid_hours=calendar.liquid_hours_text(at_s),
        time_zone=instrument.time_zone_id,
    )
    return BarTimes(resolution(size), contract, rth=rth)


def real_time(bar: sim_bars.Bar) -> RealTimeBar:
    volume = f"{bar.volume.normalize():f}"
    return RealTimeBar(
        2, bar.end_s * NS, bar.start_s * NS, bar.open, bar.high, bar.low, bar.close, volume, str(bar.wap), bar.count
    )


Row = tuple[int, int, float | None, float | None, float | None, float | None, Decimal, int | None]


def built(found: list[Told]) -> list[Row]:
    return [_built(each.span.start_ns // NS, each.span.end_ns // NS, each.shape) for each in found]


def _built(start_s: int, end_s: int, shape: Shape) -> Row:
    assert shape.volume is not None
    return start_s, end_s, shape.open, shape.high, shape.low, shape.close, Decimal(shape.volume), shape.count


def finals(builder: BarBuilder, fives: tuple[sim_bars.Bar, ...]) -> list[Told]:
    found = [told for five in fives for told in builder.take(real_time(five)) if told.final]
    return found + builder.due(fives[-1].end_s * NS) if fives else found


def of_the_tape(name: str, size: str, start_s: int, end_s: int, *, rth: bool) -> list[Row]:
    """The tape's bars that lie wholly in [start_s, end_s)."""
    bar_size = sim_bars.BarSize.parse(resolution(size).bar_size)
    # A day that ends in the interval began at most a few days before.
    bars = tape_of(name).bars(start_s - 4 * 86_400 * (not bar_size.intraday), end_s, bar_size, "TRADES", rth)
    return [
        (b.start_s, b.end_s, b.open, b.high, b.low, b.close, b.volume, b.count)
        for b in bars
        if b.start_s >= start_s and b.end_s <= end_s
    ]


# The clock is put forward on 2026-03-08 and back on 2026-11-01; 2026-11-27 is a short day.
STRETCHES = {
    "a morning before the market opens": ("AAPL", "2026-06-03T09:07:35", 4, False),
    "a day with its begin and end": ("AAPL", "2026-06-03T03:30:00", 18, False),
    "regular hours": ("AAPL", "2026-06-03T09:00:00", 8, True),
    "a short day": ("AAPL", "2026-11-27T08:00:00", 12, True),
    "an evening of a future": ("ES", "2026-06-03T15:00:00", 26, False),
    "a coin while the clock is put forward": ("BTC", "2026-03-07T23:00:00", 12, False),
    "a coin while the clock is put back": ("BTC", "2026-10-31T23:00:00", 12, False),
}


@pytest.mark.parametrize("case", STRETCHES)
def test_built_bars_are_those_of_the_tape_at_every_size(case: str) -> None:
    symbol, begin, hours, rth = STRETCHES[case]
    name = {"ES": "ES.FUT.CME.USD.20260618.ES", "BTC": "BTC.CRYPTO.PAXOS.USD"}.get(symbol, symbol)
    start_s = seconds(begin)
    end_s = start_s + hours * 3_600
    fives = five_second_bars(name, start_s, end_s, rth)
    assert fives
    seen_from_s = fives[0].start_s
    # Nobody says how IB's grid of more than an hour goes on when the clock is changed within the session.
    sizes = BUILT_SIZES if "clock" not in case else BUILT_SIZES[: BUILT_SIZES.index("1h") + 1]
    for size in sizes:
        builder = BarBuilder(times_of(name, size, start_s, rth=rth))
        found = built(finals(builder, fives))
        assert found == of_the_tape(name, size, seen_from_s, fives[-1].end_s, rth=rth), size


@settings(max_examples=25, deadline=None)
@given(
    skipped=st.integers(0, 700),
    length=st.integers(1, 400),
    size=st.sampled_from(["10s", "30s", "1m", "5m", "15m"]),
    lost_at=st.integers(0, 400),
)
def test_a_bar_is_final_once_and_only_if_all_of_it_was_seen(skipped: int, length: int, size: str, lost_at: int) -> None:
    start_s = seconds("2026-06-03T10:00:00")
    fives = five_second_bars("AAPL", start_s, start_s + 7_200, False)[skipped : skipped + length]
    builder = BarBuilder(times_of("AAPL", size, start_s, rth=False))
    found: list[Told] = []
    for number, five in enumerate(fives):
        if number == lost_at:
            builder.lost()
        found += builder.take(real_time(five))
    lost = lost_at < len(fives)
    seen = [(fives[0].start_s, fives[min(lost_at, len(fives)) - 1].end_s if lost and lost_at else fives[-1].end_s)]
    if lost and lost_at:
        seen.append((fives[lost_at].start_s, fives[-1].end_s))
    expected = [row for begin_s, end_s in seen for row in of_the_tape("AAPL", size, begin_s, end_s, rth=False)]
    assert built([told for told in found if told.final]) == expected
    for span in {told.span for told in found}:
        revisions = [told.revision for told in found if told.span == span]
        assert revisions == list(range(len(revisions)))
        assert all(not told.final for told in found if told.span == span and told.revision < revisions[-1])


def real(start_s: float, close: float | None = 1.5, volume: str | None = "2", wap: str | None = "1.25") -> RealTimeBar:
    return RealTimeBar(12, ns(start_s + 5), ns(start_s), 1.0, close, close, close, volume, wap, 1)


def test_built_sizes_share_one_line_of_5_s_and_bear_their_flag() -> None:
    desk = Desk()
    effects = desk.subscribe("bar.10s.built", "bar.1m.built", "bar.5s")
    assert len(asked(effects)) == 1
    records = published(desk.data(real(0), real(5), s=10))
    shown = [
        (stream.kind, bar.flags, bar.final, bar.revision, bar.volume) for stream, bar in records if isinstance(bar, Bar)
    ]
    assert shown == [
        ("bar.5s", 0, True, 0, "2"),
        ("bar.10s.built", FLAG_BUILT, False, 0, "2"),
        ("bar.1m.built", FLAG_BUILT, False, 0, "2"),
        ("bar.5s", 0, True, 0, "2"),
        ("bar.10s.built", FLAG_BUILT, True, 1, "4"),
        ("bar.1m.built", FLAG_BUILT, False, 1, "4"),
    ]


def test_a_line_opened_for_built_bars_only_is_that_of_5_s_and_ends_with_its_last_holder() -> None:
    desk = Desk()
    desk.subscribe("bar.1m.built")
    assert [stream.kind for stream, _ in published(desk.data(real(0), s=5))] == ["bar.1m.built"]
    assert asked(desk.subscribe("bar.5s", id="2", s=6)) == []
    desk.unsubscribe("bar.1m.built", s=7)
    assert [stream.kind for stream, _ in published(desk.data(real(5), s=10))] == ["bar.5s"]


def test_a_built_bar_is_closed_by_a_deadline_and_not_while_the_line_is_cut_off() -> None:
    desk = Desk()
    desk.subscribe("bar.1m.built")
    desk.data(*(real(s) for s in range(0, 50, 5)), s=50)
    assert desk.core.next_wakeup_s() == 67
    ((_, bar),) = published(desk.wake(67))
    assert isinstance(bar, Bar)
    assert (bar.final, bar.revision, bar.end_ns) == (True, 10, ns(60))
    desk.data(real(60), s=65)
    desk.down(70)
    assert published(desk.wake(127)) == []
    desk.up(128)
    records = [
        record
        for _, record in published(desk.data(RealTimeBar(22, ns(130), ns(125), 1.0, 1, 1, 1, "1", "1", 1), s=130))
    ]
    assert [type(record) for record in records] == [Gap, Bar]
    assert published(desk.wake(190)) == []


def test_prices_that_are_not_known_stay_unknown_and_negative_ones_are_prices() -> None:
    desk = Desk()
    desk.subscribe("bar.10s.bid.built")
    ((_, first),) = published(desk.data(RealTimeBar(12, ns(5), ns(0), None, None, None, None, None, None, None), s=5))
    assert isinstance(first, Bar)
    assert (first.open, first.high, first.low, first.close, first.volume, first.wap, first.count) == (None,) * 7
    ((_, second),) = published(
        desk.data(RealTimeBar(12, ns(10), ns(5), -1.0, 0.0, -37.63, -1.0, None, None, None), s=10)
    )
    assert isinstance(second, Bar)
    assert (second.open, second.high, second.low, second.close) == (-1.0, 0.0, -37.63, -1.0)
    assert (second.volume, second.wap, second.count, second.final) == (None, None, None, True)


def test_the_average_is_weighted_with_the_volume() -> None:
    desk = Desk()
    desk.subscribe("bar.10s.built")
    records = published(desk.data(real(0, volume="1", wap="10"), real(5, volume="3", wap="12"), s=10))
    (_, bar) = records[-1]
    assert isinstance(bar, Bar)
    assert (bar.wap, bar.volume, bar.count) == ("11.5", "4", 2)


def test_weeks_and_months_are_not_built() -> None:
    refused = answer(Desk().subscribe("bar.1w.built", contract=stock())).reply.error
    assert refused is not None
    assert "'bar.1w.built' is no kind" in refused.message


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(-5, 5), st.integers(0, 9)), min_size=1, max_size=60))
def test_a_bar_told_anew_counts_once_wherever_it_stands(steps: list[tuple[int, int, int]]) -> None:
    begin_s = seconds("2026-06-03T10:00:00")

    def builder() -> BarBuilder:
        return BarBuilder(times_of("AAPL", "5m", begin_s, rth=False))

    told, kept, newest, last = builder(), dict[int, RealTimeBar](), -1, None
    for back, price, volume in steps:
        # Of 60 the next, or one of those before told anew.
        newest += not back and newest < 59
        start_ns = (begin_s + 5 * max(0, newest - back)) * NS
        high, low = price + 1.0, price - 1.0
        bar = RealTimeBar(2, start_ns + 5 * NS, start_ns, price, high, low, price, str(volume), f"{price}", volume)
        if found := told.take(bar):
            kept[start_ns], last = bar, found[-1].shape
    whole = builder()
    shapes = [whole.take(bar)[-1].shape for _, bar in sorted(kept.items())]
    assert last == shapes[-1]
