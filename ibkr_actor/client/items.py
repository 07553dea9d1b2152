"""What a feed gives out: items with their records, and what only a reader can know, as records too.

Decodes one entry; counts nothing and reads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from ibkr_actor.client.errors import MarketDataError
from ibkr_actor.client.values import as_datetime, as_decimal
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, End, Gap, Reset, Roll, System


class Checkpoint(Struct, frozen=True):
    """How far one stream was read. `epoch` and `seq` tell the next reader exactly what it missed; 0 is unknown."""

    id: str
    epoch: int = 0
    seq: int = 0


class Missed(Struct, frozen=True):
    """Records that were trimmed before this reader came to them.

    They stood between the entries `from_id` and `to_id`, both of which were read (empty when unknown), and had
    `first_seq` to `last_seq` of `epoch`, where that is known. Where `exact` is False there were at least `lost`.
    """

    stream: Stream
    lost: int
    from_id: str
    to_id: str
    epoch: int | None = None
    first_seq: int | None = None
    last_seq: int | None = None
    exact: bool = True


class Refused(Struct, frozen=True):
    """IB refused the stream after the subscription was accepted; nothing more comes on it for now."""

    stream: Stream
    error: MarketDataError


class Unknown(Struct, frozen=True):
    """A record of a tag that this version does not know: it counts, and says nothing more."""

    epoch: int
    seq: int


Notice = Gap | Reset | Roll | End | Missed | Refused
AnyItem = DataRecord | System | Missed | Refused
R = TypeVar("R")


class Item(Struct, Generic[R], frozen=True):
    """One record of one stream. `conflated` counts the records of the stream that were left out before it."""

    stream: Stream
    id: str
    record: R
    conflated: int = 0

    @property
    def kind(self) -> str:
        return self.stream.kind

    @property
    def instrument(self) -> str:
        return self.stream.instrument

    @property
    def received_at(self) -> datetime | None:
        """When the bytes left the socket to the gateway; None of what only the reader knows."""
        return as_datetime(getattr(self.record, "received_ns", None))

    @property
    def source_at(self) -> datetime | None:
        """IB's own time, None where it sends none."""
        return as_datetime(getattr(self.record, "source_ns", None))

    def decimal(self, name: str) -> Decimal | None:
        """A size or volume of the record as a number: `item.decimal("bid_size")`."""
        text: str | None = getattr(self.record, name)
        return as_decimal(text)


def decoded(fields: Mapping[bytes, bytes]) -> DataRecord | System | Unknown | None:
    """The record of an entry; None for what is no record: it must not end the reading of what follows."""
    try:
        return decode_record(fields) or _unknown(fields)
    except (ValueError, TypeError):
        return None


def _unknown(fields: Mapping[bytes, bytes]) -> Unknown | None:
    packed = fields.get(b"d")
    value: Any = msgspec.msgpack.decode(packed) if packed is not None else msgspec.json.decode(fields[b"j"])
    epoch, seq = (value.get("epoch"), value.get("seq")) if isinstance(value, dict) else (value[1:3] or (None, None))
    return Unknown(epoch, seq) if isinstance(epoch, int) and isinstance(seq, int) else None
