"""SIGTERM and Ctrl-C in every state of the connection: the process ends, and gives back what it has."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from anyio.abc import Process

from ibkr_actor.cli.process import EXIT_AT_ONCE
from ibkr_actor.client import connect
from ibkr_actor.schema.commands import StatusCommand, Subscribe
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, KEYS, free_port, running_redis
from tests.e2e.test_process import asked, sidecar_process

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@asynccontextmanager
async def nobody() -> AsyncIterator[int]:
    """A port where nobody listens."""
    yield free_port()


@asynccontextmanager
async def unreachable() -> AsyncIterator[int]:
    """A port whose queue is full: a connection to it does not come about, and is not refused either."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for each in waiting:
                each.close()


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A port where connections are taken and nothing is said."""

    async def listen(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, listen)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def locked() -> AsyncIterator[int]:
    """A gateway at its login window."""
    async with Simulator(SimulatorSettings()) as sim:
        sim.play_scenario("login-required")
        yield sim.port


# Within IB's nightly hour the same wait has another name; a process has the system's clock.
BACKING_OFF = frozenset({"backing_off", "scheduled_outage"})
State = tuple[Callable[[], AbstractAsyncContextManager[int]], frozenset[str]]
STATES: dict[str, State] = {
    "backing off": (nobody, BACKING_OFF),
    "connecting": (unreachable, frozenset({"connecting"})),
    "handshaking": (silent, frozenset({"connecting", "handshaking"})),
    "waiting for login": (locked, frozenset({"waiting_for_login", "scheduled_outage"})),
}


async def until_state(url: str, states: frozenset[str]) -> None:
    with anyio.fail_after(DEADLINE_S):
        async with connect(url) as redis:
            while True:
                status = await asked(redis, StatusCommand())
                assert isinstance(status.result, dict)
                if status.result["session"]["state"] in states:
                    return


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_without_a_gateway_ends_the_process(name: str, number: signal.Signals) -> None:
    gateway, states = STATES[name]
    async with (
        running_redis() as server,
        gateway() as port,
        sidecar_process(IBKR_PORT=str(port), IBKR_REDIS_URL=server.own_url) as process,
    ):
        await until_state(server.own_url, states)
        process.send_signal(number)
        with anyio.fail_after(DEADLINE_S):
            assert await process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_tws_has_lost_ib_gives_the_lines_back(number: signal.Signals) -> None:
    async with (
        running_redis() as server,
        Simulator(SimulatorSettings()) as sim,
        sidecar_process(IBKR_PORT=str(sim.port), IBKR_REDIS_URL=server.own_url) as process,
        connect(server.own_url) as redis,
    ):
        await asked(redis, Subscribe(instrument="AAPL", kinds=["quote"], client="s1"))
        await sim.wait_for(lambda: sim.line_count() == 1)
        sim.act("connection_lost", for_s=600.0)
        await until_state(server.own_url, frozenset({"degraded"}))
        process.send_signal(number)
        with anyio.fail_after(DEADLINE_S):
            assert await process.wait() == 0
        await sim.wait_for(lambda: sim.line_count() == 0 and sim.clients() == [])
        assert await redis.hlen(KEYS.subscriptions) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once_what_the_first_waits_for(number: signal.Signals) -> None:
    async with (
        running_redis() as server,
        nobody() as port,
        sidecar_process(IBKR_PORT=str(port), IBKR_REDIS_URL=server.own_url) as process,
    ):
        await until_state(server.own_url, BACKING_OFF)
        # What is pending cannot be written.
        os.kill(server.pid, signal.SIGSTOP)
        try:
            process.send_signal(number)
            await until_said(process, "once more ends at once")
            process.send_signal(number)
            with anyio.fail_after(DEADLINE_S):
                assert await process.wait() == EXIT_AT_ONCE
        finally:
            os.kill(server.pid, signal.SIGCONT)


async def until_said(process: Process, words: str) -> None:
    assert process.stderr is not None
    said = ""
    with anyio.fail_after(DEADLINE_S):
        while words not in said:
            said += (await process.stderr.receive()).decode()
