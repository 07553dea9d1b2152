from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibkr_actor.tws.reader import FRAME_BYTES_MAX, Framer
from tests.tws.wire import stream, with_length


@given(
    frames=st.lists(st.binary(max_size=40), max_size=12),
    cuts=st.lists(st.integers(min_value=0, max_value=700), max_size=12),
)
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames: list[bytes], cuts: list[int]) -> None:
    data = stream(*frames)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    framer, out = Framer(), []
    for start, stop in itertools.pairwise(edges):
        out += framer.feed(data[start:stop])
    assert out == [frame for frame in frames if frame]
    assert framer.empty_frames == sum(1 for frame in frames if not frame)
    assert framer.fault is None


def test_byte_by_byte_gives_the_same_frames() -> None:
    framer, out = Framer(), []
    for byte in stream(b"one", b"", b"three"):
        out += framer.feed(bytes([byte]))
    assert out == [b"one", b"three"]


def test_a_length_beyond_the_limit_is_a_fault_and_what_came_before_it_is_kept() -> None:
    framer = Framer()
    assert framer.feed(stream(b"good") + (FRAME_BYTES_MAX + 1).to_bytes(4, "big") + b"x") == [b"good"]
    assert framer.fault is not None
    assert str(FRAME_BYTES_MAX + 1) in framer.fault


def test_the_longest_legal_frame_passes() -> None:
    framer = Framer()
    frame = b"z" * FRAME_BYTES_MAX
    assert framer.feed(with_length(frame)) == [frame]
    assert framer.fault is None


@pytest.mark.parametrize(
    ("frames", "piece"),
    [
        ([b"x" * 40] * 100_000, 4_400_000),
        ([b"x" * 40] * 100_000, 262_144),
        ([b"x" * 40] * 20_000, 4_096),
        ([b"x" * 8_000_000] * 2, 65_536),
        ([b"x" * 40] * 2_000, 1),
    ],
    ids=["one recv of 4 MB", "256 KiB", "4 KiB", "long frames in 64 KiB", "byte by byte"],
)
def test_the_work_grows_with_the_bytes_and_not_with_their_square(frames: list[bytes], piece: int) -> None:
    data, framer, count = stream(*frames), Framer(), 0
    for start in range(0, len(data), piece):
        count += len(framer.feed(data[start : start + piece]))
    assert count == len(frames)
    # The official framing copies the whole rest for each frame: 220 GB for the first of these cases.
    assert framer.copied_bytes <= 4 * len(data)
