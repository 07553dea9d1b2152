"""Owns one client connection: handshake, cutting bytes into frames, sending, and how it ends.

Must not know what a request means; frames go to the host, messages come from it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import anyio.abc

from ibkr_actor.sim.clock import Clock
from ibkr_actor.sim.desks.rules import PeakRate, Window, message_rate
from ibkr_actor.sim.faults.faults import HANG_UP, SILENCE
from ibkr_actor.sim.faults.frame_faults import FrameFaults
from ibkr_actor.sim.journal import Journal, Peer
from ibkr_actor.sim.messages import Message
from ibkr_actor.sim.outbox import Gate, Outbox
from ibkr_actor.sim.replay.frame_recording import FrameRecording
from ibkr_actor.sim.settings import MIN_SERVER_VERSION, SimulatorSettings
from ibkr_actor.sim.wire.frames import FrameBuffer, FrameError, frame
from ibkr_actor.sim.wire.responses import LAYOUTS, Encoder

logger = logging.getLogger(__name__)

_PREFIX = b"API\0"
# v157..226, v226, and either followed by connect options.
_VERSIONS = re.compile(r"v(\d{1,5})(?:\.\.(\d{1,5}))?(?: (.*))?", re.DOTALL)
# What a client may say before it is answered; the rest waits in its socket.
_EARLY_BYTES_MAX = 64 * 1024
# How long a connection that is being closed may take to say goodbye.
_GOODBYE_S = 1.0


class HandshakeError(Exception):
    """The client's greeting is not one a gateway answers."""


class Host(Protocol):
    """What a session needs from the simulator around it."""

    settings: SimulatorSettings
    clock: Clock
    journal: Journal
    gate: Gate

    async def received(self, session: Session, payload: bytes) -> None:
        """One whole frame from the client."""

    async def sleep_until(self, due_s: float) -> None:
        """Wait for simulated time."""

    def greeting(self) -> str:
        """What is done with a greeting now: one of faults.ANSWER, SILENCE, HANG_UP."""

    async def greeting_changed(self) -> None:
        """Wait until `greeting` may say something else."""

    async def recording(self, session: Session) -> FrameRecording | None:
        """The recording that is played to this client; None when the market answers."""

    def closed(self, session: Session) -> None:
        """The session is over; its lines go."""

    def too_slow(self, session: Session) -> None:
        """The client does not read and its outbox is full."""


