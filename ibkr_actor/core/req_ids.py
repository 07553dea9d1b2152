"""Owns the making of req_ids: never one twice in a process, each telling its owner by its last digit.

Remembers no request.
"""

from __future__ import annotations

from ibkr_actor.core.events import REQ_ID_DIGIT, Owner


class ReqIds:
    """A counter for one owner. 214 million ids fit into IB's 32-bit field."""

    def __init__(self, owner: Owner) -> None:
        self._digit = REQ_ID_DIGIT[owner]
        self._count = 0

    def next(self) -> int:
        """An id never given before."""
        self._count += 1
        return self._count * 10 + self._digit

    def was_ours(self, req_id: int) -> bool:
        """Whether the id was given here: a late event of an ended request, not a foreign one."""
        return req_id >= 0 and req_id % 10 == self._digit and 1 <= req_id // 10 <= self._count
