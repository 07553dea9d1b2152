"""Owns the journal: one JSON line for every frame in and out, so that a checker can compare sent with arrived.

Must not decide what is sent; it only writes down.
"""

from __future__ import annotations

from collections import Counter
from typing import IO, NamedTuple

import msgspec


class Peer(NamedTuple):
    """Whose frame it is: the connection's number, and its client id, -1 before startApi."""

    session: int
    client: int


class JournalLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`number` counts the frames of one instrument over all clients, 1, 2, 3, ...; `frame` is the payload in hex.

    Lines with message id 0 are the handshake and bytes that are no frame; those have no length that could be left out.
    """

    time: float
    direction: str
    session: int
    client: int
    message_id: int = 0
    protobuf: bool = False
    req_id: int | None = None
    instrument: str | None = None
    number: int | None = None
    bytes: int = 0
    bent: bool = False
    frame: str | None = None


class Journal:
    """Writes to `path`; without a path every call is a no-op. Lines are flushed by `flush` and `close`."""

    def __init__(self, path: str | None, *, with_payload: bool) -> None:
        self._with_payload = with_payload
        self._numbers: Counter[str] = Counter()
        self._encoder = msgspec.json.Encoder()
        self._file: IO[bytes] | None = open(path, "wb") if path is not None else None  # noqa: SIM115 - closed by close()

    @property
    def active(self) -> bool:
        return self._file is not None

    def incoming(
        self, now_s: float, peer: Peer, payload: bytes, message_id: int, req_id: int | None, *, protobuf: bool
    ) -> None:
        """A frame from a client; the handshake and bytes that are no frame have message id 0."""
        self._write(
            JournalLine(
                time=now_s,
                direction="in",
                session=peer.session,
                client=peer.client,
                message_id=message_id,
                protobuf=protobuf,
                req_id=req_id,
                bytes=len(payload),
                frame=payload.hex() if self._with_payload else None,
            )
        )

    def outgoing(
        self,
        now_s: float,
        peer: Peer,
        frame: bytes,
        message_id: int,
        req_id: int | None,
        instrument: str | None,
        *,
        bent: bool = False,
    ) -> None:
        """A frame to a client, with its length prefix; the handshake has message id 0.

        `bent` when a fault made other bytes of it; what was written instead comes with `outgoing_raw`.
        """
        number = None
        if instrument is not None:
            self._numbers[instrument] += 1
            number = self._numbers[instrument]
        self._write(
            JournalLine(
                time=now_s,
                direction="out",
                session=peer.session,
                client=peer.client,
                message_id=message_id,
                protobuf=message_id > 0
                and len(frame) > 7
                and frame[4:6] == b"\0\0"
                and int.from_bytes(frame[4:8], "big") > 200,
                req_id=req_id,
                instrument=instrument,
                number=number,
                bytes=len(frame) - 4,
                bent=bent,
                frame=frame[4:].hex() if self._with_payload else None,
            )
        )

    def outgoing_raw(self, now_s: float, peer: Peer, data: bytes) -> None:
        """Bytes to a client as they are, with whatever length they claim."""
        self._write(
            JournalLine(
                time=now_s,
                direction="out",
                session=peer.session,
                client=peer.client,
                bytes=len(data),
                frame=data.hex() if self._with_payload else None,
            )
        )

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: JournalLine) -> None:
        if self._file is not None:
            self._file.write(self._encoder.encode(line) + b"\n")
