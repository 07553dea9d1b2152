"""The two ports through which effects leave the actors. `tws.gateway` and `bus` implement them.

Every method returns at once: what may block goes to a thread or a task behind the port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.core.requests import AnyRequest
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.keys import Stream
from ibkr_actor.schema.records import DataRecord, System


class GatewayPort(Protocol):
    """One TWS / IB Gateway."""

    def open(self, conn: int, client_id: int, port: int | None = None) -> None: ...

    def close(self, conn: int) -> None: ...

    def send(self, request: AnyRequest) -> None: ...

    def counters(self) -> dict[str, int | float | str | None]: ...


class BusPort(Protocol):
    """One Redis."""

    def publish(self, items: Sequence[tuple[Stream, DataRecord]]) -> None: ...

    def announce(self, record: System) -> None: ...

    def set_state(self, stream: Stream, state: str, reason: str, since_ns: int) -> None: ...

    def set_freshness(self, stream: Stream, freshness: str, since_ns: int, received_ns: int) -> None: ...

    def close_stream(self, stream: Stream) -> None: ...

    def answer(
        self, ref: CommandRef, reply: Reply, holders: tuple[HolderWrite, ...], jobs: tuple[HolderWrite, ...]
    ) -> None: ...

    def write_job(self, job: str, entries: Sequence[DataRecord], number: int, state: bytes | None) -> None: ...

    def look_up_window(self, name: str) -> None: ...

    def store_window(self, name: str, value: bytes) -> None: ...

    def write_pacing(self, value: bytes) -> None: ...

    def notify(self, client: str, reply: Reply) -> None: ...

    def write_holders(self, holders: tuple[HolderWrite, ...]) -> None: ...

    def write_contracts(self, writes: tuple[HolderWrite, ...]) -> None: ...

    def counters(self) -> dict[str, int | float | str | None]: ...
