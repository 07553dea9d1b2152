"""Owns who holds the streams that have a command of their own (chains, scans, bulletins), and for how long.

Asks IB nothing and ends no stream itself; holders of channels are in `core.subscriptions.holdings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct, UnsetType, structs

from ibkr_actor.core.config import SubscriptionsConfig
from ibkr_actor.core.deadlines import Deadlines
from ibkr_actor.core.effects import Effect, HolderWrite, Instant, Notify, WriteHolders
from ibkr_actor.core.holders import holder_delete, lease_of
from ibkr_actor.core.subscriptions.waits import Waits
from ibkr_actor.schema.commands import Rejection, Reply
from ibkr_actor.schema.keys import OWN_COMMAND, Stream


class StreamHolder(Struct, frozen=True):
    """One client's wish for a stream. `lease_s` 0 means until unsubscribed; `command_id` is the wish's latest."""

    client: str
    lease_s: float
    command_id: str
    since_ns: int


H = TypeVar("H", bound=StreamHolder)


class HeldStream(Generic[H]):
    """A stream and its holders by client: it is there as long as it has one."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.holders: dict[str, H] = {}


S = TypeVar("S", bound=HeldStream[Any])


class HeldStreams(Generic[S]):
    """The holders of all `streams` of one sort, with their leases. Caller: who owns them.

    `write` keeps a holder over a restart, `end` ends a stream that has lost its last one, for the reason given.
    """

    def __init__(
        self,
        config: SubscriptionsConfig,
        waits: Waits,
        streams: Mapping[Stream, S],
        *,
        write: Callable[[S, Any], HolderWrite],
        end: Callable[[S, str, Instant], list[Effect]],
    ) -> None:
        self._config = config
        self._waits = waits
        self._streams = streams
        self._write = write
        self._end = end
        self._leases = Deadlines[tuple[Stream, str]]()

    @property
    def count(self) -> int:
        """How many holders there are."""
        return sum(len(held.holders) for held in self._streams.values())

    def next_s(self) -> float | None:
        """When a lease runs out."""
        return self._leases.next_s()

    def key(self, held: S) -> str:
        """The stream's key."""
        return self._config.keys.stream(held.stream.kind, held.stream.instrument)

    def keys(self, streams: Iterable[S]) -> list[str]:
        """The streams' keys."""
        return [self.key(held) for held in streams]

    def lease_s(self, asked_s: float | UnsetType) -> float:
        """How long a lease that was asked for runs. Raises: ValueError."""
        return lease_of(asked_s, self._config)

    def hold(self, held: S, holder: StreamHolder, now: Instant) -> HolderWrite:
        """Adds a holder, or renews and changes it."""
        known = held.holders.get(holder.client)
        if known is not None:
            holder = structs.replace(holder, since_ns=known.since_ns)
        held.holders[holder.client] = holder
        self._start_lease(held, holder, now)
        return self._write(held, holder)

    def _start_lease(self, held: S, holder: StreamHolder, now: Instant) -> None:
        if holder.lease_s > 0:
            self._leases.set((held.stream, holder.client), now.s + holder.lease_s)
        else:
            self._leases.clear((held.stream, holder.client))

    # ---- leaving

    def leave(self, streams: list[S], client: str, now: Instant) -> tuple[list[str], list[HolderWrite], list[Effect]]:
        """Ends a client's holding of these, which it holds: keys, writes, what follows."""
        effects = [effect for held in streams for effect in self._leave(held, client, "no_holders", now)]
        return self.keys(streams), [holder_delete(held.stream, client) for held in streams], effects

    def _leave(self, held: S, client: str, reason: str, now: Instant) -> list[Effect]:
        del held.holders[client]
        self._leases.clear((held.stream, client))
        effects = self._waits.drop(held.stream, client)
        return effects if held.holders else effects + self._end(held, reason, now)

    def fail(self, held: S, rejection: Rejection, now: Instant) -> list[Effect]:
        """IB refuses the stream: every holder is told, and it ends."""
        effects: list[Effect] = [*self._waits.failed([held.stream], rejection)]
        told = {(effect.client, effect.reply.id) for effect in effects if isinstance(effect, Notify)}
        for client, holder in held.holders.items():
            self._leases.clear((held.stream, client))
            if (client, holder.command_id) not in told:
                effects.append(self._tell(held, holder, Reply(holder.command_id, "", "rejected", error=rejection)))
        writes = tuple(holder_delete(held.stream, client) for client in held.holders)
        held.holders.clear()
        return [*effects, WriteHolders(writes), *self._end(held, "failed", now)]

    def expire(self, now: Instant) -> list[Effect]:
        """Ends the leases that have run out."""
        effects: list[Effect] = []
        writes = []
        for stream, client in self._leases.due(now.s):
            held = self._streams[stream]
            holder = held.holders[client]
            writes.append(holder_delete(stream, client))
            effects += self._leave(held, client, "expired", now)
            reply = Reply(holder.command_id, "", "expired", note="the lease has run out")
            effects.append(self._tell(held, holder, reply))
        return [*effects, WriteHolders(tuple(writes))] if writes else effects

    def _tell(self, held: S, holder: StreamHolder, reply: Reply) -> Notify:
        op = OWN_COMMAND[held.stream.kind]
        return Notify(holder.client, structs.replace(reply, op=op, streams=[self.key(held)]))

    # ---- leases and what is kept

    def renew(self, client: str, now: Instant) -> list[str]:
        """Starts every lease of a client anew; the keys of what it holds."""
        streams = self.of(client)
        for held in streams:
            self._start_lease(held, held.holders[client], now)
        return self.keys(streams)

    def renew_all(self, now: Instant) -> None:
        """Starts every lease anew."""
        for held in self._streams.values():
            for holder in held.holders.values():
                self._start_lease(held, holder, now)

    def of(self, client: str) -> list[S]:
        """What a client holds; everything where it is empty."""
        return [held for held in self._streams.values() if not client or client in held.holders]

    def writes(self) -> tuple[HolderWrite, ...]:
        """Everything of these streams that the `subscriptions` hash should hold."""
        return tuple(self._write(held, holder) for held in self._streams.values() for holder in held.holders.values())

    def rows(self, held: S, now: Instant) -> list[dict[str, object]]:
        """The holders of a stream, in a `list`."""
        return [
            {"client": client, "lease_s": holder.lease_s, "left_s": self._left_s(held, client, now)}
            for client, holder in held.holders.items()
        ]

    def _left_s(self, held: S, client: str, now: Instant) -> float | None:
        at_s = self._leases.at((held.stream, client))
        return None if at_s is None else round(max(0.0, at_s - now.s), 1)
