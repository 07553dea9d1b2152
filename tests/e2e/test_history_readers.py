"""History through the whole house for its readers: windows asked for once, and jobs that wait until they are read."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec import structs

from ibkr_actor.schema.codec import decode_record
from ibkr_actor.schema.commands import History, Reply, StatusCommand
from ibkr_actor.schema.records import Bars, Done, Ticks
from ibkr_actor.sim import Simulator
from tests.e2e.kit import DEADLINE_S, KEYS, House, breath
from tests.e2e.past import delivered, figures, of_the_tape, running_past

pytestmark = pytest.mark.anyio

REQ_HISTORICAL_DATA = 20
AAPL = "AAPL.STK.SMART.USD"
# Two days of bars of five seconds in windows of a thousand: more of them than are asked for ahead.
LONG = History(instrument=AAPL, bar="5s", start="2026-01-08", end="2026-01-09", use_rth=True, id="long", client="me")


async def test_the_same_history_is_asked_of_ib_once() -> None:
    command = History(instrument=AAPL, bar="5m", start="2025-11-03", end="2025-12-31")
    async with running_past(hist_max_bars_per_request=2_000) as (sim, house):
        first, done, _ = await delivered(house.redis, command)
        asked = requests(sim)
        again, cached, _ = await delivered(house.redis, structs.replace(command, client="other"))
        assert figures(again) == figures(first)
        assert (cached.outcome, cached.rows, cached.requests) == ("complete", done.rows, 0)
        assert cached.cached == done.requests > 1
        # The sessions are known as well.
        assert requests(sim) == asked == done.requests + 1


async def test_a_job_that_nobody_reads_waits_and_goes_on_when_it_is_read() -> None:
    async with running_past(hist_max_bars_per_request=500, history_buffer_bytes=2**17) as (sim, house):
        reply = await house.call(LONG)
        assert reply.status == "accepted", reply
        waiting = await house.reply("me", lambda each: state_of(each) == "waiting_for_reader")
        assert isinstance(waiting.result, dict)
        assert waiting.result["windows_done"] < waiting.result["windows"]
        entries, done = await read_and_delete(house, KEYS.history("me.long"))
        assert done.outcome == "complete"
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        assert figures(entries) == of_the_tape(sim, AAPL, "5s", "TRADES", LONG.start, LONG.end, True)


async def test_a_job_whose_unread_results_are_gone_is_cancelled() -> None:
    async with running_past(hist_max_bars_per_request=500, history_buffer_bytes=2**17) as (_, house):
        await house.call(LONG)
        await house.reply("me", lambda each: state_of(each) == "waiting_for_reader")
        await until_it_rests(house)
        await house.redis.delete(KEYS.history("me.long"))
        last = await house.reply("me", lambda each: each.status == "done")
        assert isinstance(last.result, dict)
        assert last.result["outcome"] == "cancelled"
        assert await house.redis.hlen(KEYS.jobs) == 0


def requests(sim: Simulator) -> int:
    """How often bars or sessions were asked of the gateway; message ids in protobuf are 200 higher."""
    return sum(count for message, count in sim.world.messages_received.items() if message % 200 == REQ_HISTORICAL_DATA)


def state_of(reply: Reply) -> object:
    return reply.result.get("state") if reply.status == "progress" and isinstance(reply.result, dict) else None


async def until_it_rests(house: House) -> None:
    """Until what was asked for before the job waited is answered. All of it stands in Redis before a later reply."""
    with anyio.fail_after(DEADLINE_S):
        while True:
            status = (await house.call(StatusCommand(client="ops"))).result
            assert isinstance(status, dict)
            (job,) = status["history"]["jobs"]
            if job["requests"] == job["windows_done"]:
                return
            await breath()


async def read_and_delete(house: House, key: str) -> tuple[list[Bars | Ticks], Done]:
    """A whole job, as a reader takes it who deletes what was read."""
    entries: list[Bars | Ticks] = []
    with anyio.fail_after(DEADLINE_S):
        while True:
            answer: Any = await house.redis.xread({key: "0"}, count=5, block=1_000)
            for _, found in answer or ():
                for entry_id, fields in found:
                    record = decode_record(fields)
                    if isinstance(record, Done):
                        return entries, record
                    assert isinstance(record, Bars | Ticks)
                    entries.append(record)
                    await house.redis.xdel(key, entry_id)
