"""Owns how records look to HTTP clients: quotes and bars with the replaced system's fields, all else by its own names.

Pure: bytes out of items, made once for all clients.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from ibkr_actor.http.items import Item
from ibkr_actor.schema.codec import record_as_dict
from ibkr_actor.schema.instruments import symbol_of
from ibkr_actor.schema.records import FEED_DELAYED, AnyRecord, Bar, Quote

_encode: Final = msgspec.json.Encoder().encode


def price(value: float | None) -> str | None:
    """A price as the replaced system wrote it: plain decimal text."""
    if value is None:
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else format(Decimal(repr(value)), "f")


def size(value: str | None) -> int | float | None:
    """A size as a number; whole ones without a fraction."""
    if value is None:
        return None
    return float(value) if "." in value else int(value)


def moment(ns: int) -> str:
    """UTC nanoseconds as ISO 8601 with microseconds."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns // 1000 % 10**6:06}Z"


def quote(item: Item, record: Quote) -> dict[str, Any]:
    """A quote: market-data-core's fields first, then what its model has no room for."""
    return {
        "symbol": symbol_of(item.stream.instrument),
        "bid": price(record.bid),
        "ask": price(record.ask),
        "last": price(record.last),
        "bid_size": size(record.bid_size),
        "ask_size": size(record.ask_size),
        "volume": size(record.volume) or 0,
        "timestamp": moment(record.source_ns or record.received_ns),
        "delayed": record.feed >= FEED_DELAYED,
        "last_size": size(record.last_size),
        **_common(item, record),
    }


def bar(item: Item, record: Bar) -> dict[str, Any]:
    """A bar: market-data-core's fields first. `ts` is its end."""
    return {
        "symbol": symbol_of(item.stream.instrument),
        "ts": moment(record.end_ns),
        "open": price(record.open),
        "high": price(record.high),
        "low": price(record.low),
        "close": price(record.close),
        "volume": record.volume or "0",
        "resolution": item.stream.kind.removeprefix("bar.").partition(".")[0],
        "delayed": record.feed >= FEED_DELAYED,
        "wap": record.wap,
        "count": record.count,
        "final": record.final,
        "revision": record.revision,
        "what_to_show": record.what_to_show,
        **_common(item, record),
    }


def _common(item: Item, record: Quote | Bar) -> dict[str, Any]:
    return {
        "instrument": item.stream.instrument,
        "kind": item.stream.kind,
        "con_id": record.con_id,
        "received_ns": str(record.received_ns),
        "epoch": record.epoch,
        "seq": record.seq,
        "flags": record.flags,
        "id": item.id,
    }


def as_record(item: Item, record: AnyRecord) -> dict[str, Any]:
    """A record by the names of docs/STREAMS.md, with the stream it stands in."""
    stream = item.stream
    where = {"instrument": stream.instrument, "kind": stream.kind} if stream.instrument else {}
    return {**where, **record_as_dict(record), "id": item.id}


def event_of(item: Item) -> str:
    """The name of the event: the record's tag."""
    record = item.record
    return "unknown" if record is None else str(record.__struct_config__.tag)


def core_json(item: Item) -> bytes:
    """The item as JSON for the routes of the replaced system."""
    match item.record:
        case None:
            return b"{}"
        case Quote() as record:
            return _encode(quote(item, record))
        case Bar() as record:
            return _encode(bar(item, record))
        case record:
            return _encode(as_record(item, record))


def record_json(item: Item) -> bytes:
    """The item as JSON with the names of docs/STREAMS.md."""
    record = item.record
    return b"{}" if record is None else _encode(as_record(item, record))


def core_sse(item: Item) -> bytes:
    """The item as an event with its name."""
    return b"event: %s\ndata: %s\n" % (event_of(item).encode(), item.rendered(core_json))


def core_sse_unnamed(item: Item) -> bytes:
    """As the replaced system sent it: quotes and bars without a name, all else with one."""
    if isinstance(item.record, Quote | Bar):
        return b"data: %s\n" % item.rendered(core_json)
    return core_sse(item)


def record_sse(item: Item) -> bytes:
    """The item as an event with its name and the names of docs/STREAMS.md."""
    return b"event: %s\ndata: %s\n" % (event_of(item).encode(), item.rendered(record_json))
