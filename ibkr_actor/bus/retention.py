"""Housekeeping: trimming by age, expiry of streams nobody holds, and the memory guard.

Never trims by number: every write does that itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import anyio

from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link, Refused, Unreachable, Word
from ibkr_actor.bus.health import Backoff
from ibkr_actor.bus.lookup import PIPELINE_MAX
from ibkr_actor.bus.publisher import Publisher
from ibkr_actor.bus.run_connected import run_connected
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import System

log = logging.getLogger(__name__)

DIVISOR_MAX: Final = 64


class Housekeeper:
    """Goes over all streams of the gateway every `every_s`, those of earlier epochs included."""

    def __init__(
        self, link: Link, config: BusConfig, publisher: Publisher, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._link = link
        self._redis = config.redis
        self._config = config.retention
        self._keys = Keys(config.prefix, config.gateway)
        self._publisher = publisher
        self._now_ns = now_ns
        self._divisor = 1  # doubles with every round in which memory is short
        self._used_bytes = 0
        self._counts = {"trimmed": 0, "expiring": 0, "removed": 0, "rounds": 0}

    def counters(self) -> dict[str, int | float | str | None]:
        counts: dict[str, int | float | str | None] = {f"retention_{name}": n for name, n in self._counts.items()}
        return {**counts, "retention_divisor": self._divisor, "redis_used_bytes": self._used_bytes}

    async def run(self) -> None:
        """Works for ever; a Redis that is away is waited for."""
        backoff = Backoff(self._redis, self._config.every_s)

        async def work() -> NoReturn:
            while True:
                await self.round()
                backoff.reset()
                await anyio.sleep(self._config.every_s)

        def note(error: Unreachable | Refused) -> None:
            log.debug("housekeeping_waits reason=%s", error)

        await run_connected(self._link, backoff, work, on_trouble=note)

    async def round(self) -> None:
        """One round. The link must be open."""
        await self._guard_memory()
        members = await self._link.call("SMEMBERS", self._keys.streams)
        keys = sorted(key.decode() for key in members)
        for start in range(0, len(keys), PIPELINE_MAX):
            await self._tidy(keys[start : start + PIPELINE_MAX])
        await self._expire_last_values(keys)
        self._counts["rounds"] += 1

    # -- memory

    async def _guard_memory(self) -> None:
        """Halves retention while memory is short, and doubles it again when there is plenty."""
        info = await self._link.call("INFO", "memory")
        used = self._used_bytes = _used_memory(info)
        share = used / self._config.memory_max_bytes
        before = self._divisor
        if share >= self._config.memory_high:
            self._divisor = min(self._divisor * 2, DIVISOR_MAX)
        elif share < self._config.memory_low:
            self._divisor = max(self._divisor // 2, 1)
        if self._divisor == before:
            return
        self._publisher.streams.set_entries_divisor(self._divisor)
        shorter = self._divisor > before
        event = "retention_halved" if shorter else "retention_restored"
        verb = "keeps" if shorter else "keeps again"
        message = (
            f"Redis uses {used // 2**20} MiB of {self._config.memory_max_bytes // 2**20} MiB: "
            f"each stream {verb} 1/{self._divisor} of its entries"
        )
        log.warning("%s divisor=%d used_bytes=%d", event, self._divisor, used)
        self._publisher.announce(System(0, 0, self._now_ns(), "redis", event, "memory", message))

    # -- streams

    async def _tidy(self, keys: Sequence[str]) -> None:
        """Trims by age, and by number where retention has become shorter; lets go of what nobody holds."""
        open_keys = {state.key.decode() for state in self._publisher.streams.open_streams}
        answers = await self._ask([("TTL", key) for key in keys])
        commands: list[tuple[Word, ...]] = []
        gone: set[bytes] = set()
        for key, ttl in zip(keys, answers, strict=True):
            if ttl == -2:  # expired or deleted; one that is open comes back with its next record
                if key not in open_keys:
                    commands.append(("SREM", self._keys.streams, key))
                    gone.add(key.encode())
                    self._counts["removed"] += 1
                continue
            if ttl == -1 and key not in open_keys and not self._is_all(key):
                commands.append(("EXPIRE", key, max(1, round(self._config.stream_ttl_s))))
                self._counts["expiring"] += 1
            commands += self._trims(key)
        if gone:
            self._publisher.streams.forget(gone)
        answers = await self._ask(commands)
        trims = [answer for command, answer in zip(commands, answers, strict=True) if command[0] == "XTRIM"]
        self._counts["trimmed"] += sum(answer for answer in trims if isinstance(answer, int))

    def _trims(self, key: str) -> list[tuple[Word, ...]]:
        kind = self._kind(key)
        trims: list[tuple[Word, ...]] = []
        age_s = self._config.age_s_of(kind)
        if age_s > 0:
            oldest_ms = self._now_ns() // 1_000_000 - round(age_s * 1000)
            trims.append(("XTRIM", key, "MINID", "~", oldest_ms))
        if self._divisor > 1:
            trims.append(("XTRIM", key, "MAXLEN", "~", self._publisher.streams.entries_max_of(kind)))
        return trims

    async def _expire_last_values(self, keys: Sequence[str]) -> None:
        """The hash of last values of an instrument none of whose streams is held any more."""
        held = {state.last_key.decode() for state in self._publisher.streams.open_streams}
        orphans = {self._keys.last(self._instrument(key)) for key in keys if not self._is_all(key)} - held
        ordered = sorted(orphans)
        ttls = await self._ask([("TTL", key) for key in ordered])
        seconds = max(1, round(self._config.stream_ttl_s))
        await self._ask([("EXPIRE", key, seconds) for key, ttl in zip(ordered, ttls, strict=True) if ttl == -1])

    async def _ask(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        return await self._link.pipeline(commands) if commands else []

    def _kind(self, key: str) -> str:
        """The kind in `<root>:<kind>:<instrument>` or `<root>:all:<kind>`."""
        first, _, rest = key.removeprefix(self._keys.root + ":").partition(":")
        return rest if first == "all" else first

    def _is_all(self, key: str) -> bool:
        return key.startswith(self._keys.root + ":all:")

    def _instrument(self, key: str) -> str:
        return key.removeprefix(self._keys.root + ":").partition(":")[2]


def _used_memory(info: bytes) -> int:
    for line in info.decode(errors="replace").splitlines():
        if line.startswith("used_memory:"):
            return int(line.partition(":")[2])
    return 0
