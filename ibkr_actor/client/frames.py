"""What was read as an Arrow table or a pandas DataFrame; needs the extra `frames`.

Reads nothing itself, and imports pandas and pyarrow when they are asked for only.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, Literal

from msgspec import Struct

from ibkr_actor.client.items import Item
from ibkr_actor.client.jobs import rows_of
from ibkr_actor.schema.records import Bars, Ticks

Sizes = Literal["text", "float", "decimal"]
# Text fields that are numbers: IB's sizes are decimals.
SIZES: Final = frozenset({"bid_size", "ask_size", "last_size", "size", "volume", "wap"})
_BOOK: Final = frozenset({"bids", "asks"})
_ITEM_COLUMNS: Final = ("instrument", "kind", "id")


def to_arrow(records: Iterable[Any], *, sizes: Sizes = "text") -> Any:
    """A `pyarrow.Table` with a column per field. `records` are of one type.

    Items (with their instrument, kind and id), records, rows of history, or batches of history, whose rows it takes.
    A field `received_ns` becomes a column `received` of UTC timestamps with nanoseconds.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        ValueError: the records are of several types, or `sizes` is none of the three.
    """
    if sizes not in ("text", "float", "decimal"):
        raise ValueError(f"sizes {sizes!r} is none of text, float and decimal")
    arrow = _library("pyarrow")
    rows = list(_rows(records))
    columns = {name: _column(arrow, name, [row[name] for row in rows], sizes) for name in (rows[0] if rows else ())}
    return arrow.table({_title(name): column for name, column in columns.items()})


def to_dataframe(records: Iterable[Any], *, sizes: Sizes = "text") -> Any:
    """A `pandas.DataFrame` of the same.

    Raises:
        ModuleNotFoundError: pandas or pyarrow is not installed.
        ValueError: as for `to_arrow`.
    """
    _library("pandas")
    return to_arrow(records, sizes=sizes).to_pandas()


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} is not installed: pip install 'ibkr-actor[frames]'", name=name) from error


def _rows(records: Iterable[Any]) -> Iterable[dict[str, Any]]:
    seen: type | None = None
    for record in records:
        for row in rows_of(record) if isinstance(record, Bars | Ticks) else (record,):
            body = row.record if isinstance(row, Item) else row
            if not isinstance(body, Struct):
                raise ValueError(f"{type(body).__name__} is neither an item nor a record")
            if seen is not None and type(body) is not seen:
                raise ValueError(f"records of several types, {seen.__name__} and {type(body).__name__}: choose one")
            seen = type(body)
            head = {name: getattr(row, name) for name in _ITEM_COLUMNS} if isinstance(row, Item) else {}
            yield head | {name: getattr(body, name) for name in body.__struct_fields__}


def _title(name: str) -> str:
    return name.removesuffix("_ns")


def _column(arrow: Any, name: str, values: list[Any], sizes: Sizes) -> Any:
    if name.endswith("_ns"):
        return arrow.array(values, arrow.timestamp("ns", "UTC"))
    if name in SIZES and sizes == "float":
        return arrow.array([None if value is None else float(value) for value in values], arrow.float64())
    if name in SIZES and sizes == "decimal":
        return arrow.array([None if value is None else Decimal(value) for value in values])
    if name in SIZES:
        return arrow.array(values, arrow.string())
    if name in _BOOK:
        parts = [("price", arrow.float64()), ("size", arrow.string()), ("market_maker", arrow.string())]
        names = [part for part, _ in parts]
        books = [None if rows is None else [dict(zip(names, row, strict=True)) for row in rows] for rows in values]
        return arrow.array(books, arrow.list_(arrow.struct(parts)))
    return arrow.array(values)
