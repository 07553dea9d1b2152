"""Where the running sidecar's Redis is: the URL given, or what the embedded server left in its data directory.

Opens connections for reading only; starts nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.cli.process import until_signal
from ibkr_actor.client import connect
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.load_settings import load_settings
from ibkr_actor.schema.keys import Keys
from ibkr_actor.settings import Settings

EMBEDDED_FILE = "redis.json"


def redis_url(settings: Settings) -> str:
    """The URL to read from.

    Raises:
        ConfigurationError: none is set and no embedded server has left its address.
    """
    if settings.redis_address is not None:
        return settings.redis_address
    path = settings.data_dir / settings.gateway_name / EMBEDDED_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["url"])
    except FileNotFoundError:
        raise ConfigurationError(
            "no Redis to read: IBKR_REDIS_URL is not set and no embedded server runs for "
            f"IBKR_GATEWAY_NAME={settings.gateway_name} in IBKR_DATA_DIR={settings.data_dir}: "
            "start one with `ibkr-actor run`, or set IBKR_REDIS_URL"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): set IBKR_REDIS_URL") from None


def away(settings: Settings, error: Exception) -> str:
    """That Redis does not answer, and what to look at."""
    whose = (
        "is IBKR_REDIS_URL right, and the server up?"
        if settings.redis_address is not None
        else "it is a sidecar's embedded server: does `ibkr-actor run` still run?"
    )
    return f"Redis does not answer: {str(error).rstrip('.')}; {whose}"


Reader = Callable[[Redis, Keys, argparse.Namespace], Awaitable[int]]


def with_redis(reader: Reader, arguments: argparse.Namespace, *, follows: bool = False) -> int:
    """Runs `reader` with a connection; a server that is not there is one line and exit status 1.

    One that `follows` reads until it is told to stop: Ctrl-C and SIGTERM are then its usual end, and no failure.
    """
    settings = load_settings(arguments.config, redis_url=arguments.redis_url)
    read = partial(_read, reader, redis_url(settings), settings, arguments)
    return anyio.run(_until_stopped, read) if follows else anyio.run(read)


async def _until_stopped(read: Callable[[], Awaitable[int]]) -> int:
    status = 0

    async def serve(stopping: anyio.Event) -> None:
        nonlocal status
        async with anyio.create_task_group() as tasks:

            async def end() -> None:
                await stopping.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(end)
            status = await read()
            tasks.cancel_scope.cancel()

    await until_signal(serve)
    return status


async def _read(reader: Reader, url: str, settings: Settings, arguments: argparse.Namespace) -> int:
    redis = connect(url)
    try:
        return await reader(redis, Keys(settings.prefix, settings.gateway_name), arguments)
    except BrokenPipeError:
        raise  # that is standard output, not Redis: whoever read it has gone
    except (RedisError, OSError) as error:
        print(f"ibkr-actor: {away(settings, error)}", file=sys.stderr)
        return EXIT_NO
    finally:
        await redis.aclose()
