"""Commands that anyone allowed may write, and the replies they get.

Holds shapes and defaults only: what a command does is decided in `core`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from ibkr_actor.schema.command_base import Command as Command
from ibkr_actor.schema.instruments import Contract, InstrumentQuery
from ibkr_actor.schema.reference_commands import BoardCommand, CalcCommand, Chain, ReferenceCommand

# Rejection codes, after the canonical errors of market-data-core. Source: docs/STREAMS.md, "Commands".
Code = Literal[
    "pacing_violation",
    "permissions_missing",
    "invalid_instrument",
    "ambiguous_instrument",
    "connection_failed",
    "farm_transient",
    "line_limit",
    "competing_session",
    "validation_error",
    "busy",
    "expired",
    "unsupported",
    "configuration_error",
    "internal",
]
# How much a subscription's lines are worth beside others, when there are too few.
PriorityName = Literal["low", "normal", "high"]
Status = Literal["accepted", "active", "rejected", "progress", "result", "done", "expired"]

FeedName = Literal["", "live", "frozen", "delayed", "delayed_frozen"]

ANONYMOUS: Final = "anonymous"


class Subscribe(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="subscribe"):
    """Adds the client as a holder of each kind of the instrument. `lease_s` 0 means until unsubscribed.

    `generic_ticks` are IB's generic tick numbers, asked for with the level-1 line of kinds `quote` and `tick`.
    `backfill` is what a stream that opens begins with: `90s`, `15m`, `2h` or `1d` before now, or a start in ISO 8601.
    With `heal` gaps are refilled from history, behind what came meanwhile; left out it is as set (`IBKR_HEAL`).
    `feed` is the market data type of level 1, the gateway's as set when left out. With `fallback` level 1 stands in for
    tick by tick where IB has none, or none that is free. Where lines are short those of lower `priority` give way.
    """

    instrument: str | InstrumentQuery
    kinds: list[str]
    lease_s: float | UnsetType = UNSET
    generic_ticks: list[int] = field(default_factory=list)
    backfill: str = ""
    heal: bool | UnsetType = UNSET
    feed: FeedName = ""
    fallback: bool = False
    priority: PriorityName = "normal"


class Unsubscribe(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="unsubscribe"
):
    """Removes the client as a holder. Without `kinds` all kinds, without `instrument` everything it holds.

    The kind `chain` means the chains of options on the instrument, and the kinds `scan` and `bulletin` those streams;
    `chain` and `scan` name one of them, as its key ends.
    """

    instrument: str | InstrumentQuery | None = None
    kinds: list[str] | None = None
    chain: str = ""
    scan: str = ""


class Renew(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="renew"):
    """Starts every lease of the client anew."""


class Resolve(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="resolve"):
    """Answers the contract an instrument means. `refresh` asks IB again instead of the cache."""

    instrument: str | InstrumentQuery
    refresh: bool = False


class Search(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="search"):
    """Answers the contracts whose symbol begins with `pattern` or whose name holds it, as far as IB lists them."""

    pattern: str


class Snapshot(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="snapshot"):
    """Answers the present values of level 1. `regulatory` asks for the exchanges' consolidated quote, at IB's price."""

    instrument: str | InstrumentQuery
    regulatory: bool = False


class List(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="list"):
    """Answers all subscriptions with their holders, or those of `of_client`."""

    of_client: str = ""


class Reload(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="reload"):
    """Reads the settings anew: answers which have changed, and which of those that differ wait for a restart."""


class StatusCommand(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="status"):
    """Answers the state of the connection, subscriptions, pacing and Redis."""


class History(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="history"):
    """Starts a job that delivers every bar of [start, end] into `history:<job>`; the job's id is the command's.

    `start` and `end` are ISO 8601: a date means whole trade dates and includes them, a time without an offset is UTC;
    `end` empty means now. `bar` is a resolution, such as `5s`, `1m` or `1d`. `what_to_show` empty takes what the
    type of security has. `priority` is `interactive` or `backfill`, which waits for the others.
    """

    instrument: str | InstrumentQuery
    start: str
    end: str = ""
    bar: str = "1d"
    what_to_show: str = ""
    use_rth: bool | UnsetType = UNSET
    priority: Literal["interactive", "backfill"] = "interactive"


class HistoryTicks(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="history_ticks"
):
    """Starts a job that delivers every tick of [start, end]; `what_to_show` TRADES, BID_ASK or MIDPOINT."""

    instrument: str | InstrumentQuery
    start: str
    end: str = ""
    what_to_show: str = ""
    use_rth: bool | UnsetType = UNSET
    priority: Literal["interactive", "backfill"] = "interactive"


class HeadTimestamp(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="head_timestamp"
):
    """Answers the earliest time there is data of."""

    instrument: str | InstrumentQuery
    what_to_show: str = ""
    use_rth: bool | UnsetType = UNSET


class Schedule(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="schedule"):
    """Answers the trading sessions of the last `days` up to `end` (a date, empty for now)."""

    instrument: str | InstrumentQuery
    days: int = 30
    end: str = ""
    use_rth: bool | UnsetType = UNSET


class Histogram(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="histogram"):
    """Answers how much traded at which price over the last `period` (`3 days`, `1 week`)."""

    instrument: str | InstrumentQuery
    period: str = "3 days"
    use_rth: bool | UnsetType = UNSET


class Cancel(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="cancel"):
    """Ends a job; what it delivered stays, closed by a `done` that says so."""

    job: str


class Pause(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="pause"):
    """Holds a job, or every job of the client."""

    job: str = ""


class Resume(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="resume"):
    """Lets a paused job go on, or every job of the client."""

    job: str = ""


class ClearCooldown(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="clear_cooldown"
):
    """Ends the waiting that IB's pacing error imposed: in one `scope` as the status names it, or everywhere."""

    scope: str = ""


HistoryCommand = History | HistoryTicks | HeadTimestamp | Schedule | Histogram | Cancel | Pause | Resume | ClearCooldown
AnyCommand = (
    Subscribe
    | Unsubscribe
    | Renew
    | Resolve
    | Search
    | Snapshot
    | List
    | StatusCommand
    | Reload
    | HistoryCommand
    | Chain
    | BoardCommand
    | CalcCommand
    | ReferenceCommand
)


class Rejection(Struct, frozen=True):
    """Why a command was refused. `candidates` are the contracts an ambiguous name may mean, at most 50."""

    code: Code
    message: str
    ib_code: int | None = None
    retryable: bool = False
    retry_after_s: float | None = None
    candidates: list[Contract] | None = None


class Reply(Struct, frozen=True):
    """One answer on `replies:<client>`. `streams` are full keys; `note` says what a person should know."""

    id: str
    op: str
    status: Status
    streams: list[str] | None = None
    error: Rejection | None = None
    result: dict[str, Any] | list[Any] | None = None
    note: str | None = None
