"""Owns which accepted commands still wait for the first data of which streams.

Settles no command: it gives the later replies.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, structs

from ibkr_actor.core.effects import CommandRef, Effect, Notify
from ibkr_actor.schema.commands import Rejection, Reply, Status
from ibkr_actor.schema.keys import Keys, Stream


class Wait(Struct, eq=False):
    """One command: the streams it waits for, and those that have come."""

    ref: CommandRef
    remaining: set[Stream]
    active: list[Stream]


class Waits:
    """Commands by the streams they wait for; a command is told `active` once, when its last stream has come."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # stream -> commands; an empty list is removed.
        self._by_stream: dict[Stream, list[Wait]] = {}
        self.count = 0

    def add(self, ref: CommandRef, waiting: Iterable[Stream], active: Iterable[Stream]) -> list[Effect]:
        """The command waits for `waiting`; `active` have data already. It is told at once when nothing is missing."""
        wait = Wait(ref, set(waiting), list(active))
        for stream in wait.remaining:
            self._by_stream.setdefault(stream, []).append(wait)
        self.count += 1
        return self._finish(wait)

    def came(self, streams: Iterable[Stream]) -> list[Effect]:
        """Data came on the streams."""
        effects: list[Effect] = []
        for stream in streams:
            for wait in self._by_stream.pop(stream, ()):
                wait.remaining.discard(stream)
                wait.active.append(stream)
                effects += self._finish(wait)
        return effects

    def failed(self, streams: Iterable[Stream], rejection: Rejection, *, client: str | None = None) -> list[Effect]:
        """The streams will not come (for one client, or for all): each command hears it once, for all of them."""
        refused: dict[int, tuple[Wait, list[Stream]]] = {}
        for stream in streams:
            for wait in self._take(stream, client):
                refused.setdefault(id(wait), (wait, []))[1].append(stream)
        effects: list[Effect] = []
        for wait, lost in refused.values():
            effects.append(self._notify(wait, "rejected", lost, rejection))
            effects += self._finish(wait)
        return effects

    def drop(self, stream: Stream, client: str) -> list[Effect]:
        """The client no longer wants the stream."""
        return [effect for wait in self._take(stream, client) for effect in self._finish(wait)]

    def ended(self, streams: Iterable[Stream], note: str) -> list[Effect]:
        """The streams are complete without any data."""
        waits = {id(wait): wait for stream in streams for wait in self._take(stream, None)}
        effects: list[Effect] = []
        for wait in waits.values():
            if not wait.remaining:
                self.count -= 1
                reply = self._notify(wait, "done", wait.active, None)
                effects.append(structs.replace(reply, reply=structs.replace(reply.reply, note=note)))
        return effects

    def hint(self, streams: Iterable[Stream], note: str) -> list[Effect]:
        """Why nothing comes as yet, for those who wait; they wait on."""
        effects: list[Effect] = []
        for stream in streams:
            for wait in self._by_stream.get(stream, ()):
                told = self._notify(wait, "progress", [stream], None)
                effects.append(structs.replace(told, reply=structs.replace(told.reply, note=note)))
        return effects

    def _take(self, stream: Stream, client: str | None) -> list[Wait]:
        waits = self._by_stream.pop(stream, [])
        taken = [wait for wait in waits if client is None or wait.ref.client == client]
        if len(taken) < len(waits):
            self._by_stream[stream] = [wait for wait in waits if wait.ref.client != client]
        for wait in taken:
            wait.remaining.discard(stream)
        return taken

    def _finish(self, wait: Wait) -> list[Effect]:
        if wait.remaining:
            return []
        self.count -= 1
        return [self._notify(wait, "active", wait.active, None)] if wait.active else []

    def _notify(self, wait: Wait, status: Status, streams: list[Stream], error: Rejection | None) -> Notify:
        names = [self._keys.stream(stream.kind, stream.instrument) for stream in sorted(streams, key=_name)]
        return Notify(wait.ref.client, Reply(wait.ref.id, wait.ref.op, status, streams=names, error=error))


def _name(stream: Stream) -> str:
    return stream.name
