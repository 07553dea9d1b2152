"""Owns when level 1 stands in for a tick-by-tick stream, and when the stream goes back to tick by tick.

Makes no record (`core.lines.stand_ins` does) and refuses no command: who did not ask for it is refused as ever.
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import structs

from ibkr_actor.core.effects import Announce, Effect, HolderWrite, Instant, SetState, WriteHolders
from ibkr_actor.core.holders import holder_write
from ibkr_actor.core.kinds import LEVEL1, why_not
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Channel, Line
from ibkr_actor.core.lines.stand_ins import needed_ticks
from ibkr_actor.schema.commands import Rejection
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import System

# After IB's own refusal for its limit, which others may fill too.
_BACK_AFTER_S: Final = 60.0


class Fallbacks:
    """Tick-by-tick streams on level-1 lines. Caller: the subscriptions' cores; affects lines by their book."""

    def __init__(self, book: LineBook) -> None:
        self._book = book
        # Stream -> when it may go back at the earliest, monotonic; infinite where IB has no tick by tick of it.
        self._standing: dict[Stream, float] = {}

    def __len__(self) -> int:
        return len(self._standing)

    def begin(self, channel: Channel) -> None:
        """A stream that was opened on level 1."""
        contract = channel.line.contract
        offered = why_not(channel.row.kind, contract.sec_type, contract.exchange) is None
        self._standing.setdefault(channel.stream, 0.0 if offered else math.inf)

    def takes_over(self, line: Line) -> bool:
        """Whether a holder of a line that IB refuses wants level 1 instead."""
        channel = line.main
        return (
            line.row.line_type == "tick_by_tick"
            and channel is not None
            and any(holder.fallback for holder in channel.holders.values())
        )

    def take_over(self, line: Line, rejection: Rejection, now: Instant) -> list[Effect]:
        """IB has refused the line, and level 1 stands in."""
        channel = line.main
        assert channel is not None
        line.remove_channel(channel.row.kind)
        effects = self._book.close(line, now, ended=True)
        # A permission that it never had does not come by itself.
        may_return = rejection.retryable and (line.proven or rejection.code != "permissions_missing")
        self._standing[channel.stream] = now.s + _BACK_AFTER_S if may_return else math.inf
        channel.lose("restart", now.ns)
        text = f"level 1 stands in for tick by tick: {rejection.message}"
        said = System(0, 0, now.ns, "subscription", "fallback", channel.stream.name, text, rejection.ib_code)
        return [*effects, *self._move(channel, "level1", now), Announce(said)]

    # ---- back

    def next_s(self) -> float | None:
        """When a stream may go back, if there is room."""
        if not self._standing or self._book.room("tick_by_tick") < 1:
            return None
        at_s = min(self._standing.values())
        return at_s if math.isfinite(at_s) else None

    def look(self, now: Instant) -> list[Effect]:
        """Streams go back to tick by tick as far as there is room, the longest waiting first."""
        effects: list[Effect] = []
        for stream, at_s in list(self._standing.items()):
            line = self._book.lines.get((stream.instrument, LEVEL1))
            channel = None if line is None else line.channels.get(stream.kind)
            if channel is None:
                del self._standing[stream]
            elif at_s <= now.s and self._book.room("tick_by_tick") > 0:
                del self._standing[stream]
                effects += self._go_back(channel, now)
        return effects

    def _go_back(self, channel: Channel, now: Instant) -> list[Effect]:
        line = channel.line
        channel.lose("restart", line.newest_ns or now.ns)
        line.remove_channel(channel.row.kind)
        effects = self._move(channel, channel.row.slot, now)
        if not line.channels:
            effects += self._book.close(line, now, ended=False)
        text = "a tick-by-tick stream is free again"
        said = System(0, 0, now.ns, "subscription", "fallback_over", channel.stream.name, text)
        return [*effects, Announce(said)]

    def _move(self, channel: Channel, slot: str, now: Instant) -> list[Effect]:
        """The stream is fed by another line from here on."""
        contract, opened_by = channel.line.contract, channel.line.opened_by
        key = (channel.stream.instrument, slot)
        effects: list[Effect] = []
        line = self._book.lines.get(key)
        if line is None:
            if slot == LEVEL1:
                effects += self._book.make_room(1, now)
            line = self._book.open(key, channel.row, contract, opened_by=opened_by)
        line.adopt(channel)
        ticks = needed_ticks(channel) if channel.stands_in else frozenset[int]()
        writes: list[HolderWrite] = []
        for client, holder in channel.holders.items():
            channel.holders[client] = structs.replace(holder, generic_ticks=ticks)
            writes.append(holder_write(channel.stream, channel.holders[client], contract))
        effects.append(WriteHolders(tuple(writes)))
        if line.state:
            effects.append(SetState(channel.stream, line.state, channel.reason, now.ns))
        if line.req_id is None and line.candidate is None:
            return effects + self._book.ask(line, now)
        asked = line.candidate.generic_ticks if line.candidate is not None else line.generic_ticks
        if not line.wanted_ticks() <= asked:
            effects += self._book.widen(line, {}, now)
        return effects
