"""What `ibkr-actor history` leaves behind when a job is refused: the older file, no header, and why in its status."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ibkr_actor.cli import history as command
from ibkr_actor.cli.history_files import open_writer
from ibkr_actor.cli.main import EXIT_CONFIGURATION, EXIT_NO, main, parser
from ibkr_actor.client.history import JobRefused
from ibkr_actor.schema.commands import Code, Rejection
from ibkr_actor.schema.records import Done

pytestmark = pytest.mark.anyio

Answers = Callable[..., AsyncIterator[Any]]


def refusing(*codes: Code) -> Answers:
    """A sidecar that refuses one job after another; after the last code jobs are done, without a row."""
    left = list(codes)

    async def answer(*_: object, **__: object) -> AsyncIterator[Any]:
        if left:
            raise JobRefused(Rejection(left.pop(0), "no", retryable=False))
        yield done

    done = Done(
        epoch=1, seq=1, con_id=1, received_ns=0, source_ns=None, feed=0, flags=0, outcome="complete", rows=0,
        entries=0, requests=0, cached=0, from_ns=None, to_ns=None, holes=[],
    )  # fmt: skip
    return answer


async def run(monkeypatch: pytest.MonkeyPatch, answers: Answers, *instruments: str, out: Path | None) -> int:
    monkeypatch.setattr(command, "history", answers)
    given = ["history", *instruments, "--start", "2026-01-05", *(["--out", str(out)] if out else [])]
    arguments: Namespace = parser().parse_args(given)
    nothing: Any = None
    return await command._history(nothing, nothing, arguments)


@pytest.mark.parametrize(
    ("code", "status"), [("validation_error", EXIT_CONFIGURATION), ("invalid_instrument", EXIT_NO)]
)
async def test_a_refused_job_leaves_the_older_file_and_prints_no_header(
    code: Code, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bars.csv"
    out.write_text("what was there")
    assert await run(monkeypatch, refusing(code), "AAPL", out=out) == status
    assert out.read_text() == "what was there"
    assert not out.with_name("bars.csv.part").exists()
    assert await run(monkeypatch, refusing(code), "AAPL", out=None) == status
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"ibkr-actor: AAPL: {code}: no\n" * 2)


async def test_a_job_without_rows_has_a_header_and_one_of_two_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bars.csv"
    assert await run(monkeypatch, refusing(), "AAPL", out=out) == 0
    assert out.read_text().startswith("start,end,open,")
    assert await run(monkeypatch, refusing("invalid_instrument"), "AAPL", "MSFT", out=out) == EXIT_NO
    assert out.read_text().startswith("instrument,start,end,open,")


@pytest.mark.parametrize("error", [RedisConnectionError("away"), BrokenPipeError()])
async def test_what_ends_every_job_comes_as_itself(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **how: object) -> AsyncIterator[Any]:
        if how:
            raise error
        yield

    with pytest.raises(type(error)):
        await run(monkeypatch, away, "AAPL", "MSFT", out=None)


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
