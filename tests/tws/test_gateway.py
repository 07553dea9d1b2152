from __future__ import annotations

import os
import threading

import anyio
import anyio.to_thread
import pytest

from ibkr_actor.actors.ports import GatewayPort
from ibkr_actor.core.events import (
    Connected,
    ConnectFailed,
    ConnectionLost,
    ManagedAccounts,
    NextValidId,
    TickSize,
)
from ibkr_actor.core.requests import CancelMktData, ReqMktData, Request
from ibkr_actor.errors import ReadOnlyViolation
from ibkr_actor.schema.instruments import Contract
from ibkr_actor.tws.gateway import Gateway, GatewayConfig
from ibkr_actor.tws.inbox import Inbox
from ibkr_actor.tws.outgoing import WRITERS
from tests.tws.conftest import Rig
from tests.tws.wire import DEADLINE_S, Peer, stream, text_frame

pytestmark = pytest.mark.anyio


def size_frame(size: int) -> bytes:
    return text_frame(178, 2, 6, 12, 0, size)


def as_port(gateway: GatewayPort) -> GatewayPort:
    return gateway


def test_the_gateway_is_the_port_the_actors_ask_for() -> None:
    assert as_port(Gateway(GatewayConfig(), Inbox(1))).counters()["connections_opened"] == 0


