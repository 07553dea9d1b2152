"""What waits for one client: conflation, order, bounds and the notice of one that is too slow."""

from __future__ import annotations

import anyio
import pytest

from ibkr_actor.http.items import Item, conflated, position_of
from ibkr_actor.http.outlet import Notice, Outlet
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, Gap, Quote

pytestmark = pytest.mark.anyio

AAPL = Stream("quote", "AAPL.STK.SMART.USD")


def quote(n: int, *, encoding: str = "msgpack") -> Item:
    return _item(n, Quote(1, n, 7, 0, None, 1, 0, 1.0, 2.0, None, "1", "1", None, None, 1), encoding)


def gap(n: int) -> Item:
    return _item(n, Gap(1, n, 7, 0, None, 1, 0, "disconnect", None, None), "msgpack")


def _item(n: int, record: DataRecord, encoding: str) -> Item:
    if encoding == "json":
        return Item(AAPL, f"{n}-0", {b"j": encode_record(record, "json")})
    return Item(AAPL, f"{n}-0", {b"d": encode_record(record)})


def outlet(hz: float, queue_max: int = 100) -> Outlet:
    it = Outlet((), hz=hz, queue_max=queue_max)
    it.start("k", "0-0", (0, 0))
    return it


def ids(batch: list[tuple[str, Item] | Notice]) -> list[str]:
    return [each.event if isinstance(each, Notice) else each[1].id for each in batch]


async def test_of_many_quotes_the_newest_is_sent() -> None:
    it = outlet(10.0)
    it.offer("k", [quote(n) for n in range(1, 50)])
    assert ids(await it.next(1.0)) == ["49-0"]


async def test_without_conflation_every_quote_is_sent() -> None:
    it = outlet(0.0)
    it.offer("k", [quote(n) for n in range(1, 50)])
    assert ids(await it.next(1.0)) == [f"{n}-0" for n in range(1, 50)]


async def test_a_gap_keeps_its_place_and_the_quote_before_it() -> None:
    it = outlet(10.0)
    it.offer("k", [quote(1), quote(2), gap(3), quote(4), quote(5)])
    assert ids(await it.next(1.0)) == ["2-0", "3-0", "5-0"]


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_the_reader_leaves_out_quotes_that_a_newer_one_follows(encoding: str) -> None:
    items = [quote(1, encoding=encoding), quote(2, encoding=encoding), gap(3), quote(4, encoding=encoding)]
    assert [item.id for item in conflated(items)] == ["2-0", "3-0", "4-0"]


async def test_an_entry_that_was_offered_before_is_passed_over() -> None:
    it = outlet(0.0)
    it.offer("k", [quote(1), quote(2)])
    it.offer("k", [quote(1), quote(2), quote(3)])
    assert ids(await it.next(1.0)) == ["1-0", "2-0", "3-0"]


async def test_one_that_is_too_slow_is_told_how_much_it_missed_and_gets_no_more() -> None:
    it = outlet(0.0, queue_max=10)
    it.offer("k", [quote(n) for n in range(1, 20)])
    it.offer("k", [quote(20)])
    (notice,) = await it.next(1.0)
    assert isinstance(notice, Notice)
    assert (notice.event, notice.data["unsent"], notice.last) == ("dropped", 19, True)
    assert it.over


async def test_conflated_quotes_never_fill_the_queue() -> None:
    it = outlet(10.0, queue_max=10)
    for n in range(1, 1000):
        it.offer("k", [quote(n)])
    assert ids(await it.next(1.0)) == ["999-0"]


async def test_a_wait_for_nothing_ends_with_nothing() -> None:
    assert await outlet(10.0).next(0.01) == []


async def test_a_client_that_waits_is_woken_by_what_comes() -> None:
    it = outlet(0.0)
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            it.offer("k", [quote(1)])

        tasks.start_soon(later)
        with anyio.fail_after(60.0):
            assert ids(await it.next(60.0)) == ["1-0"]


@pytest.mark.parametrize("text", ["", "x-1", "1-x", "-1", "1-2-3", "9" * 50])
def test_what_is_no_entry_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no entry id"):
        position_of(text)
