"""Owns the answer to what an IB code means and what is done about it.

Never looks at IB's English text: TWS speaks other languages. The table stands in `core.codes.table`.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.codes.row import CodeRow
from ibkr_actor.core.codes.table import ROWS

__all__ = ["NOTICES", "ROWS", "CodeRow", "lookup"]

# Source: IBKR's message codes: 2100-2169 are warnings and system notices, none of which ends a request. Later ones
# (2176, on fractional sizes) are not in its table yet; other clients take the whole hundred for warnings.
NOTICES: Final = range(2100, 2200)


def lookup(code: int, req_id: int) -> CodeRow:
    """The row of a code. An unknown one ends the request it names, unless it is in the range of notices."""
    row = ROWS.get(code)
    if row is not None:
        return row
    if req_id < 0 or code in NOTICES:
        return CodeRow(code, "unknown notice", "connection", "information", "note")
    return CodeRow(code, "unknown error", "request", "unavailable", "fail", "internal")
