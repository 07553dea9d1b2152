"""Short forms for the cores' tests: literal times, command references, and picking effects out of a list."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from ibkr_actor.core.config import PacingConfig
from ibkr_actor.core.effects import (
    Announce,
    Answer,
    CommandRef,
    Effect,
    Instant,
    Notify,
    Publish,
    SetState,
    Tell,
)
from ibkr_actor.core.messages import Enqueue
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord

S = TypeVar("S", bound=Struct)
E = TypeVar("E", bound=Effect)

START_NS = 1_767_225_600_000_000_000
# How long a message counts against the rate: IB's second, and what the network may differ by.
SECOND_S = 1.0 + PacingConfig().message_margin_s


def at(s: float) -> Instant:
    """`s` seconds after the start of the test, on both clocks."""
    return Instant(s, START_NS + round(s * 1e9))


def ns(s: float) -> int:
    return at(s).ns


def ref(id: str = "1", client: str = "c", op: str = "subscribe") -> CommandRef:
    return CommandRef("ibkr:{g1}:commands", f"{id}-0", client, id, op)


def stock(symbol: str = "AAPL", con_id: int = 265598) -> Contract:
    return Contract(con_id, symbol, "STK", "SMART", "USD", instrument=f"{symbol}.STK.SMART.USD")


def forex() -> Contract:
    return Contract(12087792, "EUR", "CASH", "IDEALPRO", "USD", instrument="EUR.CASH.IDEALPRO.USD")


def only(kind: type[E], effects: list[Effect]) -> list[E]:
    return [effect for effect in effects if isinstance(effect, kind)]


def one(kind: type[E], effects: list[Effect]) -> E:
    (found,) = only(kind, effects)
    return found


def told(effects: list[Effect], kind: type[S]) -> list[S]:
    return [tell.message for tell in only(Tell, effects) if isinstance(tell.message, kind)]


def asked(effects: list[Effect]) -> list[AnyRequest]:
    """The requests handed to pacing."""
    return [message.request for message in told(effects, Enqueue)]


def answer(effects: list[Effect]) -> Answer:
    return one(Answer, effects)


def notes(effects: list[Effect]) -> list[tuple[str, str, str, list[str]]]:
    """Later replies as (client, id, status, kinds)."""
    return [
        (
            note.client,
            note.reply.id,
            note.reply.status,
            [name.split(":")[2] for name in note.reply.streams or []],
        )
        for note in only(Notify, effects)
    ]


def published(effects: list[Effect]) -> list[tuple[Stream, DataRecord]]:
    return [item for effect in only(Publish, effects) for item in effect.items]


def states(effects: list[Effect]) -> list[tuple[str, str, str]]:
    return [(state.stream.kind, state.state, state.reason) for state in only(SetState, effects)]


def said(effects: list[Effect]) -> list[str]:
    return [announce.record.event for announce in only(Announce, effects)]
