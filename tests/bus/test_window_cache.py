"""The cache of windows on a real server: what is kept, what has to go, and that nobody ever waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.config import BusConfig, RedisConfig, RetentionConfig
from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.window_cache import ENTRY_BYTES, WindowCache, WindowWord
from ibkr_actor.core.messages import WindowFound, WindowMissing
from ibkr_actor.errors import Fenced
from tests.bus.kit import DEADLINE_S, Probe, embedded, until

pytestmark = pytest.mark.anyio

EPOCH = 7


class Desk:
    """A running cache and what it told."""

    def __init__(self, config: BusConfig, bytes_max: int) -> None:
        config = replace(config, retention=RetentionConfig(history_cache_bytes=bytes_max))
        self.told: list[WindowWord] = []
        self.ms = 0
        self.link = Link(config.redis, "windows", SCRIPTS)
        self.cache = WindowCache(self.link, config, EPOCH, tell=self.told.append, now_ns=self._now_ns)

    def _now_ns(self) -> int:
        self.ms += 1
        return self.ms * 1_000_000

    def count(self, name: str) -> int:
        value = self.cache.counters()[f"windows_{name}"]
        assert isinstance(value, int)
        return value

    async def store(self, name: str, value: bytes) -> None:
        before = self.count("stored") + self.count("not_stored")
        self.cache.store(name, value)
        await until(lambda: self.count("stored") + self.count("not_stored") > before)

    async def ask(self, *names: str) -> list[WindowWord]:
        self.told.clear()
        for name in names:
            self.cache.look_up(name)
        await until(lambda: len(self.told) == len(names))
        return list(self.told)


@asynccontextmanager
async def caching(config: BusConfig, bytes_max: int = 100_000) -> AsyncIterator[Desk]:
    desk = Desk(config, bytes_max)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.cache.run)
        await until(lambda: desk.link.is_open)
        yield desk
        tasks.cancel_scope.cancel()


async def test_a_window_that_was_kept_is_found_and_another_is_missing(config: BusConfig) -> None:
    async with caching(config) as desk:
        await desk.store("a", b"bars")
        assert await desk.ask("a", "b") == [WindowFound("a", b"bars"), WindowMissing("b")]


async def test_what_was_used_longest_ago_goes_when_there_is_no_room(config: BusConfig, probe: Probe) -> None:
    room_for_two = 2 * (100 + 1 + ENTRY_BYTES)
    async with caching(config, room_for_two) as desk:
        await desk.store("a", b"1" * 100)
        await desk.store("b", b"2" * 100)
        await desk.ask("a")
        await desk.store("c", b"3" * 100)
        assert await desk.ask("a", "b", "c") == [
            WindowFound("a", b"1" * 100),
            WindowMissing("b"),
            WindowFound("c", b"3" * 100),
        ]
        assert desk.count("evicted") == 1
        await desk.store("c", b"4" * 100)
        await desk.store("too great", b"5" * room_for_two)
        assert desk.count("evicted") == 1
        assert await probe.do("GET", f"{probe.keys.windows}:bytes") == str(room_for_two).encode()
        assert await probe.do("HLEN", probe.keys.windows) == await probe.do("ZCARD", f"{probe.keys.windows}:used") == 2


async def test_a_cache_that_is_switched_off_is_emptied_and_keeps_nothing(config: BusConfig, probe: Probe) -> None:
    async with caching(config) as desk:
        await desk.store("a", b"bars")
    async with caching(config, 0) as desk:
        assert await desk.ask("a") == [WindowMissing("a")]
        await desk.store("a", b"bars")
        assert await probe.do("EXISTS", probe.keys.windows, f"{probe.keys.windows}:used") == 0


async def test_without_redis_every_window_is_missing_at_once() -> None:
    desk = Desk(BusConfig(redis=RedisConfig(url="redis://127.0.0.1:1/0")), 1_000)
    desk.cache.look_up("a")
    desk.cache.store("a", b"bars")
    assert desk.told == [WindowMissing("a")]
    assert desk.count("not_stored") == 1


async def test_a_question_that_redis_cannot_answer_any_more_is_missing_and_the_cache_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder: Path = tmp_path_factory.mktemp("r")
    # It comes back after a second: later than what is asked at once.
    redis = RedisConfig(url="", backoff_min_s=1.0, backoff_max_s=1.0, answer_timeout_s=5.0)
    async with embedded(folder) as server:
        config = BusConfig(redis=replace(redis, url=server.own_url))
        async with caching(config) as desk:
            await desk.store("a", b"bars")
            # A second connection cuts the first one off, as a server that goes away does.
            other = Link(config.redis, "other", SCRIPTS)
            await other.open()
            await other.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert await desk.ask("a") == [WindowMissing("a")]
            await other.close()
            await until(lambda: desk.link.is_open)
            assert await desk.ask("a") == [WindowFound("a", b"bars")]


async def test_a_newer_sidecar_ends_it(config: BusConfig, probe: Probe) -> None:
    await probe.do("SET", probe.keys.epoch, EPOCH + 1)
    desk = Desk(config, 1_000)

    async def ask_when_open() -> None:
        await until(lambda: desk.link.is_open)
        desk.cache.look_up("a")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_when_open)
        with anyio.fail_after(DEADLINE_S), pytest.raises(Fenced):
            await desk.cache.run()
