"""Jobs through the whole house while the gateway refuses, is cut off or speaks another language: whole in the end."""

from __future__ import annotations

from contextlib import aclosing

import anyio
import pytest
from msgspec import structs

from ibkr_actor.client import Client, MarketDataError
from ibkr_actor.schema.commands import Cancel, History, Pause, Resume
from ibkr_actor.schema.records import Bars, Done, Ticks
from tests.e2e.kit import DEADLINE_S, KEYS
from tests.e2e.past import delivered, figures, of_the_tape, running_past

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
JOB = History(instrument=AAPL, bar="5m", start="2025-06-02", end="2025-12-31", use_rth=True)
SMALL = History(instrument=AAPL, bar="30s", start="2025-12-29", end="2025-12-31", use_rth=True)
HMDS = "Historical Market Data Service error message:"


@pytest.mark.parametrize(
    ("language", "text"),
    [
        pytest.param("en", f"{HMDS}Historical data request pacing violation", marks=pytest.mark.slow),
        pytest.param("de", f"{HMDS}Historical data request pacing violation", marks=pytest.mark.slow),
        ("zh", f"{HMDS}Historical data request pacing violation"),
    ],
)
async def test_a_pacing_violation_in_any_language_costs_time_and_no_bar(language: str, text: str) -> None:
    async with running_past(language=language) as (sim, house):
        # The list of sessions is known, so that bars are what is refused.
        await delivered(house.redis, structs.replace(JOB, start=SMALL.start, end=SMALL.end))
        sim.refuse(162, text, instrument=AAPL)
        entries, done, _ = await delivered(house.redis, SMALL)
        assert figures(entries) == of_the_tape(sim, AAPL, "30s", "TRADES", SMALL.start, SMALL.end, True)
        assert (done.outcome, done.holes) == ("complete", [])
        assert not sim.violations


async def test_no_data_in_words_that_nobody_knows_is_a_hole_with_these_words() -> None:
    name = "ES.FUT.CME.USD.20260320.ES"
    command = History(instrument=name, bar="1d", start="2024-02-14", end="2025-12-31", use_rth=False)
    async with running_past(language="zh") as (sim, house):
        entries, done, _ = await delivered(house.redis, command)
        assert figures(entries) == of_the_tape(sim, name, "1d", "TRADES", command.start, command.end, False)
        assert done.outcome == "incomplete"
        assert {(hole.reason, hole.ib_code) for hole in done.holes} == {("refused", 162)}
        assert all("没有返回数据" in hole.message for hole in done.holes)


async def test_a_connection_cut_again_and_again_costs_no_bar_and_doubles_none() -> None:
    async with running_past() as (sim, house):
        entries: list[Bars | Ticks] = []
        async with Client(house.url, timeout_s=DEADLINE_S) as client:
            job = client.job(JOB)
            # Each answer that comes cuts the connection, a few times.
            async for entry in job.batches():
                entries.append(entry)
                if len(entries) in (3, 9, 15):
                    sim.cut()
        assert job.done is not None
        assert [entry.seq for entry in (*entries, job.done)] == list(range(1, len(entries) + 2))
        assert figures(entries) == of_the_tape(sim, AAPL, "5m", "TRADES", JOB.start, JOB.end, True)
        assert (job.done.outcome, job.done.holes) == ("complete", [])
        assert not sim.violations


@pytest.mark.parametrize(
    ("code", "text", "wanted"),
    [
        (200, "No security definition has been found for the request", "invalid_instrument"),
        (354, "Requested market data is not subscribed.", "permissions_missing"),
        (162, f"{HMDS}No market data permissions for NYSE STK", "permissions_missing"),
        (162, f"{HMDS}Trading TWS session is connected from a different IP address", "competing_session"),
        (166, f"{HMDS}expired", "invalid_instrument"),
    ],
)
async def test_a_refusal_reaches_the_client_as_an_error_and_the_stream_as_failed(
    code: int, text: str, wanted: str
) -> None:
    async with running_past() as (sim, house):
        # The list of sessions is known, so that the bars are what is refused.
        await delivered(house.redis, structs.replace(JOB, start="2025-12-30", end="2025-12-30"))
        sim.refuse(code, text, instrument=AAPL, times=None)
        with pytest.raises(MarketDataError) as refused:
            await delivered(house.redis, structs.replace(JOB, start="2025-12-30", end="2025-12-30", bar="2m"))
        assert refused.value.rejection.code == wanted
        assert refused.value.rejection.ib_code == code


async def test_pause_resume_and_cancel_work_on_a_job_under_way() -> None:
    async with running_past() as (sim, house):
        seen: list[Bars | Ticks] = []
        with anyio.fail_after(DEADLINE_S):
            async with Client(house.url, client="anna", timeout_s=DEADLINE_S) as client:
                async for entry in client.job(structs.replace(JOB, id="1")).batches():
                    seen.append(entry)
                    if len(seen) == 2:
                        for order in (Pause(job="anna.1"), Resume(job="anna.1")):
                            assert (await client.reply(order)).status in ("done", "rejected")
        assert figures(seen) == of_the_tape(sim, AAPL, "5m", "TRADES", JOB.start, JOB.end, True)
        reply = await house.call(Cancel(job="anna.1"))
        assert reply.status == "rejected"


async def test_who_leaves_a_job_early_cancels_it() -> None:
    async with running_past() as (_, house):
        async with (
            Client(house.url, client="anna", timeout_s=DEADLINE_S) as client,
            aclosing(client.job(structs.replace(JOB, bar="1m", id="1")).batches()) as entries,
        ):
            await anext(entries)
        done = await house.until(KEYS.history("anna.1"), lambda records: isinstance(records[-1], Done))
        assert isinstance(done[-1], Done)
        assert done[-1].outcome in ("cancelled", "complete")
