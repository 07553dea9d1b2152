"""Owns the simulator that plays recordings back: which recorded request answers which of a client's, and when.

Must not know the market; what the recording does not have is refused, or left to the service when it is no data.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import logging
from collections.abc import Callable, Sequence

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint

from ibkr_actor.sim.desks.account import AccountDesk
from ibkr_actor.sim.desks.refusals import ORDER_MESSAGES, SILENT_MESSAGES
from ibkr_actor.sim.replay.frame_ids import answer_req_id, request_without_id, with_answer_req_id
from ibkr_actor.sim.replay.frame_recording import Answer, Exchange, FrameRecording, find_recordings, load_frames
from ibkr_actor.sim.replay.request_match import find_request
from ibkr_actor.sim.replay.rows import ReplayError
from ibkr_actor.sim.service import Service
from ibkr_actor.sim.session import HandshakeError, Session
from ibkr_actor.sim.wire.frames import frame, split_frame
from ibkr_actor.sim.wire.request_base import Cancel, Request
from ibkr_actor.sim.wire.requests import StartApi
from ibkr_actor.sim.world import World

logger = logging.getLogger(__name__)

# Ends of a request that are read as Plain. Source: ibapi.message.OUT.
_CANCELS = frozenset({23, 25, 56, 57, 89, 90, 107})
# The account's side, which no recording of the sidecar holds, and the clocks.
_ACCOUNT_MESSAGES = frozenset({5, 6, 7, 8, 16, 17, 49, 61, 62, 64, 74, 76, 99, 105})
# Requests without an answer: nothing is missing when the recording has none.
_UNANSWERED = frozenset({59})
# Asked for again and again by any client, with nothing that could differ.
_ALWAYS_REUSED = frozenset({49, 105})
# Frames joined into one write.
_CHUNK_FRAMES = 500


class _Track:
    """Answers under way to one request, or the unsolicited frames; `next` is the first not sent."""

    def __init__(
        self, number: int, start_s: float, from_ns: int, answers: Sequence[Answer], req_id: int | None
    ) -> None:
        self.number = number
        self.answers = answers
        self.req_id = req_id
        self.next = 0
        self._start_s = start_s
        self._from_ns = from_ns

    def due_s(self, speed: float) -> float | None:
        """When the next frame is due; None after the last."""
        if self.next >= len(self.answers):
            return None
        if speed == 0:
            return self._start_s
        return self._start_s + (self.answers[self.next].ns - self._from_ns) / 1e9 / speed


class _Show:
    """One client's playing: its tracks by due time, one task that sends them."""

    def __init__(self, world: World, session: Session, recording: FrameRecording) -> None:
        self.recording = recording
        self._world = world
        self._session = session
        self._speed = world.settings.play_speed
        self._numbers = itertools.count()
        # (due, track number, track) of every track with a frame left; a cancelled track is skipped when it comes up.
        self._heap: list[tuple[float, int, _Track]] = []
        # The client's req_id -> what plays under it.
        self._playing: dict[int, tuple[_Track, Exchange]] = {}
        self._cancelled: set[int] = set()
        # Exchanges played already.
        self._used: set[int] = set()
        self._wake = anyio.Event()
        self._scope = world.spawn(self._run)
        self._begin()

    def end(self) -> None:
        self._scope.cancel()

    def ask(self, request: Request, exchange: Exchange) -> None:
        """Play the answers of a recorded request under the client's req_id."""
        self._used.add(id(exchange))
        self.cancel(request.req_id)
        req_id = None if request.req_id == -1 else request.req_id
        track = self._add(exchange.ns, exchange.answers, req_id)
        if req_id is not None:
            self._playing[req_id] = (track, exchange)

    def unused(self, exchanges: Sequence[Exchange]) -> Exchange | None:
        """The first that was not played in this connection yet."""
        return next((each for each in exchanges if id(each) not in self._used), None)

    def cancel(self, req_id: int) -> Exchange | None:
        """Stop what plays under a req_id; the recorded request it was."""
        track, exchange = self._playing.pop(req_id, (None, None))
        if track is not None:
            self._cancelled.add(track.number)
        return exchange

    def _begin(self) -> None:
        """What came unasked, from startApi on; what broke the connection, when that is wanted."""
        recording = self.recording
        self._add(recording.started_ns, recording.unsolicited, None)
        if self._world.settings.play_end and self._speed > 0:
            self._add(recording.started_ns, recording.garbage, -1)
            if recording.end is not None and recording.end.by_gateway:
                self._add(recording.started_ns, [Answer(recording.end.ns, b"")], None)

    def _add(self, from_ns: int, answers: Sequence[Answer], req_id: int | None) -> _Track:
        track = _Track(next(self._numbers), self._world.clock.now_s(), from_ns, answers, req_id)
        self._push(track)
        self._wake.set()
        return track

    def _push(self, track: _Track) -> None:
        due_s = track.due_s(self._speed)
        if due_s is not None:
            heapq.heappush(self._heap, (due_s, track.number, track))

    async def _run(self) -> None:
        """Send what is due, then sleep until the next frame is or a request comes."""
        world = self._world
        while True:
            await world.gate.wait()
            if not await self._session.wait_for_room():
                return
            # From here to the outbox nothing else can come between, so that the journal's order is the wire's.
            data, over = self._take_due(world.clock.now_s())
            if data:
                await self._session.send_bulk(data)
                await checkpoint()
            if over:
                self._session.close_after_flush()
                return
            if data:
                continue
            self._wake = anyio.Event()
            if self._heap:
                entry = world.schedule.at(self._heap[0][0], self._woken(self._wake))
                await self._wake.wait()
                entry.cancel()
            else:
                await self._wake.wait()

    def _woken(self, wake: anyio.Event) -> Callable[[float], None]:
        return lambda _: wake.set()

    def _take_due(self, now_s: float) -> tuple[bytes, bool]:
        """The frames due, up to a chunk, and whether the recorded connection ended there."""
        taken: list[bytes] = []
        while self._heap and self._heap[0][0] <= now_s and len(taken) < _CHUNK_FRAMES:
            _, _, track = heapq.heappop(self._heap)
            if track.number in self._cancelled:
                self._cancelled.discard(track.number)
                continue
            payload = track.answers[track.next].payload
            track.next += 1
            if not payload:
                return b"".join(taken), True
            taken.append(self._framed(payload, track.req_id))
            self._push(track)
        return b"".join(taken), False

    def _framed(self, payload: bytes, req_id: int | None) -> bytes:
        """The frame for this client, noted in the journal; -1 is for bytes that were no frame."""
        version, journal = self.recording.server_version, self._world.journal
        data = payload
        message_id, own_id = 0, None
        if req_id != -1:
            message_id, body, protobuf = split_frame(payload, version)
            own_id = answer_req_id(message_id, body, protobuf=protobuf, server_version=version)
            if req_id is not None and own_id is not None:
                payload, own_id = with_answer_req_id(payload, req_id, server_version=version), req_id
            data = frame(payload)
        now_s = self._world.clock.now_s()
        if message_id:
            journal.outgoing(now_s, self._session.peer, data, message_id, own_id, None)
        else:
            journal.outgoing_raw(now_s, self._session.peer, data)
        return data


