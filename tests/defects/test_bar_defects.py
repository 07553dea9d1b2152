"""The replaced system's defects of bars, one by one, each shown not to happen here.

D7 and D8 are the numbers under which they were found; each test would fail on the code that had them.
"""

from __future__ import annotations

import pytest

from ibkr_actor.core.events import RealTimeBar
from ibkr_actor.schema.records import AnyRecord, Bar, Reset
from tests.core.desk import Desk
from tests.core.kit import ns, published, stock
from tests.e2e.past import of_the_tape, running_past
from tests.e2e.test_backfill import text

pytestmark = pytest.mark.anyio

SPEED = 20.0


def bars(records: list[AnyRecord]) -> list[Bar]:
    return [record for record in records if isinstance(record, Bar)]


# ---- D7: the stream of bars died at its first wait


async def test_d7_bars_keep_coming() -> None:
    async with running_past(speed=SPEED) as (sim, house):
        (key,) = await house.subscribe("AAPL", "bar.5s")
        records = await house.until(key, lambda found: len(bars(found)) >= 4)
        assert isinstance(records[0], Reset)
        starts = [bar.start_ns for bar in bars(records)]
        assert starts == sorted(set(starts))
        assert not sim.violations


# ---- D8: fields of another class were read, every symbol's last bar was told again at every update, bars of 5 s were
# ---- labelled with the resolution that was asked for, and IB's begin of a bar was taken for its end


async def test_d8_a_bar_has_its_own_prices_and_its_begin_and_end() -> None:
    async with running_past(speed=SPEED) as (sim, house):
        (key,) = await house.subscribe("AAPL", "bar.5s")
        first = bars(await house.until(key, lambda found: len(bars(found)) >= 1))[0]
        ((start_ns, end_ns, prices, volume, count),) = of_the_tape(
            sim, "AAPL", "5s", "TRADES", text(first.start_ns), text(first.end_ns), False
        )
        assert (first.start_ns, first.end_ns) == (start_ns, end_ns)
        assert end_ns - start_ns == 5_000_000_000
        assert tuple(round(price or 0, 8) for price in (first.open, first.high, first.low, first.close)) == prices
        assert (first.volume, first.count, first.what_to_show) == (volume, count, "TRADES")


def test_d8_news_of_one_instrument_tells_no_other_ones_bar() -> None:
    desk = Desk()
    desk.subscribe("bar.5s")
    desk.subscribe("bar.5s", id="2", contract=stock("MSFT", 272093))
    told = published(desk.data(RealTimeBar(12, ns(5), ns(0), 1.0, 2.0, 0.5, 1.5, "7", "1.25", 3), s=5))
    assert [stream.name for stream, _ in told] == ["bar.5s:AAPL.STK.SMART.USD"]
    again = published(desk.data(RealTimeBar(22, ns(5), ns(0), 9.0, 9.0, 9.0, 9.0, "1", "9", 1), s=5))
    assert [stream.name for stream, _ in again] == ["bar.5s:MSFT.STK.SMART.USD"]


def test_d8_a_minute_is_a_minute_in_its_own_stream() -> None:
    desk = Desk()
    desk.subscribe("bar.5s", "bar.1m.built")
    told = published(
        desk.data(*(RealTimeBar(12, ns(s + 5), ns(s), 1, 1, 1, 1, "1", "1", 1) for s in range(0, 60, 5)), s=60)
    )
    lengths = {(stream.kind, bar.end_ns - bar.start_ns) for stream, bar in told if isinstance(bar, Bar)}
    assert lengths == {("bar.5s", 5_000_000_000), ("bar.1m.built", 60_000_000_000)}
    assert sum(bar.final for stream, bar in told if isinstance(bar, Bar) and stream.kind == "bar.1m.built") == 1
