"""Errors by their codes, decimals, datetimes, and frames."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args

import pytest

from ibkr_actor.client import Item, as_datetime, as_decimal
from ibkr_actor.client.errors import ERRORS, AmbiguousInstrument, MarketDataError, NoAnswer, Retryable, error_of, named
from ibkr_actor.client.frames import to_arrow, to_dataframe
from ibkr_actor.client.items import AnyItem
from ibkr_actor.client.jobs import HistoryBar, rows_of
from ibkr_actor.schema.commands import Code, Rejection
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import Bars, Depth, Quote, Ticks
from tests.client.kit import midpoint

AT_NS = 1_767_623_400_123_456_789
A = Stream("quote", "A")


def quote(bid_size: str | None = "0.1") -> Quote:
    return Quote(7, 1, 1, AT_NS, None, 1, 0, 1.5, None, None, bid_size, None, None, "30000000000000.5", 1)


def test_every_code_of_the_contract_has_a_class_of_its_own() -> None:
    assert set(ERRORS) == set(get_args(Code))
    assert len(set(ERRORS.values())) == len(ERRORS)
    for code in get_args(Code):
        error = error_of(Rejection(code, "why"))
        assert (error.code, error.message) == (code, "why")
        assert str(error).startswith(f"{code}: why")


def test_an_error_carries_what_the_rejection_says() -> None:
    contract = Contract(1, "A", "STK", "SMART", "USD")
    error = error_of(Rejection("ambiguous_instrument", "which?", 200, False, None, [contract]))
    assert isinstance(error, AmbiguousInstrument)
    assert (error.ib_code, error.candidates, error.retryable) == (200, [contract], False)
    slow = error_of(Rejection("pacing_violation", "wait", 162, True, 15.0))
    assert isinstance(slow, Retryable)
    assert slow.retry_after_s == 15.0
    nobody = NoAnswer("nobody")
    assert isinstance(nobody, TimeoutError)
    assert isinstance(nobody, MarketDataError)
    assert (nobody.code, nobody.retryable) == ("connection_failed", True)


def test_sizes_are_exact_and_times_are_utc() -> None:
    item: Item[AnyItem] = Item(A, "1-1", quote())
    assert item.decimal("bid_size") == Decimal("0.1")
    assert item.decimal("volume") == Decimal("30000000000000.5")
    assert item.decimal("ask_size") is None
    assert item.received_at == datetime(2026, 1, 5, 14, 30, 0, 123456, UTC)
    assert item.source_at is None
    assert (as_decimal(None), as_datetime(None), as_datetime(0)) == (None, None, datetime(1970, 1, 1, tzinfo=UTC))


def test_items_become_a_frame_with_their_instruments_and_nanoseconds() -> None:
    items = [Item(A, "1-1", quote()), Item(A, "1-2", quote(None))]
    frame = to_dataframe(items)
    assert list(frame.columns[:4]) == ["instrument", "kind", "id", "epoch"]
    assert frame["received"][0].value == AT_NS
    assert str(frame["received"].dtype) == "datetime64[ns, UTC]"
    assert (frame["bid_size"][0], frame["bid_size"].isna()[1]) == ("0.1", True)
    table = to_arrow(items, sizes="decimal")
    assert table["bid_size"].to_pylist() == [Decimal("0.1"), None]
    assert to_arrow(items, sizes="float")["volume"].to_pylist()[0] == 30000000000000.5
    assert str(table.schema.field("source").type) == "timestamp[ns, tz=UTC]"


def test_batches_of_history_become_rows() -> None:
    row = (AT_NS, AT_NS + 5, 1.0, 2.0, 0.5, 1.5, "10", "1.25", 3, None)
    bars = Bars(7, 1, 1, AT_NS, None, 1, 0, "TRADES", "5s", [row])
    assert list(rows_of(bars)) == [HistoryBar(*row)]
    table = to_arrow([bars, bars])
    assert table.num_rows == 2
    assert table["close"].to_pylist() == [1.5, 1.5]
    ticks = Ticks(7, 1, 1, AT_NS, None, 1, 0, "MIDPOINT", [[AT_NS, 1.5]])
    assert to_arrow([ticks]).to_pydict()["price"] == [1.5]


def test_books_and_nothing_at_all_become_tables() -> None:
    book = Depth(7, 1, 1, 1, None, 1, 8, None, None, "snapshot", None, None, None, False, [(1.0, "5", None)], [])
    assert to_arrow([book])["bids"].to_pylist() == [[{"price": 1.0, "size": "5", "market_maker": None}]]
    assert to_arrow([]).num_rows == 0


def test_records_of_several_types_and_what_is_no_record_are_refused() -> None:
    with pytest.raises(ValueError, match="Quote and MidPoint"):
        to_arrow([quote(), midpoint(1)])
    with pytest.raises(ValueError, match="neither an item nor a record"):
        to_arrow([object()])
    with pytest.raises(ValueError, match="sizes"):
        to_arrow([quote()], sizes="double")  # type: ignore[arg-type]  # what a caller without types may do


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r"ibkr-actor\[frames\]"):
        to_arrow([quote()])


def test_a_refusal_says_of_which_instrument_once() -> None:
    error = named(error_of(Rejection("invalid_instrument", "no such contract", ib_code=200)), "NOSUCH")
    assert (type(error), error.ib_code) == (ERRORS["invalid_instrument"], 200)
    assert error.message == "NOSUCH: no such contract"
    assert named(error, "NOSUCH") is error
