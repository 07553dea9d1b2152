"""A reader's order book: changes by position, and what makes it unknown until the next whole book."""

from __future__ import annotations

import pytest

from ibkr_actor.client import OrderBook
from ibkr_actor.schema.records import AnyRecord, Depth, End, Gap, Reset

Row = tuple[float | None, str | None, str | None]


def whole(seq: int, *prices: float, epoch: int = 7) -> Depth:
    rows: list[Row] = [(price, "1", None) for price in prices]
    return Depth(epoch, seq, 1, 1, None, 1, 8, None, None, "snapshot", None, None, None, False, rows, [])


def change(seq: int, operation: str, position: int, price: float = 1.0, side: str = "bid") -> Depth:
    return Depth(7, seq, 1, 1, None, 1, 0, side, position, operation, price, "1", None, False)


def prices(book: OrderBook) -> list[float | None]:
    return [price for price, _, _ in book.bids]


def test_changes_are_made_by_position() -> None:
    book = OrderBook()
    for record in (
        whole(1),
        change(2, "insert", 0, 3.0),
        change(3, "insert", 1, 1.0),
        change(4, "insert", 1, 2.0),
        change(5, "update", 0, 3.5),
        change(6, "delete", 2),
        change(7, "insert", 0, 4.0, "ask"),
    ):
        book.add(record)
    assert (prices(book), book.asks, book.known) == ([3.5, 2.0], [(4.0, "1", None)], True)


def test_who_begins_between_two_whole_books_knows_nothing_before_the_second() -> None:
    book = OrderBook()
    book.add(change(5, "update", 3))
    assert not book.known
    book.add(whole(6, 2.0, 1.0))
    assert (prices(book), book.known) == ([2.0, 1.0], True)


def test_what_comes_twice_counts_once() -> None:
    book = OrderBook()
    for record in (whole(1, 2.0), change(2, "insert", 0, 3.0), change(2, "insert", 0, 3.0), whole(1)):
        book.add(record)
    assert (prices(book), book.known) == ([3.0, 2.0], True)


@pytest.mark.parametrize(
    "record",
    [
        Gap(7, 2, 1, 1, None, 1, 0, "overflow", None, None, 2, 1),
        Reset(8, 1, 1, 1, None, 1, 0, "restart", 7, 1, "1-0"),
        End(7, 2, 1, 1, None, 1, 0, "failed"),
        change(3, "update", 0),
    ],
)
def test_after_anything_missing_it_is_not_known_until_the_next_whole_book(record: AnyRecord) -> None:
    book = OrderBook()
    book.add(whole(1, 2.0))
    book.add(record)
    assert not book.known
    book.add(whole(record.seq + 1, 5.0, epoch=record.epoch))
    assert (prices(book), book.known) == ([5.0], True)
