"""The recorder of raw frames: a tap at the socket's two edges, and a thread that masks and writes what it took.

Never makes a reader or sender wait, and never fails them: what cannot be written is counted, logged and noted.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from typing import Final, NamedTuple

import msgspec

from ibkr_actor import __version__
from ibkr_actor.tws.inbox import FRAME_OVERHEAD_BYTES
from ibkr_actor.tws.masking import AccountMask, special_beginnings
from ibkr_actor.tws.recording_file import RecorderConfig, RecordingFile, prepare_directory
from ibkr_actor.tws.recording_format import (
    PAYLOAD_ENCODING,
    Dropped,
    End,
    FrameIn,
    FrameOut,
    Garbage,
    Header,
    bytes_of,
    text_of,
)

# After the disk refused a write: how long frames are dropped before a new part is tried.
RETRY_S: Final = 30.0
_GREETING: Final = re.compile(rb"(v[0-9.]+)(?: (.*))?", re.DOTALL)

log = logging.getLogger(__name__)


class _Frames(NamedTuple):
    """Frames of one recv, or one frame that leaves; `size` is their share of the queue."""

    tap: Tap
    ns: int
    incoming: bool
    frames: list[bytes]
    size: int


class _Opened(NamedTuple):
    tap: Tap
    server_version: int
    connection_time: str


class _Note(NamedTuple):
    """A line that is complete as it is."""

    tap: Tap
    line: Dropped | Garbage | End


_Job = _Frames | _Opened | _Note


class _Way:
    """One direction of one connection. `put` is counted by the thread at the socket, `done` by the recorder's."""

    __slots__ = ("direction", "done", "dropped_bytes", "dropped_frames", "put")

    def __init__(self, direction: str) -> None:
        self.direction = direction
        self.put = self.done = 0
        # Since the last frame that was taken.
        self.dropped_frames = self.dropped_bytes = 0

    def take_dropped(self) -> list[Dropped]:
        """A note of what was dropped, at most one, once."""
        if not self.dropped_frames:
            return []
        frames, size = self.dropped_frames, self.dropped_bytes
        self.dropped_frames = self.dropped_bytes = 0
        return [Dropped(ns=time.time_ns(), direction=self.direction, frames=frames, bytes=size)]


class Tap:
    """What the threads at the socket of one connection call; each call returns at once.

    `received`, `garbage` and `ended` are for the thread that reads, `sent` and `opened` for the one that writes.
    """

    def __init__(self, conn: int, jobs: queue.SimpleQueue[_Job | None], limit_bytes: int) -> None:
        self.conn = conn
        self._jobs = jobs
        self._limit_bytes = limit_bytes
        self.incoming = _Way("in")
        self.outgoing = _Way("out")

    def received(self, ns: int, frames: list[bytes], wire_bytes: int) -> None:
        """Frames of one recv, without their lengths. The list is kept and must not be changed any more."""
        self._put(self.incoming, _Frames(self, ns, True, frames, wire_bytes + FRAME_OVERHEAD_BYTES * len(frames)))

    def sent(self, frame: bytes) -> None:
        """A frame about to be written, without its length."""
        self._put(self.outgoing, _Frames(self, time.time_ns(), False, [frame], len(frame) + FRAME_OVERHEAD_BYTES))

    def opened(self, server_version: int, connection_time: str) -> None:
        """The handshake is done. What came before is kept for the recording; without this there will be none."""
        self._jobs.put(_Opened(self, server_version, connection_time))

    def garbage(self, ns: int, data: bytes) -> None:
        """Bytes received that are no frame."""
        self._jobs.put(_Note(self, Garbage(ns=ns, payload=text_of(data))))

    def ended(self, reason: str, *, by_gateway: bool) -> None:
        """The connection is over; what is said after it is not recorded."""
        for line in self.take_dropped():
            self._jobs.put(_Note(self, line))
        self._jobs.put(_Note(self, End(ns=time.time_ns(), reason=reason, by_gateway=by_gateway)))

    def take_dropped(self) -> list[Dropped]:
        """What was dropped since it was noted last, in both directions."""
        return [*self.incoming.take_dropped(), *self.outgoing.take_dropped()]

    def _put(self, way: _Way, job: _Frames) -> None:
        # One batch always fits into an empty queue, however large it is.
        if way.put > way.done and way.put - way.done + job.size > self._limit_bytes:
            way.dropped_frames += len(job.frames)
            way.dropped_bytes += job.size
            return
        for line in way.take_dropped():
            self._jobs.put(_Note(self, line))
        way.put += job.size
        self._jobs.put(job)


