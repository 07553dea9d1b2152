"""Owns who holds which stream and for how long, and the end of a stream that nobody holds or IB refuses.

Decides no request and reads no command.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import (
    CloseStream,
    Effect,
    HolderWrite,
    Instant,
    Notify,
    Publish,
    SetState,
    WriteHolders,
)
from ibkr_actor.core.holders import Holder, holder_delete, holder_write
from ibkr_actor.core.lines.book import LineBook
from ibkr_actor.core.lines.line import Channel, Line
from ibkr_actor.core.lines.live_bars import resume_bars
from ibkr_actor.core.past.backfills import Backfills
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord


class Holdings:
    """Holders of channels, with their leases. A line exists as long as one of its channels has a holder."""

    def __init__(self, config: SubscriptionsConfig, book: LineBook, waits: Waits, backfills: Backfills) -> None:
        self._backfills = backfills
        self._keys = config.keys
        self._book = book
        self._waits = waits
        # client -> stream -> channel; an empty one is removed.
        self._by_client: dict[str, dict[Stream, Channel]] = {}
        # Leases that run; a holder until unsubscribed has none.
        self.leases = Deadlines[tuple[Stream, str]]()
        self.count = 0

    def of(self, client: str) -> dict[Stream, Channel]:
        """What a client holds."""
        return self._by_client.get(client, {})

    def add(self, channel: Channel, holder: Holder, now: Instant) -> HolderWrite:
        """Adds a holder, or renews and changes it."""
        if holder.client not in channel.holders:
            self.count += 1
        channel.holders[holder.client] = holder
        if holder.heal:
            self._backfills.heals.tap(channel)
        self._by_client.setdefault(holder.client, {})[channel.stream] = channel
        self._start_lease(channel, holder, now)
        return holder_write(channel.stream, holder, channel.line.contract)

    def take_up(self, channel: Channel, holder: Holder, tail: Sequence[DataRecord], now: Instant) -> None:
        """The same after a restart; a stream goes on behind its `tail`, with the past that was on its way or missed."""
        self.add(channel, holder, now)
        if holder.backfill:
            self._backfills.resume(channel, holder, tail, now)
        elif channel.line.kept is not None:
            resume_bars(channel, tail)
        elif holder.heal:
            self._backfills.heals.resume(channel, tail)

    def _start_lease(self, channel: Channel, holder: Holder, now: Instant) -> None:
        key = (channel.stream, holder.client)
        if holder.lease_s > 0:
            self.leases.set(key, now.s + holder.lease_s)
        else:
            self.leases.clear(key)

    def writes(self) -> tuple[HolderWrite, ...]:
        """Everything that the `subscriptions` hash should hold."""
        return tuple(
            holder_write(stream, channel.holders[client], channel.line.contract)
            for client, held in self._by_client.items()
            for stream, channel in held.items()
        )

    def renew(self, client: str, now: Instant) -> list[Stream]:
        """Starts every lease of a client anew."""
        channels = self.of(client)
        for channel in channels.values():
            self._start_lease(channel, channel.holders[client], now)
        return list(channels)

    def renew_all(self, now: Instant) -> None:
        """Starts every lease anew."""
        for client in self._by_client:
            self.renew(client, now)

    def change_ticks(self, line: Line, client: str, generic_ticks: frozenset[int]) -> list[HolderWrite]:
        """Sets the generic ticks of a client in every channel of the line that it holds."""
        writes: list[HolderWrite] = []
        for channel in line.channels.values():
            holder = channel.holders.get(client)
            if holder is not None:
                holder = channel.holders[client] = structs.replace(holder, generic_ticks=generic_ticks)
                writes.append(holder_write(channel.stream, holder, line.contract))
        return writes

    # ---- leaving

    def leave(self, channel: Channel, client: str, reason: str, now: Instant) -> list[Effect]:
        """Removes a holder; the last one ends the stream. The stored holder is the caller's to delete."""
        self._remove(channel, client)
        effects = self._waits.drop(channel.stream, client)
        return effects if channel.holders else effects + self._close(channel, reason, now, ended=False)

    def _remove(self, channel: Channel, client: str) -> None:
        del channel.holders[client]
        self.count -= 1
        self.leases.clear((channel.stream, client))
        held = self._by_client[client]
        del held[channel.stream]
        if not held:
            del self._by_client[client]

    def _close(self, channel: Channel, reason: str, now: Instant, *, ended: bool) -> list[Effect]:
        line, stream = channel.line, channel.stream
        effects: list[Effect] = [
            *self._backfills.stop(channel),
            Publish([channel.end(reason, now.ns)]),
            SetState(stream, "ended", reason, now.ns),
            CloseStream(stream),
        ]
        line.remove_channel(stream.kind)
        return effects if line.channels else effects + self._book.close(line, now, ended=ended)

    def expire(self, now: Instant) -> list[Effect]:
        """Ends the leases that have run out and tells their clients."""
        effects: list[Effect] = []
        gone: dict[tuple[str, str], list[Stream]] = {}
        writes: list[HolderWrite] = []
        for stream, client in self.leases.due(now.s):
            channel = self._by_client[client][stream]
            gone.setdefault((client, channel.holders[client].command_id), []).append(stream)
            writes.append(holder_delete(stream, client))
            effects += self.leave(channel, client, "expired", now)
        for (client, command_id), streams in gone.items():
            reply = Reply(command_id, "subscribe", "expired", self.names(streams), note="the lease has run out")
            effects.append(Notify(client, reply))
        return [*effects, WriteHolders(tuple(writes))] if writes else effects

    def fail(self, line: Line, rejection: Rejection, now: Instant) -> list[Effect]:
        """IB refused the line: every holder is told, and its streams end."""
        return self.tell(line, rejection) + self._end_line(line, "failed", now)

    def tell(self, line: Line, rejection: Rejection, *, client: str | None = None) -> list[Effect]:
        """Tells every holder, or one, of IB's refusal: those whose command still waits, and those long `active`."""
        effects: list[Effect] = [*self._waits.failed(line.streams, rejection, client=client)]
        told = {(effect.client, effect.reply.id) for effect in effects if isinstance(effect, Notify)}
        untold: dict[tuple[str, str], list[Stream]] = {}
        for channel in line.channels.values():
            for holder in channel.holders.values():
                if client in (None, holder.client) and (holder.client, holder.command_id) not in told:
                    untold.setdefault((holder.client, holder.command_id), []).append(channel.stream)
        for (holder_client, command_id), streams in untold.items():
            reply = Reply(command_id, "subscribe", "rejected", self.names(streams), error=rejection)
            effects.append(Notify(holder_client, reply))
        return effects

    def complete(self, line: Line, now: Instant) -> list[Effect]:
        """A snapshot is whole: its streams end."""
        note = "the snapshot is complete; IB sent no data for it"
        return self._waits.ended(line.streams, note) + self._end_line(line, "expired", now)

    def _end_line(self, line: Line, reason: str, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        writes: list[HolderWrite] = []
        for channel in list(line.channels.values()):
            for client in list(channel.holders):
                writes.append(holder_delete(channel.stream, client))
                self._remove(channel, client)
            effects += self._close(channel, reason, now, ended=True)
        return [*effects, WriteHolders(tuple(writes))]

    def names(self, streams: list[Stream]) -> list[str]:
        """The full keys of streams."""
        return [self._keys.stream(stream.kind, stream.instrument) for stream in streams]
