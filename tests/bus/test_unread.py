"""How much of a job is unread, on a real server: for who deletes what was read, for groups, and for nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.config import BusConfig, RetentionConfig
from ibkr_actor.bus.connection import Link, Word
from ibkr_actor.bus.unread import UnreadMeter, UnreadWord
from ibkr_actor.core.messages import JobAbandoned, JobUnread
from ibkr_actor.schema.codec import encode_record
from ibkr_actor.schema.records import Bars
from tests.bus.kit import Probe

pytestmark = pytest.mark.anyio

ROW = (0, 5, 1.0, 2.0, 0.5, 1.5, "100", "1.4", 3, None)


def payload(number: int) -> bytes:
    return encode_record(Bars(7, number, 265598, 0, None, 1, 0, "TRADES", "5s", [ROW] * 10), "msgpack")


SIZE = len(payload(1))


class Desk:
    """A meter with room for ten entries of a job, and the stream of that job."""

    def __init__(self, config: BusConfig, probe: Probe) -> None:
        self.probe = probe
        self.told: list[UnreadWord] = []
        self.number = 0
        self.config = replace(config, retention=RetentionConfig(history_buffer_bytes=10 * SIZE))
        self.key = probe.keys.history("j")
        self.meter = self.make()

    def make(self) -> UnreadMeter:
        self.link = Link(self.config.redis, "unread", SCRIPTS)
        return UnreadMeter(self.link, self.config, tell=self.told.append)

    async def write(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            await self.probe.do("XADD", self.key, f"{self.number}-0", "d", payload(self.number))
        self.meter.wrote("j", self.number, count, count * SIZE, done=False)
        await self.look()

    async def read(self, first: int, last: int) -> None:
        await self.probe.do("XDEL", self.key, *(f"{number}-0" for number in range(first, last + 1)))
        await self.look()

    async def look(self) -> None:
        if not self.link.is_open:
            await self.link.open()
        await self.meter.round()


@pytest.fixture
async def desk(config: BusConfig, probe: Probe) -> AsyncIterator[Desk]:
    one = Desk(config, probe)
    yield one
    await one.link.close()


async def test_a_job_whose_entries_nobody_deletes_is_told_of_once_and_again_when_there_is_room(desk: Desk) -> None:
    await desk.write(10)
    assert desk.told == []
    await desk.write(2)
    await desk.look()
    assert desk.told == [JobUnread("j", True)]
    await desk.read(1, 6)
    assert len(desk.told) == 1
    await desk.read(7, 8)
    assert desk.told[1:] == [JobUnread("j", False)]


async def test_a_reader_who_keeps_up_holds_nothing_up(desk: Desk) -> None:
    for number in range(1, 41):
        await desk.write(1)
        await desk.read(number, number)
    assert desk.told == []


async def test_with_groups_what_the_slowest_did_not_get_is_unread(desk: Desk) -> None:
    for group in ("fast", "slow"):
        await desk.probe.do("XGROUP", "CREATE", desk.key, group, "0", "MKSTREAM")
    await desk.write(12)
    await desk.probe.do("XREADGROUP", "GROUP", "fast", "a", "COUNT", 12, "STREAMS", desk.key, ">")
    await desk.look()
    assert desk.told == [JobUnread("j", True)]
    await desk.probe.do("XREADGROUP", "GROUP", "slow", "a", "COUNT", 8, "STREAMS", desk.key, ">")
    await desk.look()
    assert desk.told[1:] == [JobUnread("j", False)]


async def test_a_waiting_job_whose_stream_is_gone_is_abandoned_and_one_that_does_not_wait_is_not(desk: Desk) -> None:
    await desk.write(8)
    await desk.probe.do("DEL", desk.key)
    await desk.look()
    assert desk.told == []
    await desk.write(12)
    await desk.probe.do("DEL", desk.key)
    await desk.look()
    assert desk.told == [JobUnread("j", True), JobAbandoned("j")]


class Deleting(Link):
    """Somebody deletes the stream right after it was looked for."""

    key = ""

    async def pipeline(self, commands: Sequence[Sequence[Word]], timeout_s: float | None = None) -> list[Any]:
        found = await super().pipeline(commands, timeout_s)
        key, self.key = self.key, ""
        if key:
            await self.call("DEL", key)
        return found


async def test_a_stream_that_goes_while_it_is_looked_at_is_gone_and_not_read(desk: Desk) -> None:
    await desk.write(12)
    await desk.link.close()
    desk.link = desk.meter._link = link = Deleting(desk.config.redis, "unread", SCRIPTS)
    link.key = desk.key
    await desk.look()
    assert desk.told == [JobUnread("j", True), JobAbandoned("j")]


async def test_after_a_restart_what_was_there_before_counts(desk: Desk) -> None:
    await desk.write(12)
    await desk.link.close()
    desk.told.clear()
    desk.meter = desk.make()
    desk.meter.restore(["j"])
    await desk.look()
    assert desk.told == [JobUnread("j", True)]


async def test_a_job_that_is_done_is_not_looked_at(desk: Desk) -> None:
    await desk.write(12)
    desk.meter.wrote("j", 13, 1, 10, done=True)
    await desk.probe.do("DEL", desk.key)
    await desk.look()
    assert desk.told == [JobUnread("j", True)]
