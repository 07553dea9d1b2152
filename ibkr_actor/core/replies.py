"""Owns the wording of answers that several cores give: rejections, expiries, IB's refusals.

Decides nothing.
"""

from __future__ import annotations

from ibkr_actor.core.codes.meaning import CodeRow
from ibkr_actor.core.effects import Answer, CommandRef
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.schema.commands import Rejection, Reply


def rejected(ref: CommandRef, rejection: Rejection) -> Answer:
    """Settles a command as refused."""
    return Answer(ref, Reply(id=ref.id, op=ref.op, status="rejected", error=rejection))


def expired(ref: CommandRef) -> Answer:
    """Settles a command whose `deadline_ms` passed."""
    error = Rejection("expired", "the command's deadline_ms passed before it could be done")
    return Answer(ref, Reply(id=ref.id, op=ref.op, status="expired", error=error))


def ib_text(row: CodeRow, event: ErrorNotice) -> str:
    """What the code means, with IB's own words."""
    return f"{row.meaning}; IB says ({event.code}): {event.message}"


def rejection_of(row: CodeRow, event: ErrorNotice) -> Rejection:
    """The rejection for who waited for the request that IB refused."""
    return Rejection(row.rejection or "internal", ib_text(row, event), event.code, row.retryable, row.retry_after_s)
