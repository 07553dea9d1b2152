"""Owns who holds what, until when, and the form in which that survives a restart.

Gives back no line: it tells `core.subscriptions.core` who left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.schema.commands import PriorityName
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream

# A subscription's priority is a place in this list; normal when its command names none.
PRIORITIES: Final[tuple[PriorityName, ...]] = ("low", "normal", "high")
NORMAL: Final = PRIORITIES.index("normal")


def lease_of(asked_s: float | UnsetType, config: SubscriptionsConfig) -> float:
    """How long a lease that was asked for runs, in seconds; 0 is for ever. Raises: ValueError."""
    lease_s = config.lease_s if asked_s is UNSET else asked_s
    if not math.isfinite(lease_s) or lease_s < 0:
        raise ValueError("lease_s is a number of seconds, 0 for until unsubscribed")
    return min(lease_s, config.lease_max_s)


class Holder(Struct, frozen=True):
    """One client's wish for one stream. `lease_s` 0 means until unsubscribed; `command_id` is the wish's latest."""

    client: str
    lease_s: float
    generic_ticks: frozenset[int]
    command_id: str
    since_ns: int
    heal: bool = False
    # The market data type that was asked for, 0 for the gateway's; whether level 1 may stand in for tick by tick.
    feed: int = 0
    fallback: bool = False
    priority: int = NORMAL
    # What the stream is to begin with, until that stands in it.
    backfill: str = ""


class StoredHolder(Struct, frozen=True):
    """The value of a field of the `subscriptions` hash; its field is `kind:instrument:client`."""

    lease_s: float
    contract: Contract
    generic_ticks: list[int]
    command_id: str
    since_ns: int
    heal: bool = False
    feed: int = 0
    fallback: bool = False
    priority: int = NORMAL
    backfill: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(StoredHolder)


def holder_field(stream: Stream, client: str) -> str:
    """The field of a holder. Kinds and instruments hold no colon; a client may."""
    return f"{stream.kind}:{stream.instrument}:{client}"


def holder_write(stream: Stream, holder: Holder, contract: Contract) -> HolderWrite:
    """Keeps a holder over a restart."""
    ticks = sorted(holder.generic_ticks)
    stored = StoredHolder(
        holder.lease_s,
        contract,
        ticks,
        holder.command_id,
        holder.since_ns,
        holder.heal,
        holder.feed,
        holder.fallback,
        holder.priority,
        holder.backfill,
    )
    return HolderWrite(holder_field(stream, holder.client), _encode(stored))


def holder_delete(stream: Stream, client: str) -> HolderWrite:
    """Forgets a holder."""
    return HolderWrite(holder_field(stream, client), None)


def read_holder(write: HolderWrite) -> tuple[Stream, Holder, Contract]:
    """A holder as it was stored.

    Raises:
        ValueError: the field or the value is not a holder's.
    """
    parts = write.field.split(":", 2)
    if len(parts) != 3 or write.value is None:
        raise ValueError(f"field {write.field!r} is not kind:instrument:client")
    stored = _decoder.decode(write.value)
    ticks = frozenset(stored.generic_ticks)
    holder = Holder(
        parts[2],
        stored.lease_s,
        ticks,
        stored.command_id,
        stored.since_ns,
        stored.heal,
        stored.feed,
        stored.fallback,
        stored.priority,
        stored.backfill,
    )
    return Stream(parts[0], parts[1]), holder, stored.contract


def begun_with_past(writes: Iterable[HolderWrite]) -> tuple[Stream, ...]:
    """The streams whose past was still being fetched when this was written."""
    found: dict[Stream, None] = {}
    for write in writes:
        try:
            stream, holder, _ = read_holder(write)
        except (ValueError, msgspec.MsgspecError):
            continue  # of a chain, or unreadable: told of where it is restored
        if holder.backfill:
            found[stream] = None
    return tuple(found)
