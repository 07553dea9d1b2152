"""The defects of the official client, one by one, shown not to happen here. Those of the handshake: test_handshake.py.

Each was seen in the official client 9.81 to 10.51; the numbers only tell them apart.
"""

from __future__ import annotations

import logging
import socket
import threading

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    ConnectionLost,
    DecodeFailed,
    NextValidId,
    TickSize,
)
from ibkr_actor.core.requests import ReqCurrentTime
from ibkr_actor.tws.client import Client, RequestErrors, RequestRefused
from ibkr_actor.tws.connection import Connection
from ibkr_actor.tws.gateway import GatewayConfig
from ibkr_actor.tws.inbox import FrameBatch, Inbox
from ibkr_actor.tws.reader import Reader
from tests.tws.conftest import Rig
from tests.tws.wire import DEADLINE_S, Peer, stream, text_frame, with_length

pytestmark = pytest.mark.anyio


class SilenceNoticed(Connection):
    """Says when a recv has run into its time-out."""

    def __init__(self, near: socket.socket, io_timeout_s: float) -> None:
        super().__init__("peer", 1, connect_timeout_s=1, io_timeout_s=io_timeout_s)
        near.settimeout(io_timeout_s)
        self.socket = near
        self.server_version = 178
        self.silent = threading.Event()

    def recvMsg(self) -> bytes:
        data = super().recvMsg()
        if not data:
            self.silent.set()
        return data

    def wait_silent(self) -> None:
        self.silent.clear()
        assert self.silent.wait(DEADLINE_S)


def size_frame(size: int) -> bytes:
    return text_frame(178, 2, 6, 12, 0, size)


async def test_defect_1_no_byte_is_lost_when_a_recv_of_4096_bytes_is_followed_by_silence() -> None:
    near, far = socket.socketpair()
    connection = SilenceNoticed(near, 0.02)
    inbox = Inbox(1 << 20)
    inbox.connected(Connected(1, 0, 178, ""))
    frames = [str(number).encode().rjust(17, b"0") for number in range(2_000)]
    data = stream(*frames)
    reader = Reader(connection, inbox, 1)
    reader.start()
    got: list[bytes] = []
    for start in range(0, len(data), 4096):
        far.sendall(data[start : start + 4096])
        if start < 3 * 4096:
            await anyio.to_thread.run_sync(connection.wait_silent)
    far.close()
    with anyio.fail_after(DEADLINE_S):
        while True:
            items = await inbox.get()
            for item in items:
                if isinstance(item, FrameBatch):
                    got += item.frames
            if isinstance(items[-1], ConnectionLost):
                break
    assert got == frames
    reader.join(DEADLINE_S)


def test_defect_3_a_send_that_the_socket_takes_in_small_pieces_arrives_whole() -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection = SilenceNoticed(near, DEADLINE_S)
    message = with_length(text_frame(178, 81, 5, "x" * 1_000_000))
    received = bytearray()

    def drain() -> None:
        while len(received) < len(message):
            received.extend(far.recv(1024))

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    assert connection.sendMsg(message) == len(message)
    thread.join(DEADLINE_S)
    assert bytes(received) == message
    connection.close()
    far.close()


def test_a_send_that_does_not_finish_in_time_ends_the_connection() -> None:
    near, far = socket.socketpair()
    connection = SilenceNoticed(near, 0.05)
    with pytest.raises(TimeoutError):
        connection.sendMsg(with_length(text_frame(178, 81, 5, "x" * 10_000_000)))
    assert not connection.isConnected()
    with pytest.raises(OSError, match=r".+"):
        connection.sendMsg(with_length(text_frame(178, 49, 1)))
    connection.close()
    far.close()


