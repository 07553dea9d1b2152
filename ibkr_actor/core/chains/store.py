"""Owns the forms of a chain's holder: as it survives a restart, and as a `list` shows it.

Changes nothing.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from ibkr_actor.core.chains.chain import Chain, ChainHolder
from ibkr_actor.core.chains.window import ChainSpec
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.core.holders import holder_field
from ibkr_actor.core.lines.watched import listed_freshness
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import CHAIN


class StoredChain(Struct, frozen=True):
    """The value of a field `chain:<name>:<client>` of the `subscriptions` hash."""

    lease_s: float
    lines: int
    contract: Contract
    spec: ChainSpec
    command_id: str
    since_ns: int


_encode: Final = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(StoredChain)


def is_chain(field: str) -> bool:
    """Whether a field of the hash is that of a chain."""
    return field.startswith(f"{CHAIN}:")


def write(chain: Chain, holder: ChainHolder) -> HolderWrite:
    """Keeps a holder over a restart."""
    stored = StoredChain(holder.lease_s, holder.lines, chain.underlying, chain.spec, holder.command_id, holder.since_ns)
    return HolderWrite(holder_field(chain.stream, holder.client), _encode(stored))


def read(kept: HolderWrite) -> tuple[str, str, StoredChain]:
    """The name of the chain, the client and the rest, as stored.

    Raises:
        ValueError: the field or the value is not a chain's.
    """
    parts = kept.field.split(":", 2)
    if len(parts) != 3 or parts[0] != CHAIN or kept.value is None:
        raise ValueError(f"field {kept.field!r} is not chain:name:client")
    return parts[1], parts[2], _decoder.decode(kept.value)


def row(chain: Chain, key: str, holders: list[dict[str, object]]) -> dict[str, object]:
    """A chain among the subscriptions of a `list`."""
    return {
        "instrument": chain.name,
        "kind": CHAIN,
        "stream": key,
        "con_id": chain.underlying.con_id,
        "state": chain.state,
        "reason": chain.reason,
        "since_ns": str(chain.since_ns),
        **listed_freshness(chain),
        "feed": chain.feed,
        "generic_ticks": [],
        "holders": holders,
    }
