"""`ibkr-actor demo`: simulated gateway, embedded Redis, the real sidecar and its page in one process, and a reader.

Everything shown was read back from Redis Streams with XREADGROUP; nothing is taken from inside the sidecar.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import anyio
from redis.asyncio import Redis

from ibkr_actor import app
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.cli.demo_night import NightView
from ibkr_actor.cli.demo_view import DemoView
from ibkr_actor.cli.process import log_to_stderr, until_signal
from ibkr_actor.client import call, connect
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.keys import Keys
from ibkr_actor.settings import Settings
from ibkr_actor.sim import Simulator, SimulatorSettings

KEYS: Final = Keys()
GROUP: Final = "demo"
WANTED: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("AAPL", ("quote", "trade", "bar.5s")),
    ("MSFT", ("quote", "tick")),
    ("SPY", ("quote", "bidask")),
    ("EUR.CASH.IDEALPRO.USD", ("quote", "midpoint", "bar.5s")),
    ("USD.CASH.IDEALPRO.JPY", ("quote",)),
)
PLAIN_S: Final = 30.0
# The scenario takes 55 s from its first word to the last client id that is free again.
NIGHT_S: Final = 65.0
LOOK_EVERY_S: Final = 0.5
DRAW_EVERY_S: Final = {True: 0.5, False: 5.0}  # in a terminal, on a pipe


def main(arguments: argparse.Namespace) -> int:
    """Streams for `--seconds`, or until Ctrl-C, and ends with one line of totals.

    With a scenario the exit status is 1 when a stream is not alive again at the end.
    """
    log_to_stderr("warning")
    night: str | None = arguments.scenario
    seconds: float = arguments.seconds or (NIGHT_S if night else PLAIN_S)
    views: list[DemoView] = []

    async def serve(stopping: anyio.Event) -> None:
        with tempfile.TemporaryDirectory(prefix="ibkr-actor-demo-") as folder:
            views.append(await _demo(Path(folder), seconds, stopping, night))

    anyio.run(until_signal, serve)
    return 0 if all(view.whole for view in views) else 1


async def _demo(folder: Path, seconds: float, ending: anyio.Event, night: str | None) -> DemoView:
    view = NightView() if night else DemoView()
    async with (
        EmbeddedRedis(EmbeddedConfig(data_dir=folder)) as server,
        Simulator(SimulatorSettings(scenarios=(night,) if night else ())) as simulator,
        app.http_beside(settings := _settings(simulator.port, server.own_url, night), server.own_url) as page,
        connect(server.url) as redis,
    ):
        print(f"Redis ({server.kind}) at {server.url}, simulated gateway at 127.0.0.1:{simulator.port}")
        view.notes += [
            f"status page: {page}",
            f"read it from another terminal: export IBKR_REDIS_URL={shlex.quote(server.url)}",
        ]
        print("\n".join(view.notes))
        sidecar_ending, read_all = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def sidecar() -> None:
                await app.run(settings, stopping=sidecar_ending)
                read_all.set()

            tasks.start_soon(sidecar)
            streams = await _subscribe_all(redis)
            _say_how_to_look(server, streams)
            if isinstance(view, NightView):
                view.expect(streams)
                await redis.xgroup_create(KEYS.system, GROUP, id="0", mkstream=True)
                tasks.start_soon(_read, redis, [*streams, KEYS.system], view, read_all)
                tasks.start_soon(_look, redis, streams, view, sidecar_ending)
            else:
                tasks.start_soon(_read, redis, streams, view, read_all)
            await _show(view, seconds, ending)
            sidecar_ending.set()
    print(f"demo: {view.totals()}")
    return view


def _settings(port: int, redis_url: str, night: str | None) -> Settings:
    return load_settings(
        host="127.0.0.1",
        port=port,
        redis_url=redis_url,
        prefix=KEYS.prefix,
        gateway_name=KEYS.gateway,
        encoding="json",
        # We start it, to know where it is.
        http_enabled=False,
        http_host="127.0.0.1",
        http_port=0,
        # Over night an id may be held by the connection that is gone.
        client_id_pool=(18, 19) if night else (),
    )


async def _subscribe_all(redis: Redis) -> list[str]:
    """Sends the commands and returns the streams that were accepted."""
    streams: list[str] = []
    for instrument, kinds in WANTED:
        command = Subscribe(client="demo", instrument=instrument, kinds=list(kinds))
        reply = await call(redis, KEYS, command, timeout_s=30.0)
        if reply.error is not None:
            print(f"{instrument}: {reply.error.message}", file=sys.stderr)
        streams += reply.streams or []
    for key in streams:
        await redis.xgroup_create(key, GROUP, id="0", mkstream=True)
    return streams


def _say_how_to_look(server: EmbeddedRedis, streams: list[str]) -> None:
    """The commands are complete: they can be pasted into another terminal."""
    where = f"-s {server.socket_path}" if server.socket_path else f"-p {server.port}"
    password = f" -a {shlex.quote(server.password)} --no-auth-warning" if server.password else ""
    print("Keys to look at:")
    for key in [*streams, KEYS.last("AAPL.STK.SMART.USD"), KEYS.system, KEYS.subscriptions, KEYS.heartbeat]:
        print(f"  {key}")
    print("Read one from another terminal (the demo writes records as JSON, so that they can be read):")
    print(f"  redis-cli {where}{password} XREVRANGE '{streams[0] if streams else KEYS.system}' + - COUNT 3")
    print(f"  ibkr-actor tail quote AAPL --redis-url {shlex.quote(server.url)}")
    sys.stdout.flush()


async def _show(view: DemoView, seconds: float, ending: anyio.Event) -> None:
    """Draws until the time is over or Ctrl-C."""
    until = anyio.current_time() + seconds
    while (left_s := until - anyio.current_time()) > 0 and not ending.is_set():
        view.draw(left_s)
        with anyio.move_on_after(min(DRAW_EVERY_S[view.live], left_s)):
            await ending.wait()


async def _read(redis: Redis, streams: list[str], view: DemoView, read_all: anyio.Event) -> None:
    """A consumer group's only reader: read, show, acknowledge; ends when the sidecar has and nothing is left."""
    wanted: Any = dict.fromkeys(streams, ">")
    while wanted:
        last_round = read_all.is_set()
        answer: Any = await redis.xreadgroup(GROUP, "viewer", wanted, count=500, block=None if last_round else 200)
        for key, entries in answer:
            for _, fields in entries:
                record = decode_record(fields)
                if record is not None:
                    view.add(key.decode(), record)
            await redis.xack(key, GROUP, *(entry_id for entry_id, _ in entries))
        if last_round and not answer:
            return


async def _look(redis: Redis, streams: list[str], view: NightView, ending: anyio.Event) -> None:
    """Reads the state and the freshness of each stream from the hashes of last values, as any reader may."""
    while not ending.is_set():
        for key in streams:
            _, kind, instrument = key.rsplit(":", 2)
            names = [f"state:{kind}", f"freshness:{kind}"]
            values: Any = await redis.hmget(KEYS.last(instrument), names)
            view.show(key, *(value.decode() if value else None for value in values))
        with anyio.move_on_after(LOOK_EVERY_S):
            await ending.wait()
