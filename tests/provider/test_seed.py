"""The replaced README's programs run as printed with the import line changed, and the examples do what they say."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from ibkr_actor.provider import IBKRSettings
from ibkr_actor.sim import Simulator, SimulatorSettings
from tests.e2e.kit import own_environment, running_house, running_redis

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent / "seed"
EXAMPLES = Path(__file__).parents[2] / "examples"
DEADLINE_S = 60.0
QUOTE = re.compile(r"^AAPL: \$\d+\.\d+$")
BAR = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00: O=[\d.]+ H=[\d.]+ L=[\d.]+ C=[\d.]+$")


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(ticks_per_s=20.0)) as it:
        yield it


def source(name: str) -> str:
    # As text files: what was printed there is not for our linters to change.
    return (HERE / f"{name}.txt").read_text(encoding="utf-8")


def program(name: str, port: int, folder: Path) -> Path:
    """The program with nothing changed but the port."""
    text = source(name)
    assert "4002" in text
    target = folder / name
    target.write_text(text.replace("4002", str(port)), encoding="utf-8")
    return target


@asynccontextmanager
async def running(*command: str | Path, folder: Path, **variables: str) -> AsyncIterator[Process]:
    """A program in a folder without a `.env`, whose output comes line by line."""
    root = str(Path(__file__).parents[2])
    environment = own_environment(PYTHONUNBUFFERED="1", PYTHONPATH=root, **variables)
    arguments = [sys.executable, *(str(part) for part in command)]
    async with await anyio.open_process(arguments, cwd=folder, env=environment, stderr=None) as process:
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()


async def lines(process: Process, count: int = 0, saying: Sequence[str] = ()) -> list[str]:
    """What it prints, up to its end, or to `count` lines and the first that says each of these."""
    assert process.stdout is not None
    text = ""
    with anyio.fail_after(DEADLINE_S):
        async for part in TextReceiveStream(process.stdout):
            text += part
            if count and text.count("\n") >= count and all(word in text for word in saying):
                break
    whole = text[: text.rindex("\n") + 1] if saying else text
    return whole.splitlines()[: None if saying else count or None]


async def test_the_quote_program_prints_quotes_and_ends_with_ctrl_c(sim: Simulator, tmp_path: Path) -> None:
    path = program("basic_quote_streaming.py", sim.port, tmp_path)
    async with running(path, folder=tmp_path) as process:
        printed = await lines(process, 10)
        assert sum(QUOTE.match(line) is not None for line in printed) >= 8, printed
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(DEADLINE_S):
            await process.wait()
    await sim.wait_for(lambda: sim.line_count() == 0)
    assert not sim.violations


async def test_the_history_program_prints_a_weeks_daily_bars_and_ends(sim: Simulator, tmp_path: Path) -> None:
    path = program("historical_data.py", sim.port, tmp_path)
    async with running(path, folder=tmp_path) as process:
        printed = await lines(process)
        assert await process.wait() == 0
    assert 3 <= len(printed) <= 6
    assert all(BAR.match(line) for line in printed), printed
    assert not sim.violations


@pytest.mark.slow
async def test_the_migration_block_prints_a_months_bars(sim: Simulator, tmp_path: Path) -> None:
    block = program("migration.py", sim.port, tmp_path).read_text(encoding="utf-8")
    # It stands in a notebook or in a function of the reader's; here in a function, with nothing else changed.
    body = "".join(f"    {line}\n" for line in block.splitlines())
    path = tmp_path / "in_a_function.py"
    path.write_text(f"import asyncio\n\nasync def main():\n{body}\nasyncio.run(main())\n", encoding="utf-8")
    async with running(path, folder=tmp_path) as process:
        printed = await lines(process)
        assert await process.wait() == 0
    assert 17 <= len(printed) <= 23
    assert all("symbol='AAPL'" in line and "resolution='1d'" in line for line in printed)


@pytest.mark.slow
async def test_the_quote_program_reads_from_a_sidecar_that_runs(sim: Simulator, tmp_path: Path) -> None:
    async with running_redis() as server, running_house(server.own_url, sim.port):
        path = program("basic_quote_streaming.py", 65535, tmp_path)
        async with running(path, folder=tmp_path, IBKR_REDIS_URL=server.own_url) as process:
            assert sum(QUOTE.match(line) is not None for line in await lines(process, 5)) >= 3
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(DEADLINE_S):
                await process.wait()
        await sim.wait_for(lambda: sim.line_count() == 0)


def test_the_settings_of_the_readme_are_taken_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, object] = {}
    exec(source("settings.py"), found)
    assert found["settings"] == IBKRSettings()
    monkeypatch.setenv("IBKR_PORT", "7497")
    monkeypatch.setenv("IBKR_CLIENT_ID", "3")
    exec(source("environment.py"), found)
    settings = found["settings"]
    assert isinstance(settings, IBKRSettings)
    assert (settings.host, settings.port, settings.client_id) == ("127.0.0.1", 7497, 3)


def test_only_the_import_line_names_our_package() -> None:
    programs = sorted(HERE.glob("*.py.txt"))
    assert len(programs) == 5
    for path in programs:
        assert sum("ibkr_actor" in line for line in path.read_text(encoding="utf-8").splitlines()) == 1


@pytest.mark.slow
async def test_the_streaming_example_prints_both_symbols(sim: Simulator, tmp_path: Path) -> None:
    async with running(EXAMPLES / "basic_streaming.py", folder=tmp_path, IBKR_PORT=str(sim.port)) as process:
        printed = await lines(process, 30, saying=("AAPL:", "MSFT:"))
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(DEADLINE_S):
            assert await process.wait() == 0
    assert {line.split()[1] for line in printed} <= {"AAPL:", "MSFT:"}


@pytest.mark.slow
async def test_the_history_example_counts_its_bars_and_says_what_is_wrong(sim: Simulator, tmp_path: Path) -> None:
    async with running(
        EXAMPLES / "historical_data.py", "AAPL", "1h", "4", folder=tmp_path, IBKR_PORT=str(sim.port)
    ) as process:
        printed = await lines(process)
        assert await process.wait() == 0
    assert printed[-1] == f"{len(printed) - 1} bars of 1h"
    assert len(printed) > 1
    async with running(EXAMPLES / "historical_data.py", "NOSUCH", folder=tmp_path, IBKR_PORT=str(sim.port)) as process:
        assert await lines(process) == []
        assert await process.wait() == 1
