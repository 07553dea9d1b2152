"""Owns what is done about order books as time goes by: showing them whole, and asking anew for one that is wrong.

Applies no row: `core.lines.line` does, with `core.lines.order_book`.
"""

from __future__ import annotations

from typing import Final

from ibkr_actor.core.effects import Announce, Effect, Instant, Publish
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Line, LineKey
from ibkr_actor.core.lines.publishing import whole_book
from ibkr_actor.schema.records import System

# A changed book is shown whole so long after the first change. Source: docs/STREAMS.md, "Depth".
SHOW_S: Final = 0.25
# A book that is wrong again so soon is not asked for at once: the fault may be the server's.
_HEAL_EVERY_S: Final = 10.0
_PAUSE_S: Final = 30.0


class DepthBooks:
    """The books of all depth lines. Caller: `SubscriptionsCore` only."""

    def __init__(self, book: LineBook) -> None:
        self._book = book
        # line -> when it was last asked for anew, monotonic; forgotten after `_HEAL_EVERY_S`.
        self._healed: dict[LineKey, float] = {}
        # Books that a row did not fit, and books asked for anew for that or because rows may have been missed.
        self.bad_rows = 0
        self.healed = 0

    def after_burst(self, now: Instant) -> list[Effect]:
        """Looks at each book after market data was applied."""
        effects: list[Effect] = []
        timers = self._book.timers
        for line in list(self._book.books.values()):
            book = line.book
            if book is None:
                continue
            if book.broken:
                effects += self._heal(line, now)
            elif book.dirty and (line.key, "show") not in timers:
                timers.set((line.key, "show"), now.s + SHOW_S)
        return effects

    def show(self, line: Line) -> list[Effect]:
        """The whole book, when it has changed since it was last shown."""
        book, channel = line.book, line.main
        if book is None or channel is None or not book.dirty or book.broken or book.doubtful:
            return []
        book.dirty = False
        return [Publish([(channel.stream, whole_book(line, book, book.received_ns))])]

    def _heal(self, line: Line, now: Instant) -> list[Effect]:
        """The book is not what IB has: it is asked for again, and begins anew."""
        assert line.book is not None
        doubtful = line.book.doubtful
        self.bad_rows += not doubtful
        self.healed += 1
        line.lose("restart", now.ns)
        why = "rows may have been missed" if doubtful else "a row did not fit"
        text = f"{line.key[0]}: the order book is asked for again, since {why}."
        effects: list[Effect] = [
            Announce(System(0, 0, now.ns, "subscription", "book_restarted", line.streams[0].name, text, None, None))
        ]
        last_s = self._healed.get(line.key)
        self._healed = {key: at_s for key, at_s in self._healed.items() if now.s - at_s < _HEAL_EVERY_S}
        if last_s is None or now.s - last_s >= _HEAL_EVERY_S or doubtful:
            self._healed[line.key] = now.s
            return effects + self._book.ask_again(line, now, ended=False)
        effects += self._book.unask(line, ended=False)
        return effects + self._book.starve(line, "bad_rows", now, again_s=_PAUSE_S)
