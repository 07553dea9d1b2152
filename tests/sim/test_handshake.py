"""Owns the tests of the first moments: greeting, version, welcome, client ids, and who is sent away.

Must not test any request beyond startApi.
"""

from __future__ import annotations

import socket
from typing import Any

import anyio
import pytest

from ibkr_actor.sim import Rule, Simulator, SimulatorSettings
from ibkr_actor.sim.session import HandshakeError, handshake_reply, negotiate
from tests.sim.peers import DEADLINE_S, VERSIONS, connected, greet

pytestmark = pytest.mark.anyio


def _still(**changes: Any) -> SimulatorSettings:
    return SimulatorSettings(**{"clock_speed": 0.0, "start_time_s": 1_700_000_000.0, **changes})


@pytest.mark.parametrize("cap", VERSIONS)
async def test_the_answer_is_the_lower_of_cap_and_the_clients_maximum(cap: int) -> None:
    async with Simulator(_still(server_version=cap)) as sim:
        for maximum in (178, 226):
            stream, reply = await greet(sim, f"v100..{maximum}".encode())
            async with stream:
                assert reply.split(b"\0")[0] == str(min(cap, maximum)).encode()


def test_the_reply_names_version_time_and_a_zone_in_words() -> None:
    settings = _still(host_zone="Eastern European Time", host_zone_offset_s=7200)
    assert handshake_reply(205, 1_700_000_000.0, settings) == b"205\x0020231115 00:13:20 Eastern European Time\x00"
    chinese = _still(host_zone="中国标准时间", host_zone_encoding="gbk", host_zone_offset_s=8 * 3600)
    assert "中国标准时间" in handshake_reply(205, 1_700_000_000.0, chinese).decode("gbk")


@pytest.mark.parametrize(("zone", "encoding"), [("中国标准时间", "latin-1"), ("Europe", "no such encoding")])
def test_a_zone_that_cannot_be_written_is_refused_at_once(zone: str, encoding: str) -> None:
    with pytest.raises(ValueError, match="host_zone"):
        _still(host_zone=zone, host_zone_encoding=encoding)


def test_a_single_version_and_connect_options_are_understood() -> None:
    assert negotiate(b"v178", 226) == (178, "")
    assert negotiate(b"v100..226 +PACEAPI", 213) == (213, "+PACEAPI")


@pytest.mark.parametrize("greeting", [b"v226..100", b"v100..150", b"v227..230", b"hello", b"", b"v1..\xff"])
def test_greetings_without_a_common_version_are_refused(greeting: bytes) -> None:
    with pytest.raises(HandshakeError):
        negotiate(greeting, 226)


@pytest.mark.parametrize("greeting", [b"v226..100", b"nonsense", b"v100..150"])
async def test_a_refused_client_is_hung_up_on_and_the_next_one_is_served(greeting: bytes) -> None:
    async with Simulator(_still()) as sim:
        stream, reply = await greet(sim, greeting)
        async with stream:
            assert reply == b""
        async with connected(sim):
            assert sim.clients() == [1]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"API\0\xff\xff\xff\xff", b"AP\0\0\0"])
async def test_garbage_instead_of_a_greeting_is_hung_up_on(garbage: bytes) -> None:
    async with Simulator(_still()) as sim, await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
        await stream.send(garbage)
        with anyio.fail_after(DEADLINE_S), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()


async def test_a_client_that_never_greets_is_hung_up_on() -> None:
    settings = _still(handshake_timeout_s=0.05)
    async with Simulator(settings) as sim, await anyio.connect_tcp("127.0.0.1", sim.port) as stream:
        with anyio.fail_after(DEADLINE_S), pytest.raises(anyio.EndOfStream):
            await stream.receive()


async def test_nothing_follows_the_reply_until_start_api() -> None:
    async with Simulator(_still()) as sim:
        stream, reply = await greet(sim)
        async with stream:
            assert reply.count(b"\0") == 2
            with anyio.move_on_after(0.1) as waited:
                await stream.receive()
            assert waited.cancelled_caught


@pytest.mark.parametrize("version", VERSIONS)
async def test_start_api_is_welcomed_with_id_accounts_and_farms(version: int) -> None:
    settings = _still(server_version=version, accounts=("DU1", "DU2"), next_valid_id=77)
    async with Simulator(settings) as sim, connected(sim) as peer:
        names = [call[0] for call in peer.recorder.calls]
        assert names[:3] == ["nextValidId", "managedAccounts", "error"]
        assert peer.recorder.named("nextValidId") == [(77,)]
        assert peer.recorder.named("managedAccounts") == [("DU1,DU2",)]
        notices = peer.recorder.named("error")
        assert {(call[0], call[2]) for call in notices} == {(-1, 2104), (-1, 2106), (-1, 2158)}
        assert {call[1] for call in notices} == {1_700_000_000_000 if version >= 194 else 0}


@pytest.mark.parametrize("version", [178, 226])
async def test_a_client_id_in_use_is_told_326_and_hung_up_on(version: int) -> None:
    async with Simulator(_still(server_version=version)) as sim, connected(sim, client_id=5):
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            async with connected(sim, client_id=5):
                pytest.fail("welcomed twice")
        assert sim.errors_sent[326] == 1
        assert sim.violations == {Rule.CLIENT_ID: 1}
        async with connected(sim, client_id=6):
            assert sim.clients() == [5, 6]


async def test_a_client_id_is_free_again_when_its_client_has_gone() -> None:
    async with Simulator(_still()) as sim:
        async with connected(sim, client_id=5):
            pass
        await sim.wait_for(lambda: sim.clients() == [])
        async with connected(sim, client_id=5):
            assert sim.clients() == [5]


async def test_a_request_before_start_api_ends_the_connection() -> None:
    async with Simulator(_still(server_version=178)) as sim:
        stream, _ = await greet(sim)
        async with stream:
            await stream.send(b"\0\0\0\x0549\x001\x00")
            with anyio.fail_after(DEADLINE_S), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await stream.receive()


async def test_small_writes_are_not_held_back() -> None:
    async with Simulator(_still()) as sim, connected(sim):
        (session,) = sim.world.sessions.values()
        raw = session._stream.extra(anyio.abc.SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.parametrize(
    "wrong",
    [{"server_version": 156}, {"server_version": 227}, {"accounts": ()}, {"ticks_per_s": -1.0}, {"lines": 0}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        _still(**wrong)
