"""Files of bars and ticks: CSV, JSON lines and Parquet by their extension, written as rows come.

A file stands under its name only when it is finished: until then it ends in `.part`, and an older one stays.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, Protocol

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.records import Bars, Ticks

BAR_COLUMNS: Final = ("start", "end", "open", "high", "low", "close", "volume", "wap", "count", "session_date")
TICK_COLUMNS: Final = {
    "TRADES": ("time", "price", "size", "exchange", "conditions", "past_limit", "unreported"),
    "MIDPOINT": ("time", "price"),
    "BID_ASK": ("time", "bid", "ask", "bid_size", "ask_size", "bid_past_low", "ask_past_high"),
}
# Columns of a tick file hold all three kinds: which one it is may be chosen by the sidecar.
ALL_TICK_COLUMNS: Final = tuple(dict.fromkeys(name for names in TICK_COLUMNS.values() for name in names))
_TIMES: Final = frozenset({"start", "end", "time"})
_FLOATS: Final = frozenset({"open", "high", "low", "close", "price", "bid", "ask"})
_FLAGS: Final = frozenset({"past_limit", "unreported", "bid_past_low", "ask_past_high"})
# Rows of Parquet gathered before they are written as one group.
_GROUP_ROWS: Final = 100_000


class Writer(Protocol):
    """Where rows go."""

    finished: bool

    def write(self, instrument: str, entry: Bars | Ticks) -> None: ...

    def finish(self) -> None: ...


@contextmanager
def open_writer(path: Path | None, *, ticks: bool, many: bool, as_json: bool = False) -> Iterator[Writer]:
    """A writer for the extension of `path`; without one, CSV or JSON on the output. `many` adds a column `instrument`.

    What is not finished in the end is thrown away.

    Raises:
        ConfigurationError: the extension is none of .csv, .json and .parquet, or pyarrow is missing, or no such folder.
    """
    columns = (("instrument",) if many else ()) + (ALL_TICK_COLUMNS if ticks else BAR_COLUMNS)
    if path is None:
        yield (_JsonWriter if as_json else _CsvWriter)(sys.stdout, columns)
        return
    if as_json and path.suffix.lower() not in (".json", ".jsonl"):
        raise ConfigurationError(f"--json: --out {path.name} is no .json")
    part = path.with_name(path.name + ".part")
    make = _maker(path)
    try:
        stream: IO[Any] = part.open("wb") if make is _ParquetWriter else part.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigurationError(f"--out {path}: {error.strerror}") from None
    kept = False
    try:
        with stream:
            writer = make(stream, columns)
            try:
                yield writer
                kept = writer.finished
            finally:
                if not writer.finished:
                    writer.finish()  # Parquet minds being left open
        if kept:
            part.replace(path)
    finally:
        # Also when Redis or the one who waits has gone in the middle.
        part.unlink(missing_ok=True)


def _maker(path: Path) -> Any:
    match path.suffix.lower():
        case ".csv":
            return _CsvWriter
        case ".json" | ".jsonl":
            return _JsonWriter
        case ".parquet":
            if not _has_pyarrow():
                raise ConfigurationError(
                    "--out FILE.parquet needs the package 'pyarrow': pip install 'ibkr-actor[parquet]'"
                )
            return _ParquetWriter
    raise ConfigurationError(f"--out {path.name}: the extension must be .csv, .json or .parquet")


def _has_pyarrow() -> bool:
    try:
        return importlib.util.find_spec("pyarrow") is not None
    except ValueError:  # it stands among the loaded modules as None: made unimportable
        return False


def rows_of(instrument: str, entry: Bars | Ticks) -> Iterable[dict[str, Any]]:
    """Rows by column name; times are UTC nanoseconds."""
    names = BAR_COLUMNS if isinstance(entry, Bars) else TICK_COLUMNS[entry.what_to_show]
    for row in entry.rows:
        yield {"instrument": instrument} | dict(zip(names, row, strict=False))


def iso(at_ns: int) -> str:
    """`2026-01-05T14:30:00Z`; ticks and bars have whole seconds."""
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if name in _TIMES else value for name, value in row.items()}


class _CsvWriter:
    """A header, then a line for each row; what is unknown is empty."""

    def __init__(self, stream: IO[str], columns: tuple[str, ...]) -> None:
        self._rows = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        self._begun = self.finished = False

    def write(self, instrument: str, entry: Bars | Ticks) -> None:
        self._begin()
        self._rows.writerows(_shown(row) for row in rows_of(instrument, entry))

    def finish(self) -> None:
        """Writes the header if there was no row."""
        self._begin()
        self.finished = True

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._rows.writeheader()


class _JsonWriter:
    """One object a line; what is unknown is null."""

    def __init__(self, stream: IO[str], columns: tuple[str, ...]) -> None:
        self._stream = stream
        self._columns = columns
        self.finished = False

    def write(self, instrument: str, entry: Bars | Ticks) -> None:
        for row in rows_of(instrument, entry):
            shown = {name: value for name, value in _shown(row).items() if name in self._columns}
            self._stream.write(json.dumps(shown, separators=(",", ":")) + "\n")

    def finish(self) -> None:
        """Nothing is held back."""
        self.finished = True


class _ParquetWriter:
    """Row groups of many rows. Times are timestamps in UTC, prices float64, sizes text as they came."""

    def __init__(self, stream: IO[bytes], columns: tuple[str, ...]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._pa = pa
        self._schema = pa.schema([(name, self._type(name)) for name in columns])
        self._file = pq.ParquetWriter(stream, self._schema)
        self._rows: list[dict[str, Any]] = []
        self.finished = False

    def write(self, instrument: str, entry: Bars | Ticks) -> None:
        self._rows += rows_of(instrument, entry)
        if len(self._rows) >= _GROUP_ROWS:
            self._flush()

    def finish(self) -> None:
        """Writes what is left, and the footer."""
        self._flush()
        self._file.close()
        self.finished = True

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _type(self, name: str) -> Any:
        if name in _TIMES:
            return self._pa.timestamp("ns", tz="UTC")
        if name in _FLOATS:
            return self._pa.float64()
        if name in _FLAGS:
            return self._pa.bool_()
        return self._pa.int64() if name == "count" else self._pa.string()
