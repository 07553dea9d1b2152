"""Owns how often IB's word on many lines is told: the first of a code at once, those that follow it together.

Knows no line and changes none.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from ibkr_actor.core.codes.meaning import CodeRow
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Announce, Instant
from ibkr_actor.core.events import ErrorNotice
from ibkr_actor.core.replies import ib_text
from ibkr_actor.schema.records import System

# What has one cause comes within this time, and so is one message: two hundred lines are asked for in four seconds.
_TOGETHER_S: Final = 10.0
_NAMED_MAX: Final = 5
# A line that is asked for again in vain, again and again, has nothing new to say. Longer than between two such probes.
_SAID_S: Final = 150.0
_PROBED: Final = frozenset({"starve", "fail", "retry"})
_SAID_TIDY: Final = 1_000


class _Word(Struct):
    """What IB said of the first line, and the names of the streams it said the same of since."""

    kind: str
    text: str
    conn: int
    until_s: float
    names: dict[str, None] = field(default_factory=dict)


class IbWords:
    """IB's words on lines, by code."""

    def __init__(self) -> None:
        # code -> its newest word that others may join.
        self._words: dict[int, _Word] = {}
        # (code, stream) -> when that was said last.
        self._said_s: dict[tuple[int, str], float] = {}
        self._deadlines = Deadlines[int]()

    def next_s(self) -> float | None:
        """When something gathered is to be told."""
        return self._deadlines.next_s()

    def say(self, name: str, instrument: str, row: CodeRow, event: ErrorNotice, now: Instant) -> list[Announce]:
        """IB said this of the stream `name`."""
        if row.effect in _PROBED and self._is_old(event.code, name, now.s):
            return []
        found = self._words.get(event.code)
        if found is not None and now.s < found.until_s:
            found.names[name] = None
            self._deadlines.set(event.code, found.until_s)
            return []
        text = ib_text(row, event)
        self._words[event.code] = _Word(row.kind, text, event.conn, now.s + _TOGETHER_S)
        return [_announce(row.kind, name, f"{instrument}: {text}", event.code, event.conn, now)]

    def wake_up(self, now: Instant) -> list[Announce]:
        """Tells what was gathered, each code in one message."""
        told = []
        for code in self._deadlines.due(now.s):
            word = self._words.pop(code)
            names = list(word.names)
            more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
            text = f"The same of {len(names)} more streams: {', '.join(names[:_NAMED_MAX])}{more}. {word.text}"
            subject = names[0] if len(names) == 1 else "streams"
            told.append(_announce(word.kind, subject, text, code, word.conn, now))
        return told

    def _is_old(self, code: int, name: str, now_s: float) -> bool:
        """Whether that was said of the stream just now, or at its last probe. Affects: when it was said last."""
        if len(self._said_s) >= _SAID_TIDY:
            self._said_s = {key: at_s for key, at_s in self._said_s.items() if now_s - at_s < _SAID_S}
        before_s = self._said_s.get((code, name))
        self._said_s[code, name] = now_s
        return before_s is not None and now_s - before_s < _SAID_S


def _announce(kind: str, subject: str, text: str, code: int, conn: int, now: Instant) -> Announce:
    return Announce(System(0, 0, now.ns, "subscription", kind, subject, text, code, conn))
