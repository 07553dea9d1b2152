"""The format of recorded frames: what one line of a `.frames.jsonl.gz` file can be.

Opens no file and knows no message; the recorder writes it, the simulator's player reads it.

A file is JSON lines, compressed with gzip: first a header, then what happened, in order of time. A payload is a frame
without its length, one character U+0000 to U+00FF for each byte, so that the text in it can be searched for. The first
frame out is the client's greeting (without the leading `API`), the first one in the gateway's answer to it. One
connection is one recording; a long one goes on in further parts, each with the header again.
"""

from __future__ import annotations

from typing import Final

import msgspec

FORMAT: Final = "ibkr-actor-frames"
FORMAT_VERSION: Final = 1
PAYLOAD_ENCODING: Final = "latin-1"  # its characters are U+0000 to U+00FF, one for each byte
SUFFIX: Final = ".frames.jsonl.gz"


class Line(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What all lines have: `ns`, nanoseconds since 1970 by the recording machine's clock."""

    ns: int


class Header(Line, frozen=True, kw_only=True, tag="header"):
    """First line of each part, from 1 on. `connection_time` is the gateway's own text with its time zone.

    `client_versions` and `connect_options` are what the greeting said, `library` the official client's release.
    """

    format: str = FORMAT
    version: int = FORMAT_VERSION
    gateway: str
    conn: int
    part: int
    server_version: int
    connection_time: str
    client_versions: str
    connect_options: str = ""
    library: str = ""
    program: str = ""


class FrameIn(Line, frozen=True, kw_only=True, tag="in", gc=False):
    """A frame from the gateway; `ns` is when the bytes that completed it were received."""

    payload: str


class FrameOut(Line, frozen=True, kw_only=True, tag="out", gc=False):
    """A frame to the gateway; `ns` is just before it was written."""

    payload: str


class Garbage(Line, frozen=True, kw_only=True, tag="garbage"):
    """Bytes from the gateway that were no frame; the stream could not be read from there on."""

    payload: str


class Dropped(Line, frozen=True, kw_only=True, tag="dropped"):
    """Frames that are not in the recording: the recorder was behind, or could not write. They were handled as usual."""

    direction: str
    frames: int
    bytes: int


class End(Line, frozen=True, kw_only=True, tag="end"):
    """The connection's end; `by_gateway` when it was not the client that ended it. Absent when the recorder died."""

    reason: str
    by_gateway: bool = False


AnyLine = Header | FrameIn | FrameOut | Garbage | Dropped | End


def text_of(payload: bytes) -> str:
    """A payload as it stands in a line."""
    return payload.decode(PAYLOAD_ENCODING)


def bytes_of(text: str) -> bytes:
    """The payload in a line.

    Raises:
        ValueError: a character that stands for no byte.
    """
    return text.encode(PAYLOAD_ENCODING)
