"""What Redis holds of a stream: its last id, and the epoch and seq of its newest record.

Reads only; the publisher decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from ibkr_actor.bus.connection import Link, Refused
from ibkr_actor.bus.streams import StreamState
from ibkr_actor.schema.codec import decode_record

PIPELINE_MAX: Final = 500
# How far back our own newest record is looked for behind entries that are not ours.
FOREIGN_MAX: Final = 64


class Past(Struct, frozen=True):
    """The end of one stream. All None when it does not exist; epoch and seq None when its end is no record of ours."""

    last_id: bytes | None = None
    epoch: int | None = None
    seq: int | None = None
    entry_id: str | None = None

    @property
    def exists(self) -> bool:
        return self.last_id is not None


async def look_up(link: Link, states: Sequence[StreamState], epoch: int | None = None) -> list[Past]:
    """The past of each stream: its newest record, or its newest of `epoch` where that is given.

    Raises:
        Unreachable: see `Link.exchange`.
        Refused: the server answers no questions now.
    """
    pasts: list[Past] = []
    for start in range(0, len(states), PIPELINE_MAX):
        chunk = states[start : start + PIPELINE_MAX]
        answers = await link.pipeline([("XINFO", "STREAM", state.key) for state in chunk])
        for state, answer in zip(chunk, answers, strict=True):
            past = _past(answer)
            if past.exists and (past.epoch is None or (epoch is not None and past.epoch != epoch)):
                past = await _behind_foreign_entries(link, state, past, epoch)
            pasts.append(past)
    return pasts


def run_id(info: bytes) -> str:
    """The id a server gives itself at every start, from its answer to INFO; empty when it has none."""
    for line in info.decode(errors="replace").splitlines():
        if line.startswith("run_id:"):
            return line.partition(":")[2]
    return ""


def _past(answer: Any) -> Past:
    """From the answer to XINFO STREAM. ERR means that there is no such key, WRONGTYPE that it is no stream."""
    if isinstance(answer, Refused):
        if answer.code in ("ERR", "WRONGTYPE"):
            return Past()
        raise answer  # a server that is loading, say, tells nothing about its streams
    info = dict(zip(answer[::2], answer[1::2], strict=True))
    last_id: bytes = info[b"last-generated-id"]
    entry = info.get(b"last-entry")
    return _with_record(last_id, entry) or Past(last_id, None, None, entry[0].decode() if entry else last_id.decode())


def _with_record(last_id: bytes, entry: Any) -> Past | None:
    """The past as the entry tells it; None when the entry is no record."""
    if not entry:
        return None
    fields = dict(zip(entry[1][::2], entry[1][1::2], strict=True))
    try:
        record = decode_record(fields)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None
    return None if record is None else Past(last_id, record.epoch, record.seq, entry[0].decode())


async def _behind_foreign_entries(link: Link, state: StreamState, past: Past, epoch: int | None) -> Past:
    answer = (await link.pipeline([("XREVRANGE", state.key, "+", "-", "COUNT", FOREIGN_MAX)]))[0]
    assert past.last_id is not None
    for entry in answer if isinstance(answer, list) else ():
        found = _with_record(past.last_id, entry)
        if found is not None and (epoch is None or found.epoch == epoch):
            return found
    return past if epoch is None else Past(past.last_id, None, None, past.entry_id)