class Player:
    """Answers clients out of recordings: the n-th connection plays the n-th, later ones the last."""

    def __init__(self, world: World, service: Service, path: str) -> None:
        """Raises: ReplayError when there is no recording, or the first cannot be used."""
        self._world = world
        self._service = service
        self._accounts = AccountDesk(world)
        self._sources = find_recordings(path)
        # Connections that got as far as startApi.
        self._started = 0
        # Session number -> its recording, from the handshake on, and its playing, from startApi on.
        self._chosen: dict[int, FrameRecording] = {}
        self._shows: dict[int, _Show] = {}
        self._load = functools.lru_cache(maxsize=2)(load_frames)
        first = self._load(self._sources[0])
        logger.info("playing path=%s recordings=%d server_version=%d", path, len(self._sources), first.server_version)

    async def choose(self, session: Session) -> FrameRecording:
        """The recording of a new connection, read off the loop, since it may be large.

        Raises: HandshakeError when it cannot be used.
        """
        source = self._sources[min(self._started, len(self._sources) - 1)]
        try:
            recording = await anyio.to_thread.run_sync(self._load, source)
        except ReplayError as error:
            raise HandshakeError(str(error)) from None
        self._chosen[session.number] = recording
        return recording

    def start(self, session: Session, request: StartApi) -> bool:
        """As Service.start, with the recording's own welcome. False when the client may not begin."""
        recording = self._chosen[session.number]
        if not self._service.admit(session, request):
            return False
        self._started += 1
        if not recording.welcomed:
            # Its beginning was removed as too old: without a welcome no client would go on.
            self._service.welcome(session)
        self._shows[session.number] = _Show(self._world, session, recording)
        logger.info("play_started client_id=%s recording=%s", session.client_id, recording.name)
        return True

    def handle(self, session: Session, request: Request, payload: bytes) -> None:
        """Answer any request after startApi."""
        show = self._shows[session.number]
        if isinstance(request, Cancel) or request.message_id in _CANCELS:
            self._cancel(show, request)
            return
        found, exchange = self._find(show, request, payload)
        if exchange is not None:
            show.ask(request, exchange)
        elif request.message_id in _ACCOUNT_MESSAGES | ORDER_MESSAGES | SILENT_MESSAGES:
            self._accounts.handle(session, request)
        elif request.message_id not in _UNANSWERED:
            self._refuse(session, request, found)

    def closed(self, session: Session) -> None:
        """The session is over."""
        self._chosen.pop(session.number, None)
        show = self._shows.pop(session.number, None)
        if show is not None:
            show.end()

    def _cancel(self, show: _Show, request: Request) -> None:
        """Stop, and say what the gateway said to the recorded cancel."""
        exchange = show.cancel(request.req_id)
        after = exchange.followed_by if exchange is not None else None
        if after is not None and after.request.message_id == request.message_id:
            show.ask(request, after)

    def _find(self, show: _Show, request: Request, payload: bytes) -> tuple[int, Exchange | None]:
        """How many recorded requests ask for the same, and the one to play."""
        recording = show.recording
        _, body, protobuf = split_frame(payload, recording.server_version)
        rest = request_without_id(body, request.req_id, protobuf=protobuf)
        found = find_request(request, rest, recording.exchanges.get(request.message_id, ()))
        exchange = show.unused(found)
        if exchange is None and found:
            again = self._world.settings.play_reuse or request.message_id in _ALWAYS_REUSED
            # The last one that was answered: the very last may have been cut off by the end of the recording.
            exchange = next((each for each in reversed(found) if each.answers), found[-1]) if again else None
        return len(found), exchange

    def _refuse(self, session: Session, request: Request, found: int) -> None:
        name = self._shows[session.number].recording.name
        of_kind = len(self._shows[session.number].recording.exchanges.get(request.message_id, ()))
        cause = (
            f"this request was recorded {found} times and played as often (play_reuse)"
            if found
            else f"no such request was recorded, {of_kind} others of its kind were"
        )
        logger.warning(
            "play_refused client_id=%s id=%d req_id=%d cause=%r request=%s",
            session.client_id, request.message_id, request.req_id, cause, request,
        )  # fmt: skip
        self._world.error(session, request.req_id, 320, f"Error reading request. Playing {name}: {cause}")
