"""Messages between actors and from the bus: everything in a mailbox that is not an IB event.

Shapes only. `Tick` is what an actor hears when the time of its `next_wakeup_s` has come.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.core.events import MarketDataEvent
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.commands import AnyCommand, Rejection
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.schema.records import DataRecord, Done


class Start(Struct, frozen=True):
    """The parts are up; the session may connect."""


class Stop(Struct, frozen=True):
    """Wind down: give back lines, end streams, close the connection."""


class WakeUp(Struct, frozen=True):
    """The time asked for by `next_wakeup_s` has come."""


class MarketData(Struct, frozen=True):
    """A burst of market-data events in the order they came off the socket."""

    events: list[MarketDataEvent]


class SessionUp(Struct, frozen=True):
    """Connection `conn` may be used: the handshake is done and IB said it is ready."""

    conn: int
    server_version: int


class SessionDown(Struct, frozen=True):
    """The connection is gone; its requests with it. `cause` is a gap cause."""

    conn: int
    at_ns: int
    cause: str
    reason: str


class DataLost(Struct, frozen=True):
    """IB said (1101) that it forgot our subscriptions: ask again for all."""

    at_ns: int
    code: int


class UpstreamDown(Struct, frozen=True):
    """TWS lost IB (1100, 2110): what we hold is stale until told otherwise."""

    at_ns: int
    code: int


class UpstreamUp(Struct, frozen=True):
    """TWS has IB again and kept our subscriptions (1102)."""

    at_ns: int
    code: int | None


class GatewayMute(Struct, frozen=True):
    """The connection is open, and the gateway does not even tell its time: nothing is heard of anything."""


class FarmChanged(Struct, frozen=True):
    """A farm went down or is usable again; `family` is market, history or definitions."""

    name: str
    family: str
    is_up: bool
    at_ns: int


class CommandReceived(Struct, frozen=True):
    """A valid command; `ref` settles it."""

    ref: CommandRef
    command: AnyCommand


class ResolvedCommand(Struct, frozen=True):
    """A command whose instrument, if it names one, is resolved to `contract`."""

    ref: CommandRef
    command: AnyCommand
    contract: Contract | None


class StatusQuery(Struct, frozen=True):
    """A `status` command on its way through the actors; each adds its part, the last answers."""

    ref: CommandRef
    parts: dict[str, object]


class Enqueue(Struct, frozen=True):
    """Ask pacing to send. Lower `priority` goes first; fairness is between `client`s of one priority.

    `conn` is the connection the request is meant for (0: any): asked for an earlier one, it is dropped, since its owner
    asks again when the session is up.
    """

    request: AnyRequest
    priority: int = 1
    client: str = ""
    conn: int = 0


class Withdraw(Struct, frozen=True):
    """The request is no longer wanted: drop it if it still waits, else send its cancel."""

    req_id: int


class RequestEnded(Struct, frozen=True):
    """IB ended the request by itself (an error, the end of an answer, data lost): nothing is left to cancel."""

    req_id: int


class RequestRefused(Struct, frozen=True):
    """Pacing could not take the request, since its queue is full; told to its owner."""

    req_id: int
    reason: str
    retry_after_s: float


class RateExceeded(Struct, frozen=True):
    """IB said (100) that messages came too fast: pacing holds everything for a while."""

    code: int


class PacingViolated(Struct, frozen=True):
    """IB answered this request with a pacing violation (162): whatever shares its limits waits for a while."""

    req_id: int


class ForecastQuery(Struct, frozen=True):
    """Ask pacing when the next small-bar request may go; answered by `Forecasted` to the history actor."""


class Forecasted(Struct, frozen=True):
    """In how many seconds one more small-bar request may go, as things stand."""

    small_s: float


class ClearCooldowns(Struct, frozen=True):
    """End the waiting that followed a pacing violation, in one scope as the status names it, or in all."""

    ref: CommandRef
    scope: str = ""


class RequestSent(Struct, frozen=True):
    """Pacing released the request; told to its owner."""

    req_id: int
    at_s: float


class RestoreContracts(Struct, frozen=True):
    """The `contracts` hash as found at start: field -> value."""

    fields: dict[str, bytes]


class RestoreHolders(Struct, frozen=True):
    """The `subscriptions` hash as found at start, and the ends of the streams that are gone on with.

    `tails` holds the newest bar, or the ticks of the newest second, of a stream by its name, in order.
    """

    holders: tuple[HolderWrite, ...]
    tails: dict[str, tuple[DataRecord, ...]] = {}


class RestorePacing(Struct, frozen=True):
    """What pacing remembered before the restart, as it wrote it; empty when there is nothing."""

    value: bytes


class RestoreJobs(Struct, frozen=True):
    """The `jobs` hash as found at start: job -> how far it is."""

    jobs: dict[str, bytes]


class JobWritten(Struct, frozen=True):
    """The entries of a job up to `number` stand in Redis."""

    job: str
    number: int


class WindowFound(Struct, frozen=True):
    """A window of bars stands in the cache; `value` as it was stored."""

    name: str
    value: bytes


class WindowMissing(Struct, frozen=True):
    """The cache has no such window, or could not be asked."""

    name: str


class JobUnread(Struct, frozen=True):
    """Whether more of a job's entries is unread than may be; told when that changes."""

    job: str
    too_much: bool


class JobAbandoned(Struct, frozen=True):
    """The stream of a job that waits for its reader is gone: expired unread, or deleted."""

    job: str


class FetchPast(Struct, frozen=True):
    """What a stream is to begin with, from `start` (ISO 8601) to `end_ns`: bars of 5 s, or ticks if `bar` is empty.

    Told of by PastRows, in order of time, and closed by PastDone, both with the same `number`.
    """

    number: int
    client: str
    contract: Contract
    bar: str
    what_to_show: str
    use_rth: bool
    start: str
    end_ns: int
    priority: Literal["interactive", "backfill"] = "interactive"


class ForgetPast(Struct, frozen=True):
    """Nobody waits for it any more."""

    number: int


class PastRows(Struct, frozen=True):
    """The next entries."""

    number: int
    entries: tuple[DataRecord, ...]


class PastDone(Struct, frozen=True):
    """There is no more; `done` says how it ended and what is missing, `error` why it failed, where IB said so."""

    number: int
    done: Done
    error: Rejection | None = None


class ForgetContract(Struct, frozen=True):
    """IB refused the contract (200) where the cache had called it good: resolve it anew next time."""

    con_id: int
    exchange: str


class Reconfigure(Struct, frozen=True):
    """Settings were read anew: what is decided from now on goes by these."""

    config: SubscriptionsConfig


class RefreshContract(Struct, frozen=True):
    """What a line knows of its contract will soon be out of date: ask IB again."""

    con_id: int
    exchange: str


class ContractRefreshed(Struct, frozen=True):
    """IB's present word on a contract, for the lines that hold it."""

    contract: Contract


class RedisForgot(Struct, frozen=True):
    """Redis came back without what it kept for us (FLUSHALL, an old snapshot): say all of it again."""


class CommandsReadable(Struct, frozen=True):
    """Commands can be read again after an outage: every lease starts anew."""
