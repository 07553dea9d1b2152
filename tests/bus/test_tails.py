"""What is read at start of streams whose gaps are refilled: the newest bar, or all ticks of the newest second."""

from __future__ import annotations

import pytest

from ibkr_actor.bus.bus import Bus
from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.tails import read_tails
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.core.holders import Holder, holder_write
from ibkr_actor.core.past.healing import healed
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import FLAG_LATE, FLAG_REFILLED, Bar, DataRecord, End, Gap, Trade
from tests.bus.kit import DEADLINE_S, QUOTE, TRADE, Probe
from tests.bus.test_bus import running

pytestmark = pytest.mark.anyio

BAR = Stream("bar.5s", "AAPL.STK.SMART.USD")
KEPT = Stream("bar.1m", "AAPL.STK.SMART.USD")
NS = 1_000_000_000


def holders(*streams: Stream, heal: bool = True) -> tuple[HolderWrite, ...]:
    contract = Contract(265598, "AAPL", "STK", "SMART", "USD", instrument="AAPL.STK.SMART.USD")
    return tuple(holder_write(stream, Holder("c", 0, frozenset(), "1", 1, heal), contract) for stream in streams)


def trade(s: int, size: str) -> Trade:
    return Trade(0, 0, 265598, s * NS + 5, s * NS, 1, 0, 1.5, size, "X", "", False, False)


def bar(s: int, flags: int = 0) -> Bar:
    span = (s * NS, (s + 5) * NS)
    return Bar(0, 0, 265598, (s + 5) * NS, None, 1, flags, *span, 1, 2, 1, 2, "1", "1", 1, True, 0, "TRADES")


def gap() -> Gap:
    return Gap(0, 0, 265598, NS, None, 1, FLAG_LATE, "disconnect", 1, 2, refilled=True)


def end() -> End:
    return End(0, 0, 265598, NS, None, 1, 0, "no_holders")


async def left_by(
    config: BusConfig, probe: Probe, records: list[tuple[Stream, DataRecord]], *, heal: bool = True
) -> dict[str, tuple[DataRecord, ...]]:
    """What a sidecar finds after one that wrote these."""
    written = holders(TRADE, BAR, KEPT, QUOTE, heal=heal)
    first = Bus(config)
    await first.start()
    async with running(first):
        first.publish(records)
        assert await first.drain(DEADLINE_S)
    if not probe.link.is_open:
        await probe.link.open()
    return await read_tails(probe.link, probe.keys, healed(written))


def sizes(records: tuple[DataRecord, ...]) -> list[str]:
    return [record.size or "" for record in records if isinstance(record, Trade)]


async def test_all_ticks_of_the_newest_second_are_read_however_many(config: BusConfig, probe: Probe) -> None:
    many = [(TRADE, trade(7, str(n))) for n in range(1_200)]
    tails = await left_by(config, probe, [(TRADE, trade(6, "x")), *many])
    assert sizes(tails[TRADE.name]) == [str(n) for n in range(1_200)]


async def test_the_newest_bar_is_the_one_that_came_live(config: BusConfig, probe: Probe) -> None:
    late = FLAG_REFILLED | FLAG_LATE
    tails = await left_by(config, probe, [(BAR, bar(5)), (BAR, bar(20)), (BAR, bar(10, late)), (BAR, gap())])
    assert [record.start_ns for record in tails[BAR.name] if isinstance(record, Bar)] == [20 * NS]


async def test_a_stream_that_ended_or_is_empty_or_cannot_be_refilled_has_none(config: BusConfig, probe: Probe) -> None:
    assert await left_by(config, probe, [(BAR, bar(5)), (BAR, end())]) == {}


async def test_of_bars_that_ib_keeps_up_to_date_the_newest_is_read_wanted_or_not(
    config: BusConfig, probe: Probe
) -> None:
    tails = await left_by(config, probe, [(KEPT, bar(0)), (KEPT, bar(60))], heal=False)
    assert [record.start_ns for record in tails[KEPT.name] if isinstance(record, Bar)] == [60 * NS]


async def test_nothing_is_read_for_who_does_not_want_it(config: BusConfig, probe: Probe) -> None:
    assert await left_by(config, probe, [(BAR, bar(5))], heal=False) == {}
