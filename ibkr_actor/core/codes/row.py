"""Owns the columns of the table of IB codes.

Holds no row: those stand in `core.codes.table`.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ibkr_actor.schema.commands import Code

Scope = Literal["connection", "farm", "request", "account", "client"]
Kind = Literal[
    "information",
    "advisory",
    "degraded",
    "connection",
    "session",
    "farm",
    "pacing",
    "limit",
    "permission",
    "invalid_contract",
    "bad_request",
    "client_bug",
    "send_failed",
    "subscription",
    "historical",
    "order",
    "version",
    "unavailable",
]
# What is done. For a request:
#   note         nothing; it is over or was never concerned
#   keep         it stays open; said in `system`
#   empty        it stays open, and its order book begins anew
#   prove        it stays open if data comes in `retry_after_s`, else it failed
#   starve       it stays open and silent; asked for again every `retry_after_s`
#   resubscribe  it is over; asked for again at once, with a gap
#   new_id       it is over; asked for again at once under another id
#   retry        it is over; asked for again after `retry_after_s`
#   fail         it is over; who waits gets the row's rejection
# For the connection: upstream_down, upstream_up, data_lost, reconnect, move_port, next_client_id, slow_down,
# and for a farm: farm_down, farm_up, farm_idle, farm_connecting.
Effect = Literal[
    "note",
    "keep",
    "empty",
    "prove",
    "starve",
    "resubscribe",
    "new_id",
    "retry",
    "fail",
    "upstream_down",
    "upstream_up",
    "data_lost",
    "reconnect",
    "move_port",
    "next_client_id",
    "slow_down",
    "farm_down",
    "farm_up",
    "farm_idle",
    "farm_connecting",
]
# Effects after which IB serves the request no more.
ENDING: Final = frozenset({"resubscribe", "new_id", "retry", "fail"})


class CodeRow(Struct, frozen=True):
    """One IB code. `rejection` is our code for who waits; `retryable` tells the caller that asking again may help."""

    code: int
    meaning: str
    scope: Scope
    kind: Kind
    effect: Effect
    rejection: Code | None = None
    retryable: bool = False
    retry_after_s: float | None = None
    source: str = ""

    @property
    def ends_request(self) -> bool:
        """Whether IB serves the request no more."""
        return self.effect in ENDING
