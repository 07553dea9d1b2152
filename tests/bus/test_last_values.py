"""Last values of kinds whose newest record is not the whole answer: order books and greeks."""

from __future__ import annotations

import pytest

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Depth, Greeks
from tests.bus.kit import Probe, publishing, written

pytestmark = pytest.mark.anyio

DEPTH = Stream("depth", "AAPL.STK.SMART.USD")
GREEKS = Stream("greeks", "AAPL.OPT.SMART.USD.20261218.C.230.AAPL")


def change() -> Depth:
    return Depth(0, 0, 1, 5, None, 1, 0, "bid", 0, "insert", 1.5, "10", None, False)


def whole() -> Depth:
    return Depth(
        0, 0, 1, 6, None, 1, 8, None, None, "snapshot", None, None, None, False, [(1.5, "10", None)], []
    )  # fmt: skip


def greeks(source: str, delta: float) -> Greeks:
    return Greeks(0, 0, 1, 5, None, 1, 0, source, 0.2, delta, None, None, None, None, None, None)


async def test_of_a_book_the_newest_whole_one_is_kept_with_its_id(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([(DEPTH, change())])
        await written(publisher)
        assert await probe.last(DEPTH) == {}
        publisher.publish([(DEPTH, whole()), (DEPTH, change()), (DEPTH, change())])
        await written(publisher)
    last = await probe.last(DEPTH)
    assert set(last) == {"depth", "depth:id"}
    # The reset and the first change stand before it.
    third = (await probe.entries(DEPTH))[2]
    assert (decode_record({b"d": last["depth"]}), last["depth:id"].decode()) == (third.record, third.id)
    assert isinstance(third.record, Depth)
    assert third.record.operation == "snapshot"


async def test_of_greeks_the_newest_of_each_source_is_kept(config: BusConfig, probe: Probe) -> None:
    async with publishing(config) as publisher:
        publisher.publish([(GREEKS, greeks("bid", 0.1)), (GREEKS, greeks("model", 0.2)), (GREEKS, greeks("bid", 0.3))])
        await written(publisher)
    last = await probe.last(GREEKS)
    assert set(last) == {"greeks", "greeks:id", "greeks:bid", "greeks:model"}
    held = {name: decode_record({b"d": last[name]}) for name in ("greeks", "greeks:bid", "greeks:model")}
    assert {name: record.delta for name, record in held.items() if isinstance(record, Greeks)} == {
        "greeks": 0.3,
        "greeks:bid": 0.3,
        "greeks:model": 0.2,
    }