class _Recording:
    """One connection as the recorder's thread sees it, from its handshake to its end.

    A disk that refuses ends the present part; after RETRY_S a new one is tried, which says how much is missing.
    """

    def __init__(self, file: RecordingFile, server_version: int) -> None:
        self.file = file
        self.server_version = server_version
        self.special_beginnings = special_beginnings(server_version)
        self.failures = 0
        # Frames not written since the disk refused, when to try again, and frames that a refusal now would take along.
        self._missing = 0
        self._retry_at_s = 0.0
        self._unflushed = 0

    def write(self, lines: bytes, frames: int) -> bool:
        """Whether the lines, of so many frames, were taken."""
        if self._retry_at_s > time.monotonic():
            self._missing += frames
            return False
        try:
            if self._missing:
                note = Dropped(ns=time.time_ns(), direction="both", frames=self._missing, bytes=0)
                self.file.write(self.file.encode(note))
                self._missing = 0
            self.file.write(lines)
        except OSError as error:
            self._missing += frames
            self._failed(error)
            return False
        self._unflushed += frames
        return True

    def flush(self) -> None:
        try:
            self.file.flush()
            self._unflushed = 0
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        try:
            self.file.close()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        self._missing += self._unflushed
        self._unflushed = 0
        self._retry_at_s = time.monotonic() + RETRY_S
        self.file.abandon()
        log.error("recorder_failed reason=%r retry_s=%g", error.strerror or str(error), RETRY_S)


