"""Order books: rows by position, and a book rebuilt from the records against the simulator's own."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.events import DepthUpdate
from ibkr_actor.core.lines.order_book import BadRow, Book, Row
from ibkr_actor.sim import messages as m
from ibkr_actor.sim.desks.lines import Kind, Line
from ibkr_actor.sim.market import books
from ibkr_actor.sim.market.bars import Quote
from ibkr_actor.sim.market.catalogue import default_catalogue
from ibkr_actor.sim.market.market import InstrumentMarket
from ibkr_actor.sim.market.tapes import Tapes
from tests.core.desk import Desk
from tests.core.kit import ns, published
from tests.core.rebuilt import Rebuilt, Rows

CATALOGUE = default_catalogue()
NOON_S = 1_717_430_400.0


def row(position: int, operation: int, price: float = 1.0, *, side: int = 1, size: str = "1") -> DepthUpdate:
    return DepthUpdate(12, ns(0), position, operation, side, price, size, None, False)


def bids(book: Book) -> list[float | None]:
    return [each.price for each in book.sides[1]]


def test_an_insert_moves_rows_back_and_a_delete_moves_them_up() -> None:
    book = Book(5)
    for position, price in enumerate((5.0, 4.0, 3.0)):
        book.apply(row(position, 0, price))
    book.apply(row(1, 0, 4.5))
    assert bids(book) == [5.0, 4.5, 4.0, 3.0]
    book.apply(row(0, 2))
    book.apply(row(2, 1, -3.5))
    assert bids(book) == [4.5, 4.0, -3.5]
    assert book.sides[0] == []


def test_a_row_pushed_out_is_said_to_be_deleted_and_ibs_own_deletion_of_it_does_nothing() -> None:
    book = Book(2)
    book.apply(row(0, 0, 2.0))
    book.apply(row(1, 0, 1.0))
    inserted, deleted = book.apply(row(0, 0, 3.0))
    assert (inserted.operation, inserted.position, inserted.row.price) == ("insert", 0, 3.0)
    assert (deleted.operation, deleted.position, deleted.row.price) == ("delete", 2, 1.0)
    assert book.apply(row(2, 2)) == []
    assert bids(book) == [3.0, 2.0]


def test_a_server_that_keeps_more_rows_than_it_was_asked_for_is_followed() -> None:
    book = Book(2)
    for position, price in enumerate((3.0, 2.0, 1.0)):
        (change,) = book.apply(row(position, 0, price))
        assert change.operation == "insert"
    book.apply(row(0, 2))
    book.apply(row(1, 1, 1.5))
    assert bids(book) == [2.0, 1.5]
    book.apply(row(0, 0, 2.5))
    assert [change.operation for change in book.apply(row(0, 0, 2.75))] == ["insert", "delete"]
    assert bids(book) == [2.75, 2.5, 2.0]


@pytest.mark.parametrize(
    "event",
    [row(2, 0), row(1, 1), row(1, 2), row(-1, 1), row(0, 3), row(0, 1, side=2), row(5, 2), row(5, 0), row(0, -1)],
)
def test_a_row_that_does_not_fit_changes_nothing(event: DepthUpdate) -> None:
    book = Book(5)
    book.apply(row(0, 0, 2.0))
    with pytest.raises(BadRow):
        book.apply(event)
    assert bids(book) == [2.0]


def test_zero_negative_fractional_and_missing_values_stay_what_they_are() -> None:
    book = Book(5)
    book.apply(DepthUpdate(12, ns(0), 0, 0, 1, 0.0, "0", None, False))
    book.apply(DepthUpdate(12, ns(0), 1, 0, 1, -37.63, "0.0001", "NSDQ", False))
    book.apply(DepthUpdate(12, ns(0), 2, 0, 1, None, None, None, False))
    assert book.sides[1] == [Row(0.0, "0", None), Row(-37.63, "0.0001", "NSDQ"), Row(None, None, None)]


# ---- a book rebuilt from the records

ROWS = 4
positions = st.integers(0, ROWS + 1)
changes = st.tuples(st.integers(0, 1), st.integers(0, 2), positions, st.integers(-5, 99))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(changes, st.sampled_from(["show", "reset", "halt", "upstream"])), max_size=60))
def test_whatever_ib_sends_the_records_rebuild_the_book_that_is_held(steps: list[object]) -> None:
    desk = Desk(SubscriptionsConfig(depth_rows=ROWS))
    reader = Rebuilt()
    desk.subscribe("depth")
    s = 1.0
    for step in steps:
        s += 11.0
        if isinstance(step, tuple):
            side, operation, position, value = step
            event = DepthUpdate(desk.last_req_id, ns(s), position, operation, side, float(value), "1", None, False)
            effects = desk.data(event, s=s)
        elif step == "show":
            effects = desk.wake(s)
        else:
            effects = desk.error(desk.last_req_id, 317 if step == "reset" else 316, s)
        reader.read(record for _, record in published(effects))
        (line,) = desk.core._book.lines.values()
        assert line.book is not None
        if not line.book.fresh:
            held: list[Rows] = [[(r.price, r.size, r.market_maker) for r in rows] for rows in line.book.sides]
            assert [reader.asks, reader.bids] == held


@pytest.mark.parametrize(("name", "owners"), [("AAPL", ()), ("SIM003", ()), ("SPY", ("NSDQ", "ARCA", "BATS"))])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_book_rebuilt_from_snapshot_and_changes_is_the_simulators(
    name: str, owners: tuple[str, ...], seed: int
) -> None:
    instrument = CATALOGUE.find(name)
    tapes = Tapes(CATALOGUE, seed=seed, ticks_per_s=4.0, market_hours="always")
    market = InstrumentMarket(tapes.tape(instrument), NOON_S)
    # The session of a line is of no concern to the rows of its book.
    line = Line(None, 12, Kind.DEPTH, instrument, rows=5, owners=owners)  # type: ignore[arg-type]
    desk = Desk(SubscriptionsConfig(depth_rows=5))
    desk.subscribe("depth")
    early, late = Rebuilt(), Rebuilt()

    def send(messages: list[m.Message], s: float) -> None:
        events = [_event(message, s) for message in messages]
        effects = (desk.data(*events, s=s) if events else []) + desk.wake(s + 0.3)
        records = [record for _, record in published(effects)]
        early.read(records)
        if s > 50:
            late.read(records)

    send(books.first_rows(line, market), 0.0)
    for number in range(1, 200):
        event = market.step()
        send(books.changed_rows(line, market, event) if isinstance(event, Quote) else [], float(number))
        expected = [[market.level(side, place) for place in range(5)] for side in (1, 0)]
        assert early.bids is not None
        assert early.asks is not None
        held = [[(price, size) for price, size, _ in rows] for rows in (early.bids, early.asks)]
        assert held == [[(price, f"{size.normalize():f}") for price, size in rows] for rows in expected]
    # Who came late began at a snapshot and holds the same.
    assert (late.bids, late.asks) == (early.bids, early.asks)
    assert early.changes > 50


def _event(message: m.Message, s: float) -> DepthUpdate:
    assert isinstance(message, m.MarketDepth | m.MarketDepthL2)
    maker = message.market_maker if isinstance(message, m.MarketDepthL2) else None
    assert isinstance(message.size, Decimal)
    size = f"{message.size.normalize():f}"
    return DepthUpdate(12, ns(s), message.position, message.operation, message.side, message.price, size, maker, False)
