"""What a sidecar before this one left in Redis, and the messages by which a restart takes it up again.

Reads only, and knows what none of it means.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.tails import read_tails
from ibkr_actor.core.effects import HolderWrite
from ibkr_actor.core.holders import begun_with_past
from ibkr_actor.core.messages import RestoreContracts, RestoreHolders, RestoreJobs, RestorePacing
from ibkr_actor.core.past.healing import healed
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import DataRecord

PACING_FIELD: Final = "windows"

Restored = RestoreContracts | RestoreHolders | RestoreJobs | RestorePacing


class Stored(Struct, frozen=True):
    """Hashes by field, the ends of streams that are gone on with, and what pacing remembers."""

    contracts: dict[str, bytes]
    holders: tuple[HolderWrite, ...]
    tails: dict[str, tuple[DataRecord, ...]]
    jobs: dict[str, bytes]
    pacing: bytes

    def messages(self) -> list[Restored]:
        """For the actors, contracts first."""
        return [
            RestoreContracts(self.contracts),
            RestoreHolders(self.holders, self.tails),
            RestorePacing(self.pacing),
            RestoreJobs(self.jobs),
        ]


async def read_stored(link: Link, keys: Keys) -> Stored:
    """Reads it all.

    Raises:
        Refused, Unreachable: it cannot be read now.
    """
    fields = _fields(await link.call("HGETALL", keys.subscriptions))
    holders = tuple(HolderWrite(name, value) for name, value in fields.items())
    return Stored(
        contracts=_fields(await link.call("HGETALL", keys.contracts)),
        holders=holders,
        tails=await read_tails(link, keys, dict.fromkeys((*begun_with_past(holders), *healed(holders)))),
        jobs=_fields(await link.call("HGETALL", keys.jobs)),
        pacing=await link.call("HGET", keys.pacing, PACING_FIELD) or b"",
    )


def _fields(answer: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(answer[::2], answer[1::2], strict=True)}