async def test_defect_4_a_frame_that_breaks_the_official_decoder_does_not_end_the_connection(
    rig: Rig, peer: Peer
) -> None:
    gateway = await rig.connect(peer)
    gateway.send(size_frame(1), text_frame(178, 10, 12, "AAPL"), text_frame(178, 9, 1, "soon"), size_frame(2))
    await rig.until(lambda: len(rig.of(TickSize)) == 2)
    assert [event.size for event in rig.of(TickSize)] == ["1", "2"]
    assert {event.message_id for event in rig.of(DecodeFailed)} == {9, 10}
    gateway.send(size_frame(3))
    await rig.until(lambda: len(rig.of(TickSize)) == 3)
    assert rig.ends() == []


async def test_defect_5_disconnect_from_another_thread_leaves_the_server_version(peer: Peer) -> None:
    client = Client()
    accepted = threading.Thread(target=lambda: peer.accept().shake_hands(213), daemon=True)
    accepted.start()
    await anyio.to_thread.run_sync(client.connect, "127.0.0.1", peer.port, 17)
    accepted.join(DEADLINE_S)
    await anyio.to_thread.run_sync(client.disconnect)
    assert client.serverVersion() == 213
    assert not client.isConnected()
    with pytest.raises(RequestRefused, match="504"):
        client.reqCurrentTime()
    assert client.conn is not None
    client.conn.close()


async def test_defect_5_close_while_frames_are_queued_is_neither_an_error_nor_a_late_event(
    rig: Rig, peer: Peer
) -> None:
    gateway = await rig.connect(peer, 201)
    gateway.send(text_frame(201, 2, 6, 12, 0, 1))
    with anyio.fail_after(DEADLINE_S):
        items = await rig.inbox.get()
    rig.gateway.close(1)
    for item in items:
        assert isinstance(item, FrameBatch)
        assert rig.gateway.decode(item) == []
    assert rig.gateway.counters()["frames_late"] == 1
    await rig.until_event(ConnectionLost)
    assert rig.ends() == [rig.of(ConnectionLost)[0]]
    assert rig.of(ConnectionLost)[0].wanted


async def test_defect_6_frames_of_an_old_connection_are_never_decoded_with_the_new_version(
    rig: Rig, peer: Peer
) -> None:
    first = await rig.connect(peer, 178, conn=1)
    first.send(size_frame(1))
    with anyio.fail_after(DEADLINE_S):
        old = await rig.inbox.get()
    first.close()
    await rig.until_event(ConnectionLost)
    second = await rig.connect(peer, 225, conn=2)
    assert [rig.gateway.decode(item) for item in old if isinstance(item, FrameBatch)] == [[]]
    assert rig.gateway.counters()["frames_late"] == 1
    second.send(text_frame(225, 2, 6, 12, 0, 9))
    await rig.until_event(TickSize)
    assert [event.size for event in rig.of(TickSize)] == ["9"]


async def test_defect_8_a_dead_socket_is_announced_once_and_a_new_connection_can_follow(rig: Rig, peer: Peer) -> None:
    for conn in (1, 2, 3):
        gateway = await rig.connect(peer, conn=conn)
        gateway.close()
        lost = await rig.until_event(ConnectionLost, conn)
        assert (lost.conn, lost.wanted) == (conn, False)
        rig.gateway.close(conn)
    assert len(rig.ends()) == 3


def test_defect_8_run_and_the_queue_are_not_there_to_be_used() -> None:
    client = Client()
    with pytest.raises(RuntimeError):
        client.run()
    assert client.msg_queue is None


def test_defect_8_connection_closed_of_the_official_disconnect_does_nothing() -> None:
    client = Client()
    client.conn = Connection("peer", 1, connect_timeout_s=1, io_timeout_s=1)
    RequestErrors().connectionClosed()
    client.disconnect()
    client.disconnect()
    assert not client.isConnected()


