"""The Python client with a sidecar and the simulator: shared lines, leases, what a slow reader learns, every end."""

import gc
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from ibkr_actor.client import Client, MarketDataError
from ibkr_actor.client import sync as sync_client
from ibkr_actor.client.errors import InvalidInstrument, PermissionsMissing, Unsupported
from ibkr_actor.client.items import Missed, Refused
from ibkr_actor.schema.commands import Unsubscribe
from ibkr_actor.schema.records import FLAG_REFILLED, Bar, ChainWindow, End, Option, Quote, Reset, Tick, Trade
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import DEADLINE_S, House, own_environment, running_house, running_redis

pytestmark = pytest.mark.anyio

AAPL = "AAPL.STK.SMART.USD"
EUR = "EUR.CASH.IDEALPRO.USD"
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=50.0)) as it:
        yield it


@pytest.fixture
async def house(sim: Simulator) -> AsyncIterator[House]:
    async with running_redis() as server, running_house(server.own_url, sim.port) as it:
        yield it


async def no_lines(sim: Simulator) -> None:
    with anyio.fail_after(DEADLINE_S):
        await sim.wait_for(lambda: sim.line_count() == 0)


async def test_two_clients_share_a_line_and_one_killed_frees_its_share_after_its_lease(
    sim: Simulator, house: House
) -> None:
    doomed = await anyio.open_process(
        [sys.executable, "-m", "tests.e2e.sdk_program", house.url, "4", "AAPL"],
        env=own_environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=None,
    )
    assert doomed.stdout is not None
    try:
        async with Client(house.url, client="living") as client:
            with anyio.fail_after(DEADLINE_S):
                await BufferedByteReceiveStream(doomed.stdout).receive_until(b"\n", 1_000)
                async with client.quotes("AAPL") as feed:
                    (item, *_) = await feed.read()
                    assert item.instrument == AAPL
                    (row,) = await client.list()
                    assert {holder["client"] for holder in row["holders"]} == {"doomed", "living"}
                    assert sim.line_count() == 1
                    doomed.kill()
                    # Its lease runs out: the system stream tells of every change of holders, and we of ours.
                    while len((await client.list())[0]["holders"]) > 1:
                        await feed.read()
                    assert (await client.list())[0]["holders"][0]["client"] == "living"
                    assert sim.line_count() == 1
                await no_lines(sim)
    finally:
        if doomed.returncode is None:
            doomed.kill()
        with anyio.CancelScope(shield=True):
            await doomed.aclose()


