"""`ibkr-actor bridge`: our streams as market-data-core's events, for market-data-pipeline, -store and others.

Publishes until Ctrl-C, or prints what stands in an event stream; converts nothing itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from contextlib import aclosing

import anyio
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ibkr_actor.cli.address import redis_url, with_redis
from ibkr_actor.cli.asking import Refused, refuse, require_sidecar
from ibkr_actor.cli.main import EXIT_NO
from ibkr_actor.client import Client
from ibkr_actor.client.errors import MarketDataError
from ibkr_actor.errors import ConfigurationError
from ibkr_actor.load_settings import load_settings
from ibkr_actor.provider.bridge import BRIDGED, run_bridge
from ibkr_actor.provider.envelope_bus import EnvelopeBus
from ibkr_actor.schema.keys import Keys


def main(arguments: argparse.Namespace) -> int:
    """0 at Ctrl-C or after `--count` events; 1 when the sidecar or IB refuses, or Redis is not there."""
    if arguments.read:
        return with_redis(_read, arguments, follows=True)
    if not arguments.instruments:
        raise ConfigurationError("bridge needs an INSTRUMENT to publish, or --read STREAM")
    for kind in _kinds(arguments):
        if kind not in BRIDGED:
            raise ConfigurationError(f"--kinds: {kind!r} cannot be bridged: quote, trade, alltrade and bars can")
    return with_redis(_publish, arguments, follows=True)


def _kinds(arguments: argparse.Namespace) -> list[str]:
    return [kind.strip() for kind in arguments.kinds.split(",") if kind.strip()]


def _bus(arguments: argparse.Namespace) -> EnvelopeBus:
    settings = load_settings(arguments.config, redis_url=arguments.redis_url)
    url = arguments.to or redis_url(settings)
    return EnvelopeBus(url, namespace=arguments.namespace, maxlen=arguments.maxlen)


async def _publish(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    bus = _bus(arguments)
    try:
        await require_sidecar(redis, keys)
        async with Client(redis, client=_name(), prefix=keys.prefix, gateway=keys.gateway) as client:
            print(f"publishing to {bus.key('marketdata.*')}", file=sys.stderr)
            await run_bridge(client, bus, _kinds(arguments), *arguments.instruments, group=arguments.group)
    except (Refused, MarketDataError) as error:
        return refuse(error)
    finally:
        with anyio.CancelScope(shield=True):
            await bus.close()
    return 0


async def _read(redis: Redis, keys: Keys, arguments: argparse.Namespace) -> int:
    bus, printed = _bus(arguments), 0
    group = arguments.group or f"bridge-{bus.namespace}"
    try:
        async with aclosing(bus.subscribe(arguments.read, group=group, consumer=_name())) as envelopes:
            async for envelope in envelopes:
                payload = envelope.payload.model_dump(mode="json")
                line = {"id": envelope.id, "key": envelope.key, "schema_id": envelope.schema_id, "payload": payload}
                print(json.dumps(line), flush=True)
                await bus.ack(arguments.read, envelope.id)
                printed += 1
                if printed == arguments.count:
                    return 0
    except RedisError as error:
        print(f"ibkr-actor: Redis does not answer: {error}", file=sys.stderr)
        return EXIT_NO
    finally:
        with anyio.CancelScope(shield=True):
            await bus.close()
    return 0


def _name() -> str:
    return f"bridge-{uuid.uuid4().hex[:8]}"
