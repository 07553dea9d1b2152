"""The recorder: what is in its files, how large they get, and that it never makes anybody wait or fail."""

from __future__ import annotations

import gzip
import os
import queue
import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.tws import recorder as recorder_module
from ibkr_actor.tws.recorder import Recorder, Tap
from ibkr_actor.tws.recording_file import RecorderConfig, RecordingFile, make_room
from ibkr_actor.tws.recording_format import SUFFIX, AnyLine, Dropped, End, FrameIn, FrameOut, Garbage, Header, bytes_of

HELLO = b"v100..226 +PACEAPI"
REPLY = b"178\x0020260102 10:00:00 Central European Standard Time\0"
DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyLine)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*" + SUFFIX))


def lines(path: Path) -> list[Any]:
    return [DECODER.decode(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def opened(recorder: Recorder, conn: int = 1, version: int = 178) -> Tap:
    """A tap behind its handshake."""
    tap = recorder.tap(conn)
    tap.sent(HELLO)
    tap.received(1, [REPLY], len(REPLY))
    tap.opened(version, "20260102 10:00:00 Central European Standard Time")
    return tap


def test_a_connection_is_one_file_with_its_header_its_handshake_and_every_frame(tmp_path: Path) -> None:
    recorder = Recorder(RecorderConfig(directory=tmp_path / "new", gateway="g7"), library="ibapi 1")
    tap = opened(recorder, conn=3)
    tap.sent(b"71\x002\x0017\0\0")
    tap.received(20, [b"9\x001\x001\0", b"15\x001\0DU1234567\0"], 30)
    tap.received(30, [b"6\x001\0DU1234567\0"], 20)
    tap.sent(b"9\x008\x001\0DU1234567\0")
    tap.garbage(40, b"\xff\xff\xff\xff DU1234567")
    tap.ended("closed by the peer", by_gateway=True)
    recorder.stop()
    (path,) = files(tmp_path / "new")
    assert path.name.startswith("g7-20")
    assert path.name.endswith("Z-conn00003-0001" + SUFFIX)
    header, *rest = lines(path)
    assert isinstance(header, Header)
    assert (header.server_version, header.conn, header.part, header.gateway) == (178, 3, 1, "g7")
    assert (header.client_versions, header.connect_options, header.library) == ("v100..226", "+PACEAPI", "ibapi 1")
    assert header.connection_time == "20260102 10:00:00 Central European Standard Time"
    kinds = [FrameOut, FrameIn, FrameOut, FrameIn, FrameIn, FrameIn, FrameOut, Garbage, End]
    assert [type(line) for line in rest] == kinds
    assert [bytes_of(line.payload) for line in rest[:-1]] == [
        HELLO, REPLY, b"71\x002\x0017\0\0", b"9\x001\x001\0", b"15\x001\0DU0000001\0", b"6\x001\0DU0000001\0",
        b"9\x008\x001\0DU0000001\0", b"\xff\xff\xff\xff DU0000001",
    ]  # fmt: skip
    assert [line.ns for line in rest[3:6]] == [20, 20, 30]
    assert (rest[-1].reason, rest[-1].by_gateway) == ("closed by the peer", True)
    assert recorder.counters() == {
        "recorded_frames": 7,
        "recorded_bytes": path.stat().st_size,
        "recorder_dropped_frames": 0,
        "recorder_failures": 0,
    }
    assert path.stat().st_mode & 0o077 == 0


def test_every_byte_survives_its_way_through_the_file(tmp_path: Path) -> None:
    recorder = Recorder(RecorderConfig(directory=tmp_path))
    tap = opened(recorder, version=226)
    payload = bytes(range(256)) * 3
    tap.received(1, [payload], len(payload))
    recorder.stop()
    assert bytes_of(lines(files(tmp_path)[0])[-1].payload) == payload


def test_a_connection_that_never_was_up_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(RecorderConfig(directory=tmp_path))
    tap = recorder.tap(1)
    tap.sent(HELLO)
    tap.ended("refused", by_gateway=False)
    recorder.stop()
    assert files(tmp_path) == []


def test_an_account_is_remembered_from_one_connection_to_the_next(tmp_path: Path) -> None:
    recorder = Recorder(RecorderConfig(directory=tmp_path))
    opened(recorder, 1).received(1, [b"15\x001\0U7654321\0"], 16)
    opened(recorder, 2).received(2, [b"6\x001\0U7654321\0"], 16)
    recorder.stop()
    assert all(b"7654321" not in gzip.decompress(path.read_bytes()) for path in files(tmp_path))


def test_a_long_connection_goes_on_in_further_parts_and_the_oldest_are_removed(tmp_path: Path) -> None:
    config = RecorderConfig(directory=tmp_path, max_bytes=5 * 2**14, file_bytes=2**14)
    (tmp_path / "mine.txt").write_bytes(b"x" * 100_000)
    recorder = Recorder(config)
    tap = opened(recorder)
    for number in range(300):
        payload = os.urandom(600)
        tap.received(number, [payload], len(payload))
    recorder.stop()
    parts = files(tmp_path)
    headers = [lines(path)[0] for path in parts]
    assert headers[0].part > 1
    assert [header.part for header in headers] == list(range(headers[0].part, headers[0].part + len(parts)))
    assert {header.server_version for header in headers} == {178}
    assert sum(path.stat().st_size for path in parts) <= config.max_bytes
    assert all(path.stat().st_size <= config.file_bytes for path in parts)
    assert [line.ns for path in parts for line in lines(path)[1:]][-1] == 299
    assert (tmp_path / "mine.txt").exists()


def test_the_number_of_files_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibkr_actor.tws.recording_file._FILES_MAX", 3)
    for number in range(5):
        path = tmp_path / f"{number}{SUFFIX}"
        path.touch()
        os.utime(path, ns=(number, number))
    make_room(RecorderConfig(directory=tmp_path))
    assert [path.name[0] for path in files(tmp_path)] == ["3", "4"]


class Held(RecordingFile):
    """A disk that takes nothing until it is let go."""

    entered = threading.Event()
    released = threading.Event()

    def write(self, lines: bytes) -> None:
        self.entered.set()
        self.released.wait(60)
        super().write(lines)


def test_a_drop_is_noted_before_the_frame_that_follows_it() -> None:
    jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    tap = Tap(1, jobs, 100)
    for number in range(3):
        tap.received(number, [b"x" * 40], 44)
    tap.incoming.done = tap.incoming.put
    tap.received(9, [b"y"], 5)
    first, note, last = jobs.get_nowait(), jobs.get_nowait(), jobs.get_nowait()
    assert (first.ns, last.ns) == (0, 9)
    assert (note.line.direction, note.line.frames, note.line.bytes) == ("in", 2, 2 * (44 + 48))


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_slow_disk_does_not_take_in_time_is_dropped_counted_and_noted(
    ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Held.entered, Held.released = threading.Event(), threading.Event()
    monkeypatch.setattr(recorder_module, "RecordingFile", Held)
    recorder = Recorder(RecorderConfig(directory=tmp_path, queue_bytes=2_000))
    tap = opened(recorder)
    assert Held.entered.wait(60)
    for number in range(10):
        tap.received(number, [b"5" * 500], 504)
    if ended:
        tap.ended("over", by_gateway=True)
    Held.released.set()
    recorder.stop()
    written = lines(files(tmp_path)[0])
    dropped = written[-2 if ended else -1]
    assert isinstance(dropped, Dropped)
    kept = sum(isinstance(line, FrameIn) for line in written) - 1
    assert (dropped.direction, dropped.frames) == ("in", 10 - kept)
    assert 0 < kept < 10
    assert isinstance(written[-1], End) is ended
    assert recorder.counters()["recorder_dropped_frames"] == 10 - kept
    assert any("recorder_dropped" in record.message for record in caplog.records)


class Full(RecordingFile):
    """A disk that is full for the first two writes."""

    refused = 0

    def write(self, lines: bytes) -> None:
        if Full.refused < 2:
            Full.refused += 1
            raise OSError(28, "No space left on device")
        super().write(lines)


def test_a_full_disk_ends_no_connection_and_recording_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Full.refused = 0
    monkeypatch.setattr(recorder_module, "RecordingFile", Full)
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)
    recorder = Recorder(RecorderConfig(directory=tmp_path))
    tap = opened(recorder)
    tap.received(5, [b"1\x006\0"], 8)
    tap.ended("over", by_gateway=True)
    recorder.stop()
    header, dropped, frame, end = lines(files(tmp_path)[0])
    assert isinstance(header, Header)
    assert (dropped.direction, dropped.frames) == ("both", 2)
    assert (frame.ns, end.reason) == (5, "over")
    assert recorder.counters()["recorder_failures"] == 2
    assert sum("recorder_failed" in record.message for record in caplog.records) == 2


def test_what_was_flushed_can_be_read_without_a_close(tmp_path: Path) -> None:
    config = RecorderConfig(directory=tmp_path)
    header = Header(ns=1, gateway="g", conn=1, part=1, server_version=178, connection_time="", client_versions="")
    file = RecordingFile(config, header)
    file.write(file.encode(FrameIn(ns=2, payload="x")))
    file.flush()
    (path,) = files(tmp_path)
    text = zlib.decompressobj(31).decompress(path.read_bytes())
    assert [type(DECODER.decode(line)) for line in text.splitlines()] == [Header, FrameIn]
    file.close()


def test_a_directory_that_cannot_be_written_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"IBKR_RECORD_DIR=.*file/x: cannot be written: Not a directory"):
        Recorder(RecorderConfig(directory=tmp_path / "file" / "x"))