async def test_two_feeds_of_one_client_share_and_the_last_gives_back(sim: Simulator, house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            async with client.quotes("AAPL") as one:
                async with client.stream(["quote", "tick"], AAPL) as other:
                    assert [stream.kind for stream in other.streams] == ["quote", "tick"]
                    await other.read()
                    await one.read()
                    assert sim.line_count() == 1
                # The first still has what the second shared with it, and the rest is given back.
                await one.read()
                await one.read()
                assert [row["kind"] for row in await client.list(of_client=client.name)] == ["quote"]
            await no_lines(sim)


async def test_a_feed_left_after_its_client_waits_for_nothing(sim: Simulator, house: House) -> None:
    with anyio.fail_after(DEADLINE_S):
        async with Client(house.url) as client:
            feed = client.quotes("AAPL")
            await feed.__aenter__()
        await no_lines(sim)
        with pytest.raises(StopIteration):
            feed.__aexit__(None, None, None).send(None)


async def test_generic_ticks_of_one_feed_are_not_lost_to_another(house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            async with client.ticks("AAPL", generic_ticks=(233,)), client.ticks(AAPL, generic_ticks=(236,)) as feed:
                while (await client.list())[0]["generic_ticks"] != [233, 236]:
                    await feed.read()


async def test_breaking_out_of_a_loop_gives_the_line_back(sim: Simulator, house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            async for _ in client.quotes("AAPL", "MSFT"):
                await sim.wait_for(lambda: sim.line_count() == 2)
                break
            gc.collect()
            await no_lines(sim)


async def fail_in_a_loop(url: str) -> None:
    async with Client(url) as client:
        async for item in client.trades("AAPL"):
            assert item.kind == "trade"
            raise ZeroDivisionError


async def test_an_exception_in_a_loop_gives_the_line_back_and_comes_out_as_it_is(sim: Simulator, house: House) -> None:
    with anyio.fail_after(DEADLINE_S):
        with pytest.raises(ZeroDivisionError):
            await fail_in_a_loop(house.url)
        await no_lines(sim)


async def test_a_cancelled_loop_gives_the_line_back(sim: Simulator, house: House) -> None:
    reading = anyio.Event()

    async def read(client: Client) -> None:
        async for _ in client.quotes("AAPL"):
            reading.set()

    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, client)
                await reading.wait()
                tasks.cancel_scope.cancel()
            await no_lines(sim)


async def test_a_caller_cancelled_while_subscribing_leaves_no_line_behind(sim: Simulator, house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.quotes("AAPL").__aenter__)
                await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            async with client.quotes("MSFT") as feed:
                await feed.read()
                while [row["instrument"] for row in await client.list()] != ["MSFT.STK.SMART.USD"]:
                    await feed.read()


async def test_a_loop_may_be_taken_up_again_where_it_stopped(house: House) -> None:
    seqs: list[int] = []
    async with Client(house.url) as client, client.quotes("AAPL"):
        feed = client.quotes("AAPL")
        with anyio.fail_after(DEADLINE_S):
            for _ in range(3):
                async for item in feed:
                    # The reset that the stream begins with may be there, or gone by.
                    if not isinstance(item.record, Quote):
                        continue
                    seqs.append(item.record.seq)
                    if len(seqs) % 10 == 0:
                        break
    assert seqs == list(range(seqs[0], seqs[0] + 30))


async def test_another_program_goes_on_from_checkpoints(house: House) -> None:
    seen: list[int] = []
    async with Client(house.url) as client, client.quotes("AAPL") as held:
        with anyio.fail_after(DEADLINE_S):
            async for item in client.quotes("AAPL"):
                seen.append(getattr(item.record, "seq", 0))
                if len(seen) == 10:
                    checkpoints = {item.stream.name: item.id}
                    break
            await held.read()
            async with Client(house.url) as later:
                async for item in later.quotes("AAPL", start=checkpoints):
                    seen.append(getattr(item.record, "seq", 0))
                    if len(seen) == 20:
                        break
    assert seen == list(range(seen[0], seen[0] + 20))


async def test_a_reader_ten_times_too_slow_learns_exactly_what_it_missed() -> None:
    async with (
        Simulator(SimulatorSettings(ticks_per_s=1_000.0)) as sim,
        running_redis() as server,
        running_house(server.own_url, sim.port, retention_entries=100) as house,
        Client(house.url) as quick,
        Client(house.url) as slow,
    ):
        with anyio.fail_after(DEADLINE_S):
            async with quick.quotes("AAPL") as fast_feed, slow.quotes("AAPL") as slow_feed:
                first = (await slow_feed.read())[0].record
                assert isinstance(first, Quote)
                got, lost, at_seq = 0, 0, first.seq
                newest = 0
                slow_items = aiter(slow_feed)
                # It takes one for every ten that are published.
                while not lost:
                    for item in await fast_feed.read():
                        assert not isinstance(item.record, Missed | Refused)
                        newest = item.record.seq
                    for _ in range(max(0, (newest - first.seq) // 10 - got)):
                        record = (await anext(slow_items)).record
                        assert not isinstance(record, Refused)
                        if isinstance(record, Missed):
                            assert record.exact
                            assert (record.first_seq, record.last_seq) == (at_seq + 1, at_seq + record.lost)
                            lost += record.lost
                            at_seq += record.lost
                        else:
                            got += 1
                            assert record.seq == at_seq + 1
                            at_seq = record.seq
                assert slow_feed.lost == lost
                await slow_items.aclose()


async def test_everything_published_is_read_or_known_to_be_missed(house: House, sim: Simulator) -> None:
    """The end of a line is the last record of its stream: its seq is the number of all that were published."""
    async with Client(house.url) as holder, Client(house.url) as reader:
        with anyio.fail_after(DEADLINE_S):
            async with reader.watch(f"quote:{AAPL}", start="first") as feed:
                async for item in holder.quotes("AAPL"):
                    if isinstance(item.record, Quote) and item.record.seq > 30:
                        break
                count = 0
                async for watched in feed:
                    count += 1
                    if isinstance(watched.record, End):
                        assert watched.record.seq == count + feed.lost
                        break


async def test_conflation_gives_the_newest_and_counts_the_rest(house: House) -> None:
    async with Client(house.url) as client, client.quotes("AAPL", start="now") as every:
        with anyio.fail_after(DEADLINE_S):
            items = []
            async for item in client.quotes("AAPL", conflate_s=0.2):
                items.append(item)
                if len(items) == 4:
                    break
            seqs = [item.record.seq for item in items if isinstance(item.record, Quote)]
            assert [later - earlier - 1 for earlier, later in pairwise(seqs)] == [item.conflated for item in items[1:]]
            assert sum(item.conflated for item in items) > 0
            assert every.conflated == 0


async def test_connections_that_are_cut_are_made_again_and_nothing_is_missed(house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            seqs: list[int] = []
            async for item in client.quotes("AAPL"):
                assert not isinstance(item.record, Missed | Refused)
                seqs.append(item.record.seq)
                if len(seqs) == 20:
                    await house.redis.client_kill_filter(_type="normal", skipme=True)
                if len(seqs) == 60:
                    break
            assert seqs == list(range(seqs[0], seqs[0] + 60))
            assert (await client.resolve("AAPL")).instrument == AAPL


async def test_a_lease_that_was_lost_is_taken_again(house: House) -> None:
    async with Client(house.url, client="mine") as client:
        with anyio.fail_after(DEADLINE_S):
            ended = False
            async for item in client.quotes("AAPL"):
                if isinstance(item.record, Quote):
                    if ended:
                        break
                    # Somebody with the same name gives it back; to us it is as if the lease had run out.
                    await house.call(Unsubscribe(client="mine"))
                ended |= isinstance(item.record, End)


async def test_a_sidecar_that_restarts_interrupts_a_feed_and_does_not_end_it(sim: Simulator) -> None:
    async with running_redis() as server, Client(server.own_url) as client:
        with anyio.fail_after(DEADLINE_S):
            restarted = anyio.Event()
            told: list[type] = []

            async def read() -> None:
                async for item in client.quotes("AAPL", start="first"):
                    if not told or type(item.record) is not told[-1]:
                        told.append(type(item.record))
                    if isinstance(item.record, Quote) and not restarted.is_set():
                        first.set()
                    elif isinstance(item.record, Quote) and told.count(Reset) == 2:
                        break

            first = anyio.Event()
            async with anyio.create_task_group() as tasks:
                async with running_house(server.own_url, sim.port):
                    tasks.start_soon(read)
                    await first.wait()
                restarted.set()
                async with running_house(server.own_url, sim.port) as house:
                    while told.count(Reset) < 2 or told[-1] is not Quote:
                        await house.redis.xread({"ibkr:{g1}:quote:" + AAPL: "$"}, block=100)
            assert told[:2] == [Reset, Quote]


async def test_many_history_jobs_run_at_once_over_few_connections(house: House) -> None:
    counts: list[int] = []

    async def one(client: Client, number: int) -> None:
        job = client.history(f"SIM{number % 5:03}", start="2026-01-05", end="2026-01-06", bar="1h")
        rows = [bar async for bar in job]
        assert job.done is not None
        assert job.done.rows == len(rows)
        counts.append(len(rows))

    async with Client(house.url, timeout_s=DEADLINE_S) as client:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                for number in range(30):
                    tasks.start_soon(one, client, number)
                connected: Any = await house.redis.client_list()
            mine = [one for one in connected if one["name"] == "ibkr-actor-client"]
            assert len(mine) < 12
    assert len(counts) == 30
    assert all(counts)


async def test_leaving_a_job_cancels_it(house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            job = client.history("AAPL", start="2025-11-03", end="2026-01-06", bar="1m")
            async for _ in job.batches():
                break
            while (await client.status())["history"]["jobs"]:
                await house.redis.xread({"ibkr:{g1}:system": "$"}, block=10)


async def test_a_refusal_has_the_class_of_its_code(sim: Simulator, house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            with pytest.raises(InvalidInstrument) as caught:
                async for _ in client.quotes("AAPL", "NOSUCH"):
                    pass
            assert caught.value.code == "invalid_instrument"
            assert caught.value.ib_code == 200
            with pytest.raises(Unsupported):
                async for _ in client.trades(EUR):
                    pass
            with pytest.raises(MarketDataError):
                await client.call(Unsubscribe(instrument="."))
            await no_lines(sim)


async def test_a_stream_refused_later_is_raised_or_given_as_a_value(sim: Simulator, house: House) -> None:
    sim.refuse(354, "Requested market data is not subscribed.", instrument="MSFT", times=None)
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            with pytest.raises(PermissionsMissing) as caught:
                async for _ in client.quotes("MSFT", "AAPL"):
                    pass
            assert caught.value.ib_code == 354
            refused = quoted = False
            async for item in client.quotes("MSFT", "AAPL", refused="yield"):
                refused |= isinstance(item.record, Refused) and item.instrument.startswith("MSFT")
                quoted |= isinstance(item.record, Quote) and item.instrument == AAPL
                if refused and quoted:
                    break


async def test_every_kind_has_its_feed(house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            for feed, kind in (
                (client.ticks("AAPL"), Tick),
                (client.trades("AAPL", all=True), Trade),
                (client.bars("AAPL"), Bar),
            ):
                async for item in feed:
                    if isinstance(item.record, kind):
                        break
            async for told in client.system(start="first"):
                assert told.kind == "system"
                break


async def test_a_chain_is_a_feed_and_is_given_back(sim: Simulator, house: House) -> None:
    async with Client(house.url, timeout_s=DEADLINE_S) as client:
        with anyio.fail_after(DEADLINE_S):
            windows, options = 0, set()
            async for item in client.chain("AAPL", moneyness_range=0.02, lines=10):
                windows += isinstance(item.record, ChainWindow)
                if isinstance(item.record, Option):
                    options.add(item.record.instrument)
                if windows and len(options) > 2:
                    break
            await no_lines(sim)
            assert await client.list(of_client=client.name) == []


async def test_the_face_without_async_does_the_same(sim: Simulator, house: House) -> None:
    def use() -> tuple[int, str]:
        with sync_client.Client(house.url) as client:
            seqs = []
            for item in client.quotes("AAPL"):
                assert not isinstance(item.record, Quote) or item.received_at is not None
                seqs.append(getattr(item.record, "seq", 0))
                if len(seqs) == 5:
                    break
            assert seqs == list(range(seqs[0], seqs[0] + 5))
            with client.quotes(EUR) as feed:
                assert feed.read()[0].instrument == EUR
            with pytest.raises(InvalidInstrument):
                client.resolve("NOSUCH")
            bars = list(client.history("AAPL", start="2026-01-05", end="2026-01-05", bar="1h"))
            return len(bars), client.resolve("AAPL").instrument

    with anyio.fail_after(DEADLINE_S):
        count, instrument = await anyio.to_thread.run_sync(use)
        assert (count > 0, instrument) == (True, AAPL)
        await no_lines(sim)


def program(page: str, containing: str, url: str) -> str:
    """The example of a page that holds this text, reading from our server."""
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if containing in block]
    assert "redis://127.0.0.1:6379/0" in block
    return block.replace("redis://127.0.0.1:6379/0", url)


@pytest.mark.parametrize(
    ("page", "containing"),
    [
        ("README.md", "client.quotes("),
        pytest.param("docs/CLIENT.md", "async def main", marks=pytest.mark.slow),
        pytest.param("docs/CLIENT.md", "client.sync", marks=pytest.mark.slow),
        pytest.param("README.md", "client.history(", marks=pytest.mark.slow),
    ],
)
async def test_the_examples_of_the_pages_print_what_they_say(
    house: House, sim: Simulator, page: str, containing: str
) -> None:
    process = await anyio.open_process(
        [sys.executable, "-u", "-c", program(page, containing, house.url)],
        env=own_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        stderr=None,
    )
    assert process.stdout is not None
    try:
        with anyio.fail_after(DEADLINE_S):
            lines = BufferedByteReceiveStream(process.stdout)
            said = [await lines.receive_until(b"\n", 10_000) for _ in range(5)]
            assert all(said)
            if "quotes" in containing or "sync" in containing:
                assert any(b"Quote(" in line for line in said)
                # Ctrl-C ends it as any program, and its lines are given back at once.
                process.send_signal(signal.SIGINT)
                assert await process.wait() != 0
                await no_lines(sim)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def test_a_feed_with_backfill_begins_with_the_past(house: House) -> None:
    async with Client(house.url) as client:
        with anyio.fail_after(DEADLINE_S):
            refilled = live = 0
            async for item in client.trades("AAPL", backfill="5s"):
                if isinstance(item.record, Trade):
                    assert live == 0 or not item.record.flags & FLAG_REFILLED
                    refilled += item.record.flags & FLAG_REFILLED
                    live += not item.record.flags & FLAG_REFILLED
                    if refilled and live:
                        break
            assert refilled
