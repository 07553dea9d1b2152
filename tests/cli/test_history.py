"""What `ibkr-actor history` leaves behind when a job is refused or Redis goes: the older file, no header, and why."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from ibkr_actor.cli import history as command
from ibkr_actor.cli.history_files import open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO, main, parser
from ibkr_actor.client import connect
from ibkr_actor.schema.codec import decode_command, encode_record, encode_reply
from ibkr_actor.schema.commands import Code, History, Rejection, Reply
from ibkr_actor.schema.keys import Keys
from ibkr_actor.schema.records import FEED_LIVE, Bars, Done
from tests.e2e.kit import DEADLINE_S, KEYS, breath, running_redis

pytestmark = pytest.mark.anyio

BARS = Bars(1, 1, 1, 1, None, FEED_LIVE, 0, "TRADES", "1d", [(0, 1, 1.0, 1.0, 1.0, 1.0, "1", "1", 1, "20250101")])
NOTHING = Done(
    epoch=1, seq=1, con_id=1, received_ns=0, source_ns=None, feed=0, flags=0, outcome="complete", rows=0,
    entries=0, requests=0, cached=0, from_ns=None, to_ns=None, holes=[],
)  # fmt: skip


@asynccontextmanager
async def answered(redis: Redis, *codes: Code, entries: tuple[Bars | Done, ...] = (NOTHING,)) -> AsyncIterator[None]:
    """In the place of a sidecar: one job after another is refused; after the last code jobs have these entries."""
    left = list(codes)

    async def reply(to: History, **said: Any) -> None:
        entry: Any = {"j": encode_reply(Reply(to.id, "history", **said))}
        await redis.xadd(KEYS.replies(to.client), entry)

    async def answer() -> None:
        position: Any = "0"
        while True:
            read: Any = await redis.xread({KEYS.commands(): position}, block=1_000)
            for entry_id, fields in read[0][1] if read else ():
                position = entry_id
                asked = decode_command(fields)
                if not isinstance(asked, History):
                    continue
                if left:
                    await reply(asked, status="rejected", error=Rejection(left.pop(0), "no", retryable=False))
                    continue
                await reply(asked, status="accepted", result={"job": asked.id})
                for record in entries:
                    await redis.xadd(KEYS.history(asked.id), {"d": encode_record(record)})

    await redis.delete(KEYS.commands())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        yield
        tasks.cancel_scope.cancel()


@pytest.fixture
async def redis() -> AsyncIterator[Redis]:
    async with running_redis() as server, connect(server.own_url) as it:
        yield it


async def run(redis: Redis, *instruments: str, out: Path | None, timeout_s: float = DEADLINE_S) -> int:
    given = ["history", *instruments, "--start", "2026-01-05", "--timeout", str(timeout_s)]
    arguments: Namespace = parser().parse_args([*given, *(["--out", str(out)] if out else [])])
    with anyio.fail_after(DEADLINE_S):
        return await command._history(redis, Keys(), arguments)


async def test_a_refused_job_leaves_the_older_file_and_prints_no_header(
    redis: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bars.csv"
    out.write_text("what was there")
    refusals: tuple[tuple[Code, int], ...] = (("validation_error", EXIT_CONFIGURATION), ("invalid_instrument", EXIT_NO))
    for code, status in refusals:
        async with answered(redis, code, code):
            assert await run(redis, "AAPL", out=out) == status
            assert out.read_text() == "what was there"
            assert not out.with_name("bars.csv.part").exists()
            assert await run(redis, "AAPL", out=None) == status
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", f"ibkr-actor: {code}: AAPL: no\n" * 2)


async def test_a_job_without_rows_has_a_header_and_one_of_two_is_kept(redis: Redis, tmp_path: Path) -> None:
    out = tmp_path / "bars.csv"
    async with answered(redis):
        assert await run(redis, "AAPL", out=out) == 0
    assert out.read_text().startswith("start,end,open,")
    async with answered(redis, "invalid_instrument"):
        assert await run(redis, "AAPL", "MSFT", out=out) == EXIT_NO
    assert out.read_text().startswith("instrument,start,end,open,")


async def test_no_sidecar_is_one_line_for_each_job(redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(redis, "AAPL", "MSFT", out=None, timeout_s=2.0) == EXIT_NO
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"ibkr-actor: no answer to 'history' of AAPL within 2 s: is a sidecar running .*", min(lines))


async def test_a_reader_of_our_output_that_has_gone_comes_as_itself(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(text: str) -> int:
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout.write", gone)
    async with answered(redis, entries=(BARS, NOTHING)):
        with pytest.raises(BrokenPipeError):
            await run(redis, "AAPL", "MSFT", out=None)


async def test_a_redis_that_goes_away_and_stays_away_ends_it() -> None:
    raised: list[Exception] = []

    async def read(redis: Redis) -> None:
        try:
            await run(redis, "AAPL", out=None, timeout_s=2.0)
        except RedisConnectionError as error:
            raised.append(error)

    with anyio.fail_after(DEADLINE_S):
        async with (
            anyio.create_task_group() as tasks,
            running_redis() as server,
            connect(server.own_url) as redis,
            answered(redis, entries=(BARS,)),
        ):
            tasks.start_soon(read, redis)
            # It deletes what it has taken, and then waits for more.
            while await _unread(redis):
                await breath()
    assert raised


async def _unread(redis: Redis) -> int:
    """Entries of jobs that nobody has taken; 1 before there is a job."""
    jobs = [key async for key in redis.scan_iter(match=f"{KEYS.root}:history:*")]
    return sum([await redis.xlen(key) for key in jobs]) if jobs else 1


def test_a_redis_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["history", "AAPL", "MSFT", "--start", "2026-01-05", "--redis-url", "redis://127.0.0.1:1"]
    assert main(given) == EXIT_NO
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ibkr-actor: Redis does not answer: ")


@pytest.mark.parametrize("name", ["bars.csv", "bars.json", "bars.parquet"])
def test_what_is_not_finished_is_thrown_away(name: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with open_writer(tmp_path / name, ticks=False, many=False):
        pass
    assert list(tmp_path.iterdir()) == []
    with open_writer(tmp_path / name, ticks=False, many=False) as writer:
        writer.finish()
    assert [each.name for each in tmp_path.iterdir()] == [name]
