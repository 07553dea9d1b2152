"""What `ibkr-actor replay` is given: which form of recording it is, and what was asked for in it.

Plays nothing.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_type_hints

from msgspec import Struct

from ibkr_actor.cli.record_text import StreamEntry, record_of
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.json_schema import tag_of
from ibkr_actor.schema.records import AnyRecord
from ibkr_actor.sim.market.instruments import ContractSpec
from ibkr_actor.sim.replay.frame_recording import find_recordings, load_frames
from ibkr_actor.sim.wire.request_base import Request
from ibkr_actor.sim.wire.requests import ReqMarketData, ReqMarketDepth, ReqRealTimeBars, ReqTickByTick

RECORDS: Final = {tag_of(kind): kind for kind in get_args(AnyRecord)}
Form = Literal["frames", "rows", "records"]
_TICK_BY_TICK: Final = {"Last": "trade", "AllLast": "alltrade", "BidAsk": "bidask", "MidPoint": "midpoint"}
_BARS: Final = {"BID": ".bid", "ASK": ".ask", "MIDPOINT": ".midpoint"}


class Wanted(Struct, frozen=True):
    """One subscription: an instrument as it was asked for, and its kinds."""

    instrument: str | InstrumentQuery
    kinds: tuple[str, ...]


def form_of(path: Path) -> Form:
    """By what is in it.

    Raises:
        ConfigurationError: it is not there, or none of the three.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: No such file or directory")
    if path.is_dir() or path.name.endswith((".frames.jsonl", ".frames.jsonl.gz")):
        return "frames"
    if path.suffix == ".parquet":
        return "records"
    first = next(_objects(path), None)
    if first is not None and {"stream", "id", "tag"} <= first.keys():
        return "records"
    if first is not None and {"time", "tick_type"} <= first.keys():
        return "rows"
    raise ConfigurationError(
        f"{path}: neither a directory of frames, nor rows (time, tick_type, price, size), nor records (stream, id, tag)"
    )


def asked_in(path: Path) -> list[Wanted]:
    """What the sidecar that recorded these frames had subscribed to."""
    kinds: dict[InstrumentQuery, dict[str, None]] = {}
    for source in find_recordings(str(path)):
        for exchanges in load_frames(source).exchanges.values():
            for exchange in exchanges:
                for query, kind in _kinds(exchange.request):
                    kinds.setdefault(query, {})[kind] = None
    return [Wanted(query, tuple(found)) for query, found in kinds.items()]


def _kinds(request: Request) -> Iterator[tuple[InstrumentQuery, str]]:
    match request:
        case ReqMarketData(contract=contract, snapshot=False, regulatory_snapshot=False):
            yield _query(contract), "quote"
            yield _query(contract), "tick"
        case ReqTickByTick(contract=contract, tick_type=tick_type) if tick_type in _TICK_BY_TICK:
            yield _query(contract), _TICK_BY_TICK[tick_type]
        case ReqRealTimeBars(contract=contract, what_to_show=show, use_rth=rth):
            yield _query(contract), f"bar.5s{_BARS.get(show, '')}{'.rth' if rth else ''}"
        case ReqMarketDepth(contract=contract, is_smart_depth=smart):
            yield _query(contract), "depth.smart" if smart else "depth"


def _query(contract: ContractSpec) -> InstrumentQuery:
    """As one would name it; not by its con_id, which the recording's own look-ups may not hold."""
    return InstrumentQuery(
        symbol=contract.symbol,
        sec_type=contract.sec_type,
        exchange=contract.exchange,
        currency=contract.currency,
        last_trade_date=contract.last_trade_date_or_contract_month,
        strike=contract.strike or None,
        right=contract.right[:1],
        trading_class=contract.trading_class or None if contract.strike else None,
    )


def records_in(path: Path) -> Iterator[StreamEntry]:
    """The records of a file, in its order. `key` is `kind:instrument`.

    Raises:
        ConfigurationError: a line is none.
    """
    for number, value in enumerate(_rows(path), 1):
        try:
            stream, entry_id = str(value.pop("stream")), str(value.pop("id"))
        except KeyError as error:
            raise ConfigurationError(f"{path} line {number}: no {error}") from None
        record = record_of({b"j": json.dumps(value).encode()}) if value.get("tag") else None
        if record is not None:
            yield StreamEntry(stream, entry_id, record)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix != ".parquet":
        yield from _objects(path)
        return
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError(f"{path} needs the package 'pyarrow': pip install 'ibkr-actor[parquet]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    for batch in file.iter_batches():
        for row in batch.to_pylist():
            yield _as_written(row)


def _as_written(row: dict[str, Any]) -> dict[str, Any]:
    """A row of Parquet as the JSON of its record: its own columns only, nanoseconds as text, rows and unions parsed."""
    kind = RECORDS.get(str(row.get("tag")))
    if kind is None:
        return row | {"tag": None}
    hints = get_type_hints(kind)
    out: dict[str, Any] = {name: row.get(name) for name in ("stream", "id", "tag")}
    for name in kind.__struct_fields__:
        value = row.get(name)
        if name.endswith("_ns") and value is not None:
            value = str(value)
        elif isinstance(value, str) and hints[name] not in (str, str | None):
            value = json.loads(value)
        out[name] = value
    return out


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ConfigurationError(f"{path} line {number}: no object")
                yield value
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} line {max(number, 1)}: no JSON: {error}") from None
