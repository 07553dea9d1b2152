"""Owns recordings of raw frames as they lie on disk: finding them, reading them, and who answered what in them.

Must not play anything. The format is told in tws/recording_format.py.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ibkr_actor.sim.replay.frame_ids import ANSWER_TO, answer_req_id, request_without_id
from ibkr_actor.sim.replay.rows import ReplayError
from ibkr_actor.sim.wire.frames import FrameError, split_frame
from ibkr_actor.sim.wire.reading import BadRequest
from ibkr_actor.sim.wire.request_base import Plain, Request
from ibkr_actor.sim.wire.requests import StartApi, read_request
from ibkr_actor.tws.recording_format import (
    FORMAT,
    FORMAT_VERSION,
    SUFFIX,
    AnyLine,
    Dropped,
    End,
    FrameIn,
    FrameOut,
    Garbage,
    Header,
    bytes_of,
)

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<stem>.+?-(?P<stamp>\d{8}T\d{9}Z)-conn\d+)-\d+\.frames\.jsonl(\.gz)?")
_SUFFIXES = (SUFFIX, SUFFIX.removesuffix(".gz"))
_CHUNK_BYTES = 1024 * 1024


class Source(NamedTuple):
    """The files of one connection, in order."""

    name: str
    parts: tuple[Path, ...]


class Answer(NamedTuple):
    """A frame of the gateway; `ns` is when it came."""

    ns: int
    payload: bytes


class Exchange:
    """One request of the recording and the frames that came under its req_id until the next request with that id."""

    def __init__(self, ns: int, request: Request, body: bytes, *, protobuf: bool) -> None:
        self.ns = ns
        self.request = request
        self.rest = request_without_id(body, request.req_id, protobuf=protobuf)
        self.answers: list[Answer] = []
        # The next request under the same req_id: usually its cancel.
        self.followed_by: Exchange | None = None


class FrameRecording:
    """One connection. `unsolicited` are the welcome, notices, and all else that answers nobody's req_id.

    `lost` counts frames that the recorder dropped, `orphans` answers to requests that are not in the recording.
    """

    def __init__(self, name: str, header: Header) -> None:
        self.name = name
        self.server_version = header.server_version
        self.greeting_reply = f"{header.server_version}\0{header.connection_time}\0".encode()
        self.started_ns = header.ns
        self.exchanges: dict[int, list[Exchange]] = defaultdict(list)
        self.unsolicited: list[Answer] = []
        self.welcomed = False
        self.garbage: list[Answer] = []
        self.end: End | None = None
        self.lost = 0
        self.orphans = 0


def find_recordings(path: str) -> list[Source]:
    """The connections in a directory, in order of time, or the one that a file is a part of.

    Raises: ReplayError when there is none.
    """
    given = Path(path)
    folder = given if given.is_dir() else given.parent
    try:
        names = sorted(each for each in folder.iterdir() if each.name.endswith(_SUFFIXES))
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from None
    grouped: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for each in names:
        match = _NAME.fullmatch(each.name)
        grouped[(match["stamp"], match["stem"]) if match else ("", each.name)].append(each)
    found = [Source(name, tuple(parts)) for (_, name), parts in sorted(grouped.items())]
    if given != folder:
        found = [source for source in found if given in source.parts]
    if not found:
        raise ReplayError(f"{path}: no recording (*{SUFFIX}) there")
    return found


def load_frames(source: Source) -> FrameRecording:
    """Read one connection. A torn end, as a crash leaves it, is read up to there.

    Raises: ReplayError when a file is missing, no recording, or damaged elsewhere.
    """
    reader: _Reader | None = None
    for part in source.parts:
        lines = read_lines(part)
        header = next(lines, None)
        if header is None:
            logger.warning("recording_part_empty file=%s", part)
            continue
        if not isinstance(header, Header) or header.format != FORMAT or header.version > FORMAT_VERSION:
            raise ReplayError(f"{part} line 1: no header of {FORMAT} version {FORMAT_VERSION}")
        if reader is None:
            reader = _Reader(FrameRecording(source.name, header), whole=header.part == 1)
        for number, line in enumerate(lines, start=2):
            try:
                reader.take(line)
            except (FrameError, ValueError) as error:
                raise ReplayError(f"{part} line {number}: {error}") from None
    if reader is None:
        raise ReplayError(f"{source.parts[0]}: no lines")
    recording = reader.recording
    logger.info(
        "recording_read name=%s server_version=%d requests=%d lost=%d orphans=%d",
        recording.name, recording.server_version, sum(map(len, recording.exchanges.values())),
        recording.lost, recording.orphans,
    )  # fmt: skip
    return recording


def read_lines(path: Path) -> Iterator[AnyLine]:
    """The lines of one part, compressed or not, up to its end or to where it is torn.

    Raises: ReplayError when a line before the last is none of the format.
    """
    decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
    rest, number = b"", 0
    for data in _chunks(path):
        *lines, rest = (rest + data).split(b"\n")
        for text in lines:
            number += 1
            try:
                yield decoder.decode(text)
            except msgspec.DecodeError as error:
                raise ReplayError(f"{path} line {number}: {error}") from None
    if rest:
        logger.warning("recording_torn file=%s line=%d", path, number + 1)


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(_CHUNK_BYTES)
            if not data.startswith(b"\x1f\x8b"):
                while data:
                    yield data
                    data = file.read(_CHUNK_BYTES)
                return
            inflate = zlib.decompressobj(31)
            while data:
                yield inflate.decompress(data)
                # One gzip file behind another, as `cat` makes them.
                if inflate.eof and inflate.unused_data:
                    data, inflate = inflate.unused_data, zlib.decompressobj(31)
                else:
                    data = file.read(_CHUNK_BYTES)
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from None
    except zlib.error as error:
        logger.warning("recording_torn file=%s cause=%s", path, error)


class _Reader:
    """Puts each line of a recording where it belongs."""

    def __init__(self, recording: FrameRecording, *, whole: bool) -> None:
        self.recording = recording
        # The greeting is behind us once something else was sent; a recording without its first part has none.
        self._greeted = not whole
        self._sent = 0
        # The latest request under each req_id, and the requests without one that wait, by the id of their answer.
        self._open: dict[int, Exchange] = {}
        self._waiting: dict[int, deque[Exchange]] = defaultdict(deque)

    def take(self, line: AnyLine) -> None:
        """Raises: FrameError, ValueError when a frame is none."""
        recording = self.recording
        match line:
            case FrameOut():
                self._sent += 1
                self._greeted = self._greeted or self._sent > 1
                if self._greeted:
                    self._request(line.ns, bytes_of(line.payload))
            case FrameIn():
                payload = bytes_of(line.payload)
                if self._greeted:
                    self._answer(Answer(line.ns, payload))
                else:
                    recording.greeting_reply = payload
            case Garbage():
                recording.garbage.append(Answer(line.ns, bytes_of(line.payload)))
            case Dropped():
                recording.lost += line.frames
            case End():
                recording.end = line
            case Header():
                raise FrameError("a second header")

    def _request(self, ns: int, payload: bytes) -> None:
        recording = self.recording
        message_id, body, protobuf = split_frame(payload, recording.server_version)
        try:
            request = read_request(message_id, body, protobuf=protobuf, server_version=recording.server_version)
        except BadRequest as error:
            request = Plain(message_id=message_id, req_id=error.req_id)
        if isinstance(request, StartApi):
            recording.started_ns = ns
            return
        exchange = Exchange(ns, request, body, protobuf=protobuf)
        recording.exchanges[message_id].append(exchange)
        if request.req_id != -1:
            before = self._open.get(request.req_id)
            if before is not None:
                before.followed_by = exchange
            self._open[request.req_id] = exchange
        for answer_id, request_id in ANSWER_TO.items():
            if request_id == message_id:
                self._waiting[answer_id].append(exchange)

    def _answer(self, answer: Answer) -> None:
        recording = self.recording
        message_id, body, protobuf = split_frame(answer.payload, recording.server_version)
        req_id = answer_req_id(message_id, body, protobuf=protobuf, server_version=recording.server_version)
        if req_id is not None and req_id != -1:
            exchange = self._open.get(req_id)
            if exchange is None:
                recording.orphans += 1
            else:
                exchange.answers.append(answer)
        elif waiting := self._waiting.get(message_id):
            waiting.popleft().answers.append(answer)
        else:
            recording.welcomed = recording.welcomed or message_id == 9
            recording.unsolicited.append(answer)
