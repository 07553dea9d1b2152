"""Effects: what a core wants done, as values that tests compare and `actors.perform` carries out.

A core never does any of this itself. `Instant` is the time a core is given with every message.
"""

from __future__ import annotations

from typing import Final, Literal, Protocol

from msgspec import Struct

from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, System

# Fields in one write: a script that Redis runs should stay short.
WRITES_MAX: Final = 1_000

ActorName = Literal["session", "contracts", "reference", "subscriptions", "history", "pacing"]


class Instant(Struct, frozen=True, gc=False):
    """`s` is monotonic seconds, for intervals; `ns` is UTC nanoseconds, for records."""

    s: float
    ns: int


class CommandRef(Struct, frozen=True):
    """Where a command came from, so that its answer can settle it: its key and entry id, client and id."""

    key: str
    entry_id: str
    client: str
    id: str
    op: str


class Effect(Struct, frozen=True):
    """Something to do."""


class Connect(Effect, frozen=True):
    """Open connection number `conn`; answered by Connected or ConnectFailed. `port` None is the one that is set."""

    conn: int
    client_id: int
    port: int | None = None


class Disconnect(Effect, frozen=True):
    """Close connection `conn`; answered by ConnectionLost(wanted=True) when it was up."""

    conn: int


class Send(Effect, frozen=True):
    """Send a request on the present connection. Only `core.pacing.core` emits this."""

    request: AnyRequest


class Publish(Effect, frozen=True):
    """Records for their streams, in order."""

    items: list[tuple[Stream, DataRecord]]


class Announce(Effect, frozen=True):
    """A record for the `system` stream; the publisher stamps epoch and seq."""

    record: System


class SetState(Effect, frozen=True):
    """`state` and `state_since_ns` of an instrument's kind in its `last` hash (`state:<kind>`), and `state` overall."""

    stream: Stream
    state: str
    reason: str
    since_ns: int


class SetFreshness(Effect, frozen=True):
    """How fresh an instrument's kind is, since when, and when its newest data left the socket (0: never any)."""

    stream: Stream
    freshness: str
    since_ns: int
    received_ns: int


class HolderWrite(Struct, frozen=True):
    """A field of the `subscriptions` hash; `value` None deletes it."""

    field: str
    value: bytes | None


class Answer(Effect, frozen=True):
    """Settles a command: holders, reply, remembered answer, XACK and XDEL in one script.

    `with_counters` merges the counters of the gateway and of Redis into `reply.result`. `jobs` are fields of the
    `jobs` hash; an answer has either holders or jobs.
    """

    ref: CommandRef
    reply: Reply
    holders: tuple[HolderWrite, ...] = ()
    with_counters: bool = False
    jobs: tuple[HolderWrite, ...] = ()


class Notify(Effect, frozen=True):
    """A later reply (active, rejected, expired) to a command already settled."""

    client: str
    reply: Reply


def in_parts(writes: tuple[HolderWrite, ...]) -> list[tuple[HolderWrite, ...]]:
    """The same writes, at most `WRITES_MAX` in each part."""
    return [writes[at : at + WRITES_MAX] for at in range(0, len(writes), WRITES_MAX)]


class WriteHolders(Effect, frozen=True):
    """Holder changes that no command caused: an expired lease, a failed subscription."""

    holders: tuple[HolderWrite, ...]


class WriteContract(Effect, frozen=True):
    """A field of the `contracts` hash; `value` None deletes it."""

    field: str
    value: bytes | None


class WriteContracts(Effect, frozen=True):
    """Many fields of the `contracts` hash at once."""

    writes: tuple[HolderWrite, ...]


class WriteJob(Effect, frozen=True):
    """Entries of a history job, the last of them numbered `number`, and how far it is; None ends it."""

    job: str
    entries: tuple[DataRecord, ...]
    number: int
    state: bytes | None


class LookUpWindow(Effect, frozen=True):
    """Look for a window of bars in the cache; answered by WindowFound or WindowMissing."""

    name: str


class StoreWindow(Effect, frozen=True):
    """Keep a window of bars in the cache."""

    name: str
    value: bytes


class WritePacing(Effect, frozen=True):
    """What pacing remembers of what was sent, for the next start."""

    value: bytes


class CloseStream(Effect, frozen=True):
    """The stream has no holders any more: it may expire after `stream_ttl_s`."""

    stream: Stream


class ReadSettings(Effect, frozen=True):
    """Read the settings anew, apply what may change, and answer the command with what did."""

    ref: CommandRef


class Stopped(Effect, frozen=True):
    """The session is over after a Stop: nothing more will come from the gateway."""


class Tell(Effect, frozen=True):
    """A message for another actor; nothing waits for it."""

    to: ActorName
    message: Struct


class Core(Protocol):
    """What `actors.actor` drives. `handle` never waits; `next_wakeup_s` is monotonic, None when nothing is due."""

    def handle(self, message: Struct, now: Instant) -> list[Effect]: ...

    def next_wakeup_s(self) -> float | None: ...
