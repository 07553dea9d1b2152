"""Records for a person and for a program: text and JSON lines; and the names of kinds and instruments as typed.

Reads no stream.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import decode_record, encode_record, record_as_dict
from ibkr_actor.schema.instruments import Contract, InvalidInstrumentText, instrument_id, parse_instrument
from ibkr_actor.schema.keys import KINDS, KINDS_HELP, Keys, no_kind
from ibkr_actor.schema.records import (
    FLAG_BUILT,
    FLAG_FALLBACK,
    FLAG_LATE,
    FLAG_REFILLED,
    FLAG_SNAPSHOT,
    AnyRecord,
    System,
)

COMMON = {"tag", "epoch", "seq", "con_id", "received_ns", "at_ns", "feed", "flags"}
FEEDS = {2: "frozen", 3: "delayed", 4: "delayed-frozen"}
FLAGS = {
    FLAG_REFILLED: "refilled",
    FLAG_BUILT: "built",
    FLAG_FALLBACK: "fallback",
    FLAG_SNAPSHOT: "snapshot",
    FLAG_LATE: "late",
}


class StreamEntry(Struct, frozen=True):
    """One entry of one stream. `record` is None when its tag is newer than this version, or when it is no record."""

    key: str
    id: str
    record: AnyRecord | None

    @property
    def order(self) -> tuple[int, int]:
        ms, _, n = self.id.partition("-")
        return int(ms), int(n or 0)


def record_of(fields: Mapping[bytes, bytes]) -> AnyRecord | None:
    """None for what someone else wrote into the stream: it must not end the reading of what follows."""
    try:
        return decode_record(fields)
    except ValueError:
        return None


def kinds_of(text: str, *, besides: Collection[str] = ()) -> list[str]:
    """Kinds with commas between them: those one subscribes to, and these `besides`.

    Raises:
        ConfigurationError: one is none.
    """
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in KINDS and name not in besides:
            raise ConfigurationError(no_kind(name))
    if not names:
        raise ConfigurationError(f"no kind is named; known: {KINDS_HELP}")
    return names


def canonical(text: str) -> str:
    """The id that names the streams: a plain symbol means the SMART/USD stock, anything else is taken as it is.

    Raises:
        ConfigurationError: the text is neither.
    """
    if "." in text or "@" in text:
        return text
    try:
        query = parse_instrument(text)
    except InvalidInstrumentText as error:
        raise ConfigurationError(str(error)) from None
    return instrument_id(Contract(0, query.symbol, query.sec_type, query.exchange, query.currency))


def printed(keys: Keys, entry: StreamEntry, *, as_json: bool, many: bool) -> str:
    """One line for an entry; with `many` streams the text says which it is of."""
    name = entry.key.removeprefix(keys.root + ":")
    if as_json:
        return json_line(name, entry.id, entry.record)
    return (f"{name:<28} " if many else "") + text_line(entry.id, entry.record)


def json_line(stream: str, entry_id: str, record: AnyRecord | None) -> str:
    """`stream` (`kind:instrument`, or `system`), `id`, then the record as in a JSON entry."""
    value: dict[str, Any] = {"stream": stream, "id": entry_id}
    value |= msgspec.json.decode(encode_record(record, "json")) if record is not None else {"tag": None}
    return json.dumps(value, separators=(",", ":"))


def text_line(entry_id: str, record: AnyRecord | None) -> str:
    """`time tag seq=n field=value ...`, with what is unknown left out, and so the feed of live data."""
    if record is None:
        return f"{entry_id} (no record, or one newer than this version)"
    values = record_as_dict(record)
    shown = " ".join(f"{name}={value}" for name, value in values.items() if name not in COMMON and value is not None)
    return f"{clock_text(record)} {values['tag']:<8} seq={record.seq} {shown}{_marks(record)}"


def _marks(record: AnyRecord) -> str:
    """What sets the record apart from a live one as IB sent it."""
    if isinstance(record, System):
        return ""
    feed = f" feed={FEEDS[record.feed]}" if record.feed in FEEDS else ""
    flags = ",".join(name for flag, name in FLAGS.items() if record.flags & flag)
    return feed + (f" flags={flags}" if flags else "")


def clock_text(record: AnyRecord) -> str:
    """When it was received, UTC with microseconds."""
    at_ns = record.at_ns if isinstance(record, System) else record.received_ns
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%H:%M:%S.%f")
