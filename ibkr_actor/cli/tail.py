"""`ibkr-actor tail KIND INSTRUMENT`: the records of one stream, as text or as JSON lines."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime

from redis.asyncio import Redis

from ibkr_actor.cli.address import with_redis
from ibkr_actor.client import Entry, follow
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.schema.codec import record_as_dict
from ibkr_actor.schema.instruments import Contract, InvalidInstrumentText, instrument_id, parse_instrument
from ibkr_actor.schema.keys import KINDS, KINDS_HELP, Keys
from ibkr_actor.schema.records import AnyRecord, System

# Without --count: how many of the records already there are shown before those to come.
PRESENT_SHOWN = 10
COMMON = {"tag", "epoch", "seq", "con_id", "received_ns", "at_ns", "feed", "flags"}


def main(arguments: argparse.Namespace) -> int:
    """Prints until the count is reached, Ctrl-C, or the end of whoever reads."""
    return with_redis(_tail, arguments)


async def _tail(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    if arguments.kind not in KINDS:
        raise ConfigurationError(f"{arguments.kind!r} is no kind; known: {KINDS_HELP}")
    key = keys.stream(arguments.kind, canonical(arguments.instrument))
    if not await redis.exists(key):
        print(f"nothing in {key} yet; waiting (subscribe to it with a command, see the README)", file=sys.stderr)
    printed = 0
    async for entry in follow(redis, key, last=arguments.count or PRESENT_SHOWN):
        print(as_json(entry) if arguments.json else as_text(entry), flush=True)
        printed += 1
        if arguments.count and printed >= arguments.count:
            break
    return 0


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


def as_json(entry: Entry) -> str:
    """One JSON object per record, with the entry's id."""
    value = {"id": entry.id} | (record_as_dict(entry.record) if entry.record is not None else {"tag": None})
    return json.dumps(value, separators=(",", ":"))


def as_text(entry: Entry) -> str:
    """`time tag seq=n field=value ...`, with what is unknown left out."""
    record = entry.record
    if record is None:
        return f"{entry.id} (no record, or one newer than this version)"
    values = record_as_dict(record)
    shown = " ".join(f"{name}={value}" for name, value in values.items() if name not in COMMON and value is not None)
    return f"{clock_text(record)} {values['tag']:<8} seq={record.seq} {shown}"


def clock_text(record: AnyRecord) -> str:
    """When it was received, UTC with microseconds."""
    at_ns = record.at_ns if isinstance(record, System) else record.received_ns
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%H:%M:%S.%f")
