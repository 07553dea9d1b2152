"""Commands that anyone allowed may write, and the replies they get.

Holds shapes and defaults only: what a command does is decided in `core`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from ibkr_actor.schema.instruments import Contract, InstrumentQuery

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
Status = Literal["accepted", "active", "rejected", "progress", "result", "done", "expired"]

ANONYMOUS: Final = "anonymous"


class Command(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag_field="op"):
    """What every command may carry.

    `id` defaults to the entry's id and makes the command idempotent; `client` to the key's suffix, else `anonymous`;
    `deadline_ms` is a UTC time in milliseconds since 1970 after which the command is answered `expired`.
    """

    id: str = ""
    client: str = ""
    deadline_ms: int | None = None


class Subscribe(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="subscribe"):
    """Adds the client as a holder of each kind of the instrument. `lease_s` 0 means until unsubscribed.

    `generic_ticks` are IB's generic tick numbers, asked for with the level-1 line of kinds `quote` and `tick`.
    """

    instrument: str | InstrumentQuery
    kinds: list[str]
    lease_s: float | UnsetType = UNSET
    generic_ticks: list[int] = []


class Unsubscribe(
    Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="unsubscribe"
):
    """Removes the client as a holder. Without `kinds` all kinds, without `instrument` everything it holds."""

    instrument: str | InstrumentQuery | None = None
    kinds: list[str] | None = None


class Renew(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="renew"):
    """Starts every lease of the client anew."""


class Resolve(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="resolve"):
    """Answers the contract an instrument means. `refresh` asks IB again instead of the cache."""

    instrument: str | InstrumentQuery
    refresh: bool = False


class List(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="list"):
    """Answers all subscriptions with their holders, or those of `of_client`."""

    of_client: str = ""


class StatusCommand(Command, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, tag="status"):
    """Answers the state of the connection, subscriptions, pacing and Redis."""


AnyCommand = Subscribe | Unsubscribe | Renew | Resolve | List | StatusCommand
# Operations of the contract that this version answers with `unsupported`.
LATER_OPS: Final = frozenset(
    {
        "search",
        "snapshot",
        "history",
        "history_ticks",
        "head_timestamp",
        "schedule",
        "histogram",
        "chain",
        "calc_iv",
        "calc_price",
        "news",
        "scanner",
        "cancel",
        "clear_cooldown",
        "pause",
        "resume",
        "reload",
    }
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
