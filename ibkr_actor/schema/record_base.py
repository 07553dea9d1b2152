"""What every data record begins with.

Holds no record: those stand in `schema.records` and `schema.board_records`.
"""

from __future__ import annotations

from msgspec import Struct


class Record(Struct, array_like=True, tag_field="tag", gc=False):
    """The common eight of every data record: the tag, and these seven."""

    epoch: int
    seq: int
    con_id: int
    received_ns: int
    source_ns: int | None
    feed: int
    flags: int
