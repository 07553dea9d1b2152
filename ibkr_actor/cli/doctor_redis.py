"""The doctor's look at Redis, and through it at a running sidecar: server, policy, heartbeat, lines, permissions.

Changes nothing; the one thing it writes is a `status` command to a sidecar that runs.
"""

from __future__ import annotations

import json
import time
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ibkr_actor.cli.doctor_findings import Finding, fail, ok, warn
from ibkr_actor.cli.record_text import record_of
from ibkr_actor.client import NoAnswer, call
from ibkr_actor.client.gateways import named, others
from ibkr_actor.core.codes.meaning import lookup
from ibkr_actor.schema.commands import StatusCommand
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import System

# XAUTOCLAIM, and ids given as `<ms>-*`. Source: redis.io, the history of both commands.
VERSION_MIN: Final = (7, 0)
CLOCK_WARN_MS: Final = 1_000
SYSTEM_LOOKED_AT: Final = 500
NEARLY_ALL: Final = 0.9


async def check_redis(redis: Redis, shown: str) -> list[Finding]:
    """Reachable, which version, writable, and what it does when it is full or ends."""
    try:
        # This line and the next: the clock is told with as little between as can be.
        before_ns = time.time_ns()
        seconds, micros = await redis.time()
        after_ns = time.time_ns()
        info: dict[str, Any] = await redis.info()
    except ResponseError as error:
        return [fail("redis", f"{shown}: {error}", "give the user of IBKR_REDIS_URL the rights, or the right password")]
    except (RedisError, OSError) as error:
        return [fail("redis", f"{shown}: {error}", "start the server, or set IBKR_REDIS_URL to where it is")]
    offset_ms = (seconds * 10**9 + micros * 1000 - (before_ns + after_ns) / 2) / 1e6
    return [_version(info, shown), *_policies(info), _clock(offset_ms)]


def _version(info: dict[str, Any], shown: str) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < VERSION_MIN:
        return fail("redis", f"{shown}: {name} {version}", "use Redis 7 or newer, or Valkey")
    if info.get("role") == "slave":
        return fail("redis", f"{shown}: {name} {version} is a replica", "name its primary in IBKR_REDIS_URL")
    return ok("redis", f"{shown}: {name} {version}, {int(info.get('used_memory', 0)) / 2**20:.0f} MiB used")


def _policies(info: dict[str, Any]) -> list[Finding]:
    policy = info.get("maxmemory_policy", "unknown")
    memory = (
        ok("memory", f"maxmemory-policy {policy}")
        if policy == "noeviction"
        else fail(
            "memory", f"maxmemory-policy is {policy}: streams would vanish", "CONFIG SET maxmemory-policy noeviction"
        )
    )
    if int(info.get("aof_enabled", 0)):
        return [memory, ok("persistence", "append-only file is on")]
    advice = "CONFIG SET appendonly yes, unless subscriptions and jobs may be lost when the server ends"
    return [memory, warn("persistence", "append-only file is off", advice)]


def _clock(offset_ms: float) -> Finding:
    told = f"Redis' clock is {abs(offset_ms):.0f} ms {'ahead' if offset_ms > 0 else 'behind'}"
    if abs(offset_ms) > CLOCK_WARN_MS:
        return warn("clock", told, "synchronise both clocks (chrony, ntpd): ages of records are reckoned across them")
    return ok("clock", told)


async def check_sidecar(redis: Redis, keys: Keys, timeout_s: float) -> list[Finding]:
    """Its heartbeat, its lines, and what IB refused it of late."""
    beat: Any = await redis.get(keys.heartbeat)
    if beat is None:
        there = await others(redis, keys)
        advice = f"start one: ibkr-actor run{'; or set IBKR_GATEWAY_NAME: ' + named(keys, there) if there else ''}"
        return [warn("sidecar", f"none publishes for {keys.root}", advice)]
    told = json.loads(beat)
    state, who = told.get("state", "unknown"), f"version {told.get('version')}, pid {told.get('pid')}"
    out = [
        ok("sidecar", f"ready, {who}")
        if state == "ready"
        else warn("sidecar", f"runs, but is {state}; {who}", "ibkr-actor tail system says what happened")
    ]
    try:
        reply = await call(redis, keys, StatusCommand(client="cli"), timeout_s=timeout_s)
    except NoAnswer:
        out.append(fail("commands", f"no answer within {timeout_s:g} s", "look at its log: is it busy, or stopped?"))
    else:
        out += _lines(reply.result if isinstance(reply.result, dict) else {})
    return [*out, *await _refusals(redis, keys)]


def _lines(status: dict[str, Any]) -> list[Finding]:
    out = []
    for name, title in (("lines", "market data lines"), ("tick_by_tick", "tick-by-tick"), ("depth", "order books")):
        row = status.get("subscriptions", {}).get(name)
        if row:
            message = f"{title}: {row['taken']} of {row['of']} taken"
            nearly = row["of"] and row["taken"] >= NEARLY_ALL * row["of"]
            advice = "ibkr-actor lines says who holds them; IBKR_LINES must say how many the login has"
            out.append(warn("lines", message, advice) if nearly else ok("lines", message))
    return out


async def _refusals(redis: Redis, keys: Keys) -> list[Finding]:
    """The newest refusal for want of permission of each code that `system` remembers."""
    newest: dict[int, System] = {}
    entries: Any = await redis.xrevrange(keys.system, count=SYSTEM_LOOKED_AT)
    for _, fields in entries or ():
        record = record_of(fields)
        if isinstance(record, System) and record.code is not None and record.code not in newest:
            newest[record.code] = record
    advice = "subscribe to the data in IB's Client Portal (Market Data Subscriptions), or set IBKR_MARKET_DATA_TYPE=3"
    return [
        warn("permissions", f"IB refused {record.subject} ({code}): {record.message}", advice)
        for code, record in newest.items()
        if lookup(code, 1).kind == "permission"
    ]
