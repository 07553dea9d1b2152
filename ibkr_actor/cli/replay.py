"""`ibkr-actor replay FILE`: a recording as streams of a gateway name of its own, to test readers with.

Frames and rows go through the simulator and a real sidecar; records are written as they are. The streams of the
sidecar that runs are never touched.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor import app
from ibkr_actor.bus.embedded import EmbeddedConfig, EmbeddedRedis
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.process import log_to_stderr, until_signal
from ibkr_actor.cli.replay_records import play_records
from ibkr_actor.cli.replay_source import Form, Wanted, asked_in, form_of
from ibkr_actor.client import NoAnswer, call, connect
from ibkr_actor.client.calls import refusal
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.commands import Subscribe
from ibkr_actor.schema.keys import Keys
from ibkr_actor.settings import Settings
from ibkr_actor.sim import ReplayError, Simulator, SimulatorSettings

# Of the rows that `simulate --replay` plays, when no other is named. Source: sim.settings.
INSTRUMENT: Final = "700.STK.SEHK.HKD"
ANSWER_TIMEOUT_S: Final = 30.0
LOOK_EVERY_S: Final = 0.05
_UNLINK_COUNT: Final = 500


def main(arguments: argparse.Namespace) -> int:
    """Plays until the end of the records, `--seconds`, or Ctrl-C. 1 when something could not be subscribed."""
    log_to_stderr("warning")
    path = Path(arguments.recording)
    settings = load_settings(arguments.config, redis_url=arguments.redis_url, gateway_name=arguments.gateway)
    if arguments.gateway == load_settings(arguments.config).gateway_name:
        raise ConfigurationError(
            f"--gateway {arguments.gateway} is the sidecar's own (IBKR_GATEWAY_NAME): take another"
        )
    form = form_of(path)
    statuses: list[int] = []

    async def serve(stopping: anyio.Event) -> None:
        statuses.append(await _replay(path, form, settings, arguments, stopping))

    try:
        anyio.run(until_signal, serve)
    except ReplayError as error:
        raise ConfigurationError(str(error)) from None
    except NoAnswer as error:
        print(f"ibkr-actor: {error}", file=sys.stderr)
        return EXIT_NO
    except RedisError as error:
        print(f"ibkr-actor: Redis does not answer: {error}", file=sys.stderr)
        return EXIT_NO
    return max(statuses, default=0)


async def _replay(
    path: Path, form: Form, settings: Settings, arguments: argparse.Namespace, stopping: anyio.Event
) -> int:
    over = anyio.Event()

    async def end() -> None:
        with anyio.move_on_after(arguments.seconds):
            await stopping.wait()
        over.set()

    async with anyio.create_task_group() as tasks, _server(settings) as (url, shown), connect(url) as redis:
        tasks.start_soon(end)
        keys = Keys(settings.prefix, settings.gateway_name)
        if await redis.exists(keys.heartbeat):
            raise ConfigurationError(f"a sidecar publishes for {keys.root}: take another --gateway")
        await _clear(redis, keys)
        print(f"playing {path} as {keys.root}:* at {shown}", file=sys.stderr, flush=True)
        if form == "records":
            await _until(over, partial(play_records, redis, keys, path, arguments, settings.encoding))
            if settings.redis_address is None and not over.is_set():
                print("played; the streams stay until Ctrl-C", file=sys.stderr, flush=True)
                await over.wait()
            status = 0
        else:
            status = await _through_sidecar(redis, url, keys, path, form, arguments, over)
        tasks.cancel_scope.cancel()
    return status


@asynccontextmanager
async def _server(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """The Redis of the settings, or one that lives as long as this; its URL, and that to show."""
    if settings.redis_address is not None:
        yield settings.redis_address, settings.redis_address.rpartition("@")[2]
        return
    with tempfile.TemporaryDirectory(prefix="ibkr-replay-") as folder:
        async with EmbeddedRedis(EmbeddedConfig(data_dir=Path(folder))) as server:
            yield server.own_url, server.url


async def _until(over: anyio.Event, work: Callable[[], Awaitable[object]]) -> None:
    """Does it, and breaks it off when all is over."""
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await over.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(end)
        await work()
        tasks.cancel_scope.cancel()


async def _clear(redis: Redis, keys: Keys) -> None:
    """Takes away what an earlier replay left under this name."""
    found = [key async for key in redis.scan_iter(match=f"{keys.root}:*", count=_UNLINK_COUNT)]
    for at in range(0, len(found), _UNLINK_COUNT):
        await redis.unlink(*found[at : at + _UNLINK_COUNT])


async def _through_sidecar(
    redis: Redis,
    url: str,
    keys: Keys,
    path: Path,
    form: Form,
    arguments: argparse.Namespace,
    over: anyio.Event,
) -> int:
    if form == "frames":
        wanted = asked_in(path)
        gateway = SimulatorSettings(play=str(path), play_speed=arguments.speed)
    else:
        instrument = arguments.instrument or INSTRUMENT
        wanted = [Wanted(instrument, ("quote", "tick"))]
        gateway = SimulatorSettings(replay_file=str(path), replay_speed=arguments.speed, replay_instrument=instrument)
    ended = anyio.Event()
    async with Simulator(gateway) as simulator, anyio.create_task_group() as tasks:
        given = {"host": "127.0.0.1", "port": simulator.port, "redis_url": url, "gateway_name": keys.gateway}
        tasks.start_soon(partial(app.run, load_settings(arguments.config, **given), stopping=ended))
        statuses: list[int] = []

        async def subscribe() -> None:
            statuses.append(await _subscribe(redis, keys, wanted, as_json=arguments.json))

        await _until(over, subscribe)
        await over.wait()
        ended.set()  # the sidecar winds down as for SIGTERM
    return max(statuses, default=0)


async def _started(redis: Redis, keys: Keys) -> None:
    """Waits for the sidecar: before its first start nobody knows the gateway's name, and who asks is told so."""
    with anyio.move_on_after(ANSWER_TIMEOUT_S):
        while True:
            if await redis.exists(keys.heartbeat):
                return
            await anyio.sleep(LOOK_EVERY_S)


async def _subscribe(redis: Redis, keys: Keys, wanted: list[Wanted], *, as_json: bool) -> int:
    status = 0
    await _started(redis, keys)
    for each in wanted:
        command = Subscribe(client="replay", instrument=each.instrument, kinds=list(each.kinds), lease_s=0)
        reply = await call(redis, keys, command, timeout_s=ANSWER_TIMEOUT_S)
        if reply.error is not None:
            print(f"ibkr-actor: {refusal(command, reply.error)}", file=sys.stderr)
            status = EXIT_NO
        for key in reply.streams or []:
            print(f'{{"stream":"{key}"}}' if as_json else key, flush=True)
    return status
