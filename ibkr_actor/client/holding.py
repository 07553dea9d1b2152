"""What one client holds: who of its feeds wants which streams, and the leases at the sidecar that follow from it.

Reads no stream of data.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup
from msgspec import Struct, field, structs
from redis.exceptions import RedisError

from ibkr_actor.client.calls import Calls
from ibkr_actor.client.errors import MarketDataError, NoAnswer, error_of, named
from ibkr_actor.schema.commands import AnyCommand, Renew, Reply, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.keys import BULLETIN, CHAIN, OWN_COMMAND, SCAN, Keys, Stream
from ibkr_actor.schema.reference_commands import BoardCommand, Chain, HoldScan

# A lease is renewed so often in its time: when one renewal is lost, the next comes before it runs out.
_RENEWALS_PER_LEASE: Final = 3
# Where leases do not run out, how often it is asked whether they are still there.
_LOOK_S: Final = 20.0
_RETRY_S: Final = 1.0
# How long giving back may take at an end; what is left then goes with its lease.
_LEAVE_S: Final = 2.0

# Commands of which there is more to tell later.
_HOLDING: Final = frozenset({"subscribe", *OWN_COMMAND.values()})

_log = logging.getLogger(__name__)
Instrument = str | InstrumentQuery


class Hold(Struct, eq=False, kw_only=True):
    """What one feed wants of one instrument, as a command without id, client and lease.

    `keys` are the streams that the sidecar named; empty until it did.
    """

    command: Subscribe | Chain | BoardCommand
    on_refused: Callable[[str, MarketDataError], None]
    keys: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    abandoned: bool = False

    @property
    def kinds(self) -> Sequence[str]:
        match self.command:
            case Subscribe(kinds=kinds):
                return kinds
            case Chain():
                return (CHAIN,)
            case HoldScan():
                return (SCAN,)
            case _:
                return (BULLETIN,)

    @property
    def generic_ticks(self) -> frozenset[int]:
        return frozenset(self.command.generic_ticks if isinstance(self.command, Subscribe) else ())


class Holding:
    """The holds of one client. Caller: its feeds; affects what the sidecar has as the client's."""

    def __init__(self, calls: Calls, keys: Keys, lease_s: float, tasks: TaskGroup) -> None:
        self._calls = calls
        self._keys = keys
        self._lease_s = lease_s
        self._tasks = tasks
        self._holds: list[Hold] = []
        self._asking: list[Hold] = []  # subscribes that are not answered
        self._early: dict[str, list[Reply]] = {}  # by their command: what was said to them after the answer
        self._leaving: set[str] = set()  # streams that nobody wants any more, to be given back
        self._giving_back = False  # an unsubscribe is on its way
        self._changed = anyio.Event()
        self._look_now = anyio.Event()
        self._asked = False
        self._over = False  # the client has ended: all goes back at once, and nobody gives back one by one
        calls.on_other = self._hear

    async def take(self, hold: Hold) -> list[str]:
        """Subscribes, and returns the full keys of the streams in the order of the kinds.

        Raises:
            MarketDataError: it was refused, or nobody answered.
            redis.RedisError: the server refuses to take commands.
        """
        done = anyio.Event()
        errors: list[Exception] = []
        # In a task of its own: a caller who is cancelled meanwhile must not leave a line behind that nobody knows of.
        self._tasks.start_soon(self._take, hold, done, errors)
        try:
            await done.wait()
        except BaseException:
            hold.abandoned = True
            self.leave(hold)
            raise
        if errors:
            raise errors[0]
        return hold.keys

    def leave(self, hold: Hold) -> None:
        """Gives back, soon, what no other feed of this client wants. Waits for nothing: it is used while cancelled."""
        if hold in self._holds:
            self._holds.remove(hold)
            self._leaving.update(set(hold.keys) - self._wanted())
            self._tell()

    async def left(self) -> None:
        """Returns when what was to be given back has been, or cannot be for now."""
        with anyio.move_on_after(_LEAVE_S):
            while not self._over and (self._leaving or self._giving_back):
                await self._changed.wait()

    def look(self) -> None:
        """Something happened that may have cost us our leases."""
        self._look_now.set()

    def start(self) -> None:
        """From now on what was left is given back, and what is held is renewed."""
        self._tasks.start_soon(self._give_back)
        self._tasks.start_soon(self._renew)

    async def end(self) -> None:
        """The client ends: everything it holds is given back at once."""
        self._over = True
        self._tell()
        if not self._asked or not self._calls.wrote:
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LEAVE_S):
            try:
                await self._calls.write(lambda: self._calls.named(Unsubscribe()))
            except RedisError as error:
                _log.warning("lines_not_given_back client=%s error=%s", self._calls.client, error)

    # ---- subscribing

    async def _take(self, hold: Hold, done: anyio.Event, errors: list[Exception]) -> None:
        try:
            await self._ask(hold, first=True)
        except (MarketDataError, RedisError) as error:
            errors.append(error)
            if isinstance(error, NoAnswer) and self._calls.wrote:
                self.look()  # it may be done later, and then for nobody
        else:
            self._holds.append(hold)
            if hold.abandoned:
                self.leave(hold)
        finally:
            done.set()

    async def _ask(self, hold: Hold, *, first: bool = False) -> None:
        self._asked = True
        self._asking.append(hold)
        try:
            while True:
                sent = self._ticks_of(hold)
                command = structs.replace(hold.command, lease_s=self._lease_s)
                if isinstance(command, Subscribe):
                    # A stream that was open once has its history, and nothing can be put before what it holds.
                    past = command.backfill if first else ""
                    command = structs.replace(command, generic_ticks=sorted(sent), backfill=past)
                reply, later = await self._call(command)
                hold.keys, hold.refused = reply.streams or [], set()
                for one in later:
                    self._refuse_in(hold, one)
                self._leaving.difference_update(hold.keys)
                # The sidecar keeps one set of generic ticks for a client, that of its latest word.
                if self._ticks_of(hold) <= sent:
                    return
                first = False
        finally:
            self._asking.remove(hold)
            self._tell()

    async def _call(self, command: Subscribe | Chain | BoardCommand) -> tuple[Reply, list[Reply]]:
        """The first reply, and those that came before anybody could look at it: a refusal may follow at once."""
        named_command = self._calls.named(command)
        later = self._early[named_command.id] = []
        try:
            return await self._calls.call(named_command), later
        finally:
            del self._early[named_command.id]

    def _ticks_of(self, hold: Hold) -> frozenset[int]:
        """All that this client wants on the level-1 line of the instrument."""
        names = {self._stream(key).instrument for key in hold.keys}
        shared = [other for other in self._holds if names & {self._stream(key).instrument for key in other.keys}]
        if not any(kind in ("quote", "tick", "greeks", "news") for kind in hold.kinds):
            return hold.generic_ticks
        return hold.generic_ticks.union(*(other.generic_ticks for other in shared))

    def _hear(self, reply: Reply) -> None:
        """A reply that nobody waits for: what became of a subscription later."""
        if reply.op not in _HOLDING or not reply.streams:
            return
        if reply.status == "expired":
            self.look()
        elif reply.status == "rejected":
            if reply.id in self._early:
                self._early[reply.id].append(reply)
            for hold in self._holds:
                if hold not in self._asking:
                    self._refuse_in(hold, reply)

    def _refuse_in(self, hold: Hold, reply: Reply) -> None:
        assert reply.error is not None
        for key in reply.streams or ():
            self._refuse(hold, key, named(error_of(reply.error), self._stream(key).instrument))

    def _refuse(self, hold: Hold, key: str, error: MarketDataError) -> None:
        if key in hold.keys and key not in hold.refused:
            hold.refused.add(key)
            hold.on_refused(key, error)

    # ---- giving back

    async def _give_back(self) -> None:
        while True:
            # Taken before looking: what is told while a command is written must not be slept over.
            changed = self._changed
            while self._leaving:
                before = len(self._leaving)
                self._giving_back = True
                try:
                    await self._calls.write(self._next_unsubscribe)
                except RedisError as error:
                    # Not allowed, or out of memory: the lease will end it.
                    _log.warning("lines_not_given_back client=%s error=%s", self._calls.client, error)
                finally:
                    self._giving_back = False
                if len(self._leaving) >= before:
                    break
                self._tell()
            await changed.wait()

    def _next_unsubscribe(self) -> AnyCommand | None:
        """For one instrument; None while an unanswered subscribe may be about the same streams."""
        asked_kinds = {kind for hold in self._asking for kind in hold.kinds}
        self._leaving -= self._wanted()
        free = [stream for stream in map(self._stream, self._leaving) if stream.kind not in asked_kinds]
        if not free:
            return None
        instrument = free[0].instrument
        if (kind := free[0].kind) in OWN_COMMAND:
            self._leaving.discard(self._keys.stream(kind, instrument))
            return self._calls.named(_leave_own(kind, instrument))
        kinds = sorted(stream.kind for stream in free if stream.instrument == instrument)
        self._leaving.difference_update(self._keys.stream(kind, instrument) for kind in kinds)
        return self._calls.named(Unsubscribe(instrument=instrument, kinds=kinds))

    def _wanted(self) -> set[str]:
        return {key for hold in self._holds for key in hold.keys}

    def _stream(self, key: str) -> Stream:
        return stream_of(self._keys, key)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # ---- leases

    async def _renew(self) -> None:
        period_s = self._lease_s / _RENEWALS_PER_LEASE if self._lease_s else _LOOK_S
        wait_s = period_s
        while True:
            with anyio.move_on_after(wait_s):
                await self._look_now.wait()
            self._look_now = anyio.Event()
            if not self._asked:
                continue
            try:
                reply = await self._calls.call(Renew())
            except (MarketDataError, RedisError) as error:
                _log.warning("leases_not_renewed client=%s error=%s", self._calls.client, error)
                wait_s = min(period_s, _RETRY_S)
            else:
                again = await self._compare(set(reply.streams or ()))
                wait_s = min(period_s, _RETRY_S) if again else period_s

    async def _compare(self, there: set[str]) -> bool:
        """Subscribes to what the sidecar has lost, gives back what nobody wants; whether it must be tried again."""
        if not self._asking:
            self._leaving |= there - self._wanted()
            self._tell()
        again = False
        for hold in list(self._holds):
            if hold not in self._holds or not set(hold.keys) - hold.refused - there:
                continue
            _log.warning("lease_lost client=%s streams=%s", self._calls.client, ",".join(hold.keys))
            try:
                await self._ask(hold)
            except RedisError as error:
                _log.warning("lease_not_taken_again client=%s error=%s", self._calls.client, error)
                again = True
            except MarketDataError as error:
                again |= error.retryable
                for key in () if error.retryable else hold.keys:
                    self._refuse(hold, key, error)
        return again


def _leave_own(kind: str, name: str) -> Unsubscribe:
    """Gives back a stream that has a command of its own."""
    if kind == CHAIN:
        return Unsubscribe(chain=name)
    return Unsubscribe(scan=name) if kind == SCAN else Unsubscribe(kinds=[kind])


def stream_of(keys: Keys, key: str) -> Stream:
    """The stream that a full key, or `kind:instrument`, names."""
    kind, _, instrument = key.removeprefix(f"{keys.root}:").partition(":")
    return Stream(kind, instrument)
