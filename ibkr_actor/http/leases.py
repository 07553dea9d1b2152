"""Owns what this process holds in the sidecar: one lease for each (instrument, kind) as long as anyone here listens.

Reads no stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
from msgspec import structs
from redis.exceptions import RedisError

from ibkr_actor.http.asking import Asking
from ibkr_actor.http.errors import HttpError, of_rejection
from ibkr_actor.schema.commands import Renew, Reply, Subscribe, Unsubscribe
from ibkr_actor.schema.instruments import InstrumentQuery
from ibkr_actor.schema.keys import Keys, Stream

log = logging.getLogger(__name__)

Instrument = str | InstrumentQuery
Refused = Callable[[HttpError], None]


class Lease:
    """One (instrument, kind) as it was asked for, and who listens. `verdict` is set by data or a refusal."""

    def __init__(self, instrument: Instrument, kind: str) -> None:
        self.instrument = instrument
        self.kind = kind
        self.key = ""
        self.stream = Stream(kind, "")
        self.command_id = ""
        self.refused: HttpError | None = None
        self.verdict = anyio.Event()
        self.listeners: set[Refused] = set()
        self.idle_since_s: float | None = None
        self.lock = anyio.Lock()


class Leases:
    """Taken with the first listener, renewed while there is one, given back after the last. `run` must run."""

    def __init__(self, asking: Asking, keys: Keys, *, lease_s: float, linger_s: float) -> None:
        self._asking = asking
        self._keys = keys
        self._lease_s = lease_s
        self._linger_s = linger_s
        self._held: dict[tuple[str, str], Lease] = {}

    def __len__(self) -> int:
        return len(self._held)

    async def take(self, instrument: Instrument, kind: str, on_refused: Refused) -> Lease:
        """The lease, held at the sidecar, with this listener among its own. `on_refused` tells of a later refusal.

        Raises:
            HttpError: refused.
        """
        lease = self._held.setdefault(_name(instrument, kind), Lease(instrument, kind))
        lease.listeners.add(on_refused)
        lease.idle_since_s = None
        try:
            async with lease.lock:
                if not lease.key or lease.refused is not None:
                    await self._subscribe(lease)
        except BaseException:
            self.give_back(lease, on_refused)
            raise
        return lease

    def give_back(self, lease: Lease, on_refused: Refused) -> None:
        """The listener has gone. The line goes a little later, unless another comes."""
        lease.listeners.discard(on_refused)
        if lease.listeners:
            return
        if lease.key and lease.refused is None:
            lease.idle_since_s = anyio.current_time()
        else:
            self._held.pop(_name(lease.instrument, lease.kind), None)

    async def run(self) -> None:
        """Renews for ever, takes again what the sidecar has lost, and gives back what nobody listens to."""
        renew_s = anyio.current_time() + self._lease_s / 3
        while True:
            await anyio.sleep(min(1.0, self._lease_s / 3, max(0.1, self._linger_s / 2)))
            now_s = anyio.current_time()
            try:
                await self._return_idle(now_s - self._linger_s)
                if self._held and now_s >= renew_s:
                    await self._renew()
            except (HttpError, RedisError, OSError) as error:
                # Tried again in a second: two thirds of the lease are left.
                log.warning("leases_not_renewed error=%s", error)
                continue
            if now_s >= renew_s:
                renew_s = now_s + self._lease_s / 3

    async def _renew(self) -> None:
        """Raises: HttpError when nobody answers, RedisError."""
        reply = await self._asking.ask(Renew())
        there = set(reply.streams or ())
        for lease in list(self._held.values()):
            if not lease.key or lease.key in there or lease.refused is not None or not lease.listeners:
                continue
            log.warning("lease_lost key=%s", lease.key)
            async with lease.lock:
                try:
                    await self._subscribe(lease)
                except HttpError as error:
                    self._refuse(lease, error)

    async def close(self) -> None:
        """Gives everything back at once."""
        if self._held:
            self._held.clear()
            await self._asking.send(Unsubscribe())

    async def _return_idle(self, since_s: float) -> None:
        idle = [
            name
            for name, lease in self._held.items()
            if lease.idle_since_s is not None and lease.idle_since_s <= since_s
        ]
        for name in idle:
            lease = self._held.pop(name)
            self._asking.forget(lease.command_id)
            # Two ways of naming one stream share its holder at the sidecar.
            if not any(other.key == lease.key for other in self._held.values()):
                await self._asking.send(Unsubscribe(instrument=lease.stream.instrument, kinds=[lease.kind]))

    async def _subscribe(self, lease: Lease) -> None:
        lease.refused, lease.verdict = None, anyio.Event()
        command = Subscribe(instrument=lease.instrument, kinds=[lease.kind], lease_s=self._lease_s)
        reply = await self._asking.ask(command, later=lambda later: self._later(lease, later))
        lease.command_id = reply.id
        (lease.key,) = reply.streams or [""]
        name = lease.key.removeprefix(f"{self._keys.root}:")
        kind, _, instrument = name.partition(":")
        lease.stream = Stream(kind, instrument)

    def _later(self, lease: Lease, reply: Reply) -> None:
        """What the sidecar says of the line after it was accepted."""
        if reply.status == "active":
            lease.verdict.set()
        elif reply.status == "rejected" and reply.error is not None:
            self._refuse(lease, of_rejection(reply.error))
        elif reply.status == "expired":
            # This process did not renew in time: whoever listens must ask again.
            self._refuse(lease, HttpError("expired", "the lease ran out; subscribe again"))

    def _refuse(self, lease: Lease, error: HttpError) -> None:
        lease.refused = error
        lease.verdict.set()
        for tell in tuple(lease.listeners):
            tell(error)


def named(instrument: Instrument) -> str:
    """The instrument as text, for messages."""
    return instrument if isinstance(instrument, str) else instrument.symbol or str(structs.asdict(instrument))


def _name(instrument: Instrument, kind: str) -> tuple[str, str]:
    return (instrument if isinstance(instrument, str) else repr(instrument), kind)