async def test_a_connection_comes_up_speaks_and_goes_down_on_request(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    assert rig.of(Connected)[0].server_version == 178
    assert rig.of(Connected)[0].connection_time == "20260301 10:00:00 CET"
    assert rig.gateway.counters()["server_version"] == 178
    gateway.send(text_frame(178, 9, 1, 5), text_frame(178, 15, 1, "DU1,"), size_frame(7))
    await rig.until_event(TickSize)
    assert rig.events[1:3] == [NextValidId(1, 5), ManagedAccounts(1, 1)]
    rig.gateway.close(1)
    lost = await rig.until_event(ConnectionLost)
    assert (lost.conn, lost.wanted, lost.reason) == (1, True, "closed by us")
    gateway.wait_closed()
    assert rig.gateway.counters()["server_version"] is None


async def test_frames_of_one_recv_carry_one_stamp_and_stamps_do_not_go_back(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.send(size_frame(1), size_frame(2))
    await rig.until(lambda: len(rig.of(TickSize)) == 2)
    gateway.send(size_frame(3))
    await rig.until(lambda: len(rig.of(TickSize)) == 3)
    first, second, third = (event.received_ns for event in rig.of(TickSize))
    assert rig.of(Connected)[0].at_ns <= first <= second <= third


async def test_a_handshake_in_vain_is_a_failed_connect_with_the_reason(peer: Peer) -> None:
    rig = Rig(GatewayConfig(port=peer.port, handshake_timeout_s=0.05))
    rig.gateway.open(1, 17)
    failed = await rig.until_event(ConnectFailed)
    assert "handshake in 0.05 s" in failed.reason
    await rig.gateway.aclose()
    assert rig.ends() == [failed]


async def test_a_close_while_connecting_ends_it_at_once(rig: Rig, peer: Peer) -> None:
    rig.gateway.open(1, 17)
    gateway = peer.accept()
    gateway.read_hello()
    rig.gateway.close(1)
    failed = await rig.until_event(ConnectFailed)
    assert "we closed it" in failed.reason
    gateway.wait_closed()
    assert rig.ends() == [failed]


async def test_a_close_before_the_connect_began_ends_it_too(rig: Rig) -> None:
    rig.gateway.close(1)
    rig.gateway.open(1, 17)
    failed = await rig.until_event(ConnectFailed)
    assert "closed by us" in failed.reason
    assert rig.gateway.counters()["connections_made"] == 0


async def test_closing_an_old_connection_does_not_touch_the_new_one(rig: Rig, peer: Peer) -> None:
    first = await rig.connect(peer, conn=1)
    first.close()
    await rig.until_event(ConnectionLost)
    second = await rig.connect(peer, conn=2)
    rig.gateway.close(1)
    second.send(size_frame(1))
    await rig.until_event(TickSize)
    assert len(rig.ends()) == 1


async def test_an_open_replaces_a_connection_that_was_not_closed(rig: Rig, peer: Peer) -> None:
    first = await rig.connect(peer, conn=1)
    second = await rig.connect(peer, conn=2)
    first.wait_closed()
    second.send(size_frame(1))
    await rig.until_event(TickSize)
    lost = [(event.conn, event.wanted, event.reason) for event in rig.of(ConnectionLost)]
    assert lost == [(1, True, "replaced by a new one")]


async def test_requests_without_a_connection_are_counted_and_dropped(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    gateway.close()
    await rig.until_event(ConnectionLost)
    for _ in range(3):
        rig.gateway.send(CancelMktData(12))
    again = await rig.connect(peer, conn=2)
    rig.gateway.send(CancelMktData(22))
    assert again.read_frame() == b"2\x002\x0022\x00"
    await rig.gateway.aclose()
    assert rig.gateway.counters()["requests_dropped_not_connected"] == 3
    assert rig.gateway.counters()["requests_sent"] == 1


async def test_a_peer_that_does_not_read_costs_the_connection_and_not_the_loop(peer: Peer) -> None:
    rig = Rig(GatewayConfig(port=peer.port, io_timeout_s=0.2, outbound_max=5))
    await rig.connect(peer)
    big = ReqMktData(12, Contract(1, "X" * 20_000_000, "STK", "SMART", "USD"))
    for _ in range(20):
        rig.gateway.send(big)
    lost = await rig.until_event(ConnectionLost)
    assert lost.reason.startswith("send failed")
    assert not lost.wanted
    dropped = rig.gateway.counters()["requests_dropped_full"]
    assert isinstance(dropped, int)
    assert dropped >= 14
    await rig.gateway.aclose()


async def test_what_was_asked_before_a_close_is_still_written(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    for number in range(200):
        rig.gateway.send(CancelMktData(number * 10 + 2))
    rig.gateway.close(1)
    await rig.gateway.aclose()
    # Each cancel: message 2, version 2, the request's number.
    for number in range(200):
        assert gateway.read_frame() == b"2\x002\x00%d\x00" % (number * 10 + 2)
    gateway.wait_closed()


async def test_close_frees_a_sender_that_is_stuck_in_a_send(peer: Peer) -> None:
    rig = Rig(GatewayConfig(port=peer.port, io_timeout_s=300))
    await rig.connect(peer)
    rig.gateway.send(ReqMktData(12, Contract(1, "X" * 20_000_000, "STK", "SMART", "USD")))
    rig.gateway.close(1)
    assert (await rig.until_event(ConnectionLost)).wanted
    again = await rig.connect(peer, conn=2)
    again.send(size_frame(1))
    await rig.until_event(TickSize)
    await rig.gateway.aclose()


class PlaceOrder(Request, frozen=True):
    """No request of ours."""


async def test_a_request_that_is_not_ours_is_refused_at_once(rig: Rig, peer: Peer) -> None:
    gateway = await rig.connect(peer)
    with pytest.raises(ReadOnlyViolation, match="PlaceOrder"):
        rig.gateway.send(PlaceOrder(1))  # type: ignore[arg-type]  # what no caller of ours can write
    rig.gateway.send(CancelMktData(12))
    assert gateway.read_frame() == b"2\x002\x0012\x00"
    assert rig.gateway.counters()["read_only_violations"] == 1


async def test_a_full_inbox_holds_the_peer_back_and_everything_arrives(peer: Peer) -> None:
    rig = Rig(GatewayConfig(port=peer.port), inbox_max_bytes=20_000)
    gateway = await rig.connect(peer)
    count = 100_000
    data = stream(*[size_frame(number) for number in range(1, count + 1)])
    writer = threading.Thread(target=gateway.sock.sendall, args=(data,), daemon=True)
    writer.start()
    await rig.until(lambda: len(rig.of(TickSize)) == count)
    assert [event.size for event in rig.of(TickSize)] == [str(number) for number in range(1, count + 1)]
    await anyio.to_thread.run_sync(writer.join, DEADLINE_S)
    await rig.gateway.aclose()


def open_files_and_threads() -> tuple[int, list[str]]:
    ours = [thread.name for thread in threading.enumerate() if thread.name.startswith("tws-")]
    return len(os.listdir("/dev/fd")), ours


async def test_a_hundred_reconnects_leave_no_thread_and_no_descriptor(rig: Rig, peer: Peer) -> None:
    seen: list[tuple[int, list[str]]] = []
    for conn in range(1, 101):
        gateway = await rig.connect(peer, conn=conn)
        gateway.send(size_frame(conn))
        await rig.until_event(TickSize, conn)
        # Started after Connected is announced, so looked for only when it has read something.
        reader = next(thread for thread in threading.enumerate() if thread.name == f"tws-reader-{conn}")
        if conn % 2:
            gateway.close()
        else:
            rig.gateway.close(conn)
            gateway.wait_closed()
            gateway.close()
        await rig.until_event(ConnectionLost, conn)
        await anyio.to_thread.run_sync(reader.join, DEADLINE_S)
        seen.append(open_files_and_threads())
    assert seen == [(seen[0][0], ["tws-sender"])] * 100
    assert rig.gateway.counters()["connections_made"] == 100


async def test_a_stopped_gateway_cannot_be_opened_again(rig: Rig, peer: Peer) -> None:
    await rig.connect(peer)
    await rig.gateway.aclose()
    with pytest.raises(RuntimeError, match="stopped"):
        rig.gateway.open(2, 17)


async def test_a_gateway_that_was_never_opened_can_be_stopped() -> None:
    await Gateway(GatewayConfig(), Inbox(1)).aclose()


class WriterBugError(Exception):
    """A bug in a row of the table, as far as the gateway can tell."""


async def test_a_bug_in_the_sender_thread_is_announced_and_the_next_open_raises(
    rig: Rig, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked: list[type[BaseException] | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: hooked.append(arguments.exc_type))

    def fail(client: object, request: object) -> None:
        raise WriterBugError

    gateway = await rig.connect(peer)
    sender = next(thread for thread in threading.enumerate() if thread.name == "tws-sender")
    kind: type[Request] = CancelMktData
    monkeypatch.setitem(WRITERS, kind, fail)
    rig.gateway.send(CancelMktData(12))
    lost = await rig.until_event(ConnectionLost)
    assert (lost.reason, lost.wanted) == ("the sender thread failed", False)
    gateway.wait_closed()
    await anyio.to_thread.run_sync(sender.join, DEADLINE_S)
    assert hooked == [WriterBugError]
    with pytest.raises(RuntimeError, match="failed"):
        rig.gateway.open(2, 17)
