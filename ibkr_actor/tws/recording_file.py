"""Recordings on disk: parts of bounded size, the oldest removed when the directory is full, flushed and closed well.

Knows lines, not frames. For one thread; whatever the disk refuses comes out as OSError.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
import zlib
from pathlib import Path
from typing import Final

import msgspec

from ibkr_actor.errors import ConfigurationError
from ibkr_actor.tws.recording_format import SUFFIX, AnyLine, Header

# Fast: the recorder shares the machine with what it records. Source: zlib.Z_BEST_SPEED.
_LEVEL: Final = 1
_GZIP: Final = 31  # window bits of zlib that mean a gzip header and trailer
# A flapping gateway makes one small file per connection: the directory is bounded in files as well.
_FILES_MAX: Final = 1_000
_GZIP_TRAILER_BYTES: Final = 64

log = logging.getLogger(__name__)


class RecorderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where recordings go. `max_bytes` bounds the directory's recordings, `file_bytes` one part of one.

    `queue_bytes` bounds what waits to be written in each direction of a connection, `flush_s` how much a crash loses.
    """

    directory: Path
    gateway: str = "g1"
    max_bytes: int = 2**30
    file_bytes: int = 64 * 2**20
    queue_bytes: int = 32 * 2**20
    flush_s: float = 1.0


def prepare_directory(directory: Path) -> None:
    """Makes the directory, readable by its owner only, and tries whether it can be written.

    Raises:
        ConfigurationError: it cannot.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(f"IBKR_RECORD_DIR={directory}: cannot be written: {error.strerror}") from None


def make_room(config: RecorderConfig) -> int:
    """Removes the oldest recordings until one more part fits; returns how many bytes went. Other files are left alone.

    The directory may be shared by several sidecars: a file in use is the newest there is, so it goes last.
    """
    found: list[tuple[int, str, int]] = []
    with os.scandir(config.directory) as entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                stat = entry.stat()
                found.append((stat.st_mtime_ns, entry.path, stat.st_size))
    # Parts written within one tick of the file system's clock are in order by their names.
    found.sort()
    total, count, removed = sum(size for _, _, size in found), len(found), 0
    for _, path, size in found:
        if total + config.file_bytes <= config.max_bytes and count < _FILES_MAX:
            break
        Path(path).unlink(missing_ok=True)
        log.info("recorder_removed file=%s bytes=%d", path, size)
        total -= size
        count -= 1
        removed += size
    return removed


class RecordingFile:
    """One connection's recording, part after part. `written_bytes` counts what is on disk, over all parts."""

    def __init__(self, config: RecorderConfig, header: Header) -> None:
        self._config = config
        self._header = header
        self._encoder = msgspec.json.Encoder()
        stamp_s, rest_ns = divmod(header.ns, 1_000_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(stamp_s)) + f"{rest_ns // 1_000_000:03}Z"
        self._stem = f"{header.gateway}-{stamp}-conn{header.conn:05}"
        # The open part: its descriptor, its compressor, its bytes so far. None between parts.
        self._descriptor: int | None = None
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._part_bytes = 0
        # Given to the compressor since it last gave something back; what it holds is not more than that by much.
        self._unwritten_bytes = 0
        self.parts = 0
        self.written_bytes = 0

    def encode(self, *lines: AnyLine) -> bytes:
        """Lines as they stand in the file."""
        return self._encoder.encode_lines(lines)

    def write(self, lines: bytes) -> None:
        """Adds whole lines, in a new part when they may not fit in the present one. Raises: OSError."""
        room = self._config.file_bytes - _GZIP_TRAILER_BYTES - len(lines)
        if self._descriptor is not None and self._part_bytes + self._unwritten_bytes > room:
            self.flush()  # what the compressor holds back is less than it was given
            if self._part_bytes > room:
                self.close()
        if self._descriptor is None:
            self._open()
        compressed = self._compressor.compress(lines)
        self._unwritten_bytes = len(lines) if compressed else self._unwritten_bytes + len(lines)
        self._put(compressed)

    def flush(self) -> None:
        """Brings all lines so far to the operating system, readable even if nothing follows. Raises: OSError."""
        if self._descriptor is not None and self._unwritten_bytes:
            self._put(self._compressor.flush(zlib.Z_SYNC_FLUSH))
            self._unwritten_bytes = 0

    def close(self) -> None:
        """Ends the present part as a whole gzip file; a `write` after it begins the next. Raises: OSError."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        self._put(self._compressor.flush(zlib.Z_FINISH))
        self._descriptor = None
        os.close(descriptor)

    def abandon(self) -> None:
        """Lets go of a part that the disk refused; what was flushed of it stays readable."""
        descriptor, self._descriptor = self._descriptor, None
        self._unwritten_bytes = 0
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _open(self) -> None:
        make_room(self._config)
        path = self._config.directory / f"{self._stem}-{self.parts + 1:04}{SUFFIX}"
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self.parts += 1
        self._part_bytes = self._unwritten_bytes = 0
        self._put(self._compressor.compress(self.encode(msgspec.structs.replace(self._header, part=self.parts))))
        log.info("recorder_file file=%s conn=%d", path, self._header.conn)

    def _put(self, data: bytes) -> None:
        assert self._descriptor is not None
        view = memoryview(data)
        while view:
            count = os.write(self._descriptor, view)
            self._part_bytes += count
            self.written_bytes += count
            view = view[count:]
