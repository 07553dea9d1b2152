"""`ibkr-actor doctor`: is all there that a sidecar needs, and what to do about what is not.

Looks only: it starts nothing, changes no setting, and a running sidecar goes on undisturbed.
"""

from __future__ import annotations

import argparse
import platform
import random
import urllib.parse
from collections.abc import AsyncIterator

import anyio
from redis.exceptions import RedisError

from ibkr_actor.cli.address import redis_url
from ibkr_actor.cli.asking import say_json
from ibkr_actor.cli.doctor_findings import Finding, fail, ok, warn
from ibkr_actor.cli.doctor_gateway import check_handshake, check_port
from ibkr_actor.cli.doctor_redis import check_redis, check_sidecar
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.client import connect
from ibkr_actor.errors import ConfigurationError, UnsupportedIbapi
from ibkr_actor.load_settings import load_settings, unknown_variables
from ibkr_actor.schema.keys import Keys
from ibkr_actor.settings import Settings
from ibkr_actor.tws.versions import check_ibapi


def main(arguments: argparse.Namespace) -> int:
    """Exit status 1 when a check failed; a warning is no failure."""
    return anyio.run(_doctor, arguments)


async def _doctor(arguments: argparse.Namespace) -> int:
    failed = 0
    async for finding in _findings(arguments):
        failed += finding.level == "fail"
        if arguments.json:
            say_json({"check": finding.check, "level": finding.level, "message": finding.message}
                     | ({"advice": finding.advice} if finding.advice else {}))  # fmt: skip
        else:
            print(finding.text(), flush=True)
    return EXIT_NO if failed else 0


async def _findings(arguments: argparse.Namespace) -> AsyncIterator[Finding]:
    yield check_python()
    ibapi = check_client()
    yield ibapi
    try:
        settings = load_settings(
            arguments.config, host=arguments.host, port=arguments.port, redis_url=arguments.redis_url
        )
    except ConfigurationError as error:
        yield fail("settings", str(error), "mend it and run this again: the rest depends on it")
        return
    client_id = own_client_id(settings, arguments.client_id)
    for finding in check_settings():
        yield finding
    for finding in await _redis(settings, arguments.timeout):
        yield finding
    port = await check_port(settings, arguments.timeout)
    yield port
    if port.level == "ok" and ibapi.level == "ok" and not arguments.no_handshake:
        for finding in await check_handshake(settings, client_id, arguments.timeout):
            yield finding


def check_python() -> Finding:
    """An older one than the package needs could not have come so far."""
    return ok(
        "python",
        f"{platform.python_version()} ({platform.python_implementation()}), {platform.system()} {platform.machine()}",
    )


def check_client() -> Finding:
    try:
        return ok("ibapi", check_ibapi())
    except UnsupportedIbapi as error:
        message, _, advice = str(error).rpartition(": ")
        return fail("ibapi", message, advice)


def check_settings() -> list[Finding]:
    """What looks like a setting and is none."""
    notes = [warn("settings", f"{note} is no setting and changes nothing", "rename or remove it")
             for note in unknown_variables()]  # fmt: skip
    return notes or [ok("settings", "every IBKR_* variable is a setting")]


def own_client_id(settings: Settings, wanted: int | None) -> int:
    """A client id that no sidecar with these settings takes.

    Raises:
        ConfigurationError: the one wanted is a sidecar's.
    """
    taken = {settings.client_id, *settings.client_id_pool}
    if wanted is None:
        return random.choice([each for each in range(9_000, 10_000) if each not in taken])
    if wanted in taken:
        raise ConfigurationError(f"--client-id {wanted} is the sidecar's (IBKR_CLIENT_ID, IBKR_CLIENT_ID_POOL)")
    return wanted


async def _redis(settings: Settings, timeout_s: float) -> list[Finding]:
    try:
        url = redis_url(settings)
    except ConfigurationError:
        return [ok("redis", "IBKR_REDIS_URL is not set and no embedded server runs: `ibkr-actor run` starts one")]
    redis = connect(url)
    found: list[Finding] = []
    try:
        with anyio.move_on_after(2 * timeout_s) as within:
            found += await check_redis(redis, without_password(url))
            if found[0].level == "ok":
                found += await check_sidecar(redis, Keys(settings.prefix, settings.gateway_name), timeout_s)
    except (RedisError, OSError) as error:
        found.append(fail("redis", f"it went away meanwhile: {error}", "look at the server and the network to it"))
    finally:
        await redis.aclose()
    if within.cancelled_caught:
        found.append(fail("redis", f"no answer within {2 * timeout_s:g} s", "look at the server and the network to it"))
    return found


def without_password(url: str) -> str:
    """As one may show it."""
    parts = urllib.parse.urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)