class Recorder:
    """Writes what its taps take, on a thread of its own that starts with the first tap and ends with `stop`."""

    def __init__(self, config: RecorderConfig, *, library: str = "") -> None:
        """Raises: ConfigurationError when the directory cannot be written."""
        prepare_directory(config.directory)
        self._config = config
        self._library = library
        self._mask = AccountMask()
        # SimpleQueue: its put never blocks and takes no lock of ours. None ends the thread.
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tws-recorder", daemon=True)
        self._started = False
        # Tap -> its handshake, until it is done; then tap -> recording, until the connection ends.
        self._greetings: dict[Tap, list[_Frames]] = {}
        self._recordings: dict[Tap, _Recording] = {}
        self._frames = self._dropped = self._closed_bytes = self._failures = 0

    def tap(self, conn: int) -> Tap:
        """The tap of a new connection. For one thread."""
        if not self._started:
            self._started = True
            self._thread.start()
        return Tap(conn, self._jobs, self._config.queue_bytes)

    def counters(self) -> dict[str, int | float | str | None]:
        """Figures since the start."""
        present = list(self._recordings.values())
        return {
            "recorded_frames": self._frames,
            "recorded_bytes": self._closed_bytes + sum(each.file.written_bytes for each in present),
            "recorder_dropped_frames": self._dropped,
            "recorder_failures": self._failures + sum(each.failures for each in present),
        }

    def stop(self, timeout_s: float = 5.0) -> None:
        """Writes what waits and closes the files; blocks until that is done or `timeout_s` has passed."""
        if self._started:
            self._jobs.put(None)
            self._thread.join(timeout_s)

    # ---- on the recorder's thread

    def _run(self) -> None:
        flush_at_s: float | None = None
        try:
            while True:
                try:
                    wait_s = None if flush_at_s is None else max(flush_at_s - time.monotonic(), 0.0)
                    job = self._jobs.get(timeout=wait_s)
                    if job is None:
                        return
                    self._perform(job)
                except queue.Empty:
                    pass
                now_s = time.monotonic()
                if flush_at_s is None:
                    flush_at_s = now_s + self._config.flush_s
                elif now_s >= flush_at_s:
                    flush_at_s = None
                    for recording in self._recordings.values():
                        recording.flush()
        finally:
            for tap in list(self._recordings):
                # Not ended, so nobody has noted what was dropped last.
                for line in tap.take_dropped():
                    self._write_note(_Note(tap, line))
                self._close(tap)

    def _perform(self, job: _Job) -> None:
        match job:
            case _Frames():
                way = job.tap.incoming if job.incoming else job.tap.outgoing
                way.done += job.size
                recording = self._recordings.get(job.tap)
                if recording is not None:
                    self._write_frames(recording, job)
                else:
                    self._greetings.setdefault(job.tap, []).append(job)
            case _Opened():
                self._begin(job)
            case _Note():
                self._write_note(job)

    def _begin(self, opened: _Opened) -> None:
        tap, greeting = opened.tap, self._greetings.pop(opened.tap, [])
        said = _GREETING.fullmatch(greeting[0].frames[0]) if greeting else None
        header = Header(
            ns=greeting[0].ns if greeting else time.time_ns(),
            gateway=self._config.gateway,
            conn=tap.conn,
            part=1,
            server_version=opened.server_version,
            connection_time=opened.connection_time,
            client_versions=text_of(said[1]) if said else "",
            connect_options=text_of(said[2] or b"") if said else "",
            library=self._library,
            program=f"ibkr-actor {__version__}",
        )
        recording = _Recording(RecordingFile(self._config, header), opened.server_version)
        self._recordings[tap] = recording
        for job in greeting:
            # The handshake is no message: neither id nor account is in it.
            self._write_lines(recording, job.frames, job)

    def _write_frames(self, recording: _Recording, job: _Frames) -> None:
        version, mask, frames = recording.server_version, self._mask, job.frames
        beginnings = recording.special_beginnings
        special = any(frame.startswith(beginnings) for frame in frames)
        if job.incoming and special:
            for frame in frames:
                mask.learn(frame, version)
        if special or mask.concerns(b"".join(frames)):
            frames = [mask.mask(frame, version) for frame in frames]
        self._write_lines(recording, frames, job)

    def _write_lines(self, recording: _Recording, frames: list[bytes], job: _Frames) -> None:
        kind, ns = FrameIn if job.incoming else FrameOut, job.ns
        lines = recording.file.encode(*[kind(ns=ns, payload=frame.decode(PAYLOAD_ENCODING)) for frame in frames])
        if recording.write(lines, len(frames)):
            self._frames += len(frames)
        else:
            self._dropped += len(frames)

    def _write_note(self, note: _Note) -> None:
        self._greetings.pop(note.tap, None)  # the end of a connection that never was up
        recording = self._recordings.get(note.tap)
        line = note.line
        if isinstance(line, Dropped):
            self._dropped += line.frames
            log.warning(
                "recorder_dropped conn=%d direction=%s frames=%d bytes=%d: the recorder is behind",
                note.tap.conn, line.direction, line.frames, line.bytes,
            )  # fmt: skip
        if recording is None:
            return
        if isinstance(line, Garbage):
            line = msgspec.structs.replace(line, payload=text_of(self._mask.mask(bytes_of(line.payload), 0)))
        encoded = recording.file.encode(line)
        recording.write(encoded, 0)
        if isinstance(line, End):
            self._close(note.tap)

    def _close(self, tap: Tap) -> None:
        recording = self._recordings.pop(tap)
        recording.close()
        self._closed_bytes += recording.file.written_bytes
        self._failures += recording.failures
