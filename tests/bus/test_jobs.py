"""Entries of history jobs on a real server: with how far the job is, in one step, and once however often tried."""

from __future__ import annotations

import pytest

from ibkr_actor.bus.bus import SCRIPTS
from ibkr_actor.bus.config import BusConfig
from ibkr_actor.bus.connection import Link
from ibkr_actor.bus.replies import Outbox
from ibkr_actor.bus.settle import Calls
from ibkr_actor.core.effects import CommandRef, HolderWrite
from ibkr_actor.schema.commands import Reply
from ibkr_actor.schema.records import Bars, Done
from tests.bus.kit import Probe
from tests.bus.test_replies import EPOCH, GROUP, done, hash_of, pending_command, perform, sending

pytestmark = pytest.mark.anyio

NS = 1_700_000_000_000_000_000


def bars(number: int) -> Bars:
    row = (NS, NS + 5, 1.0, 2.0, 0.5, 1.5, "100", "1.4", 3, None)
    return Bars(EPOCH, number, 265598, NS, None, 1, 0, "TRADES", "5s", [row])


def finished(number: int) -> Done:
    return Done(EPOCH, number, 265598, NS, None, 1, 0, "complete", 2, number, 2, 0, NS, NS + 10, [])


async def test_entries_and_how_far_the_job_is_are_written_together(config: BusConfig, probe: Probe) -> None:
    told: list[tuple[str, int]] = []
    async with sending(config) as outbox:
        outbox.on_job_written = lambda job, number: told.append((job, number))
        outbox.write_job("j1", (bars(1), bars(2)), 2, b"two")
        await done(outbox)
        assert await hash_of(probe, probe.keys.jobs) == {"j1": b"two"}
        outbox.write_job("j1", (finished(3),), 3, None)
        await done(outbox)
    assert await probe.records(probe.keys.history("j1")) == [bars(1), bars(2), finished(3)]
    assert await hash_of(probe, probe.keys.jobs) == {}
    assert told == [("j1", 2), ("j1", 3)]
    assert 0 < await probe.do("TTL", probe.keys.history("j1")) <= config.retention.history_ttl_s


async def test_entries_repeated_after_a_lost_answer_are_there_once(config: BusConfig, probe: Probe) -> None:
    calls = Calls(probe.keys, EPOCH, config.replies, GROUP)
    outbox = Outbox(Link(config.redis, "outbox", SCRIPTS), config, EPOCH)
    outbox.write_job("j1", (bars(1), bars(2)), 2, b"two")
    outbox.write_job("j1", (finished(3),), 3, None)
    for write in list(outbox._queue.values()):
        for _ in range(3):
            assert await perform(probe, write.words) == b"OK"
    assert await probe.records(probe.keys.history("j1")) == [bars(1), bars(2), finished(3)]
    fenced = calls.job("j1", [b"x"], None, field="d", ttl_s=1)
    await probe.do("SET", probe.keys.epoch, EPOCH + 1)
    assert await perform(probe, fenced) == b"FENCED"
    assert len(await probe.records(probe.keys.history("j1"))) == 3


async def test_a_job_is_accepted_and_remembered_in_the_step_that_settles_its_command(
    config: BusConfig, probe: Probe
) -> None:
    ref: CommandRef = await pending_command(probe)
    async with sending(config) as outbox:
        outbox.answer(ref, Reply("a", "history", "accepted"), jobs=(HolderWrite("a", b"new"),))
        await done(outbox)
    assert await hash_of(probe, probe.keys.jobs) == {"a": b"new"}
    assert await probe.do("EXISTS", probe.keys.subscriptions) == 0
    assert await probe.do("XLEN", probe.keys.commands()) == 0
