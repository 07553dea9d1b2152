"""Owns the connected clients: judges the message rate, reads their requests, hands them to the service.

Must not answer requests itself, except to refuse what cannot be read or comes too fast.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from typing import Protocol

import anyio.abc

from ibkr_actor.sim.desks.refusals import CLIENT_ID_IN_USE
from ibkr_actor.sim.desks.rules import Rule
from ibkr_actor.sim.replay.frame_recording import FrameRecording
from ibkr_actor.sim.replay.frame_replay import Player
from ibkr_actor.sim.service import Service
from ibkr_actor.sim.session import Session
from ibkr_actor.sim.wire.frames import FrameError, split_frame
from ibkr_actor.sim.wire.reading import BadRequest
from ibkr_actor.sim.wire.request_base import Request
from ibkr_actor.sim.wire.requests import StartApi, read_request
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who wants to know what clients do, before the answer to a request is made."""

    def connected(self, session: Session) -> None:
        """startApi was answered."""

    def requested(self, session: Session, request: Request) -> None:
        """A request came and is about to be answered."""


class Clients:
    """The host of all sessions. `connected` is session number -> session, from accept to the end."""

    def __init__(
        self, world: World, service: Service, line_opened: Callable[[], None], player: Player | None = None
    ) -> None:
        self.world = world
        self.settings = world.settings
        self.clock = world.clock
        self.journal = world.journal
        self.gate = world.gate
        self._service = service
        self._player = player
        self._line_opened = line_opened
        self._numbers = itertools.count(1)
        self.watcher: Watcher | None = None
        self.connected: dict[int, Session] = {}

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        session = Session(next(self._numbers), stream, self)
        self.connected[session.number] = session
        await session.run()

    async def sleep_until(self, due_s: float) -> None:
        await self.world.sleep_until(due_s)

    def greeting(self) -> str:
        return self.world.faults.greeting

    async def greeting_changed(self) -> None:
        await self.world.faults.greeting_changed()

    async def recording(self, session: Session) -> FrameRecording | None:
        return None if self._player is None else await self._player.choose(session)

    def closed(self, session: Session) -> None:
        self.connected.pop(session.number, None)
        self._service.closed(session)
        if self._player is not None:
            self._player.closed(session)
        if session.client_id is not None and self.world.sessions.get(session.client_id) is session:
            del self.world.sessions[session.client_id]
        logger.info("client_gone session=%d client_id=%s", session.number, session.client_id)
        self.world.changed()

    def too_slow(self, session: Session) -> None:
        self.world.slow_clients_closed += 1
        logger.warning("client_too_slow session=%d client_id=%s", session.number, session.client_id)

    async def received(self, session: Session, payload: bytes) -> None:
        try:
            message_id, body, protobuf = split_frame(payload, session.server_version)
        except FrameError:
            self._journal_in(session, payload, 0, -1, protobuf=False)
            raise
        world = self.world
        world.messages_received[message_id] += 1
        try:
            request = self._read(message_id, body, protobuf=protobuf, server_version=session.server_version)
        except BadRequest as error:
            self._journal_in(session, payload, message_id, error.req_id, protobuf=protobuf)
            world.violate(session, Rule.BAD_REQUEST)
            world.error(session, error.req_id, 320, f"Error reading request. {error.cause}")
            return
        self._journal_in(session, payload, message_id, request.req_id, protobuf=protobuf)
        if session.client_id is None:
            if not isinstance(request, StartApi):
                raise FrameError(f"message {message_id} before startApi")
            self._start(session, request)
        elif await self._admitted(session):
            self._answer_or_fail(session, request, payload)
        world.changed()

    def _read(self, message_id: int, body: bytes, *, protobuf: bool, server_version: int) -> Request:
        """Raises: BadRequest, also for a mistake of ours: what one client says must not end the gateway for others."""
        try:
            return read_request(message_id, body, protobuf=protobuf, server_version=server_version)
        except BadRequest:
            raise
        except Exception as error:
            self.world.requests_failed += 1
            logger.exception("request_unread id=%d", message_id)
            raise BadRequest(-1, "Unable to parse data.") from error

    def _start(self, session: Session, request: StartApi) -> None:
        """The welcome, or the end of the connection."""
        if self.world.faults.holds_client_id(request.client_id):
            self.world.error(session, -1, 326, CLIENT_ID_IN_USE)
            session.close_after_flush()
        elif not (self._player or self._service).start(session, request):
            session.close_after_flush()
        elif self.watcher is not None:
            self.watcher.connected(session)

    def _answer_or_fail(self, session: Session, request: Request, payload: bytes) -> None:
        """The answer; 322 for a mistake of ours, so that what one client asks never ends the gateway for others."""
        try:
            self._answer(session, request, payload)
        except Exception:
            logger.exception("request_failed id=%d client_id=%s", request.message_id, session.client_id)
            self.world.failed(session, request.req_id)

    def _answer(self, session: Session, request: Request, payload: bytes) -> None:
        """The service's or the recording's answer, unless a fault has another or none."""
        if self.watcher is not None:
            self.watcher.requested(session, request)
        answer = self.world.faults.answer(session.client_id, request)
        if answer is None:
            if self._player is not None:
                self._player.handle(session, request, payload)
                return
            self._service.handle(session, request)
            self._line_opened()
        elif answer.code is not None:
            self.world.error(session, request.req_id, answer.code, answer.text)

    def _journal_in(self, session: Session, payload: bytes, message_id: int, req_id: int, *, protobuf: bool) -> None:
        if self.journal.active:
            self.journal.incoming(self.clock.now_s(), session.peer, payload, message_id, req_id, protobuf=protobuf)

    async def _admitted(self, session: Session) -> bool:
        """The message rate: reject with error 100 and end at the last strike, or let the message wait its turn."""
        world = self.world
        now_s = self.clock.now_s()
        session.rate.add(now_s)
        world.peak_message_rate = max(world.peak_message_rate, session.rate.peak)
        if not self.settings.enforce_message_rate or session.window.take(now_s):
            return True
        world.violate(session, Rule.MESSAGE_RATE)
        if session.paced:
            while not session.window.take(self.clock.now_s()):
                await world.sleep_until(session.window.free_s(self.clock.now_s()))
            return True
        session.strikes += 1
        limit = session.window.limit
        text = f"Max rate of messages per second has been exceeded:max={limit} rec={session.rate.count()}"
        world.error(session, -1, 100, f"{text} ({session.strikes})")
        if session.strikes >= self.settings.strikes:
            logger.warning("client_struck_out client_id=%s", session.client_id)
            session.close_after_flush()
        return False
