"""The client's connect against a scripted peer: every way an answer can arrive, and everything that is no answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest
from ibapi.server_versions import MAX_CLIENT_VER

from ibkr_actor.errors import HandshakeFailed
from ibkr_actor.tws.client import Client, RequestRefused, decode_zone
from tests.tws.wire import DEADLINE_S, Peer, PeerConnection, stream, text_frame

NEXT_VALID_ID = text_frame(178, 9, 1, 5)


def connect(
    peer: Peer,
    script: Callable[[PeerConnection], object],
    *,
    handshake_timeout_s: float = DEADLINE_S,
    pace_api: bool = True,
) -> Client:
    """Connects while `script` plays the gateway on a thread."""
    client = Client(pace_api=pace_api, handshake_timeout_s=handshake_timeout_s)
    run(client, peer, script)
    return client


def run(client: Client, peer: Peer, script: Callable[[PeerConnection], object]) -> None:
    thread = threading.Thread(target=lambda: script(peer.accept()), daemon=True)
    thread.start()
    try:
        client.connect("127.0.0.1", peer.port, 17)
    finally:
        thread.join(DEADLINE_S)


@pytest.mark.parametrize("server_version", [100, 157, 178, 200, 201, 213, MAX_CLIENT_VER])
def test_a_handshake_agrees_on_a_version_and_ends_with_start_api(peer: Peer, server_version: int) -> None:
    seen: list[object] = []

    def script(gateway: PeerConnection) -> None:
        seen.append(gateway.read_hello())
        gateway.sock.sendall(gateway.answer(server_version))
        seen.append(gateway.read_frame())

    client = connect(peer, script)
    hello, start_api = seen
    assert isinstance(hello, str)
    assert hello.startswith(f"v100..{MAX_CLIENT_VER} ")
    assert hello.endswith(" +PACEAPI")
    if server_version < 201:
        assert start_api == b"71\x002\x0017\x00\x00"
    elif server_version < 213:
        assert start_api == (71).to_bytes(4, "big") + b"2\x0017\x00\x00"
    else:
        assert isinstance(start_api, bytes)
        assert start_api[:4] == (271).to_bytes(4, "big")
    assert client.isConnected()
    assert client.serverVersion() == server_version
    assert client.connection_time == "20260301 10:00:00 CET"
    assert client.conn is not None
    client.conn.close()


def test_without_pacing_no_option_is_sent(peer: Peer) -> None:
    hellos: list[str] = []
    client = connect(peer, lambda gateway: hellos.append(gateway.shake_hands(178)), pace_api=False)
    assert "PACEAPI" not in hellos[0]
    assert client.conn is not None
    client.conn.close()


def test_defect_2_bytes_glued_to_the_answer_are_kept_for_the_reader(peer: Peer) -> None:
    def script(gateway: PeerConnection) -> None:
        gateway.read_hello()
        gateway.sock.sendall(gateway.answer(178) + stream(NEXT_VALID_ID))
        gateway.read_frame()

    client = connect(peer, script)
    assert client.conn is not None
    assert client.conn.recvMsg() == stream(NEXT_VALID_ID)
    client.conn.close()


def test_defect_2_an_answer_in_single_bytes_is_read_to_its_end(peer: Peer) -> None:
    def script(gateway: PeerConnection) -> None:
        gateway.read_hello()
        for byte in gateway.answer(178):
            gateway.sock.sendall(bytes([byte]))
        gateway.read_frame()

    client = connect(peer, script)
    assert client.serverVersion() == 178
    assert client.conn is not None
    client.conn.close()


def test_news_before_the_answer_is_skipped(peer: Peer) -> None:
    def script(gateway: PeerConnection) -> None:
        gateway.read_hello()
        gateway.send(text_frame(178, 14, 1, 2, "system", "IB"), b"")
        gateway.sock.sendall(gateway.answer(178))
        gateway.read_frame()

    client = connect(peer, script)
    assert client.serverVersion() == 178
    assert client.conn is not None
    client.conn.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as TWS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as TWS"),
        (stream(*[b"news\0"] * 40), "does not answer as TWS"),
        (stream(b"99\x0020260301\x00"), "server version b'99'"),
        # A gateway answers at most what it was offered; releases of the official client differ in that.
        (stream(b"%d\x0020260301\x00" % (MAX_CLIENT_VER + 1)), f"server version b'{MAX_CLIENT_VER + 1}'"),
        (stream(b"abc\x0020260301\x00"), "server version b'abc'"),
        (stream(b"-1\x00other:4001\x00"), "server version b'-1'"),
        (b"", "closed by the peer"),
        (b"\0\0", "closed by the peer"),
        (b"\0\0\0\x20178\0", "closed by the peer"),
    ],
)
def test_what_is_no_answer_of_tws_is_refused_with_a_reason(peer: Peer, said: bytes, reason: str) -> None:
    def script(gateway: PeerConnection) -> None:
        gateway.read_hello()
        gateway.sock.sendall(said)
        # A client that has seen enough may hang up first.
        with contextlib.suppress(OSError):
            gateway.sock.shutdown(socket.SHUT_WR)
        gateway.wait_closed()

    with pytest.raises(HandshakeFailed, match=r"127\.0\.0\.1") as caught:
        connect(peer, script)
    assert reason in str(caught.value)


@pytest.mark.parametrize("said", [b"", b"\0\0", b"\0\0\0\x20178\0"], ids=["nothing", "half a length", "half an answer"])
def test_a_peer_that_says_no_more_meets_the_handshake_s_deadline(peer: Peer, said: bytes) -> None:
    def script(gateway: PeerConnection) -> None:
        gateway.sock.sendall(said)
        gateway.wait_closed()

    with pytest.raises(HandshakeFailed, match=r"handshake in 0\.05 s"):
        connect(peer, script, handshake_timeout_s=0.05)


def test_a_failed_handshake_leaves_no_descriptor_and_no_connection(peer: Peer) -> None:
    client = Client(handshake_timeout_s=0.05)
    with pytest.raises(HandshakeFailed):
        run(client, peer, lambda gateway: gateway.wait_closed())
    assert client.conn is not None
    assert client.conn.socket is None
    assert not client.isConnected()


def test_a_refused_connection_is_an_error_of_connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Client().connect("127.0.0.1", port, 17)


@pytest.mark.parametrize("host", ["a" * 70, "no-such-host.invalid"])
def test_a_host_that_is_none_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=r".+"):
        Client(connect_timeout_s=1).connect(host, 4002, 17)


def test_a_second_connect_on_a_live_client_is_refused(peer: Peer) -> None:
    client = connect(peer, lambda gateway: gateway.shake_hands(178))
    with pytest.raises(RequestRefused, match="501"):
        client.connect("127.0.0.1", peer.port, 17)
    assert client.conn is not None
    client.conn.close()


def test_defect_7_connect_options_are_sent_again_with_every_connect(peer: Peer) -> None:
    client, hellos = Client(), []
    for _ in range(3):
        run(client, peer, lambda gateway: hellos.append(gateway.shake_hands(178)))
        assert client.conn is not None
        client.disconnect()
        client.conn.close()
    assert len(hellos) == 3
    assert all(hello.endswith(" +PACEAPI") for hello in hellos)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"20260301 10:00:00 Central European Standard Time", "20260301 10:00:00 Central European Standard Time"),
        ("20260301 10:00:00 \u4e2d\u56fd\u6807\u51c6\u65f6\u95f4".encode("gbk"), "20260301 10:00:00 中国标准时间"),
        ("20260301 Mitteleurop\u00e4ische Zeit".encode(), "20260301 Mitteleuropäische Zeit"),
        (b"20260301 \xff\xff", "20260301 \u00ff\u00ff"),
    ],
)
def test_the_zone_is_read_in_whatever_encoding_the_host_has(raw: bytes, text: str) -> None:
    assert decode_zone(raw) == text
