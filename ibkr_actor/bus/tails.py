"""Reads where streams end: the newest bar, or the ticks of the newest second, of those that a restart goes on with.

Writes nothing, and decides nothing of what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ibkr_actor.bus.connection import Link
from ibkr_actor.core.past.joining import second_of
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Keys, Stream
from ibkr_actor.schema.records import FLAG_FALLBACK, FLAG_LATE, AnyRecord, Bar, BidAsk, DataRecord, End, MidPoint, Trade

_PAGE: Final = 500
# A second of ticks has some thousands at most; what lies behind so many entries of another kind is not looked for.
_PAGES_MAX: Final = 40
# Newer records stand before what is late, and what level 1 stood in for may come again from history.
_NOT_THE_END: Final = FLAG_LATE | FLAG_FALLBACK


async def read_tails(link: Link, keys: Keys, streams: Iterable[Stream]) -> dict[str, tuple[DataRecord, ...]]:
    """The end of each stream by its name, in order of the stream; streams without one are left out.

    Raises:
        Refused, Unreachable: it cannot be read now.
    """
    found: dict[str, tuple[DataRecord, ...]] = {}
    for stream in streams:
        tail = await _tail(link, keys.stream(stream.kind, stream.instrument))
        if tail:
            found[stream.name] = tail
    return found


async def _tail(link: Link, key: str) -> tuple[DataRecord, ...]:
    tail: list[DataRecord] = []
    before = "+"
    for _ in range(_PAGES_MAX):
        entries: Any = await link.call("XREVRANGE", key, before, "-", "COUNT", _PAGE)
        for _, fields in entries:
            record = _record(fields)
            if isinstance(record, Bar | Trade | BidAsk | MidPoint) and record.flags & _NOT_THE_END:
                continue
            # What a stream held before its last end belongs to those who held it then.
            if isinstance(record, End) or (tail and _begins_before(record, tail[-1])):
                return tuple(reversed(tail))
            if isinstance(record, Bar):
                return (record,)
            if isinstance(record, Trade | BidAsk | MidPoint):
                tail.append(record)
        if len(entries) < _PAGE:
            break
        before = f"({entries[-1][0].decode()}"
    return tuple(reversed(tail))


def _begins_before(record: AnyRecord | None, newer: DataRecord) -> bool:
    return isinstance(record, Trade | BidAsk | MidPoint) and second_of(record) < second_of(newer)


def _record(fields: list[bytes]) -> AnyRecord | None:
    """None for what is no record of ours."""
    try:
        return decode_record(dict(zip(fields[::2], fields[1::2], strict=True)))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
