"""Owns what is done about bars as time goes by: IB's answer to a request for them, and the end IB does not tell.

Makes no bar: `core.lines.kept_bars` and `core.lines.bar_builder` do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ibkr_actor.core.calendar.sessions import NS
from ibkr_actor.core.effects import Effect, Instant, Publish
from ibkr_actor.core.history.events import HistoricalBars
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Channel, Item, Line, PendingGap
from ibkr_actor.core.lines.publishing import publish_bars
from ibkr_actor.schema.records import Bar, DataRecord

# IB sends news of a bar every four to six seconds: what has not come by then does not come.
# Source: IBKR, TWS API, "Live Updating Historical Data".
CLOSE_AFTER_NS: Final = 7 * NS


def resume_bars(channel: Channel, tail: Sequence[DataRecord]) -> None:
    """The process begins anew with a stream of bars that IB keeps up to date, which ended so.

    Affects: the bars of its line, `gap` and `published` of the channel.
    """
    kept, newest = channel.line.kept, tail[-1] if tail else None
    if kept is None or channel.published or channel.joining is not None or not isinstance(newest, Bar):
        return
    kept.resume(newest)
    channel.published = True
    channel.gap = PendingGap("restart", newest.received_ns)


class LiveBars:
    """The bars of all lines that have some. Caller: `SubscriptionsCore` only."""

    def __init__(self, book: LineBook) -> None:
        self._book = book

    def answer(self, line: Line, event: HistoricalBars) -> list[Effect]:
        """IB's answer, before its updates: what was missed, what it corrected, and the bar that goes on."""
        if line.kept is None or line.main is None:
            return []
        items: list[Item] = []
        publish_bars(line, line.main, line.kept.answer(event.bars), event.received_ns, items)
        return [Publish(items)] if items else []

    def after_burst(self, now: Instant) -> None:
        """Sees to it that each bar that goes on will be closed."""
        timers = self._book.timers
        for line in self._book.bars.values():
            if (line.key, "close") not in timers:
                self._time(line, now)

    def close(self, line: Line, now: Instant) -> list[Effect]:
        """Closes the bars of a line whose time is over. One that is cut off waits for what IB has when it is back."""
        if not line.live:
            return []
        items: list[Item] = []
        until_ns = now.ns - CLOSE_AFTER_NS
        if line.kept is not None and line.main is not None:
            publish_bars(line, line.main, line.kept.due(until_ns), now.ns, items)
        for channel in line.built:
            if channel.builder is not None:
                publish_bars(line, channel, channel.builder.due(until_ns), now.ns, items)
        self._time(line, now)
        return [Publish(items)] if items else []

    def _time(self, line: Line, now: Instant) -> None:
        makers = [line.kept, *(channel.builder for channel in line.built)]
        ends = [maker.closes_ns for maker in makers if maker is not None]
        closes_ns = min((end_ns for end_ns in ends if end_ns is not None), default=None)
        if closes_ns is not None:
            self._book.set_timer(line, "close", now.s + max(0, closes_ns + CLOSE_AFTER_NS - now.ns) / NS)