async def test_defect_9_what_was_sent_before_a_close_is_delivered_before_the_loss(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(*[size_frame(number) for number in range(1, 500)])
    gateway.close()
    await rig.until_event(ConnectionLost)
    assert [event.size for event in rig.of(TickSize)] == [str(number) for number in range(1, 500)]
    assert isinstance(rig.events[-1], ConnectionLost)


async def test_defect_10_a_refused_connect_is_one_event_with_a_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    rig = Rig(GatewayConfig(port=port))
    rig.gateway.open(1, 17)
    failed = await rig.until_event(ConnectFailed)
    assert (failed.conn, failed.reason) == (1, f"127.0.0.1:{port}: Connection refused")
    await rig.gateway.aclose()
    assert rig.ends() == [failed]


async def test_defect_11_the_threads_are_daemons_and_are_joined(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(size_frame(1))
    await rig.until_event(TickSize)
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("tws-")]
    assert {thread.name for thread in ours} == {"tws-reader-1", "tws-sender"}
    assert all(thread.daemon for thread in ours)
    await rig.gateway.aclose()
    assert not any(thread.is_alive() for thread in ours)
    gateway.wait_closed()


class BrokenFramerError(Exception):
    """A bug, as far as the reader can tell."""


async def test_defect_11_a_reader_that_fails_says_so_before_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = socket.socketpair()
    inbox = Inbox(1000)
    inbox.connected(Connected(1, 0, 178, ""))
    reader = Reader(SilenceNoticed(near, DEADLINE_S), inbox, 1)
    hooked: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: hooked.append(arguments.exc_type))

    def fail(data: bytes) -> list[bytes]:
        raise BrokenFramerError

    monkeypatch.setattr(reader.framer, "feed", fail)
    reader.start()
    far.sendall(b"x")
    with anyio.fail_after(DEADLINE_S):
        lost: list[str] = []
        while not lost:
            lost = [item.reason for item in await inbox.get() if isinstance(item, ConnectionLost)]
    reader.join(DEADLINE_S)
    assert lost == ["the reader thread failed"]
    assert hooked == [BrokenFramerError]
    far.close()


async def test_defect_12_a_frame_of_length_zero_does_not_stop_the_ones_behind_it(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(b"", size_frame(1), b"", b"", size_frame(2))
    await rig.until(lambda: len(rig.of(TickSize)) == 2)
    assert rig.ends() == []


async def test_defect_13_an_unknown_message_is_reported_with_its_number(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(text_frame(178, 199, 1), size_frame(1))
    failed = await rig.until_event(DecodeFailed)
    assert (failed.conn, failed.message_id, failed.frames) == (1, 199, 1)
    assert len(rig.of(TickSize)) == 1


async def test_defect_14_requests_are_not_logged_even_when_everything_else_is(
    rig: Rig, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        gateway = await rig.connect(peer, 213)
        rig.gateway.send(ReqCurrentTime(0))
        assert gateway.read_frame() == (249).to_bytes(4, "big")
        gateway.send(text_frame(213, 9, 1, 5))
        await rig.until_event(NextValidId)
    assert not [record for record in caplog.records if record.name.startswith("ibapi")]


async def test_an_oversize_frame_ends_the_connection_after_what_came_before_it(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.sock.sendall(stream(size_frame(1)) + b"\x7f\xff\xff\xff" + stream(size_frame(2)))
    lost = await rig.until_event(ConnectionLost)
    assert lost.reason.startswith("corrupt stream: frame of 2147483647 bytes")
    assert [event.size for event in rig.of(TickSize)] == ["1"]
    gateway.wait_closed()


async def test_a_corrupt_stream_ends_the_connection_once_and_its_last_frames_are_dropped(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(size_frame(1), b"garbage", size_frame(2))
    lost = await rig.until_event(ConnectionLost)
    assert lost.reason.startswith("corrupt stream: a frame begins with")
    gateway.wait_closed()
    again = await rig.connect(peer, conn=2)
    again.send(size_frame(3))
    await rig.until(lambda: len(rig.of(TickSize)) == 2)
    assert [event.size for event in rig.of(TickSize)] == ["1", "3"]
    assert len(rig.ends()) == 1
    assert rig.gateway.counters()["connections_corrupt"] == 1
