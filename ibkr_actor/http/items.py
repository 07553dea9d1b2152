"""Owns one stream entry on its way to many HTTP clients: decoded once, and rendered once in each form.

Knows no client and no Redis.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Final

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import AnyRecord

Position = tuple[int, int]
START: Final[Position] = (0, 0)
_QUOTE_PACKED: Final = b"\xa5quote"
_QUOTE_JSON: Final = b'{"tag":"quote"'


def position_of(entry_id: str | bytes) -> Position:
    """(ms, n) of an entry id.

    Raises:
        ValueError: it is no id.
    """
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    ms, _, n = text.partition("-")
    if not (ms.isdecimal() and (not n or n.isdecimal())) or len(text) > 41:
        raise ValueError(f"{text!r} is no entry id")
    return int(ms), int(n or 0)


class Item:
    """One entry. `record` is None for what this version does not know."""

    __slots__ = ("_fields", "_record", "_rendered", "id", "is_quote", "position", "stream")

    def __init__(self, stream: Stream, entry_id: str, fields: Mapping[bytes, bytes]) -> None:
        self.stream = stream
        self.id = entry_id
        self.position = position_of(entry_id)
        self.is_quote = is_quote(fields)
        self._fields: Mapping[bytes, bytes] | None = fields
        self._record: AnyRecord | None = None
        self._rendered: dict[object, bytes] = {}

    @property
    def record(self) -> AnyRecord | None:
        """Decoded when it is first asked for: a conflated quote never is."""
        if self._fields is not None:
            try:
                self._record = decode_record(self._fields)
            except ValueError:
                self._record = None
            self._fields = None
        return self._record

    def rendered(self, form: Callable[[Item], bytes]) -> bytes:
        """What `form` makes of it, made once for all clients."""
        found = self._rendered.get(form)
        if found is None:
            found = self._rendered[form] = form(self)
        return found


def is_quote(fields: Mapping[bytes, bytes]) -> bool:
    """Whether an entry is a quote, by its first bytes."""
    packed = fields.get(b"d")
    if packed is not None:
        return _QUOTE_PACKED in packed[:9]
    return fields.get(b"j", b"")[:14] == _QUOTE_JSON


def conflated(items: list[Item]) -> list[Item]:
    """Of each run of quotes the last; everything else as it is."""
    out = [item for item, after in itertools.pairwise(items) if not (item.is_quote and after.is_quote)]
    return [*out, items[-1]] if items else out