class Session:
    """One client. `client_id` is None until startApi came."""

    def __init__(self, number: int, stream: anyio.abc.SocketStream, host: Host) -> None:
        self.number = number
        self.client_id: int | None = None
        self.server_version = 0
        self.connect_options = ""
        self.market_data_type = 1
        self.strikes = 0
        self.window = Window(message_rate(host.settings.lines), 1.0)
        self.rate = PeakRate()
        self._stream = stream
        self._host = host
        self._encoder = Encoder(MIN_SERVER_VERSION)
        self._outbox = Outbox(
            stream,
            limit_bytes=host.settings.outbound_limit_bytes,
            gate=host.gate,
            clock=host.clock,
            sleep_until=host.sleep_until,
        )
        self.frame_faults = FrameFaults()
        self._buffer = FrameBuffer()
        self._scope = anyio.CancelScope()
        self._reset = False

    @property
    def peer(self) -> Peer:
        """Who this is in the journal."""
        return Peer(self.number, -1 if self.client_id is None else self.client_id)

    @property
    def paced(self) -> bool:
        """Whether the client asked for pacing instead of rejection."""
        return "PACEAPI" in self.connect_options or self._host.settings.pace_silently

    async def run(self) -> None:
        """Serve the client until it goes or is sent away; never raises for what a client does."""
        # A client that is gone already makes this fail on some systems; reading will say so.
        with contextlib.suppress(OSError):
            raw = self._stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with self._scope:
                await self._serve()
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass
        except* (HandshakeError, FrameError) as refused:
            logger.warning("client_refused session=%d cause=%s", self.number, refused.exceptions[0])
            if unread := self._buffer.peek()[:_EARLY_BYTES_MAX]:
                self._host.journal.incoming(self._host.clock.now_s(), self.peer, unread, 0, None, protobuf=False)
        finally:
            self._outbox.close()
            self._host.closed(self)
            with anyio.CancelScope(shield=True):
                await self._hang_up()

    def send(self, message: Message, *, instrument: str | None = None) -> None:
        """Queue one message in the form of this client's version."""
        if self._outbox.is_over or self._scope.cancel_called:
            return
        data = written = self._encoder.encode(message)
        if self.frame_faults.active:
            written, cut_at = self.frame_faults.bend(data)
            if cut_at is not None:
                self._outbox.cut_within_next(cut_at)
        journal = self._host.journal
        if journal.active:
            now_s, message_id, bent = self._host.clock.now_s(), LAYOUTS[type(message)].message_id, written != data
            journal.outgoing(now_s, self.peer, data, message_id, message.req_id, instrument, bent=bent)
            if bent and written:
                journal.outgoing_raw(now_s, self.peer, written)
        self._put(written)

    def send_raw(self, data: bytes) -> None:
        """Queue bytes as they are, whole frame or not."""
        if self._host.journal.active:
            self._host.journal.outgoing_raw(self._host.clock.now_s(), self.peer, data)
        self._put(data)

    def encode(self, message: Message) -> bytes:
        """The frame `send` would queue, for senders that prepare ahead."""
        return self._encoder.encode(message)

    async def send_bulk(self, data: bytes) -> bool:
        """Queue prepared frames once there is room. False when the client is gone."""
        return await self._outbox.put_when_room(data)

    async def wait_for_room(self) -> bool:
        """Return once little waits for the client, so that `send_bulk` queues at once. False when it is gone."""
        return await self._outbox.wait_for_room()

    def close(self, *, reset: bool = False) -> None:
        """End the connection at once, dropping what is queued; `reset` sends RST instead of FIN."""
        self._reset = reset
        self._scope.cancel()

    def close_after_flush(self) -> None:
        """End the connection once everything queued has been written."""
        self._outbox.finish()

    def cut_after(self, count: int) -> None:
        """End the connection once `count` more bytes have been written, wherever in a frame that is."""
        self._outbox.cut_after(count)

    def slow_down(self, bytes_per_s: float | None) -> None:
        """Write at most so many bytes a second of simulated time; None ends it."""
        self._outbox.slow_down(bytes_per_s)

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if not self._scope.cancel_called and not self._outbox.put(data):
            self._host.too_slow(self)
            self.close()

    async def _serve(self) -> None:
        try:
            with anyio.fail_after(self._host.settings.handshake_timeout_s):
                payload = await self._greeting()
        except TimeoutError:
            raise HandshakeError("no greeting in time") from None
        await self._reply(payload)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            await self._read()
            tasks.cancel_scope.cancel()

    async def _greeting(self) -> bytes:
        """The payload of the client's first frame."""
        while not (seen := self._buffer.peek()).startswith(_PREFIX):
            if not _PREFIX.startswith(seen):
                raise HandshakeError("no API prefix")
            self._buffer.feed(await self._stream.receive())
        self._buffer.take(len(_PREFIX))
        while (payload := self._buffer.next_frame()) is None:
            self._buffer.feed(await self._stream.receive())
        self._host.journal.incoming(self._host.clock.now_s(), self.peer, payload, 0, None, protobuf=False)
        return payload

    async def _reply(self, payload: bytes) -> None:
        """Answer the greeting, once the gateway answers greetings at all."""
        while (greeting := self._host.greeting()) == SILENCE:
            await self._listen_during(self._host.greeting_changed)
        if greeting == HANG_UP:
            raise HandshakeError("greetings are not answered now")
        recording = await self._host.recording(self)
        cap = self._host.settings.server_version if recording is None else recording.server_version
        self.server_version, self.connect_options = negotiate(payload, cap)
        if recording is not None and self.server_version != cap:
            raise HandshakeError(
                f"{recording.name} is of server version {cap}, the client speaks up to {self.server_version}; "
                "frames are played as they were recorded, not rewritten for another version"
            )
        self._encoder = Encoder(
            self.server_version, managed_accounts_proto_from=self._host.settings.managed_accounts_proto_from
        )
        said = None if recording is None else recording.greeting_reply
        reply = frame(said or handshake_reply(self.server_version, self._host.clock.now_s(), self._host.settings))
        self._host.journal.outgoing(self._host.clock.now_s(), self.peer, reply, 0, None, None)
        await self._host.gate.wait()
        await self._stream.send(reply)
        logger.info("client_connected session=%d server_version=%d", self.number, self.server_version)

    async def _listen_during(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Read what the client says while waiting, so that its going is noticed."""
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                heard = 0
                while heard < _EARLY_BYTES_MAX:
                    data = await self._stream.receive()
                    heard += len(data)
                    self._buffer.feed(data)

            tasks.start_soon(listen)
            await wait()
            tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        while True:
            while (payload := self._buffer.next_frame()) is not None:
                await self._host.gate.wait()
                await self._host.received(self, payload)
            self._buffer.feed(await self._stream.receive())

    async def _write(self) -> None:
        """Ends the session when the outbox ends: finished, cut, or the client gone."""
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._outbox.run()
        self._scope.cancel()

    async def _hang_up(self) -> None:
        """FIN, then whatever the client still says is read away, so that the last bytes sent are not lost to a RST."""
        if self._reset:
            raw = self._stream.extra(anyio.abc.SocketAttribute.raw_socket)
            raw.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
            )
        else:
            with anyio.move_on_after(_GOODBYE_S):
                try:
                    await self._stream.send_eof()
                    while True:
                        await self._stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
                    pass
        await self._stream.aclose()


def negotiate(payload: bytes, cap: int) -> tuple[int, str]:
    """The server version and the connect options for a greeting such as `v100..226 +PACEAPI`.

    Raises: HandshakeError when it is no greeting or no version suits both.
    """
    try:
        match = _VERSIONS.fullmatch(payload.decode("ascii"))
    except UnicodeDecodeError:
        match = None
    if match is None:
        raise HandshakeError("greeting is no version range")
    lowest = int(match[1])
    highest = int(match[2]) if match[2] is not None else lowest
    if highest < lowest:
        raise HandshakeError(f"version range {lowest}..{highest} is empty")
    version = min(cap, highest)
    if version < lowest or version < MIN_SERVER_VERSION:
        raise HandshakeError(f"no common version of {lowest}..{highest} and {MIN_SERVER_VERSION}..{cap}")
    return version, match[3] or ""


def handshake_reply(server_version: int, now_s: float, settings: SimulatorSettings) -> bytes:
    """Two fields: the version, and `20260102 10:00:00 Central European Standard Time`, the zone being free text."""
    local = datetime.datetime.fromtimestamp(now_s + settings.host_zone_offset_s, datetime.UTC)
    stamp = f"{local:%Y%m%d %H:%M:%S} {settings.host_zone}".encode(settings.host_zone_encoding)
    return f"{server_version}\0".encode() + stamp + b"\0"
